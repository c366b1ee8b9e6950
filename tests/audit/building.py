"""What the tests of the audit room build logs from."""

import itertools
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from sqlalchemy import Engine

from exchange.audit import tables
from exchange.audit.embedded import EmbeddedAuditStore
from exchange.audit.entries import Entry, entry_id, make
from exchange.audit.files import Files
from exchange.audit.log import AuditLog, create
from exchange.audit.note import vkey
from exchange.control.database import open_engine
from exchange.signing.keys import SigningKey

ORIGIN = "audit.example/log"
KEY = SigningKey(Ed25519PrivateKey.from_private_bytes(bytes(range(32))))
VKEY = vkey(ORIGIN, KEY.public)
RUN = b"r" * 16
DIGEST = "sha256:" + "0" * 64
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


def release(counter: int, *, attempt: int = 0, epochs: dict[str, int] | None = None, **fields: Any) -> Entry:
    """A release under the agreement agr-1."""
    usual: dict[str, Any] = {
        "agreement": "agr-1",
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
