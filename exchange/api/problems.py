"""What goes wrong, as problem documents (RFC 9457): the one table from an error to a status."""

import json
from collections.abc import Callable, Mapping
from typing import Any, Final

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.responses import Response

from exchange.api.negotiation import wishes
from exchange.errors import ExchangeError, Invalid, Refused, Tampered, Unavailable
from exchange.messages import Language, describe, text
from exchange.plan.shapes import shown

MEDIA_TYPE: Final = "application/problem+json"
Answer = Callable[[Request, ExchangeError], Response]  # what a request that failed is told
_FAMILIES: Final[Mapping[type[ExchangeError], int]] = {Invalid: 400, Refused: 403, Unavailable: 503, Tampered: 500}
_STATUS: Final[Mapping[str, int]] = {
    "token_missing": 401,
    "token_unknown": 401,
    "token_expired": 401,
    "token_revoked": 401,
    "principal_suspended": 401,
    "page_unknown": 404,
    "unknown_dataset": 404,
    "unknown_case": 404,
    "unknown_agreement": 404,
    "unknown_principal": 404,
    "unknown_department": 404,
    "unknown_policy": 404,
    "unknown_token": 404,
    "audit_entry_unknown": 404,
    "audit_tile_unknown": 404,
    "method_refused": 405,
    "format_refused": 406,
    "body_slow": 408,
    "already_exists": 409,
    "body_too_large": 413,
    "body_records": 413,
    "body_type_unknown": 415,
    "body_charset_unknown": 415,
    "body_encoding_unknown": 415,
    "head_too_large": 431,
    "form_foreign": 403,
}
_RETRY_S: Final = 2
_LANGUAGES: Final[Mapping[str, Language]] = {"zh": "zh", "en": "en"}


class ClientGoneError(Exception):
    """The client went away or was cut off: there is nobody to answer."""


def install(app: FastAPI, answer: Answer) -> None:
    """Every error of this app leaves as this answer: a problem document, or a page for people."""

    async def of_ours(request: Request, error: Exception) -> Response:
        if isinstance(error, ClientGoneError):
            raise error
        return answer(request, error if isinstance(error, ExchangeError) else unexpected())

    async def of_http(request: Request, error: Exception) -> Response:
        # The framework wraps whatever reading a JSON body raised.
        cause = error.__cause__
        if isinstance(cause, ClientGoneError):
            raise cause
        told = answer(request, cause if isinstance(cause, ExchangeError) else _of_http(error))
        allow = getattr(error, "headers", None) or {}
        told.headers.update({name: value for name, value in allow.items() if name == "Allow"})
        return told

    async def of_validation(request: Request, error: Exception) -> Response:
        return answer(request, _of_validation(error))

    app.add_exception_handler(ExchangeError, of_ours)
    app.add_exception_handler(Exception, of_ours)  # and raised further, so that the edge notes where it was
    app.add_exception_handler(HTTPException, of_http)
    app.add_exception_handler(RequestValidationError, of_validation)


def status_of(error: ExchangeError) -> int:
    """The HTTP status of an error."""
    return _STATUS.get(error.code) or next(status for family, status in _FAMILIES.items() if isinstance(error, family))


def document(error: ExchangeError, language: Language, request_id: str) -> dict[str, Any]:
    """The problem: `type` is a page that we serve; `code`, `family`, `where` and `facts` are for programs."""
    what, todo = describe(error, language)
    reasons = [part for part in str(error.facts.get("reasons", "")).split(", ") if part]
    return {
        "type": f"/problems/{error.code}",
        "title": text(f"problem_{error.family}", language),
        "status": status_of(error),
        "detail": what,
        "do": todo,
        "code": error.code,
        "family": error.family,
        "where": error.where,
        "facts": {name: str(value) for name, value in error.facts.items()},
        "reasons": reasons,
        "request": request_id,
    }


def headers_of(error: ExchangeError) -> dict[str, str]:
    """What a client needs beside the document."""
    status = status_of(error)
    if status == 401:  # RFC 9110, section 15.5.2: such an answer says how to authenticate
        return {"WWW-Authenticate": "Bearer"}
    return {"Retry-After": str(_RETRY_S)} if status == 503 else {}


def problem(request: Request, error: ExchangeError) -> Response:
    """The answer to a request that failed; its code goes into the log line of the request."""
    language: Language = language_asked(request.headers.get("accept-language", ""))
    request.scope.setdefault("state", {})["code"] = error.code
    body = document(error, language, request.scope["state"].get("request_id", ""))
    content = json.dumps(body, ensure_ascii=False).encode("utf-8", "replace")  # of a lone surrogate
    headers = {"Content-Language": language, **headers_of(error)}
    return Response(content, status_of(error), headers, MEDIA_TYPE)


def language_asked(header: str) -> Language:
    """The language that an `Accept-Language` header likes best (RFC 9110, section 12.5.4), the first of those that it
    likes alike; en where it likes neither.
    """
    best: tuple[float, Language] = (0.0, "en")
    for tag, quality in wishes(header):
        language: Language | None = _LANGUAGES.get(tag.partition("-")[0])
        if language is not None and quality > best[0]:
            best = (quality, language)
    return best[1]


def unexpected() -> ExchangeError:
    """What a caller is told of a fault that nobody foresaw: nothing but that there is one; the log has the rest."""
    return Unavailable("server_fault")


def _of_http(error: Exception) -> ExchangeError:
    status = error.status_code if isinstance(error, HTTPException) else 400
    codes = {404: "page_unknown", 405: "method_refused"}
    code = codes.get(status)
    return Invalid(code) if code else Invalid("request_malformed", detail="-")


def _of_validation(error: Exception) -> ExchangeError:
    """The first places that are wrong, without the values that stand there: one might be somebody's id. So might a key
    that is not known.
    """
    found = error.errors() if isinstance(error, RequestValidationError) else []
    places = [".".join(str(part) if isinstance(part, int) else shown(part) for part in one["loc"]) for one in found[:5]]
    kinds = [str(one["type"])[:40] for one in found[:5]]
    detail = ", ".join(f"{place}: {kind}" for place, kind in zip(places, kinds, strict=True))
    return Invalid("request_malformed", detail=detail)
