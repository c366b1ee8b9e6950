"""The edge: limits, request ids, headers, the log; what a client may send instead of a request."""

import asyncio
import json
import logging
from collections.abc import MutableMapping
from typing import Any, Final

import pytest

from exchange.api.edge import SMALL, Edge, Limits
from exchange.api.metrics import Metrics
from exchange.wiring.desk import LocalDesk
from tests.api.calling import Api
from tests.simulator import AUDITOR, CASE, CHECKER, DATASET, MEMBERS, NEIGHBOUR, PURPOSE

_LOOKUP: Final = f"/v1/datasets/{DATASET}/lookup"
_GOOD: Final = {"purpose": PURPOSE, "case": CASE, "ids": list(MEMBERS)}


@pytest.mark.parametrize(
    ("length", "said"),
    [
        (str(SMALL), (200, "")),
        (str(SMALL + 1), (413, "body_too_large")),
        ("9" * 25, (413, "body_too_large")),
        ("9" * 5_000, (413, "body_too_large")),
        ("-1", (413, "body_too_large")),
        ("1e3", (413, "body_too_large")),
        ("", (413, "body_too_large")),
        ("٣", (413, "body_too_large")),
    ],
)
def test_a_length_is_judged_before_anything_is_read(shared: Api, length: str, said: tuple[int, str]) -> None:
    """4 MiB for what is no batch of records; a length that is none is one too many."""
    answer = shared.ask("POST", _LOOKUP, CHECKER, [("Content-Length", length)], _GOOD)
    assert answer.said == said
    assert ("connection" in answer.headers) is (said[0] == 413)
    assert (shared.logged[-1]["in"] == 0) is (said[0] == 413)


def test_the_largest_of_several_lengths_counts(shared: Api) -> None:
    """Two lengths that differ are no way around the limit."""
    for pair in ([("1"), (str(1 << 40))], [(str(1 << 40)), ("1")]):
        answer = shared.ask("POST", _LOOKUP, CHECKER, [("Content-Length", one) for one in pair], _GOOD)
        assert answer.said == (413, "body_too_large")


def test_chunks_are_counted(shared: Api) -> None:
    """A body that does not say its length ends when it has had its 4 MiB, whatever was still to come."""
    asked = 0

    async def endless() -> MutableMapping[str, Any]:
        nonlocal asked
        asked += 1
        return {"type": "http.request", "body": b" " * 65_536, "more_body": True}

    answer = shared.runner.run(shared.asked("POST", _LOOKUP, CHECKER, receive=endless))
    assert answer.said == (413, "body_too_large")
    assert asked == SMALL // 65_536 + 1


@pytest.mark.parametrize("name", ["X-Long", "Cookie", "Authorization"])
def test_a_head_too_long(shared: Api, name: str) -> None:
    """431 for more than 32 KiB of address and headers, in one or in many, before anybody is asked whose it is."""
    for headers in ([(name, "x" * 33_000)], [(name, "x" * 990)] * 33):
        assert shared.get("/v1/me", CHECKER, headers).said == (431, "head_too_large")
    assert shared.get("/v1/" + "a" * 33_000).said == (431, "head_too_large")
    assert shared.get("/v1/me", CHECKER, a="x" * 33_000).said == (431, "head_too_large")


def _edge(app: Any, **limits: float) -> tuple[Edge, list[str]]:
    lines: list[str] = []
    given = {"records_bytes": 1 << 20, "body_s": 60.0, "slow_s": 60.0, **limits}
    return Edge(app, Limits(**given), Metrics(), lambda count: b"\1" * count, lines.append), lines  # type: ignore[arg-type]


def _scope(**more: Any) -> dict[str, Any]:
    return {"type": "http", "method": "POST", "path": "/v1/x", "headers": [], "query_string": b"", **more}


async def _echo(_scope: Any, receive: Any, send: Any) -> None:
    body = b""
    while True:
        message = await receive()
        body += message["body"]
        if not message["more_body"]:
            break
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": body})


class _Transport:
    def __init__(self) -> None:
        self.aborted = False

    def abort(self) -> None:
        self.aborted = True


def test_a_body_that_does_not_come_is_not_waited_for() -> None:
    """408 when the time for the whole body is over, though a byte came now and then; the connection ends."""
    edge, lines = _edge(_echo, body_s=0.05)
    sent: list[Any] = []

    async def slowly() -> Any:
        await asyncio.sleep(0.02)
        return {"type": "http.request", "body": b"x", "more_body": True}

    async def send(message: Any) -> None:
        sent.append(message)

    asyncio.run(edge(_scope(), slowly, send))
    assert sent[0]["status"] == 408
    assert (b"connection", b"close") in sent[0]["headers"]
    assert json.loads(sent[1]["body"])["code"] == "body_slow"
    assert json.loads(lines[0])["code"] == "body_slow"


def test_a_client_that_takes_nothing_is_cut_off() -> None:
    """Its connection is aborted, it is counted, and the log says that nobody was there."""
    edge, lines = _edge(_echo, slow_s=0.02)
    transport = _Transport()

    async def receive() -> Any:
        return {"type": "http.request", "body": b"x", "more_body": False}

    async def send(message: Any) -> None:
        if message["type"] == "http.response.body":
            await asyncio.sleep(3_600)

    asyncio.run(edge(_scope(extensions={"exchange.transport": transport}), receive, send))
    assert transport.aborted
    assert (json.loads(lines[0])["status"], json.loads(lines[0])["code"]) == (499, "client_gone")


def test_a_client_that_goes_away_is_no_fault(shared: Api) -> None:
    """In the middle of a body: nothing is done, nothing is answered, one line says so."""

    async def gone() -> MutableMapping[str, Any]:
        return {"type": "http.disconnect"}

    before = len(shared.lines)
    answer = shared.runner.run(shared.asked("POST", _LOOKUP, CHECKER, receive=gone))
    assert answer.status == 0
    assert [(one["status"], one["code"]) for one in shared.logged[before:]] == [(499, "client_gone")]


def test_a_connection_too_many_is_told_so() -> None:
    """503 with when to come again; the connection ends; the app is not asked at all."""

    async def never(*_: Any) -> None:
        raise AssertionError

    edge, _ = _edge(never)
    sent: list[Any] = []

    async def send(message: Any) -> None:
        sent.append(message)

    asyncio.run(edge(_scope(extensions={"exchange.full": True}), None, send))  # type: ignore[arg-type]
    headers = dict(sent[0]["headers"])
    assert sent[0]["status"] == 503
    assert (headers[b"retry-after"], headers[b"connection"]) == (b"2", b"close")
    assert json.loads(sent[1]["body"])["code"] == "server_busy"


@pytest.mark.parametrize("name", ["X-Request-Id", "Request-Id", "X-Correlation-Id", "traceparent"])
def test_a_request_id_is_never_taken_from_outside(shared: Api, name: str) -> None:
    """What a client sends as one, which may be somebody's id, is in no answer and in no line."""
    before = len(shared.lines)
    answer = shared.get("/v1/agreements/agr-9", CHECKER, [(name, NEIGHBOUR)])
    assert len(answer.headers["request-id"]) == 16
    assert answer.json["request"] == answer.headers["request-id"] == shared.logged[-1]["request"]
    assert NEIGHBOUR not in str(answer) + str(shared.lines[before:])


def test_every_answer_has_the_headers_of_a_careful_server(shared: Api) -> None:
    """Also problems and addresses that there are not."""
    for target, who in (("/healthz", None), ("/v1/me", CHECKER), ("/v1/me", None), ("/none", None)):
        headers = shared.get(target, who).headers
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["referrer-policy"] == "no-referrer"
        assert headers["cache-control"] == "no-store"
        assert "default-src 'none'" in headers["content-security-policy"]
        assert "frame-ancestors 'none'" in headers["content-security-policy"]
        assert "server" not in headers


def test_one_line_for_each_request_and_no_value_in_it(shared: Api) -> None:
    """Route, status, sizes, who; never the address, an id or a record's value, wherever they were sent."""
    before = len(shared.lines)
    requests = [
        shared.post(_LOOKUP, _GOOD, CHECKER),
        shared.post(_LOOKUP, {**_GOOD, "ids": [NEIGHBOUR]}, CHECKER),
        shared.post(_LOOKUP, {**_GOOD, "ids": [], NEIGHBOUR: NEIGHBOUR}, CHECKER),
        shared.get(f"/v1/datasets/{NEIGHBOUR}/records", CHECKER, purpose=NEIGHBOUR, case=NEIGHBOUR),
        shared.get(f"/{NEIGHBOUR}?{NEIGHBOUR}={NEIGHBOUR}", CHECKER),
        shared.ask(NEIGHBOUR, f"/v1/datasets/{DATASET}", CHECKER),
        shared.post("/v1/audit/who-saw", {"ids": [NEIGHBOUR], "as_written": True}, AUDITOR),
    ]
    lines = shared.logged[before:]
    assert [one.status for one in requests] == [200, 403, 400, 400, 404, 405, 200]
    assert [(one["status"], one["request"]) for one in lines] == [
        (one.status, one.headers["request-id"]) for one in requests
    ]
    assert [one["method"] for one in lines[-2:]] == ["-", "POST"]
    assert [one["route"] for one in lines[3:5]] == ["/v1/datasets/{name}/records", "-"]
    assert lines[0]["who"] == CHECKER
    assert lines[0]["out"] == len(requests[0].body)
    assert set(lines[0]) == {"time_ns", "request", "method", "route", "status", "ms", "in", "out", "who", "code"}
    told = json.dumps(lines) + shared.get("/metrics").body.decode()
    assert not [one for one in (*MEMBERS, NEIGHBOUR, "RECEIVING") if one in told]
    assert not [one for one in requests if NEIGHBOUR in one.body.decode()]
    assert "exchange_released_records_total" in told


def test_a_fault_is_told_as_one_and_its_words_are_not(
    shared: Api, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """503 `server_fault`; the log has the kind of error and where it was, under the request's id, and no value."""

    def broken(_: LocalDesk) -> Any:
        raise RuntimeError(NEIGHBOUR)

    monkeypatch.setattr(LocalDesk, "me", broken)
    before = len(shared.lines)
    with caplog.at_level(logging.DEBUG):
        answer = shared.get("/v1/me", CHECKER)
    assert answer.said == (503, "server_fault")
    assert answer.headers["retry-after"] == "2"
    fault, line = shared.logged[before:]
    assert fault["fault"] == "RuntimeError"
    assert fault["at"][-1].endswith(" broken")
    assert fault["request"] == line["request"] == answer.json["request"]
    assert line["code"] == "server_fault"
    assert NEIGHBOUR not in str(answer.body) + str(shared.lines[before:]) + caplog.text


_UNKNOWN: Final = (404, "page_unknown")


@pytest.mark.parametrize(
    "target",
    [
        "/v1/me/",
        "//v1/me",
        "/v1//me",
        "/v1/../v1/me",
        "/v1/me/..%2fme",
        "/v1/me%00",
        "/v1/me%2f",
        "/V1/ME",
        "/v1/" + "a" * 20_000,
        "/v1/%ff%fe",
        "/.",
        "/static/../../etc/passwd",
        "/problems/..%2f..%2fetc%2fpasswd",
        "/problems/token_missing%00",
        "*",
        "",
    ],
)
def test_path_tricks_find_nothing(shared: Api, target: str) -> None:
    """An address is taken to the letter: 404, and never a redirection, which would say whatever Host the client did."""
    answer = shared.get(target, CHECKER, [("Host", "evil.invalid")])
    assert answer.said == _UNKNOWN
    assert "location" not in answer.headers
    assert "evil.invalid" not in str(answer)


@pytest.mark.parametrize(
    ("name", "code"),
    [("..%2f..%2fsite", "unknown_dataset"), ("%00", "unknown_dataset"), ("a" * 3_000, "unknown_dataset"),
     ("%f0%9f%92%a9", "unknown_dataset"), ("%c0%ae", "unknown_dataset"), ("%0d%0aX:1", "unknown_dataset")],
)  # fmt: skip
def test_names_in_a_path_are_names(shared: Api, name: str, code: str) -> None:
    """Any name that is none is unknown or malformed, with an answer that does not repeat what has no form."""
    for target in (f"/v1/datasets/{name}", f"/v1/datasets/{name}/records?purpose={PURPOSE}"):
        answer = shared.get(target, CHECKER)
        assert answer.code in {code, "page_unknown"}
        assert answer.status == 404
        assert "\r" not in str(answer.headers)


@pytest.mark.parametrize("method", ["DELETE", "PATCH", "OPTIONS", "TRACE", "CONNECT", "HEAD", "get", "POST" * 500, "Ø"])
def test_methods_that_an_address_does_not_take(shared: Api, method: str) -> None:
    """405 with those that it does; an override by a header is not looked at."""
    answer = shared.ask(method, "/v1/me", CHECKER, [("X-HTTP-Method-Override", "GET")])
    assert answer.said == (405, "method_refused")
    assert answer.headers["allow"] == "GET"


@pytest.mark.parametrize(
    "headers",
    [
        [("X-" + "a" * 100, "b" * 20_000)],
        [(f"X-{number}", "1") for number in range(2_000)],
        [("X-Forwarded-For", "1.2.3.4"), ("X-Forwarded-Proto", "https"), ("X-Forwarded-Host", "evil.invalid")],
        [("Forwarded", "for=1.2.3.4")],
        [("Host", "evil.invalid:99999999")],
        [("Host", "")],
        [("Cookie", "a=b; " * 2_000)],
        [("X-Evil", b"a\r\nSet-Cookie: x=1")],
        [("Content-Type", "text/plain; charset=\x00")],
        [("Accept-Language", b"\xff\xfe"), ("Accept", b"\xff")],
        [("Content-Encoding", "gzip"), ("Transfer-Encoding", "chunked")],
        [("Range", "bytes=0-1"), ("If-None-Match", "*"), ("Expect", "100-continue")],
        [("Origin", "https://evil.invalid"), ("Access-Control-Request-Method", "GET")],
    ],
)
def test_header_tricks_change_nothing(shared: Api, headers: list[tuple[str, str]]) -> None:
    """The same answer as without them, and nothing of them comes back."""
    answer = shared.get("/v1/me", CHECKER, headers)
    assert (answer.status, answer.json["id"]) == (200, CHECKER)
    assert not [name for name in answer.headers if name.startswith(("access-control", "set-cookie", "x-evil"))]
    assert "evil.invalid" not in str(answer)


def test_two_tokens_are_not_two_callers(shared: Api) -> None:
    """Of two Authorization headers one counts: nobody is answered as somebody else than is logged."""
    for first, second in ((CHECKER, AUDITOR), (AUDITOR, CHECKER)):
        pair = [("Authorization", f"Bearer {shared.token(who)}") for who in (first, second)]
        answer = shared.get("/v1/me", headers=pair)
        assert answer.json["id"] == shared.logged[-1]["who"]


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"null",
        b"[]",
        b'"x"',
        b"\xff\xfe{\x00}\x00",
        "\ufeff{}".encode(),
        b"\x1f\x8b\x08\x00",
        b"[" * 100_000,
        b'{"a":' * 100_000,
        b'{"purpose": ' + b"9" * 5_000 + b"}",
        b'{"purpose": 1e999}',
        json.dumps({**_GOOD, "ids": [1]}).encode(),
        json.dumps({**_GOOD, "ids": "1"}).encode(),
        json.dumps({**_GOOD, "ids": None}).encode(),
        json.dumps({**_GOOD, "ids": {}}).encode(),
        json.dumps({**_GOOD, "ids": ["1"] * 1_001}).encode(),
        json.dumps({**_GOOD, "more": 1}).encode(),
        json.dumps({**_GOOD, "purpose": None}).encode(),
        json.dumps({**_GOOD, "fields": "person_id"}).encode(),
        json.dumps(_GOOD).encode()[:-1],
    ],
)
def test_bodies_that_are_no_lookup(shared: Api, body: bytes) -> None:
    """400 `request_malformed`, which names the places and kinds, never a value."""
    answer = shared.post(_LOOKUP, body, CHECKER)
    assert answer.said == (400, "request_malformed")
    assert MEMBERS[0] not in answer.body.decode()


@pytest.mark.parametrize("media", ["text/plain", "application/xml", "multipart/form-data; boundary=x", "x"])
def test_a_body_of_another_type(shared: Api, media: str) -> None:
    """What is not said to be JSON is not read as JSON: no form of a web page can send it."""
    answer = shared.post(_LOOKUP, _GOOD, CHECKER, [("Content-Type", media)])
    assert answer.said == (400, "request_malformed")
