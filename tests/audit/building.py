"""What the tests of the audit room build logs from."""

import itertools
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from sqlalchemy import Engine

from exchange.audit import tables, tiles
from exchange.audit.details import Detail
from exchange.audit.embedded import EmbeddedAuditStore
from exchange.audit.entries import Entry, encode, entry_id, make, schema_entry
from exchange.audit.files import Files
from exchange.audit.log import AuditLog, create
from exchange.audit.note import Checkpoint, sign_checkpoint, vkey
from exchange.audit.schemas import KINDS, kind_of
from exchange.control.database import open_engine
from exchange.signing.keys import SigningKey

ORIGIN = "audit.example/log"
KEY = SigningKey(Ed25519PrivateKey.from_private_bytes(bytes(range(32))))
VKEY = vkey(ORIGIN, KEY.public)
RUN = b"r" * 16
DIGEST = "sha256:" + "0" * 64
DECISION = b"d" * 16
START_NS = 1_795_420_800_000_000_000


def clock(start: int = START_NS) -> Callable[[], int]:
    """A clock that advances by a millisecond each time it is read."""
    ticks = itertools.count(start, 1_000_000)
    return lambda: next(ticks)


def engine_at(folder: Path) -> Engine:
    """A control database with the tables of the log and no other."""
    engine = open_engine(f"sqlite:///{folder / 'control.db'}")
    tables.METADATA.create_all(engine)
    return engine


def store_at(folder: Path, files: Files | None = None) -> EmbeddedAuditStore:
    """The store of a site in this folder: `control.db` and `audit/`."""
    return EmbeddedAuditStore(folder / "audit", engine_at(folder), files)


def new_log(folder: Path) -> AuditLog:
    """An empty log, open."""
    store = store_at(folder)
    create(store, ORIGIN, KEY, clock())
    return AuditLog(store, KEY, clock(START_NS + 10**9))


@contextmanager
def log_at(folder: Path) -> Iterator[AuditLog]:
    """A new log, closed at the end."""
    log = new_log(folder)
    try:
        yield log
    finally:
        log.close()


def control(number: int, **raises: int) -> Entry:
    """A control event that raises these epochs (`_` in a name stands for `/`)."""
    epochs = {name.replace("_", "/"): value for name, value in raises.items()}
    return make(
        *("control", entry_id("control", number), START_NS + number),
        type="agreement.approved/1",
        aggregate="agreement/agr-1",
        version=number,
        data="{}",
        data_digest=DIGEST,
        raises=epochs,
    )


def grounds(epochs: dict[str, int] | None = None, committed: int = 1_000) -> list[Entry]:
    """What a release of this module rests on, beside `control(1)`, its agreement's approval: the policy, the run, the
    committed positions, the decision.
    """
    return [
        make("policy_revision", entry_id("activated"), START_NS, event="activated", revision=DIGEST),
        gateway_run(),
        commit(0, committed),
        decision(epochs=epochs),
    ]


def approved(number: int, agreement: str = "agr-1", **fields: Any) -> Entry:
    """A control event of an agreement's life, its approval if nothing else is said."""
    usual: dict[str, Any] = {
        "type": "agreement.approved/1",
        "aggregate": f"agreement/{agreement}",
        "version": number,
        "data": "{}",
        "data_digest": DIGEST,
    }
    return make("control", entry_id("approved", agreement, number), START_NS + number, **{**usual, **fields})


def gateway_run(run: bytes = RUN, **fields: Any) -> Entry:
    """The opening entry of a run."""
    return make("gateway_run", entry_id("run", run), START_NS, run=run, gateway="gw-1", **fields)


def commit(lo: int, hi: int, **fields: Any) -> Entry:
    """A publisher's commit of the partition that releases read."""
    usual: dict[str, Any] = {"topic": "ps.person", "partition": 0, "lo": lo, "hi": hi, "count": max(hi - lo, 0)}
    chosen = {**usual, "root": bytes(32), "source": "ps/file-1", "department": "ny.ga", **fields}
    return make("record_commit", entry_id("commit", lo, hi), START_NS, **chosen)


def decision(
    identity: bytes = DECISION, *, epochs: dict[str, int] | None = None, details: Sequence[Detail] = (), **fields: Any
) -> Entry:
    """The decision that releases rest on."""
    usual: dict[str, Any] = {
        "question_digest": DIGEST,
        "plan_digest": DIGEST,
        "policy_revision": DIGEST,
        "effect": "allow",
        "reasons": ["agreement"],
        "agreement": "agr-1",
        "schema": DIGEST,
        "epochs": epochs,
        "expires_ns": START_NS * 2,
        "dataset": "ps.person",
        "consumer": "ny.minzheng",
        "purpose": "dibao.review",
        "action": "read",
    }
    return make("decision", identity, START_NS, details, **{**usual, **fields})


def release(counter: int, *, attempt: int = 0, epochs: dict[str, int] | None = None, **fields: Any) -> Entry:
    """A release under the agreement agr-1."""
    usual: dict[str, Any] = {
        "agreement": "agr-1",
        "decision": DECISION,
        "policy_revision": DIGEST,
        "epochs": epochs or {},
        "dataset": "ps.person",
        "recipient": "ny.minzheng",
        "purpose": "dibao.review",
        "action": "read",
        "topic": "ps.person",
        "partition": 0,
        "lo": 10 * counter,
        "hi": 10 * counter + 10,
        "released": 10,
        "excluded_count": 0,
        "withheld": 0,
        "schema": DIGEST,
        "view_schema": DIGEST,
        "payload_digest": DIGEST,
        "payload_bytes": 100,
        "run": RUN,
        "counter": counter,
        "attempt": attempt,
        "expires_ns": START_NS * 2,
    }
    chosen = {**usual, **fields}
    entry = entry_id("release", chosen["run"], str(chosen["agreement"]), chosen["counter"], attempt)
    return make("release", entry, START_NS + counter, **chosen)


def refusal(number: int, **fields: Any) -> Entry:
    """A refusal under the agreement agr-1."""
    usual = {"reasons": ["not_in_case"], "agreement": "agr-1", "dataset": "ps.person", "consumer": "ny.minzheng"}
    return make("refusal", entry_id("refusal", number), START_NS + number, **{**usual, **fields})


def copy_of(folder: Path, to: Path) -> Path:
    """A copy of a log's folder, to be forged."""
    shutil.copytree(folder, to)
    return to


FIRST_KINDS = set(KINDS) - {"restore", "detail_expiry"}  # of version 1, whose log lies in the vectors


def leaves_of(entries: Sequence[Entry]) -> list[bytes]:
    """The leaves of these entries, behind the schemas of the first kinds: the first has index 13."""
    schemas = [schema_entry(kind_of(kind), START_NS) for kind in ("schema", *sorted(FIRST_KINDS - {"schema"}))]
    return [encode(entry) for entry in (*schemas, *entries)]


def write_log(folder: Path, leaves: Sequence[bytes]) -> Path:
    """A log of these leaves, signed with the real key: what its owner could forge."""
    edge, files = tiles.Edge().append(leaves)
    signed = sign_checkpoint(Checkpoint(ORIGIN, len(leaves), edge.root()), KEY)
    for name, data in {**files, "checkpoint": signed}.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data)
    return folder
