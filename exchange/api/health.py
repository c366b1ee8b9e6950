"""Whether it lives, whether it is ready, what it has counted; and the page of each problem's `type`. For anybody."""

import html
from typing import Any, Final

from fastapi import APIRouter, Request
from pydantic import BaseModel
from starlette.responses import HTMLResponse, JSONResponse, Response

from exchange.api.caller import Asked
from exchange.api.metrics import MEDIA_TYPE
from exchange.errors import ExchangeError, Invalid
from exchange.messages import Language, error_codes, text
from exchange.wiring.readiness import missing

router: Final = APIRouter(tags=["health"])


class Missing(BaseModel):
    """What is not there, and what to do."""

    what: str
    code: str
    do: str


class Readiness(BaseModel):
    """Whether questions are answered now; each thing that keeps them from it."""

    ready: bool
    missing: list[Missing]


@router.get("/healthz", operation_id="healthz")
def healthz() -> dict[str, str]:
    """The process lives."""
    return {"status": "alive"}


@router.get("/readyz", operation_id="readyz", response_model=Readiness, responses={503: {"model": Readiness}})
def readyz(request: Request, language: Asked) -> Response:
    """Whether records can be published and released now; if not, what is missing."""
    lacking = [
        {"what": what, "code": error.code, "do": _todo(error, language)}
        for what, error in missing(request.app.state.exchange)
    ]
    status = 503 if lacking else 200
    return JSONResponse({"ready": not lacking, "missing": lacking}, status)


def _todo(error: ExchangeError, language: Language) -> str:
    return error_codes()[error.code][f"do_{language}"].format_map(error.facts)


@router.get(
    "/metrics", operation_id="metrics", response_class=Response, responses={200: {"content": {"text/plain": {}}}}
)
def metrics(request: Request) -> Response:
    """Counters and gauges in Prometheus's text format."""
    state: Any = request.app.state
    return Response(state.metrics.text(state.exchange), media_type=MEDIA_TYPE)


@router.get("/problems/{code}", operation_id="problem_page", response_class=HTMLResponse)
def problem_page(code: str, language: Asked) -> HTMLResponse:
    """What a problem's code means, and what to do: the page that its `type` names."""
    entry = error_codes().get(code)
    if entry is None:
        raise Invalid("page_unknown")
    lines = [entry[language], entry[f"do_{language}"], text(f"problem_{entry['family']}", language)]
    paragraphs = "".join(f"<p>{html.escape(line)}</p>" for line in lines)
    page = (
        f'<!doctype html><html lang="{language}"><head><meta charset="utf-8"><title>{code}</title>'
        f'<meta name="viewport" content="width=device-width"></head><body><h1>{code}</h1>{paragraphs}</body></html>'
    )
    return HTMLResponse(page, headers={"Content-Language": language})
