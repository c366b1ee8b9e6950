"""The API's description of itself (OpenAPI 3.1) at `/openapi.json`: made once, as bytes."""

import json
from functools import cache
from typing import Any, Final

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from starlette.responses import Response

from exchange.api.answers import Problem
from exchange.api.examples import EXAMPLES, PLACES, answers
from exchange.api.operations import LOG, PREFIX
from exchange.api.problems import MEDIA_TYPE

_SAID: Final = {
    400: "The input is wrong.",
    401: "No token, or none that holds.",
    403: "Refused: the rules say no, and the refusal is in the audit log.",
    404: "There is no such thing.",
    405: "This address does not take this method.",
    406: "Records are not given in such a form.",
    408: "The body did not arrive in time.",
    409: "There is one already.",
    413: "The body is too large.",
    431: "Address and headers are too long.",
    500: "Stored bytes are not what was written.",
    503: "Something needed is down or busy: try again.",
}
_ANYBODY: Final = frozenset({400, 404, 405, 408, 413, 431, 503})  # what may be said where no token is asked for
_FRAMEWORKS: Final = ("HTTPValidationError", "ValidationError")  # its own problem, which is never answered here


def install(app: FastAPI) -> None:
    """Serves the description; to be called when every route is there."""

    @cache
    def content() -> bytes:
        return json.dumps(described(app), ensure_ascii=False).encode()

    def openapi_json() -> Response:
        return Response(content(), media_type="application/json")

    app.add_api_route("/openapi.json", openapi_json, include_in_schema=False)


def described(app: FastAPI) -> dict[str, Any]:
    """The document: the framework's, with the problems that are answered, and an example for every place."""
    made = get_openapi(title=app.title, version=app.version, description=app.description, routes=app.routes)
    schemas: dict[str, Any] = made["components"]["schemas"]
    for name in _FRAMEWORKS:
        schemas.pop(name, None)
    schemas["Problem"] = Problem.model_json_schema()
    for path, operations in made["paths"].items():
        for operation in operations.values():
            _complete(path, operation)
    return made


def _complete(path: str, operation: dict[str, Any]) -> None:
    told: dict[str, Any] = operation["responses"]
    told.pop("422", None)
    problem = {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}}
    for status, text in _SAID.items():
        if path.startswith((PREFIX, LOG)) or status in _ANYBODY:
            told.setdefault(str(status), {"description": text, "content": problem})
    for place in operation.get("parameters", ()):
        if place["in"] == "path" and place["name"] in PLACES:
            place["example"] = PLACES[place["name"]]
    _exemplify(operation)
    example = answers().get(operation["operationId"])
    for media, content in told.get("200", {}).get("content", {}).items():
        if example is not None and media == "application/json":
            content["example"] = example


def _exemplify(operation: dict[str, Any]) -> None:
    """The body's example as it is: the framework leaves out whatever in it is null."""
    name = operation["operationId"]
    if name not in EXAMPLES and name != "test_policy":
        return  # a body of records, which has an example for each of its forms
    for content in operation.get("requestBody", {}).get("content", {}).values():
        content["schema"].pop("examples", None)
        content.pop("examples", None)
        content["example"] = EXAMPLES[{"test_policy": "submit_policy"}.get(name, name)]
