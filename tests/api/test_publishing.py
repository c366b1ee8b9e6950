"""Bodies of records: each form goes in, each thing that may be wrong with one has its exact answer.

Every test publishes from a source of its own into one site.
"""

import base64
import csv
import gzip
import io
import json
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from itertools import count
from pathlib import Path
from typing import Any

import anyio.from_thread
import fastavro
import httpx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from exchange.api.app import create_app
from exchange.api.bodies import READERS, BodyAdapter, Content, Event, Form
from exchange.api.bodies.lines import depth
from exchange.api.examples import BODIES
from exchange.avro.container import write
from exchange.avro.frame import frame
from exchange.avro.records import Codec
from exchange.avro.schema import Schema, from_document
from exchange.contracts.contract import Contract, FieldTerms
from exchange.errors import Invalid
from exchange.log.dead_letters import topic_of
from exchange.signing.keys import SigningKey, new_signing_key
from exchange.signing.seals import seal, seal_leaves, to_document
from exchange.view.plain import plain
from exchange.wiring import Exchange
from tests.avro.strategies import values
from tests.profiles import examples
from tests.simulator import CHECKER, CONSUMER, DATASET, PROVIDER, SYSTEM, Site

NDJSON, CSV, AVRO = "application/x-ndjson", "text/csv", "application/avro"
KAFKA, EVENTS = "application/vnd.kafka.binary.v2+json", "application/vnd.exchange.events+ndjson"
PERSON = "11010519491231002X"
RECORD: dict[str, Any] = {
    "person_id": PERSON,
    "region_code": "431126",
    "scheme": "RESIDENT",
    "status": "RECEIVING",
    "monthly_benefit_fen": 12300,
    "last_paid_month": "2026-10",
    "employer_uscc": None,
    "bank_account": "6222020000001234567",
}
LABELS = "公民身份号码,经办机构区划,险种,参保状态,月待遇（分）,最近发放月（yyyy-MM）,单位统一社会信用代码,银行账号"
LATER_NS = 4_000 * 86_400 * 1_000_000_000


@dataclass
class Client:
    """An HTTP client of an app in this process, for any thread; the app runs in the portal's."""

    app: Any
    portal: anyio.from_thread.BlockingPortal

    def post(self, target: str, **more: Any) -> httpx.Response:
        """See `httpx.AsyncClient.post`."""
        answer: httpx.Response = self.portal.call(self._asked, "POST", target, more)
        return answer

    def get(self, target: str, **more: Any) -> httpx.Response:
        """See `httpx.AsyncClient.get`."""
        answer: httpx.Response = self.portal.call(self._asked, "GET", target, more)
        return answer

    async def _asked(self, method: str, target: str, more: dict[str, Any]) -> httpx.Response:
        async with httpx.AsyncClient(transport=httpx.ASGITransport(self.app), base_url="http://x") as client:
            return await client.request(method, target, **more)


@dataclass
class Api:
    """One exchange over HTTP, and whose tokens there are."""

    site: Site
    exchange: Exchange
    client: Client
    later: Client

    def send(
        self,
        body: bytes | str,
        media: str = NDJSON,
        *,
        first: int | None = 1,
        who: str | None = SYSTEM,
        source: str | None = None,
        dataset: str = DATASET,
        headers: Mapping[str, str] | None = None,
        later: bool = False,
    ) -> "Answer":
        """Publishes a body, from a new source where none is named."""
        source = source or new_source()
        query = {"source": source, **({} if first is None else {"first": str(first)})}
        token = {} if who is None else {"Authorization": f"Bearer {self.token(who)}"}
        told = {"Content-Type": media, **token, **(headers or {})}
        client = self.later if later else self.client
        answer = client.post(f"/v1/datasets/{dataset}/records", params=query, content=body, headers=told)
        return Answer(answer.status_code, answer.json(), source)

    def get(self, path: str, who: str = SYSTEM, **query: Any) -> "Answer":
        """The answer to a question about a dataset."""
        token = {"Authorization": f"Bearer {self.token(who)}"}
        answer = self.client.get(f"/v1/datasets/{path}", params=query, headers=token)
        return Answer(answer.status_code, answer.json(), "")

    def token(self, who: str) -> str:
        """The text of somebody's token."""
        return (self.site.folder / "tokens" / f"{who}.token").read_text().strip()

    @property
    def schema(self) -> Schema:
        """The dataset's schema."""
        return self.exchange.contract(DATASET).schemas[-1]


@dataclass(frozen=True)
class Answer:
    """What came back."""

    status: int
    json: dict[str, Any]
    source: str

    @property
    def problem(self) -> tuple[int, str]:
        """Status and code of a problem."""
        return self.status, self.json["code"]

    @property
    def fates(self) -> list[str]:
        """Fate, or error code, of each record."""
        assert self.status == 200, self.json
        return [one.get("code") or one["fate"] for one in self.json["records"]]

    @property
    def counts(self) -> tuple[int, ...]:
        """Taken, dead letters, already, last sequence."""
        found = self.json if self.status == 200 else self.json["facts"]
        return tuple(int(found[name]) for name in ("taken", "dead_letters", "already", "last_sequence"))


_NUMBERS = count(1)


def new_source() -> str:
    """A source that nothing was published from."""
    return f"ny.renshe/t{next(_NUMBERS)}"


@contextmanager
def _served(site: Site, more: Mapping[str, str]) -> Iterator[Api]:
    with site.opened(more) as exchange:
        exchange.opened_all()
        app = create_app(exchange, time.time_ns, lambda _: None)
        later = create_app(exchange, lambda: time.time_ns() + LATER_NS, lambda _: None)
        with anyio.from_thread.start_blocking_portal() as portal:
            yield Api(site, exchange, Client(app, portal), Client(later, portal))


@pytest.fixture(scope="module")
def api(made: Site, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Api]:
    """One site for the tests of this module."""
    with _served(made.copy(tmp_path_factory.mktemp("publishing") / "exchange"), {}) as found:
        yield found


@pytest.fixture(scope="module")
def narrow(made: Site, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Api]:
    """The same with small limits."""
    more = {
        "EXCHANGE_PUBLISH_REQUEST_RECORDS": "5",
        "EXCHANGE_PUBLISH_BATCH_RECORDS": "2",
        "EXCHANGE_HTTP_BODY_MB": "1",
    }
    with _served(made.copy(tmp_path_factory.mktemp("narrow") / "exchange"), more) as found:
        yield found


def lines(*records: Any) -> str:
    """A body of lines."""
    return "".join(json.dumps(one, ensure_ascii=False) + "\n" for one in records)


def record(**changes: Any) -> dict[str, Any]:
    """A good record, some fields changed."""
    return {**RECORD, **changes}


def container(schema: Schema, *records: dict[str, Any]) -> bytes:
    """A container of our own writing."""
    stream = io.BytesIO()
    write(stream, schema, records)
    return stream.getvalue()


def kafka(*values_: bytes) -> str:
    """Confluent's REST form."""
    return json.dumps({"records": [{"value": base64.b64encode(one).decode()} for one in values_]})


def framed(api: Api, value: Mapping[str, Any]) -> bytes:
    """A record under the dataset's own schema id."""
    schema_id = api.exchange.control.model().dataset(DATASET).current.schema_id
    return frame(schema_id, Codec(api.schema).encode(value))


def table(*rows: str, header: str = ",".join(RECORD)) -> str:
    """A body of CSV."""
    return "\r\n".join([header, *rows, ""])


def event(sequence: Any, value: Any = RECORD, **more: Any) -> dict[str, Any]:
    """A line of events."""
    place = {"file": "people.csv", "row": 9, "column": ""}
    return {"sequence": sequence, "place": place, **(more or {"value": value})}


ROW = f"{PERSON},431126,RESIDENT,RECEIVING,12300,2026-10,,6222020000001234567"
GOOD: dict[str, Callable[[Api], bytes | str]] = {
    NDJSON: lambda _: lines(RECORD, record(status="ENDED")),
    EVENTS: lambda _: lines(event(1), event(2, record(status="ENDED"))),
    CSV: lambda _: table(ROW, ROW.replace("RECEIVING", "ENDED")),
    AVRO: lambda api: container(api.schema, RECORD, record(status="ENDED")),
    KAFKA: lambda api: kafka(framed(api, RECORD), framed(api, record(status="ENDED"))),
}


def stored(api: Api, records: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The records at the positions that an answer names."""
    codec, found = Codec(api.schema), []
    for one in records:
        part = api.exchange.log.read(DATASET, one["partition"], one["position"], 1)
        found.append(codec.decode(part.values[0]))
    return found


@pytest.mark.parametrize("media", GOOD)
def test_each_form_goes_in_once(api: Api, media: str) -> None:
    """Both records stand at the positions that the answer names; the same body again is there already."""
    body = GOOD[media](api)
    answer = api.send(body, media)
    assert answer.fates == ["taken", "taken"]
    assert (answer.json["dataset"], answer.json["source"], answer.counts) == (DATASET, answer.source, (2, 0, 0, 2))
    assert answer.json["records_complete"] is True
    assert stored(api, answer.json["records"]) == [RECORD, record(status="ENDED")]
    again = api.send(body, media, source=answer.source)
    assert (again.fates, again.counts) == (["already", "already"], (0, 0, 2, 2))
    assert api.get(f"{DATASET}/mark", source=answer.source).json == {"mark": 2}
    seen = [one for _, kind, one in api.exchange.audit.entries(0, api.exchange.audit.size) if kind == "record_commit"]
    assert (seen[-1]["source"], seen[-1]["last_sequence"], seen[-1]["delegate"]) == (answer.source, 2, True)


@pytest.mark.parametrize("media", BODIES)
def test_the_examples_of_the_description_are_taken(api: Api, media: str) -> None:
    """Each as it stands there; the event that an adapter rejected is told so."""
    body = BODIES[media] if isinstance(BODIES[media], str) else json.dumps(BODIES[media])
    assert api.send(body, media).fates == (["taken", "cell_id_damaged"] if media == EVENTS else ["taken"])


@pytest.mark.parametrize("media", GOOD)
def test_each_form_may_be_packed(api: Api, media: str) -> None:
    """gzip, in one member or several, says the same."""
    body = GOOD[media](api)
    plain_ = body.encode() if isinstance(body, str) else body
    packed = gzip.compress(plain_[:40]) + gzip.compress(plain_[40:])
    assert api.send(packed, media, headers={"Content-Encoding": "gzip"}).counts == (2, 0, 0, 2)


@pytest.mark.parametrize("media", GOOD)
def test_an_empty_body_of_lines_or_records_takes_nothing(api: Api, media: str) -> None:
    """It tells the mark; what has to have a beginning has none."""
    answer = api.send(b"", media)
    if media in {NDJSON, EVENTS}:
        assert answer.counts == (0, 0, 0, 0)
    else:
        codes = {CSV: "file_empty", AVRO: "container_damaged", KAFKA: "body_cut_off"}
        assert answer.problem == (400, codes[media])


def test_sequences_may_skip_and_what_was_taken_is_left_out(api: Api) -> None:
    """From 5 on after 2; then 4 to 6: 6 alone is new."""
    source = api.send(lines(RECORD, RECORD)).source
    assert api.send(lines(RECORD), first=5, source=source).counts == (1, 0, 0, 5)
    again = api.send(lines(RECORD, RECORD, RECORD), first=4, source=source)
    assert (again.fates, again.counts) == (["already", "already", "taken"], (1, 0, 2, 6))


BAD: dict[str, tuple[bytes | str, str]] = {
    "no JSON": ("{nonsense\n", "json_malformed"),
    "a key twice": ('{"person_id": "a", "person_id": "b"}\n', "json_malformed"),
    "a number of 5,000 digits": ("1" * 5_000 + "\n", "json_malformed"),
    "no UTF-8": (b'{"person_id": "\xff"}\n', "line_not_utf8"),
    "too deep": ("[" * 65 + "]" * 65 + "\n", "json_too_deep"),
    "far too deep": ('{"a":' * 100_000 + "1" + "}" * 100_000 + "\n", "json_too_deep"),
    "too long": ('"' + "x" * (1 << 20) + '"\n', "line_too_long"),
    "no record": ("[1]\n", "value_wrong_type"),
    "a field missing": (lines({"person_id": PERSON}), "value_missing"),
    "a field unknown": (lines(record(more=1)), "value_unknown_field"),
    "a text for a number": (lines(record(monthly_benefit_fen="12300")), "value_wrong_type"),
    "a fraction": (lines(record(monthly_benefit_fen=1.5)), "value_wrong_type"),
    "too large a number": (lines(record(monthly_benefit_fen=2**63)), "value_out_of_range"),
    "a symbol unknown": (lines(record(status="?")), "value_unknown_symbol"),
    "half a character": (json.dumps(record(region_code="\ud800")) + "\n", "value_broken_text"),
    "no subject": (lines(record(person_id="  ")), "subject_missing"),
}


@pytest.mark.parametrize("what", BAD)
def test_a_bad_line_is_a_dead_letter_and_the_others_go_in(api: Api, what: str) -> None:
    """Its code and its line are told; the line before and the one after are taken."""
    body, code = BAD[what]
    body = body.encode("utf-8", "surrogatepass") if isinstance(body, str) else body
    answer = api.send(lines(RECORD).encode() + b"\n" + body + lines(RECORD).encode())
    assert (answer.fates, answer.counts) == (["taken", code, "taken"], (2, 1, 0, 3))
    assert answer.json["records"][1]["where"].startswith("http:3")
    letter = api.get(f"{DATASET}/dead-letters").json["rows"][-1]
    assert (letter["source"], letter["sequence"], letter["code"]) == (answer.source, 2, code)
    assert (letter["file"], letter["row"]) == ("http", 3)
    assert PERSON not in str(letter)


@pytest.mark.parametrize(
    ("body", "code", "where"),
    [
        (lines(RECORD) + json.dumps(RECORD)[:-5], "body_cut_off", "http:2"),
        (lines(RECORD).encode() + b'"' + b"x" * (1 << 20), "body_cut_off", "http:2"),
        ("姓名\n".encode("gb18030"), "body_not_utf8", "http:1"),
        (lines(RECORD).encode("utf-16"), "body_not_utf8", "http:1"),
    ],
)
def test_lines_that_cannot_be_read_on(api: Api, body: bytes | str, code: str, where: str) -> None:
    """The problem names the line; what came before stays taken, which its facts say."""
    answer = api.send(body)
    assert (answer.problem, answer.json["where"]) == ((400, code), where)
    if where == "http:2":
        assert answer.counts == (1, 0, 0, 1)
    assert api.get(f"{DATASET}/mark", source=answer.source).json == {"mark": 1 if where == "http:2" else 0}


def test_a_last_line_needs_no_end_and_a_first_one_no_mark(api: Api) -> None:
    """A body that is whole but for its last line feed, with a byte order mark."""
    assert api.send("\ufeff" + lines(RECORD, RECORD).rstrip()).counts == (2, 0, 0, 2)
    assert api.send(lines(RECORD), "application/x-ndjson; charset=UTF-8").counts == (1, 0, 0, 1)


@pytest.mark.parametrize(
    "wrong",
    [
        "{nonsense",
        5,
        event(0),
        event(True),
        event(1 << 63),
        event("2"),
        event(1),
        {**event(2), "more": 1},
        {**event(2), "place": {"file": "x", "row": 1}},
        {**event(2), "place": {"file": 1, "row": 1, "column": ""}},
        {**event(2), "place": 5},
        event(2, rejected={"code": "No code", "shape": {}}),
        event(2, rejected={"code": "row_width", "shape": {"a": 1}}),
        event(2, rejected={"code": "row_width", "shape": []}),
        event(2, rejected=5),
        event(2, rejected={"code": "row_width", "shape": {f"{i}": "" for i in range(1_001)}}),
    ],
)
def test_an_event_that_is_none_ends_the_reading(api: Api, wrong: Any) -> None:
    """It has no id to be told under; the event before it is taken."""
    line = wrong + "\n" if isinstance(wrong, str) else lines(wrong)
    answer = api.send(lines(event(1)) + line + lines(event(9)), EVENTS, first=None)
    assert (answer.problem, answer.json["where"]) == ((400, "body_malformed"), "http:2")
    assert answer.counts == (1, 0, 0, 1)


def test_an_event_tells_the_place_and_the_rejection_of_its_adapter(api: Api) -> None:
    """A rejected row keeps the adapter's own code, place and shape; a bad value the adapter's place."""
    place = {"file": "people.csv", "row": 11, "column": "身份号码"}
    rejected = {"sequence": 4, "place": place, "rejected": {"code": "cell_id_damaged", "shape": {"person_id": "9A"}}}
    answer = api.send(lines(event(2), rejected, event(7, record(status="?"))), EVENTS, first=None)
    assert answer.fates == ["taken", "cell_id_damaged", "value_unknown_symbol"]
    assert [one["sequence"] for one in answer.json["records"]] == [2, 4, 7]
    assert [one.get("where") for one in answer.json["records"]] == [
        None,
        "people.csv:11:身份号码",
        "people.csv:9:status",
    ]
    letters = api.get(f"{DATASET}/dead-letters").json["rows"][-2:]
    assert (letters[0]["column"], letters[0]["shape"]) == ("身份号码", {"person_id": "9A"})
    cut = api.send(lines(event(2)) + json.dumps(event(3))[:-1], EVENTS, first=None)
    assert (cut.problem, cut.counts) == ((400, "body_cut_off"), (1, 0, 0, 2))
    bad = api.send(lines(event(2)).encode() + b'{"\xff"}\n', EVENTS, first=None)
    assert bad.problem == (400, "body_malformed")


def test_csv_under_chinese_labels_in_gb18030(api: Api) -> None:
    """Header by label, encoding guessed or said; ids keep their digits, whatever wrote them."""
    body = table(ROW.replace(PERSON, "'11010519491231002x"), header=LABELS).encode("gb18030")
    for media in (CSV, "text/csv; charset=GB18030", 'text/csv; charset="gbk"'):
        answer = api.send(body, media)
        assert stored(api, answer.json["records"]) == [RECORD]
    assert api.send(body).json["code"] == "body_not_utf8"
    guessed = api.send(body, CSV).json["notes"]
    assert guessed == ["http: encoding guessed: GB18030 | 编码猜定为 GB18030"]
    with_mark = table(ROW).encode("utf-8-sig")
    assert stored(api, api.send(with_mark, CSV).json["records"]) == [RECORD]


@pytest.mark.parametrize(
    ("row", "code", "where"),
    [
        (ROW.replace(PERSON, "1.10105E+17"), "cell_id_damaged", "http:3:person_id"),
        (ROW.replace(PERSON, "nobody"), "cell_id_malformed", "http:3:person_id"),
        (ROW.replace("12300", "12300.5"), "cell_number_malformed", "http:3:monthly_benefit_fen"),
        (ROW.replace("RESIDENT", "?"), "value_unknown_symbol", "http:3:scheme"),
        (ROW.replace("431126", ""), "value_missing", "http:3:region_code"),
        (ROW + ",more", "row_width", "http:3"),
        (ROW.replace("2026-10", "2026\x00"), "cell_control_character", "http:3:last_paid_month"),
    ],
)
def test_a_bad_row_is_a_dead_letter(api: Api, row: str, code: str, where: str) -> None:
    """As the files adapter would tell it, with the column's name."""
    answer = api.send(table(ROW, row, ROW), CSV)
    assert (answer.fates, answer.counts) == (["taken", code, "taken"], (2, 1, 0, 3))
    assert answer.json["records"][1]["where"] == where


@pytest.mark.parametrize(
    ("body", "media", "status", "code"),
    [
        (table(ROW.rpartition(",")[0], header=",".join(list(RECORD)[:-1])), CSV, 400, "file_column_missing"),
        (table(ROW, header=",".join(RECORD) + ",status"), CSV, 400, "file_column_repeated"),
        (table(ROW, header=",".join(RECORD) + ",11010519491231002X"), CSV, 400, "file_column_unknown"),
        (table(ROW, header=",".join(RECORD) + ","), CSV, 400, "file_column_unknown"),
        (ROW, CSV, 400, "file_column_missing"),
        ("\n\n", CSV, 400, "file_header_missing"),
        (table(ROW).encode("utf-16"), CSV, 400, "file_utf16"),
        (b"PK\x03\x04" + b"x" * 100, CSV, 400, "file_not_csv"),
        (table(ROW, header=LABELS).encode("gb18030"), "text/csv; charset=utf-8", 400, "file_encoding"),
        (table(ROW), "text/csv; charset=latin-1", 415, "body_charset_unknown"),
        (lines(RECORD), "application/x-ndjson; charset=gb18030", 415, "body_charset_unknown"),
        (lines(RECORD), "application/json", 415, "body_type_unknown"),
        (lines(RECORD), "", 415, "body_type_unknown"),
    ],
)
def test_a_table_without_its_header_or_in_no_form_is_a_problem(
    api: Api, body: bytes | str, media: str, status: int, code: str
) -> None:
    """None of it is taken, and no header is shown: without one it is somebody's data."""
    answer = api.send(body, media)
    assert answer.problem == (status, code)
    assert PERSON not in str(answer.json)
    assert api.get(f"{DATASET}/mark", source=answer.source).json == {"mark": 0}


def test_a_quotation_mark_left_open_ends_a_table(api: Api) -> None:
    """The rows before it are taken."""
    answer = api.send(table(ROW, ROW.replace("RESIDENT", '"RESIDENT'), ROW, ROW), CSV)
    assert (answer.problem, answer.json["where"]) == ((400, "file_quotes_open"), "http:3")
    assert answer.counts == (1, 0, 0, 1)


def test_a_container_of_another_writer_and_of_a_schema_that_resolves(api: Api) -> None:
    """As fastavro writes it, deflated; fields in another order, one with a default left out."""
    document = json.loads(json.dumps(api.schema.document))
    document["fields"] = [one for one in reversed(document["fields"]) if one["name"] != "bank_account"]
    stream = io.BytesIO()
    fastavro.writer(stream, document, [RECORD], codec="deflate")
    answer = api.send(stream.getvalue(), AVRO)
    assert stored(api, answer.json["records"]) == [record(bank_account=None)]


@pytest.mark.parametrize(
    ("change", "code"),
    [
        (lambda data: data[:-20], "container_damaged"),
        (lambda data: data[:100], "container_damaged"),
        (lambda data: b"Obj\x02" + data[4:], "container_damaged"),
        (lambda data: data.replace(b'"fields"', b'"fieldz"'), "schema_unparsable"),
        (
            lambda data: data.replace(b'"bank_account"', b'"bank_accounz"').replace(b'"status"', b'"statuz"'),
            "body_schema_differs",
        ),
    ],
)
def test_a_container_that_cannot_be_read(api: Api, change: Callable[[bytes], bytes], code: str) -> None:
    """Cut off, damaged, no schema, or one that the dataset's does not read."""
    assert api.send(change(container(api.schema, RECORD)), AVRO).problem == (400, code)


def test_whole_blocks_of_a_container_cut_off_stay_taken(api: Api) -> None:
    """The second block is damaged; the first is in."""
    one, sync = container(api.schema, RECORD), bytes.fromhex(api.schema.fingerprint[-32:])
    head = one[: one.index(sync) + 16]
    block = one[len(head) :]
    answer = api.send(head + block + block[:-3], AVRO)
    assert (answer.problem, answer.json["facts"]["block"], answer.counts) == (
        (400, "container_damaged"),
        "2",
        (1, 0, 0, 1),
    )


def test_a_bad_frame_is_a_dead_letter(api: Api) -> None:
    """Another dataset's schema id, one that nobody has, no frame, no base64, bytes that are no record."""
    good, dead = framed(api, RECORD), api.exchange.control.model().dataset(DATASET).dead_schema_id
    body = json.loads(kafka(good, frame(dead, good[5:]), frame(999, good[5:]), b"\x01abcdef", good[:-3], good))
    body["records"][2:2] = [{"value": "?"}, {"value": None}, {}, 5]
    answer = api.send(json.dumps(body), KAFKA)
    assert answer.fates == [
        "taken",
        "schema_id_unknown",
        *["base64_malformed"] * 4,
        "schema_id_unknown",
        "frame_malformed",
        "record_undecodable",
        "taken",
    ]
    assert answer.json["records"][1]["where"] == "http:2"


@pytest.mark.parametrize(
    ("body", "code", "taken"),
    [
        ("", "body_cut_off", 0),
        ('{"records": [', "body_cut_off", 0),
        ('{"records": [GOOD', "body_cut_off", 1),
        ('{"records": [GOOD, {"value": "AAA', "body_cut_off", 1),
        ('{"records": [GOOD, {"value"', "body_cut_off", 1),
        ('{"records": [GOOD]', "body_cut_off", 1),
        ('{"records": [GOOD] , "more": 1}', "body_malformed", 1),
        ('{"records": [GOOD]} {}', "body_malformed", 1),
        ('{"records": [GOOD GOOD]}', "body_malformed", 1),
        ('{"records": [GOOD, nonsense]}', "body_malformed", 1),
        ('{"values": []}', "body_malformed", 0),
        ("[]", "body_malformed", 0),
        ('{"records": [' + "[" * 100 + "]" * 100 + "]}", "json_too_deep", 0),
        ('{"records": [' + "[" * 100_000 + "]" * 100_000 + "]}", "json_too_deep", 0),
        ('{"records": ["\udcff"]}', "body_not_utf8", 0),
    ],
)
def test_a_broken_envelope_is_a_problem(api: Api, body: str, code: str, taken: int) -> None:
    """What stands before the place is taken."""
    good = json.dumps({"value": base64.b64encode(framed(api, RECORD)).decode()})
    answer = api.send(body.replace("GOOD", good).encode("utf-8", "surrogateescape"), KAFKA)
    assert answer.problem == (400, code), answer.json
    assert api.get(f"{DATASET}/mark", source=answer.source).json == {"mark": taken}


def test_an_envelope_longer_than_a_piece_is_read_on(api: Api) -> None:
    """Elements lie across the pieces in which the body is read; unused keys of the REST proxy are allowed."""
    value = base64.b64encode(framed(api, RECORD)).decode()
    element = {"key": "x" * 1_000, "value": value, "partition": 0}
    assert api.send(json.dumps({"records": [element] * 600}, indent=1), KAFKA).counts == (600, 0, 0, 600)


@pytest.mark.parametrize(
    "packed", [b"no gzip", gzip.compress(b"x" * 100)[:-4] + b"\xff" * 4], ids=["no gzip", "another checksum"]
)
def test_a_body_that_is_not_packed_as_it_says(api: Api, packed: bytes) -> None:
    """Nothing of it is read."""
    assert api.send(packed, headers={"Content-Encoding": "gzip"}).problem == (400, "body_packed_wrong")


def test_a_packed_body_without_its_end_and_other_packings(api: Api) -> None:
    """A problem each."""
    cut = gzip.compress(lines(*[RECORD] * 50).encode())[:-10]
    assert api.send(cut, headers={"Content-Encoding": "gzip"}).problem == (400, "body_cut_off")
    assert api.send(b"", headers={"Content-Encoding": "gzip"}).problem == (400, "body_cut_off")
    assert api.send(b"x", headers={"Content-Encoding": "br"}).problem == (415, "body_encoding_unknown")


def test_bodies_have_a_size_packed_or_not(narrow: Api) -> None:
    """Of one byte too many nothing is taken; a small body does not become a large one."""
    large = b" " * (1 << 20) + b"x"
    assert narrow.send(large).problem == (413, "body_too_large")
    assert narrow.send(gzip.compress(large), headers={"Content-Encoding": "gzip"}).problem == (413, "body_too_large")
    bomb = gzip.compress(bytes(8 << 20))
    assert narrow.send(bomb, headers={"Content-Encoding": "gzip"}).problem == (413, "body_too_large")
    assert narrow.send(b" " * (1 << 20)).counts == (0, 0, 0, 0)


def test_a_body_has_a_number_of_records(narrow: Api) -> None:
    """The first five are taken and told; the rest comes in further requests."""
    answer = narrow.send(lines(*[RECORD] * 6))
    assert (answer.problem, answer.counts) == ((413, "body_records"), (5, 0, 0, 5))
    assert narrow.send(lines(RECORD), first=6, source=answer.source).counts == (1, 0, 0, 6)
    assert narrow.send(lines(*[RECORD] * 5)).counts == (5, 0, 0, 5)


def test_who_may_publish(api: Api) -> None:
    """The department that owns the dataset, by a system or steward; anybody else before his body is read, audited."""

    def refusals() -> int:
        found = api.exchange.audit.entries(0, api.exchange.audit.size)
        return sum(kind == "refusal" for _, kind, _ in found)

    before = refusals()
    assert api.send(b"x" * 10, who=CHECKER).problem == (403, "not_the_owner")
    assert api.send(b"x" * 10, "no/form", who=CONSUMER).problem == (403, "not_the_owner")
    assert refusals() == before + 2
    assert api.send(lines(RECORD), source="ny.minzheng/other").problem == (403, "source_not_own")
    assert api.get(f"{DATASET}/mark", source="ny.minzheng/other").problem == (403, "source_not_own")
    assert api.get(f"{DATASET}/mark", who=CHECKER, source="ny.renshe/x").problem == (403, "not_the_owner")
    assert api.get(f"{DATASET}/dead-letters", who=CHECKER).problem == (403, "not_the_owner")
    assert api.get(f"{DATASET}/withheld", who=CHECKER).problem == (403, "not_the_owner")
    assert refusals() == before + 7
    assert api.send(lines(RECORD), who=PROVIDER).counts == (1, 0, 0, 1)


def test_tokens_that_open_nothing(api: Api) -> None:
    """None, another's, one that has expired: 401, each with its own code."""
    assert api.send(lines(RECORD), who=None).problem == (401, "token_missing")
    wrong = {"Authorization": f"Bearer xt1.0123456789abcdef.{'A' * 43}"}
    assert api.send(lines(RECORD), who=None, headers=wrong).problem == (401, "token_unknown")
    assert api.send(lines(RECORD), later=True).problem == (401, "token_expired")


@pytest.mark.parametrize("source", ["", "No Source", "../x", "ny.renshe/" + "x" * 300, PERSON + "\n"])
def test_a_source_has_a_name(api: Api, source: str) -> None:
    """Of the form that names have, and of the department's."""
    answer = api.client.post(
        f"/v1/datasets/{DATASET}/records",
        params={"source": source, "first": "1"},
        content=lines(RECORD),
        headers={"Authorization": f"Bearer {api.token(SYSTEM)}", "Content-Type": NDJSON},
    )
    assert (answer.status_code, answer.json()["code"]) == (400, "name_malformed")
    assert PERSON not in answer.text


def test_what_else_a_request_may_lack(api: Api) -> None:
    """A dataset that there is, a first sequence that is one."""
    assert api.send(lines(RECORD), dataset="hrss.nothing").problem == (404, "unknown_dataset")
    assert api.send(lines(RECORD), first=None).problem == (400, "first_missing")
    for first in (0, -1, 1 << 63):
        assert api.send(lines(RECORD), first=first).problem == (400, "request_malformed")


def _sealed(api: Api, source: str, records: list[dict[str, Any]], **changes: Any) -> dict[str, str]:
    """The header with a seal over good records, by the department's key; some of what it says changed."""
    key = SigningKey.load(changes.pop("key", api.site.root / "keys" / "seal-ny.renshe.key"))
    bodies = [Codec(api.schema).encode(one) for one in records]
    leaves = seal_leaves(DATASET, source, range(1, len(bodies) + 1), api.schema.fingerprint, bodies)
    of = {"dataset": DATASET, "department": "ny.renshe", "delegate": False, "now_ns": time.time_ns, **changes}
    return {"Exchange-Seal": json.dumps(to_document(seal(key, leaves, **of)))}


def test_a_department_seals_with_its_own_key(narrow: Api) -> None:
    """All records are one batch under that seal, however small batches are; sent again, they are there already."""
    source, records = new_source(), [record(region_code=f"{n}") for n in range(5)]
    header = _sealed(narrow, source, records)
    assert narrow.send(lines(*records), source=source, headers=header).counts == (5, 0, 0, 5)
    assert narrow.send(lines(*records), source=source, headers=header).counts == (0, 0, 5, 5)
    kinds = narrow.exchange.audit.entries(0, narrow.exchange.audit.size)
    entry = [body for _, kind, body in kinds if kind == "record_commit"][-1]
    assert (entry["delegate"], entry["count"], entry["seal"]) == (False, 5, json.loads(header["Exchange-Seal"])["id"])


def test_a_seal_of_anything_else_takes_nothing(api: Api, tmp_path: Path) -> None:
    """Other records, another sequence, source, dataset, key, a delegate's, an old one, a changed or malformed one."""
    source, records = new_source(), [RECORD, record(status="ENDED")]
    good = _sealed(api, source, records)
    document = json.loads(good["Exchange-Seal"])
    wrong: list[Any] = [
        *({**document, name: "00" + document[name][2:]} for name in ("root", "signature", "id")),
        {**document, "count": 1},
        {**document, "time_ns": document["time_ns"] + 1},
        {name: value for name, value in document.items() if name != "count"},
        {**document, "more": 1},
        {**document, "count": True},
        {**document, "root": 5},
        [],
        None,
    ]
    headers = [{"Exchange-Seal": json.dumps(one)} for one in wrong]
    headers += [{"Exchange-Seal": text} for text in ("", "{", "[" * 4_000)]
    headers += [
        _sealed(api, new_source(), records),
        _sealed(api, source, records[::-1]),
        _sealed(api, source, [RECORD]),
    ]
    headers += [_sealed(api, source, records, delegate=True), _sealed(api, source, records, dataset="x.y")]
    headers += [_sealed(api, source, records, now_ns=lambda: time.time_ns() - 10**12)]
    headers += [_sealed(api, source, records, now_ns=lambda: time.time_ns() + 10**12)]
    for header in headers:
        assert api.send(lines(*records), source=source, headers=header).problem == (400, "seal_differs")
    new_signing_key(tmp_path / "key")
    other = _sealed(api, source, records, key=tmp_path / "key")
    assert api.send(lines(*records), source=source, headers=other).problem == (400, "seal_key_differs")
    cut = lines(*records) + "{"
    assert api.send(cut, source=source, headers=good).problem == (400, "body_cut_off")
    assert api.get(f"{DATASET}/mark", source=source).json == {"mark": 0}
    assert api.send(lines(*records), source=source, headers=good).counts == (2, 0, 0, 2)


def test_a_long_list_of_fates_is_that_of_the_bad_ones(api: Api) -> None:
    """Beyond 10,000 records only what was not taken is listed, and the answer says so."""
    body = lines(RECORD) * 5_000 + "{}\n" + lines(RECORD) * 5_000
    answer = api.send(body)
    assert (answer.counts, answer.json["records_complete"]) == ((10_000, 1, 0, 10_001), False)
    assert [one["sequence"] for one in answer.json["records"]] == [5_001]


def test_dead_letters_and_withheld_come_in_pages(api: Api) -> None:
    """Each asked for from where the last one ended, none twice."""
    api.send("{}\n{}\n{}\n")
    whole = api.get(f"{DATASET}/dead-letters").json
    assert whole["next"] is None
    found: list[Any] = []
    start: int | None = 0
    while start is not None:
        query: dict[str, Any] = {"limit": 2, "from": start}
        page = api.get(f"{DATASET}/dead-letters", **query).json
        assert len(page["rows"]) <= 2
        found += page["rows"]
        start = page["next"]
    assert found == whole["rows"]
    assert len(found) == len({(one["source"], one["sequence"]) for one in found})
    assert api.get(f"{DATASET}/withheld").json == {"rows": [], "next": None}


def test_what_is_published_is_counted(api: Api) -> None:
    """By its fate, and the dead letters' topic is not among the positions told."""

    def counted() -> list[float]:
        lines_ = api.client.get("/metrics").text.splitlines()
        found = dict(one.rsplit(" ", 1) for one in lines_ if one.startswith("exchange_published_records_total"))
        fates = ("taken", "dead_letter", "already")
        return [float(found.get(f'exchange_published_records_total{{fate="{fate}"}}', 0)) for fate in fates]

    before = counted()
    source = api.send(lines(RECORD, {})).source
    api.send(lines(RECORD), source=source)
    assert [now - then for now, then in zip(counted(), before, strict=True)] == [1, 1, 1]
    assert topic_of(DATASET) in api.exchange.log.topics()


def test_many_publish_at_once(api: Api) -> None:
    """Sources do not disturb one another, and one source sent twice at once is taken once."""
    sources = [new_source() for _ in range(4)] * 2
    answers: list[Answer] = []
    body = lines(*[RECORD] * 20)
    threads = [threading.Thread(target=lambda one=one: answers.append(api.send(body, source=one))) for one in sources]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [answer.json for answer in answers if answer.status != 200] == []
    assert sum(answer.json["taken"] for answer in answers) == 80
    assert {answer.counts[3] for answer in answers} == {20}


def test_a_client_that_goes_away_leaves_nothing(api: Api) -> None:
    """A body that the connection cuts off is not read, and nothing of it is published."""
    source, sent = new_source(), []
    messages = [
        {"type": "http.request", "body": lines(RECORD).encode(), "more_body": True},
        {"type": "http.disconnect"},
    ]

    async def receive() -> Any:
        return messages.pop(0)

    async def send(message: Any) -> None:
        sent.append(message)

    head = {"authorization": f"Bearer {api.token(SYSTEM)}", "content-type": NDJSON, "transfer-encoding": "chunked"}
    path = f"/v1/datasets/{DATASET}/records"
    scope = {
        "type": "http",
        "method": "POST",
        "path": path,
        "raw_path": path.encode(),
        "root_path": "",
        "scheme": "http",
        "query_string": f"source={source}&first=1".encode(),
        "headers": [(name.encode(), value.encode()) for name, value in head.items()],
        "state": {},
    }
    api.client.portal.call(api.client.app, scope, receive, send)
    assert [message for message in sent if message.get("status") == 200] == []
    assert api.get(f"{DATASET}/mark", source=source).json == {"mark": 0}


def test_a_body_in_pieces_is_one_body(api: Api) -> None:
    """However the transport cuts it: chunked, without a length."""
    data = lines(RECORD, RECORD).encode()

    async def pieces() -> AsyncIterator[bytes]:
        for piece in (data[:10], data[10:11], b"", data[11:]):
            yield piece

    answer = api.client.post(
        f"/v1/datasets/{DATASET}/records",
        params={"source": new_source(), "first": 1},
        content=pieces(),
        headers={"Authorization": f"Bearer {api.token(SYSTEM)}", "Content-Type": NDJSON},
    )
    assert answer.json()["taken"] == 2


WIDE = from_document(
    {
        "type": "record",
        "name": "w",
        "fields": [
            {"name": "id", "type": "string"},
            {"name": "on", "type": "boolean"},
            {"name": "share", "type": ["null", "double"]},
            {"name": "day", "type": {"type": "int", "logicalType": "date"}},
            {"name": "at", "type": {"type": "long", "logicalType": "timestamp-millis"}},
            {"name": "price", "type": {"type": "bytes", "logicalType": "decimal", "precision": 9, "scale": 2}},
            {"name": "key", "type": {"type": "string", "logicalType": "uuid"}},
            {"name": "raw", "type": "bytes"},
            {"name": "tags", "type": {"type": "array", "items": "int"}},
            {"name": "many", "type": {"type": "map", "values": "bytes"}},
            {
                "name": "home",
                "type": [
                    "null",
                    {"type": "record", "name": "h", "fields": [{"name": "code", "type": ["null", "long"]}]},
                ],
            },
        ],
    }
)
TERMS = {path: FieldTerms("L2", (), path, path) for path in WIDE.leaves}
CONTRACT = Contract("w.w", "w", "s", "宽", "", "thing", "id", "conditional", "", "", "day", TERMS, (WIDE,))


def _read(media: str, body: bytes, contract: Contract = CONTRACT) -> list[Any]:
    with Content(Path(tempfile.gettempdir()), 1 << 30, packed=False) as content:
        content.add(body)
        content.ended()
        return list(READERS[media](content, Form(contract, {}, 1, "")))


@settings(max_examples=examples(15))
@given(st.lists(values(WIDE.document, WIDE.named), min_size=1, max_size=3))
def test_a_view_in_csv_is_read_back(records: list[dict[str, Any]]) -> None:
    """Records as our own CSV writes them: nested columns, lists in JSON, moments, decimals, bytes."""
    codec = Codec(WIDE)
    records = [codec.decode(codec.encode({**one, "id": "A-1"})) for one in records]
    for one in records:
        if one["home"] == {"code": None}:
            one["home"] = None  # in a row of cells the two are one
    text = io.StringIO()
    show = plain(WIDE.document, WIDE.named)
    assert show is not None
    names = [one["name"] for one in WIDE.document["fields"] if one["name"] != "home"]
    table_ = csv.writer(text)
    table_.writerow([*names, "home.code"])
    for one in map(show, records):
        told = [one[name] for name in names]
        cells = [json.dumps(cell) if isinstance(cell, list | dict | bool) else cell for cell in told]
        table_.writerow([*cells, (one["home"] or {}).get("code")])
    found = [event_.value for event_ in _read(CSV, text.getvalue().encode())]
    empty = [{**one, "raw": one["raw"] or None} for one in records]  # an empty cell is no value
    assert found == empty


def test_a_cell_that_is_no_json_or_no_number(api: Api) -> None:  # noqa: ARG001  the codes are told by the module's
    """Each is told with its column."""
    header = "id,on,share,day,at,price,key,raw,tags,many,home.code"
    good = "A,true,1e3,2026-01-01,2026-01-01T00:00:00.000Z,1.50,123e4567-e89b-12d3-a456-426614174000,YQ==,[1],{},5"
    rows = [good.replace("[1]", "[1"), good.replace("[1]", "[" * 65), good.replace("1e3", "nan")]
    found = _read(CSV, "\n".join([header, *rows, ""]).encode())
    assert [one.code for one in found] == ["json_malformed", "json_too_deep", ""]
    assert [found[0].place.column, found[2].value["share"]] == ["tags", "nan"]


@settings(max_examples=examples(15))
@given(st.recursive(st.none() | st.text(), lambda one: st.lists(one, max_size=2) | st.dictionaries(st.text(), one)))
def test_depth_is_counted_outside_texts(value: Any) -> None:
    """Brackets within texts do not count; `depth` looks only where there are many."""

    def deep(one: Any) -> int:
        inner = one.values() if isinstance(one, dict) else one if isinstance(one, list) else None
        return 0 if inner is None else 1 + max(map(deep, inner), default=0)

    wrapped = [[value] for _ in range(100)]
    assert depth(json.dumps(wrapped).encode()) == deep(wrapped)
    assert depth(json.dumps({"[" * 100: "{" * 100 + '\\"'}).encode()) == 1


@given(st.binary(max_size=300), st.sampled_from(list(READERS)))
def test_whatever_comes_has_an_answer(body: bytes, media: str) -> None:
    """Any bytes are events or one clear error, never a fault."""
    with suppress(Invalid):
        assert all(isinstance(one, Event) for one in _read(media, body))


@given(st.data())
def test_damage_to_a_good_body_has_an_answer(data: st.DataObject) -> None:
    """A byte changed, bytes left out or put in: events or one clear error."""
    media = data.draw(st.sampled_from(list(READERS)))
    body = bytearray(SAMPLES[media])
    at, size = data.draw(st.integers(0, len(body))), data.draw(st.integers(0, 9))
    body[at : at + size] = data.draw(st.binary(max_size=9))
    with suppress(Invalid):
        assert all(isinstance(one, Event) for one in _read(media, bytes(body)))


_SAMPLE = {"id": "A", "on": True, "share": 1.5, "raw": b"a", "tags": [1], "many": {"a": b"b"}, "home": None}
SAMPLES = {
    NDJSON: lines({"id": "A", "tags": [1], "many": {"a": "Yg=="}}, {"id": "B"}).encode(),
    EVENTS: lines(event(1, {"id": "A"}), event(2, rejected={"code": "row_width", "shape": {"a": "b"}})).encode(),
    CSV: b"id,on,share,day,at,price,key,raw,tags,many,home.code\nA,true,1,2026-01-01,,1.5,,YQ==,[1],{},\n",
    KAFKA: kafka(frame(1, b"abc"), frame(2, b"")).encode(),
    AVRO: container(
        from_document({"type": "record", "name": "w", "fields": [{"name": "id", "type": "string"}]}), {"id": "A"}
    ),
}


@pytest.mark.whole
@pytest.mark.parametrize("media", [NDJSON, EVENTS, CSV, AVRO, KAFKA])
def test_memory_does_not_grow_with_the_body(media: str) -> None:
    """A process that has read a small body needs no more for a hundred thousand records: 6 MB and more."""
    code = f"from tests.api.test_publishing import growth; print(growth({media!r}))"
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True, text=True)
    assert int(ran.stdout) < 3 << 20


def growth(media: str) -> int:
    """How many bytes the process grew by, in memory, while it read the large body."""
    import resource

    def highest(size: int) -> int:
        with Content(Path(tempfile.gettempdir()), 1 << 30, packed=False) as content:
            for at in range(0, size, 1_000):
                content.add(_part(media, at, size))
            content.ended()
            form = Form(NARROW, {5: PERSONS}, 1, "")
            adapter = BodyAdapter("a/b", READERS[media](content, form), (), size)
            assert sum(len(batch.sequences) for batch in adapter.batches(0, 1_000)) == size
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024

    before = highest(20_000)
    return highest(100_000) - before


PERSONS = from_document({"type": "record", "name": "p", "fields": [{"name": "id", "type": "string"}]})
NARROW = replace(CONTRACT, schemas=(PERSONS,), fields={"id": TERMS["id"]})


def _part(media: str, at: int, size: int) -> bytes:
    """The thousand records from a number on, as they stand in a body of so many."""
    ids = [f"{number:060}" for number in range(at, at + 1_000)]
    if media == NDJSON:
        return lines(*({"id": one} for one in ids)).encode()
    if media == EVENTS:
        return lines(*(event(number, {"id": one}) for number, one in enumerate(ids, at + 1))).encode()
    if media == CSV:
        return "\n".join([*(["id"] if at == 0 else []), *ids, ""]).encode()
    if media == AVRO:
        whole = container(PERSONS, *({"id": one} for one in ids))
        return whole if at == 0 else whole[whole.index(bytes.fromhex(PERSONS.fingerprint[-32:])) + 16 :]
    codec = Codec(PERSONS)
    inner = kafka(*(frame(5, codec.encode({"id": one})) for one in ids))
    inner = inner.removeprefix('{"records": [').removesuffix("]}")
    return (('{"records": [' if at == 0 else ",") + inner + ("]}" if at + 1_000 == size else "")).encode()
