"""What is wrong with what auditors send over HTTP, or ask about: each with its exact answer, in both languages.

The same nine kinds as `tests/cli/test_auditors_input.py`; a folder that is no log, an older log and a bundle of another
one are nothing that a server is asked about. An answer cut off is the client's to find: `tests/cli/test_wire.py`.
"""

import base64
from typing import Any, Final

import pytest

from exchange.cli import lesson
from exchange.evidence.check import check
from exchange.names import check_character
from tests.api.calling import Answer, Api
from tests.audit.building import KEY
from tests.simulator import AUDITOR, MEMBERS

_WHO_SAW: Final = "/v1/audit/who-saw"
_OF_A_SUBJECT: Final = ("/v1/audit/who-saw", "/v1/audit/bundle")
LANGUAGES: Final = ("zh", "en")


def _nobody(number: int) -> str:
    """A right number that no record has."""
    seventeen = f"11010119900308{number:03d}"
    return seventeen + check_character(seventeen)


def _told(answer: Answer) -> tuple[int, str, str]:
    """Status, code, and what people read."""
    assert answer.headers["content-type"].startswith("application/problem+json")
    return answer.status, answer.code, f"{answer.json['detail']} | {answer.json['do']}"


def _post(api: Api, target: str, body: Any, lang: str) -> Answer:
    return api.post(target, body, AUDITOR, [("Accept-Language", lang)])


def test_a_subject_that_does_not_exist(api: Api) -> None:
    """An empty answer, to the byte and in every header like that of somebody with records whom nobody saw, and an entry
    like his; a bundle proves it.
    """
    before = api.exchange.audit.size
    answers = [api.post(_WHO_SAW, {"ids": [one]}, AUDITOR) for one in (_nobody(1), MEMBERS[1])]
    assert [(one.status, one.body) for one in answers] == [(200, b"[]")] * 2
    alike = [{name: value for name, value in one.headers.items() if name != "request-id"} for one in answers]
    assert alike[0] == alike[1]
    asked = [(kind, body) for _, kind, body in api.exchange.audit.entries(before, 1 << 60) if kind != "schema"]
    own = ("id", "time_ns", "tags", "size")
    told = [{name: value for name, value in body.items() if name not in own} for _, body in asked]
    assert (told[0], [kind for kind, _ in asked]) == (told[1], ["audit_query"] * 2)
    result = check(api.post("/v1/audit/bundle", {"ids": [_nobody(2)]}, AUDITOR).body)
    assert (result.findings, result.answer, "complete" in result.proved) == ([], [], True)


CHECK_DIGIT = {
    "zh": (
        "所给的第 2 个编号校验码不符（GB 11643），未作查询 | "
        "请核对录入；若记录中确为如此，请加“--as-written”查询（HTTP 为 as_written）"
    ),
    "en": (
        "id number 2 of those given has a wrong check digit (GB 11643): nothing was asked | "
        "check how it was typed; if the records have it so, ask with `--as-written` (over HTTP `as_written`)"
    ),
}


@pytest.mark.parametrize("lang", LANGUAGES)
@pytest.mark.parametrize("target", _OF_A_SUBJECT)
def test_a_wrong_check_digit(shared: Api, target: str, lang: str) -> None:
    """The rule and the place; the id is in no answer and no line of the server's, and nothing was asked."""
    right = _nobody(4)
    slip = right[:-1] + ("1" if right[-1] != "1" else "2")
    before, lines = shared.exchange.audit.size, len(shared.lines)
    answer = _post(shared, target, {"ids": [right, slip]}, lang)
    assert _told(answer) == (400, "subject_id_check_digit", CHECK_DIGIT[lang])
    assert slip[:-1] not in answer.body.decode() + "".join(shared.lines[lines:])
    assert shared.exchange.audit.size == before
    assert shared.post(target, {"ids": [slip], "as_written": True}, AUDITOR).status == 200


RANGE = {
    "zh": "until：1 超出范围，须为 > 2 | 请给出先后正确的时段，并减少每次查询的条数",
    "en": (
        "until: 1 is out of range; it must be > 2 | give a period that ends after it begins, and ask for fewer at once"
    ),
}


@pytest.mark.parametrize("lang", LANGUAGES)
def test_a_range_that_ends_before_it_begins(shared: Api, lang: str) -> None:
    """Of a search and of a bundle of one; nothing was asked."""
    before = shared.exchange.audit.size
    answer = _post(shared, "/v1/audit/keys/bundle", {"from_ns": 2, "until_ns": 1}, lang)
    assert _told(answer) == (400, "search_range", RANGE[lang])
    answer = shared.get("/v1/audit/keys?from_ns=2&until_ns=1", AUDITOR, [("Accept-Language", lang)])
    assert _told(answer) == (400, "search_range", RANGE[lang])
    assert shared.exchange.audit.size == before


def test_very_many_results_come_in_pages(shared: Api) -> None:
    """None holds more than was asked for, and never more than 10,000; each goes on where the last one ended."""
    assert shared.get("/v1/audit/keys?limit=10001", AUDITOR).said == (400, "request_malformed")
    rows: list[Any] = []
    while page := shared.get(f"/v1/audit/grants?limit=2&after={rows[-1]['index'] if rows else -1}", AUDITOR).json:
        assert len(page) <= 2
        rows += page
    assert rows == shared.get("/v1/audit/grants?limit=10000", AUDITOR).json


SHORTER = {
    "zh": (
        "您留存的检查点有 {kept} 条，本日志仅有 {size} 条：日志末尾被截去，或应答的是旧副本 | "
        "请保管好您的检查点，并用它核验日志（exchange audit verify --checkpoint）"
    ),
    "en": (
        "the checkpoint that you kept has {kept} entries and this log only {size}: its end was cut off, or an older "
        "copy answers | keep your checkpoint, and verify the log with it (`exchange audit verify --checkpoint`)"
    ),
}
NOT_SIGNED = {
    "zh": "检查点未由本日志的密钥签名或格式有误：no signature by this key | 请与审计人员保存的公钥和检查点核对",
    "en": (
        "the checkpoint is not signed by the key of this log, or is malformed: no signature by this key | "
        "compare the key and the checkpoint with the copies that the auditor keeps"
    ),
}


@pytest.mark.parametrize("lang", LANGUAGES)
@pytest.mark.parametrize(
    ("target", "body"), [("/v1/audit/bundle", {"ids": [_nobody(5)]}), ("/v1/audit/keys/bundle", {"complete": True})]
)
def test_a_checkpoint_from_the_future_or_of_another_log(
    shared: Api, target: str, body: dict[str, Any], lang: str
) -> None:
    """That the log's end is gone is said, and that another log's checkpoint is none of this one; nothing was asked."""
    before = shared.exchange.audit.size
    ahead = f"{shared.exchange.audit.origin}\n{before + 7}\n{base64.b64encode(bytes(32)).decode()}\n"
    answer = _post(shared, target, {**body, "kept": [ahead]}, lang)
    assert _told(answer) == (500, "audit_log_shorter", SHORTER[lang].format(kept=before + 7, size=before))
    foreign = lesson.Log([b"x"], KEY).checkpoint().decode()
    answer = _post(shared, target, {**body, "kept": [foreign]}, lang)
    assert _told(answer) == (500, "audit_note_invalid", NOT_SIGNED[lang])
    assert shared.exchange.audit.size == before


def test_a_period_in_the_future_has_an_empty_answer(shared: Api) -> None:
    """Not an error: nothing states such a time yet."""
    result = check(shared.post("/v1/audit/keys/bundle", {"from_ns": 1 << 61, "complete": True}, AUDITOR).body)
    assert (result.findings, result.answer, "range" in result.proved) == ([], [], True)
    assert shared.get(f"/v1/audit/keys?from_ns={1 << 61}", AUDITOR).json == []
