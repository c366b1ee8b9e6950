"""The description tells what the server does: every operation is played with its example, each answer of its form."""

import json
from typing import Any, Final

import jsonschema_rs
import pytest

from exchange.api.examples import EXAMPLES, answers
from tests.api.calling import Api
from tests.api.playing import ORDER, operations, played

_TEXT: Final = {
    *("metrics", "problem_page", "audit_bundle", "audit_search_bundle", "audit_proof", "checkpoint", "read", "lookup"),
    *("log_checkpoint", "log_tile", "log_entries"),
}


@pytest.fixture(scope="module")
def described(shared: Api) -> dict[str, Any]:
    """The description as it is served."""
    found: dict[str, Any] = shared.get("/openapi.json").json
    return found


def test_no_operation_lacks_an_example(described: dict[str, Any]) -> None:
    """Neither in its body, nor in what its path and query must have; none is played that is not described."""
    known = operations(described)
    assert set(known) == {name for name, _, _ in ORDER}
    for name, (_, _, operation) in known.items():
        for content in operation.get("requestBody", {}).get("content", {}).values():
            assert content.get("example") or content["schema"].get("format") == "binary", name
        for place in operation.get("parameters", ()):
            if place["required"]:
                assert "example" in place or place["schema"]["examples"], (name, place["name"])
        if name not in _TEXT:
            assert operation["responses"]["200"]["content"]["application/json"]["example"] == answers()[name], name
    assert set(answers()) == set(known) - _TEXT
    assert set(EXAMPLES) <= set(known)


def test_every_operation_answers_its_example_as_described(api: Api) -> None:
    """In an order that makes sense each is 200, its answer valid by the description; the examples of answers are of the
    same form as what was answered just now.
    """
    described = api.get("/openapi.json").json
    for one in played(api, described):
        answer, media = one.answer, one.answer.headers["content-type"].partition(";")[0]
        assert answer.status == 200, (one.name, answer.body)
        content = one.operation["responses"]["200"]["content"]
        assert media in content, one.name
        if media == "application/json":
            form = jsonschema_rs.validator_for({**content[media]["schema"], "components": described["components"]})
            form.validate(answer.json)
            form.validate(answers()[one.name])
            assert _form(answers()[one.name]) <= _form(answer.json) or _form(answer.json) <= _form(answers()[one.name])
        assert answer.headers["request-id"]


def _form(value: Any, place: str = "") -> set[str]:
    """Which keys there are, and where."""
    if isinstance(value, dict):
        return {f"{place}.{key}" for key in value}.union(*(_form(one, f"{place}.{key}") for key, one in value.items()))
    if isinstance(value, list):
        return set().union(*(_form(one, f"{place}[]") for one in value))
    return set()


def test_the_description_is_openapi_3_1(described: dict[str, Any]) -> None:
    """Its version, its one way to authenticate, an id for each operation; every reference leads somewhere."""
    assert described["openapi"].startswith("3.1.")
    assert next(iter(described["components"]["securitySchemes"].values()))["scheme"] == "bearer"
    schemas = set(described["components"]["schemas"])
    text = json.dumps(described)
    assert {part.split('"')[0] for part in text.split("#/components/schemas/")[1:]} == schemas
    known = operations(described)
    assert all(operation["summary"] and operation["description"] for _, _, operation in known.values())
    for name, (_, path, operation) in known.items():
        assert ("security" in operation) is path.startswith(("/v1/", "/log/")), name
        assert ({} in operation.get("security", ())) is (name in {"log_checkpoint", "log_tile"}), name
