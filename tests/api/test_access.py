"""Records over HTTP: the bytes that the command line gets, their entries, and every refusal with its exact answer."""

import base64
import json
from collections.abc import Iterator
from typing import Any, Final

import pytest

from exchange.audit.note import open_checkpoint
from exchange.signing.merkle import leaf_hash
from exchange.site import VKEY
from exchange.view.formats import MEDIA_TYPES
from tests.api.calling import Answer, Api
from tests.simulator import (
    AGREEMENT,
    ASKED,
    AUDITOR,
    AUTHORITY,
    CASE,
    CHECKER,
    CONSUMER,
    DATASET,
    MEMBERS,
    NEIGHBOUR,
    PROVIDER,
    PURPOSE,
    SYSTEM,
    Site,
)

_RECORDS: Final = f"/v1/datasets/{DATASET}/records"
_LOOKUP: Final = f"/v1/datasets/{DATASET}/lookup"
_EXPLAIN: Final = f"/v1/datasets/{DATASET}/explain"
_GOOD: Final = {"purpose": PURPOSE, "case": CASE, "ids": list(MEMBERS)}


def _read(api: Api, who: str = CHECKER, accept: str = "*/*", **query: Any) -> Answer:
    return api.get(_RECORDS, who, [("Accept", accept)], **{"purpose": PURPOSE, "case": CASE, **query})


def _releases(api: Api, **query: Any) -> Iterator[Answer]:
    position = 0
    while True:
        answer = _read(api, position=position, **query)
        if answer.status == 204:
            return
        assert answer.status == 200
        yield answer
        position = int(answer.headers["exchange-next-position"])


@pytest.mark.parametrize("form", ["jsonl", "csv", "avro"])
def test_reading_to_204_gives_what_the_command_line_gives(shared: Api, made: Site, form: str) -> None:
    """The same bytes in each format, in one batch and in many; the head stands before the first record of each."""
    wanted = made.copy(shared.site.folder.parent / f"cli-{form}").read("--format", form)
    accept = MEDIA_TYPES[form].partition(";")[0]
    for limit in (10_000, 2):
        found = list(_releases(shared, accept=accept, limit=limit))
        heads = [int(one.headers["exchange-head-bytes"]) for one in found]
        whole = found[0].body[: heads[0]] + b"".join(one.body[head:] for one, head in zip(found, heads, strict=True))
        if form != "avro":  # whose sync marker and plan are of each view
            assert whole == wanted.out
        assert len(found) == (1 if limit == 10_000 else 3)
        assert {one.headers["content-type"] for one in found} == {MEDIA_TYPES[form]}
        assert sum(int(one.headers["exchange-released"]) for one in found) == 2


def test_the_headers_prove_the_release(shared: Api) -> None:
    """`Exchange-Index` is the release's entry, which says what was released; the checkpoint covers it."""
    for answer, kind in ((_read(shared), "read"), (shared.post(_LOOKUP, _GOOD, CHECKER), "lookup")):
        headers = answer.headers
        index = int(headers["exchange-index"])
        found, body = shared.exchange.audit.entry(index)
        assert (found, body["action"], body["released"]) == ("release", kind, int(headers["exchange-released"]))
        vkey = (shared.site.root / VKEY).read_text("utf-8").strip()
        checkpoint = open_checkpoint(base64.b64decode(headers["exchange-checkpoint"]), vkey)
        assert checkpoint.size > index
        assert leaf_hash(shared.exchange.audit.leaf(index))
        assert int(headers["exchange-withheld"]) == 0
        assert ("exchange-next-position" in headers) is (kind == "read")
    assert _read(shared).headers["exchange-partitions"] == "1"


def test_behind_the_last_record_there_is_nothing_yet(shared: Api) -> None:
    """204 with the place to ask from again; a position beyond it, or a partition that there is not, is 400."""
    end = int(_read(shared).headers["exchange-next-position"])
    answer = _read(shared, position=end)
    assert (answer.status, answer.body) == (204, b"")
    assert answer.headers["exchange-next-position"] == str(end)
    assert answer.headers["exchange-partitions"] == "1"
    assert _read(shared, position=end + 1).said == (400, "position_unknown")
    assert _read(shared, partition=1, position=1).said == (400, "position_unknown")


@pytest.mark.parametrize(
    ("accept", "media"),
    [
        ("", "application/x-ndjson"),
        ("*/*", "application/x-ndjson"),
        ("text/html, */*;q=0.1", "application/x-ndjson"),
        ("application/*", "application/x-ndjson"),
        ("text/*", "text/csv"),
        ("TEXT/CSV", "text/csv"),
        ("text/csv;q=0.5, application/avro", "application/avro"),
        ("application/avro;q=0.5, text/csv;q=0.4", "application/avro"),
        ("application/x-ndjson;q=0, */*", "text/csv"),
        ("application/json, text/csv", "text/csv"),
    ],
)
def test_the_form_is_the_one_liked_best(shared: Api, accept: str, media: str) -> None:
    """By weight, then by order; a form ruled out by name is not taken for `*/*`."""
    assert _read(shared, accept=accept).headers["content-type"].partition(";")[0] == media


@pytest.mark.parametrize(
    "accept", ["text/html", "application/json", "text/csv;q=0", "*/*;q=0", "x", "image/*", ",", "é"]
)
def test_a_form_that_there_is_not(shared: Api, accept: str) -> None:
    """406 that names those there are, before anything is decided: no entry is written."""
    before = shared.exchange.audit.size
    for answer in (_read(shared, accept=accept), shared.post(_LOOKUP, _GOOD, CHECKER, [("Accept", accept)])):
        assert answer.said == (406, "format_refused")
        assert "text/csv" in answer.json["facts"]["known"]
    assert shared.exchange.audit.size == before


@pytest.mark.parametrize(
    ("changed", "who", "said", "reasons"),
    [
        ({"purpose": "dibao.recheck"}, CHECKER, (403, "question_refused"), ["wrong_purpose"]),
        ({"case": None}, CHECKER, (403, "question_refused"), ["case_required"]),
        ({"case": "case-99"}, CHECKER, (403, "question_refused"), ["case_required"]),
        ({}, SYSTEM, (403, "question_refused"), None),
        ({}, AUDITOR, (403, "question_refused"), None),
        ({"ids": [NEIGHBOUR]}, CHECKER, (403, "question_refused"), ["not_in_case"]),
        ({"ids": [*MEMBERS, NEIGHBOUR]}, CHECKER, (403, "question_refused"), ["not_in_case"]),
        ({"fields": ["employer_uscc"]}, CHECKER, (403, "question_refused"), None),
        ({"fields": ["none"]}, CHECKER, (403, "question_refused"), None),
        ({"purpose": NEIGHBOUR}, CHECKER, (400, "name_malformed"), []),
        ({"purpose": "\ud800"}, CHECKER, (400, "name_malformed"), []),
        ({"fields": ["a b"]}, CHECKER, (400, "name_malformed"), []),
        ({"fields": ["person_id", "person_id"]}, CHECKER, (400, "plan_path_twice"), []),
        ({"ids": ["110105194912310021"]}, CHECKER, (403, "question_refused"), ["not_in_case"]),
        ({"ids": ["\ud800"]}, CHECKER, (400, "subject_id_unusable"), []),
        ({"ids": ["\x00" * 100]}, CHECKER, (403, "question_refused"), ["not_in_case"]),
        ({"ids": []}, CHECKER, (400, "request_malformed"), []),
    ],
)
def test_what_a_lookup_is_refused_for(
    shared: Api, changed: dict[str, Any], who: str, said: tuple[int, str], reasons: list[str] | None
) -> None:
    """The exact status, code and reasons; a refusal of the rules is an entry with the same reasons; no id is told."""
    before = shared.exchange.audit.size
    answer = shared.post(_LOOKUP, {**_GOOD, **changed}, who)
    assert answer.said == said
    assert reasons is None or answer.json["reasons"] == reasons
    found = [body for _, kind, body in shared.exchange.audit.entries(before, 1 << 60) if kind == "refusal"]
    assert [body["reasons"] for body in found] == ([answer.json["reasons"]] if said[0] == 403 else [])
    assert not [one for one in (*MEMBERS, NEIGHBOUR, "110105194912310021") if one in answer.body.decode()]


def test_a_dataset_that_there_is_not(shared: Api) -> None:
    """404 with the nearest name, for each way to ask."""
    wrong = "/v1/datasets/hrss.pension_acount"
    body = {"purpose": PURPOSE, "case": CASE}
    answers = [
        shared.get(f"{wrong}/records", CHECKER, purpose=PURPOSE),
        shared.post(f"{wrong}/lookup", {**body, "ids": list(MEMBERS)}, CHECKER),
        shared.post(f"{wrong}/explain", body, CHECKER),
        shared.get(wrong, CHECKER),
    ]
    assert [one.said for one in answers] == [(404, "unknown_dataset")] * 4
    assert {one.json["facts"]["nearest"] for one in answers} == {DATASET}


@pytest.mark.parametrize(
    "query",
    [
        {"limit": 0},
        {"limit": 10_001},
        {"limit": "x"},
        {"position": -1},
        {"position": 1 << 63},
        {"partition": "9" * 5_000},
        {"purpose": []},
    ],
)
def test_queries_out_of_range(shared: Api, query: dict[str, Any]) -> None:
    """400, with the place and never the value."""
    answer = _read(shared, **query)
    assert answer.said == (400, "request_malformed")
    assert f"query.{next(iter(query))}" in answer.json["facts"]["detail"]


def test_a_case_of_another_department_is_as_one_that_there_is_not(api: Api) -> None:
    """Another department gets the same answers for it as for none; nor is it in its list; nor may it change it."""
    department = {
        "id": "ny.yibao", "title_zh": "医保", "title_en": "Insurance", "region": "431126",
    }  # fmt: skip
    assert api.post("/v1/departments", department, AUTHORITY).status == 200
    other = "steward.ny.yibao"
    person = {"id": other, "department": "ny.yibao", "roles": ["steward"]}
    assert api.post("/v1/principals", person, AUTHORITY).status == 200
    token = api.post("/v1/tokens", {"principal": other, "days": 1}, AUTHORITY).json["token"]
    (api.site.folder / "tokens" / f"{other}.token").write_text(token)
    told = []
    for case in (CASE, "case-9"):
        answers = [
            api.post(f"/v1/cases/{case}/close", {"reason": "x"}, other),
            api.put(f"/v1/cases/{case}/members", {"ids": [NEIGHBOUR]}, other),
            api.get(_RECORDS, other, purpose=PURPOSE, case=case),
        ]
        told.append([(one.said, one.json["reasons"]) for one in answers])
    assert told[0] == told[1]
    assert [said for said, _ in told[0]] == [(404, "unknown_case")] * 2 + [(403, "question_refused")]
    assert api.get("/v1/cases", other).json == []
    assert [one["id"] for one in api.get("/v1/cases", CONSUMER).json] == [CASE]
    assert [one["id"] for one in api.get("/v1/cases", AUDITOR).json] == [CASE]


@pytest.mark.parametrize("action", ["read", "lookup"])
def test_explaining_releases_nothing(shared: Api, action: str) -> None:
    """The plan as a document and in the reader's language; a decision entry, no release."""
    before = shared.exchange.audit.size
    body = {"purpose": PURPOSE, "case": CASE, "action": action}
    told = [shared.post(_EXPLAIN, body, CHECKER, [("Accept-Language", language)]).json for language in ("en", "zh")]
    assert [one["plan"]["effect"] for one in told] == ["allow", "allow"]
    assert told[0]["sentences"] != told[1]["sentences"]
    denied = shared.post(_EXPLAIN, {**body, "case": None}, CHECKER)
    assert (denied.status, denied.json["plan"]["effect"]) == (200, "deny")
    kinds = [kind for _, kind, _ in shared.exchange.audit.entries(before, 1 << 60) if kind != "schema"]
    assert kinds == ["decision"] * 3
    assert shared.post(_EXPLAIN, {**body, "action": "verify"}, CHECKER).said == (400, "request_malformed")


def test_a_revoked_agreement_ends_the_next_answer(api: Api) -> None:
    """Between two reads the agreement is revoked: the second is refused, on a gateway that had its plan."""
    assert _read(api).status == 200
    assert api.post(f"/v1/agreements/{AGREEMENT}/revoke", {"reason": "over"}, PROVIDER).status == 200
    answer = _read(api)
    assert (answer.said, answer.json["reasons"]) == ((403, "question_refused"), ["revoked"])


def test_the_command_line_reads_what_was_asked(made: Site) -> None:
    """The words that the tests of the API and of the command line share are the same question."""
    assert ASKED == ("--purpose", PURPOSE, "--case", CASE)
    assert [
        one["person_id"] for one in map(json.loads, made.copy(made.folder.parent / "asked").read().out.splitlines())
    ]
