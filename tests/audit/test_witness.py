"""Asking witnesses: what they sign becomes an anchor in the log, and whoever contradicts the log is told loudly."""

import hashlib
import re
import threading
from base64 import b64encode
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from exchange.audit import tiles
from exchange.audit.entries import Entry, encode, make
from exchange.audit.note import (
    COSIGNATURE,
    Checkpoint,
    open_checkpoint,
    open_vkey,
    sign_checkpoint,
    signatures_of,
)
from exchange.audit.verify import verify
from exchange.audit.witness import Witness, cosignature_time, cosigned, parse_witnesses
from exchange.errors import Invalid, Tampered, Unavailable
from exchange.names import digest_bytes
from exchange.wiring.witnessing import Witnessing
from tests.audit.building import KEY, ORIGIN, START_NS, VKEY, control, leaves_of, new_log, write_log

pytestmark = pytest.mark.enable_socket
NAME = "witness.example/w1"
SECRET = Ed25519PrivateKey.from_private_bytes(b"w" * 32)
_RAW = b"\x04" + SECRET.public_key().public_bytes_raw()
_ID = hashlib.sha256(NAME.encode() + b"\n" + _RAW).hexdigest()[:8]
WITNESS_KEY = f"{NAME}+{_ID}+{b64encode(_RAW).decode()}"
Answer = tuple[int, bytes]


def line_of(checkpoint: bytes, time_s: int, secret: Ed25519PrivateKey = SECRET) -> bytes:
    """The cosignature of a checkpoint, as a line of its note (C2SP tlog-cosignature v1)."""
    text = checkpoint.partition(b"\n\n")[0] + b"\n"
    signature = secret.sign(b"cosignature/v1\ntime %d\n" % time_s + text)
    blob = open_vkey(WITNESS_KEY, COSIGNATURE)[1] + time_s.to_bytes(8, "big") + signature
    return f"— {NAME} {b64encode(blob).decode()}\n".encode()


class Honest:
    """A witness after C2SP tlog-witness, but for the proof, which the independent one in `tests/independent` checks."""

    def __init__(self) -> None:
        self.size, self.time_s = 0, 1_700_000_000
        self.asked: list[int] = []

    def __call__(self, body: bytes) -> Answer:
        """Answers `add-checkpoint`."""
        head, _, checkpoint = body.partition(b"\n\n")
        old = int(re.fullmatch(rb"old (\d+)", head.split(b"\n")[0])[1])  # type: ignore[index]  # it would be a bug of ours
        self.asked.append(old)
        if old != self.size:
            return 409, b"%d\n" % self.size
        self.size = open_checkpoint(checkpoint, VKEY).size
        self.time_s += 1
        return 200, line_of(checkpoint, self.time_s)


@contextmanager
def serving(answering: Callable[[bytes], Answer]) -> Iterator[Witness]:
    """A witness that answers so."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            status, body = answering(self.rfile.read(int(self.headers["Content-Length"])))
            assert self.path == "/under/add-checkpoint"
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: Any) -> None:
            """Nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    try:
        yield Witness(f"http://127.0.0.1:{server.server_port}/under", WITNESS_KEY)
    finally:
        server.shutdown()
        server.server_close()


def test_what_a_witness_signed_is_an_anchor(tmp_path: Path) -> None:
    """Once for each growth, not for its own anchors; the verifier holds it against the witness's key; after a new start
    the witness says where it was.
    """
    log, honest = new_log(tmp_path), Honest()
    log.append(control(1))
    with serving(honest) as witness:
        for _ in range(2):
            witnesses = Witnessing(log, VKEY, lambda: START_NS, [witness])
            for _ in range(3):
                seen = witnesses.round()[NAME]
                assert seen.problem is None
            log.append(control(log.size))
            assert witnesses.round()[NAME].size > seen.size
    anchors = [body for _, kind, body in log.entries(0, log.size) if kind == "anchor"]
    assert len(anchors) == 4
    assert honest.asked[:2] == [0, anchors[0]["size"]]
    for body in anchors:
        assert (body["authority"], body["type"]) == (NAME, "witness")
        assert cosignature_time(body["evidence"], WITNESS_KEY) == body["authority_ns"] // 1_000_000_000
        stated = open_checkpoint(body["evidence"], VKEY)
        assert (stated.size, stated.root) == (body["size"], body["root"])
    log.close()
    verdict = verify(tmp_path / "audit", VKEY, witnesses=[WITNESS_KEY])
    assert [one for one in verdict.findings if one.code.startswith("anchor")] == []
    assert "anchors" not in verdict.unchecked
    assert verify(tmp_path / "audit", VKEY).unchecked["anchors"] == 4


def test_a_witness_that_has_seen_more_or_something_else(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """The log was put back, or rewritten: an alarm, and no anchor. The witness is asked again."""
    log = new_log(tmp_path)
    log.append(control(1))
    answers: list[Answer] = [(409, b"99\n"), (422, b""), (503, b""), (200, b"\xff"), (409, b"x"), (200, b"")]
    codes = ["witness_disagrees"] * 2 + ["witness_unavailable"] * 4
    with serving(lambda _: answers.pop(0)) as witness:
        witnesses = Witnessing(log, VKEY, lambda: START_NS, [witness])
        for code in codes:
            problem = witnesses.round()[NAME].problem
            assert problem is not None
            assert problem.code == code
    problem = witnesses.round()[NAME].problem  # nobody is there
    assert problem is not None
    assert problem.code == "witness_unavailable"
    assert sum("contradicts" in one.message for one in caplog.records) == 2
    assert all(kind != "anchor" for _, kind, _ in log.entries(0, log.size))
    log.close()


def test_a_signature_that_does_not_hold_is_no_cosignature(tmp_path: Path) -> None:
    """By another key, of another checkpoint, cut off, with another time."""
    log = new_log(tmp_path)
    note = log.append(control(1)).checkpoint
    other, later = Ed25519PrivateKey.generate(), log.append(control(2)).checkpoint
    size = open_checkpoint(later, VKEY).size
    whole = line_of(later, 5)
    for line in (line_of(later, 5, other), line_of(note, 5), whole[:-9] + b"\n", b"", whole.replace(b"w1", b"w2")):
        with serving(lambda _, line=line: (200, line)) as witness, pytest.raises(Unavailable, match="witness_unav"):  # type: ignore[misc]
            cosigned(witness, 0, lambda _: [], later, size)
    assert cosignature_time(later + whole, WITNESS_KEY) == 5
    blob = dict(signatures_of(later + whole)[1])[NAME]
    changed = b64encode(blob[:11] + b"\x06" + blob[12:])
    assert cosignature_time(later + f"— {NAME} ".encode() + changed + b"\n", WITNESS_KEY) is None
    log.close()


@pytest.mark.parametrize(
    "text",
    [
        "http://w",
        f"ftp://w {WITNESS_KEY}",
        f"http://w?a {WITNESS_KEY}",
        f"http://user@w {WITNESS_KEY}",
        f"http://w {WITNESS_KEY} http://x {WITNESS_KEY}",
    ],
)
def test_malformed_settings_are_refused(text: str) -> None:
    """An address without a key, of another scheme, with more than a path; a name twice; the log's key."""
    with pytest.raises(Invalid, match="setting_wrong"):
        parse_witnesses(text)
    with pytest.raises(Invalid, match="audit_key_malformed"):
        parse_witnesses(f"http://w {VKEY}")
    assert parse_witnesses(f" https://w/a/ {WITNESS_KEY}\n") == [Witness("https://w/a", WITNESS_KEY)]
    assert parse_witnesses("") == []


def _anchor(index: int, **changes: Any) -> Entry:
    fields: dict[str, Any] = {"type": "witness", "authority": NAME, "size": index, "authority_ns": 7 * 10**9, **changes}
    fields["evidence_digest"] = digest_bytes(fields["evidence"]) if fields.get("evidence") else None
    return make("anchor", index.to_bytes(16, "big"), START_NS, **fields)


def root_of(leaves: Sequence[bytes]) -> bytes:
    """The root of a log of these leaves."""
    return tiles.Edge().append(leaves)[0].root()


def test_forged_anchors_are_found(tmp_path: Path) -> None:
    """A root that the log never had, evidence of another size, from the future, or not signed by the witness; with its
    key unknown, all but the last.
    """
    grounds = leaves_of([control(n) for n in range(1, 300)])
    size, root = len(grounds), root_of(grounds)
    note = sign_checkpoint(Checkpoint(ORIGIN, size, root), KEY)
    good = note + line_of(note, 7)
    smaller = sign_checkpoint(Checkpoint(ORIGIN, 257, root_of(grounds[:257])), KEY)
    cases: list[tuple[dict[str, Any], list[str]]] = [
        ({}, []),
        ({"size": 257, "root": root_of(grounds[:257]), "evidence": smaller + line_of(smaller, 7)}, []),
        ({"root": bytes(32)}, ["anchor_differs", "anchor_differs"]),
        ({"size": size - 1}, ["anchor_differs", "anchor_differs"]),
        ({"size": size + 1}, ["anchor_differs"]),
        ({"evidence": note + line_of(note, 7, Ed25519PrivateKey.generate())}, ["anchor_unsigned"]),
        ({"evidence": note}, ["anchor_unsigned"]),
        ({"authority_ns": 8 * 10**9}, ["anchor_unsigned"]),
        ({"evidence": b"\xff"}, ["anchor_differs"]),
    ]
    for number, (changes, codes) in enumerate(cases):
        entry = _anchor(size, **{"root": root, "evidence": good, **changes})
        folder = write_log(tmp_path / str(number), [*grounds, encode(entry)])
        found = [one.code for one in verify(folder, VKEY, witnesses=[WITNESS_KEY]).findings]
        assert (number, found) == (number, codes)
        without = [one.code for one in verify(folder, VKEY).findings]
        assert without == [one for one in codes if one != "anchor_unsigned"]
    with pytest.raises(Invalid, match="audit_key_malformed"):
        verify(folder, VKEY, witnesses=[VKEY])
    with pytest.raises(Invalid, match="audit_key_malformed"):
        verify(folder, VKEY, witnesses=[WITNESS_KEY.replace("+", "+0", 1)])
    with pytest.raises(Tampered, match="audit_note_invalid"):
        signatures_of(b"x")
