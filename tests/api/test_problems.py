"""Errors as problem documents: the one table, the languages, the way back to an error."""

import json
import string
from typing import Any, Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exchange.api import negotiation
from exchange.api.answers import Problem
from exchange.api.problems import document, headers_of, language_asked, status_of
from exchange.cli.wire import Wire
from exchange.errors import ExchangeError, Invalid, Refused, Tampered, Unavailable
from exchange.messages import Language, describe, error_codes
from tests.api.calling import Api
from tests.simulator import CHECKER

_FAMILIES: Final = {one.family: one for one in (Invalid, Refused, Unavailable, Tampered)}
_EXPECTED: Final = {
    "invalid": [*range(400, 416), 431],
    "refused": range(401, 404),
    "unavailable": [503],
    "tampered": [500],
}


def _facts(code: str) -> dict[str, str]:
    """A value for each place in a code's sentences."""
    entry = error_codes()[code]
    texts = [entry[key] for key in ("en", "zh", "do_en", "do_zh")]
    return {str(name): f"a {name}" for text in texts for _, name, _, _ in string.Formatter().parse(text) if name}


@pytest.mark.parametrize("language", ["zh", "en"])
def test_every_code_has_a_status_and_a_page(shared: Api, language: Language) -> None:
    """The page that `type` names says in the reader's language what it is; the status is the family's."""
    for code, entry in error_codes().items():
        error = _FAMILIES[entry["family"]](code, **_facts(code))
        told = document(error, language, "r")
        assert Problem.model_validate(told, strict=True).code == code
        assert told["status"] == status_of(error)
        assert status_of(error) in _EXPECTED[entry["family"]], code
    for code in ("token_missing", "body_too_large", "audit_log_damaged"):
        answer = shared.get(f"/problems/{code}", headers=[("Accept-Language", language)])
        assert answer.status == 200
        assert answer.headers["content-language"] == language
        assert f'<html lang="{language}">' in answer.body.decode()
        assert error_codes()[code][f"do_{language}"].partition("&")[0][:10] in answer.body.decode()


def test_what_an_error_needs_besides() -> None:
    """401 says how to authenticate, 503 when to come again; nothing else says anything."""
    for code, entry in error_codes().items():
        error = _FAMILIES[entry["family"]](code)
        wanted = {401: {"WWW-Authenticate": "Bearer"}, 503: {"Retry-After": "2"}}.get(status_of(error), {})
        assert headers_of(error) == wanted


@given(
    code=st.sampled_from(sorted(error_codes())),
    where=st.text(max_size=20),
    values=st.lists(st.text(max_size=20) | st.integers(), min_size=12, max_size=12),
    language=st.sampled_from(["zh", "en"]),
)
def test_a_problem_comes_back_as_the_error_it_was(code: str, where: str, values: list[Any], language: Language) -> None:
    """What the command line makes of a problem is the same error: family, code, place, facts, and so its sentence."""
    error = _FAMILIES[error_codes()[code]["family"]](code, where=where, **dict(zip(_facts(code), values, strict=False)))
    body = json.dumps(document(error, language, "0011")).encode()
    back = Wire("http://127.0.0.1", "t", language)._problem(status_of(error), body)
    assert type(back) is type(error)
    assert (back.code, back.where) == (error.code, error.where)
    assert describe(back, language) == describe(error, language)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"\xff",
        b"[]",
        b"null",
        b"{}",
        b'{"code": "token_missing", "family": "invalid"}',
        b'{"code": "none_such", "family": "invalid", "facts": {}}',
        b'{"code": "token_missing", "family": "other", "facts": {}}',
        b'{"code": "token_missing", "family": [], "facts": {}}',
        b'{"code": "body_slow", "family": "invalid", "facts": {}}',
        b'{"code": "body_slow", "family": "invalid", "facts": {"seconds": 1, "where": "x"}}',
        b'{"code": "body_slow", "family": "invalid", "facts": {"seconds": 1, "code": "x"}}',
        b"[" * 5_000,
    ],
)
def test_what_is_no_problem_of_ours_is_said(body: bytes) -> None:
    """Whatever else answers there, the command line ends with one clear error."""
    back = Wire("http://127.0.0.1", "t", "en")._problem(502, body)
    assert isinstance(back, Unavailable)
    assert (back.code, back.facts) == ("server_unexpected", {"detail": "HTTP 502"})


def _reference(header: str) -> Language:
    """RFC 9110 for two languages, in the plainest words."""
    best = {"zh": (0.0, 0), "en": (0.0, 0)}
    for place, part in enumerate(header.split(",")):
        tag, *parameters = [one.strip().lower() for one in part.split(";")]
        name = tag.split("-")[0]
        quality = float(parameters[0].split("=")[1]) if parameters else 1.0
        if name in best and quality > best[name][0]:
            best[name] = (quality, -place)
    return "zh" if best["zh"] > best["en"] else "en"


_TAGS = st.sampled_from(["zh", "en", "zh-CN", "zh-Hans-CN", "en-GB", "EN", "ZH-tw", "fr", "de-AT", "*", "zhx", "ena"])
_QUALITIES = st.sampled_from(["", ";q=0", ";q=0.001", ";q=0.5", " ; q=0.50", ";Q=0.9", ";q=1", ";q=1.000", ";q=0."])


@given(st.lists(st.tuples(_TAGS, _QUALITIES), min_size=1, max_size=8), st.sampled_from([",", ", ", " ,\t"]))
def test_the_language_is_the_one_liked_best(parts: list[tuple[str, str]], comma: str) -> None:
    """Any list of ranges with weights gives what a plain reading of RFC 9110 gives."""
    header = comma.join(tag + quality for tag, quality in parts)
    assert language_asked(header) == _reference(header)


@given(st.text(max_size=2_000))
def test_any_header_gives_a_language(header: str) -> None:
    """Nothing that stands in a header can make this fail; weights stay between 0 and 1."""
    assert language_asked(header) in {"zh", "en"}
    assert all(0 <= quality <= 1 for _, quality in negotiation.wishes(header))


@pytest.mark.parametrize(
    ("header", "wanted"),
    [
        ("", "en"),
        ("zh;q=nan, en;q=0.1", "en"),
        ("zh;q=2", "en"),
        ("zh;q=-1", "en"),
        ("zh;q=1e0", "en"),
        ("zh;q=0", "en"),
        ("zh" + ";q=0.5" + "x" * 2_000, "en"),
        ("fr," * 600 + "zh", "en"),
        ("zh-CN,zh;q=0.9,en;q=0.8", "zh"),
    ],
)
def test_odd_headers(header: str, wanted: Language) -> None:
    """What is no weight is no wish; what lies beyond the bound is not looked at."""
    assert language_asked(header) == wanted


def test_a_problem_is_said_in_the_language_asked_for(shared: Api) -> None:
    """`detail` and `do` are the catalogue's sentences; everything for programs is the same in both."""
    said = {}
    for language in ("zh", "en"):
        answer = shared.get("/v1/agreements/agr-99", CHECKER, [("Accept-Language", language)])
        assert answer.said == (404, "unknown_agreement")
        assert answer.headers["content-type"] == "application/problem+json"
        assert answer.headers["content-language"] == language
        error = Invalid("unknown_agreement", name="agr-99", nearest="agr-1")
        assert (answer.json["detail"], answer.json["do"]) == describe(error, language)
        assert answer.json["request"] == answer.headers["request-id"]
        said[language] = {k: v for k, v in answer.json.items() if k not in {"detail", "do", "title", "request"}}
    assert said["zh"] == said["en"]


def test_the_form_of_a_problem_is_in_the_description(shared: Api) -> None:
    """Every operation refers to it, and a real problem is of that form to the letter."""
    described = shared.get("/openapi.json").json
    form = described["components"]["schemas"]["Problem"]
    assert set(form["required"]) == set(document(Invalid("token_missing"), "en", ""))
    assert "HTTPValidationError" not in described["components"]["schemas"]
    for path, operations in described["paths"].items():
        for operation in operations.values():
            assert "422" not in operation["responses"], path
            refs = json.dumps(operation["responses"]["400"])
            assert "#/components/schemas/Problem" in refs, path


def test_an_error_of_any_kind_keeps_its_status() -> None:
    """The families stand for what the caller must do; a code not in the table has its family's status."""
    plain: list[tuple[ExchangeError, int]] = [
        (Invalid("ids_missing"), 400),
        (Refused("role_missing"), 403),
        (Unavailable("audit_stopped"), 503),
        (Tampered("audit_log_damaged"), 500),
    ]
    assert [status_of(error) for error, _ in plain] == [status for _, status in plain]
