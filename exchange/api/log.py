"""The published audit log by C2SP tlog-tiles, for monitors, witnesses and caches as they are.

`/log` is the prefix: `/log/checkpoint`, `/log/tile/<L>/<N>[.p/<W>]`, `/log/tile/entries/<N>[.p/<W>]`. Paths, types and
bytes are those of a folder that `exchange audit export` wrote and a file server serves.
"""

import gzip
import hashlib
from collections.abc import Callable
from typing import Annotated, Any, Final

from fastapi import APIRouter, Path, Request
from starlette.responses import Response

from exchange.api.caller import Bearer, desk_of
from exchange.api.negotiation import wishes
from exchange.api.operations import LOG
from exchange.audit.publication import ENTRIES, place_of
from exchange.wiring.public_log import PublicLog

router: Final = APIRouter(tags=["log"])
_TILE: Final = "application/octet-stream"
_CHECKPOINT: Final = "text/plain; charset=utf-8"
_FOR_EVER: Final = "max-age=31536000, immutable"  # a tile is the same for ever; that of a partial one, too
_BYTES: Final[dict[int | str, dict[str, Any]]] = {
    200: {"content": {_TILE: {"schema": {"type": "string", "format": "binary"}}}}
}
_TEXT: Final[dict[int | str, dict[str, Any]]] = {200: {"content": {"text/plain": {"schema": {"type": "string"}}}}}
_PERHAPS: Final[dict[str, Any]] = {"security": [{}]}  # by the setting `audit.public` no token is needed
Level = Annotated[str, Path(examples=["0"], description="level of the tile, 0 to 63")]
Number = Annotated[str, Path(examples=["000.p/1"], description="<N> or <N>.p/<W>, as x001/x234/067.p/8")]


def checkpoint(request: Request, bearer: Bearer) -> Response:
    """The published checkpoint, a C2SP signed note: the log's name, size and root. Never cached without asking."""
    log = _admitted(request, bearer)
    return _answer(request, log.checkpoint(), _CHECKPOINT, "no-cache")


def tile(request: Request, bearer: Bearer, level: Level, number: Number) -> Response:
    """A tile of hashes of the Merkle tree (C2SP tlog-tiles), as far as the published checkpoint reaches."""
    log = _admitted(request, bearer)
    return _answer(request, log.tile(place_of(level, number)), _TILE, f"{_shared(log)}, {_FOR_EVER}")


def entries(request: Request, bearer: Bearer, number: Number) -> Response:
    """A bundle of the log's entries (C2SP tlog-tiles), for auditors. An hour's reading is one entry of the log."""
    log: PublicLog = request.app.state.public_log
    bundle = log.entries(desk_of(request, bearer).who, place_of(ENTRIES, number))
    zipped = dict(wishes(request.headers.get("accept-encoding", ""))).get("gzip", 0) > 0
    return _answer(request, bundle, _TILE, f"private, {_FOR_EVER}", zipped=zipped, more={"Vary": "Accept-Encoding"})


def _admitted(request: Request, bearer: Bearer) -> PublicLog:
    log: PublicLog = request.app.state.public_log
    if not log.is_public:
        log.admit(desk_of(request, bearer).who)
    return log


def _shared(log: PublicLog) -> str:
    return "public" if log.is_public else "private"


def _answer(
    request: Request, data: bytes, media: str, caching: str, *, zipped: bool = False, more: dict[str, str] | None = None
) -> Response:
    """The bytes; or that the client has them already (RFC 9110, section 13.1.2); to HEAD, what GET would say."""
    tag = f'"{hashlib.sha256(data).hexdigest()[:32]}{"-gzip" if zipped else ""}"'
    headers = {"ETag": tag, "Cache-Control": caching, **(more or {})}
    if _known(request.headers.get("if-none-match", ""), tag):
        return Response(None, 304, headers)
    body = gzip.compress(data, mtime=0) if zipped else data
    headers |= {"Content-Length": str(len(body)), **({"Content-Encoding": "gzip"} if zipped else {})}
    return Response(b"" if request.method == "HEAD" else body, 200, headers, media)


def _known(header: str, tag: str) -> bool:
    tags = [one.strip().removeprefix("W/") for one in header.split(",")]
    return header.strip() == "*" or tag in tags


def _route(path: str, serve: Callable[..., Response], name: str, told: dict[int | str, dict[str, Any]]) -> None:
    extra = None if name == "log_entries" else _PERHAPS
    router.add_api_route(
        LOG + path, serve, operation_id=name, response_class=Response, responses=told, openapi_extra=extra
    )
    router.add_api_route(LOG + path, serve, methods=["HEAD"], include_in_schema=False)


_route("/checkpoint", checkpoint, "log_checkpoint", _TEXT)
_route("/tile/entries/{number:path}", entries, "log_entries", _BYTES)  # before the levels: it is none
_route("/tile/{level}/{number:path}", tile, "log_tile", _BYTES)
