"""The policy bundle for OPA servers, at the address that their configuration names (`exchange policy opa-config`)."""

import hmac
from typing import TYPE_CHECKING, Final

from fastapi import APIRouter, Request
from starlette.responses import Response

from exchange.api.caller import Bearer
from exchange.errors import Invalid, Refused
from exchange.policy.opa_bundle import MEDIA_TYPE, RESOURCE

if TYPE_CHECKING:
    from exchange.wiring import Exchange

router: Final = APIRouter(include_in_schema=False)  # the protocol is OPA's, not ours
_CACHED: Final = 304


@router.get(f"/{RESOURCE}")
def bundle(request: Request, bearer: Bearer) -> Response:
    """The signed revisions, or 304 for who has them already (`If-None-Match`, RFC 9110).

    Whoever has the site's bundle token gets them, nobody else: they hold no facts, but rules and code tables, and so
    tell what the departments share for which purpose. Where there is no token there is no bundle either.
    """
    exchange: Exchange = request.app.state.exchange
    found = exchange.opa_bundle()
    if found is None:
        raise Invalid("page_unknown")
    token, archive = found
    if bearer is None:
        raise Invalid("token_missing")
    if not hmac.compare_digest(bearer.credentials.encode(), token.hex().encode()):
        raise Refused("token_unknown")
    headers = {"ETag": archive.etag, "Cache-Control": "private, no-cache"}
    known = {one.strip() for one in request.headers.get("if-none-match", "").split(",")}
    if known & {archive.etag, "*"}:
        return Response(status_code=_CACHED, headers=headers)
    return Response(archive.body, media_type=MEDIA_TYPE, headers=headers)
