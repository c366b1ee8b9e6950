"""The control path on a real store and a real audit log: durable together, in a checkpoint on return, never half."""

import itertools
import json
import random
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from sqlalchemy import Connection

from exchange.audit.embedded import EmbeddedAuditStore
from exchange.audit.entries import Entry, Receipt, entry_id
from exchange.audit.log import AuditLog, create
from exchange.control import commands as c
from exchange.control.control import ATTEMPTS, Control
from exchange.control.database import open_engine, upgrade
from exchange.control.model import Principal
from exchange.control.store import SqlEventStore
from exchange.errors import Invalid, Refused, Unavailable
from exchange.signing.keys import SigningKey, new_signing_key
from exchange.signing.pseudonyms import Actors
from tests.control.failing import fails
from tests.control.town import (
    AUTHORITY,
    BUNDLE,
    CIVIL,
    CIVIL_SYSTEM,
    CODES,
    NOW,
    OFFICE,
    TESTS,
    department,
    first_command,
)

ACTORS = Actors(b"k" * 32)


@dataclass
class Site:
    """A store, a log and the control path over both; `clock` rises with each look at it."""

    folder: Path
    key: SigningKey
    now_ns: Callable[[], int]

    def opened(self) -> "Opened":
        """Opens it, as a new process would."""
        engine = open_engine(f"sqlite:///{self.folder}/control.db")
        audit = AuditLog(EmbeddedAuditStore(self.folder / "audit", engine), self.key, self.now_ns)
        store = SqlEventStore(engine)
        return Opened(store, audit, Control(store, audit, ACTORS, self.now_ns))


@dataclass
class Opened:
    """An open site."""

    store: SqlEventStore
    audit: AuditLog
    control: Control

    def close(self) -> None:
        """Gives everything back."""
        self.audit.close()
        self.store.close()

    def kinds(self) -> list[str]:
        """What stands in the log, apart from the schemas."""
        kinds = [kind for _, kind, _ in self.audit.entries(0, self.audit.size)]
        return [kind for kind in kinds if kind != "schema"]


@pytest.fixture
def site(tmp_path: Path) -> Site:
    """A prepared, empty site."""
    engine = open_engine(f"sqlite:///{tmp_path}/control.db")
    upgrade(engine)
    key, ticks = new_signing_key(tmp_path / "log.key"), itertools.count(NOW, 1_000)
    (tmp_path / "audit").mkdir()
    made = Site(tmp_path, key, lambda: next(ticks))
    create(EmbeddedAuditStore(tmp_path / "audit", engine), "example.org/log", key, made.now_ns)
    engine.dispose()
    return made


@pytest.fixture
def opened(site: Site) -> Iterator[Opened]:
    """The site with its first authority."""
    one = site.opened()
    one.control.bootstrap(first_command())
    yield one
    one.close()


def _person(control: Control, name: str = AUTHORITY) -> Principal:
    return control.model().principals[name]


def test_an_empty_site_becomes_one_with_an_authority(opened: Opened) -> None:
    """Its events, its key entry and nothing else are in the log when bootstrap returns."""
    assert opened.kinds() == ["control", "key", "control", "control"]
    assert opened.audit.epochs() == {f"principal/{ACTORS.name(AUTHORITY)}": 1}
    with fails(Refused, "wrong_state"):
        opened.control.bootstrap(first_command())


def test_a_commands_entries_are_in_a_checkpoint_on_return(opened: Opened) -> None:
    """The receipt is that of its last entry; the events are in the model at once."""
    outcome = opened.control.execute(_person(opened.control), department("ny.x"))
    assert outcome.about == "ny.x"
    assert outcome.receipt is not None
    assert outcome.receipt.size > outcome.receipt.index
    _, body = opened.audit.entry(outcome.receipt.index - 1)
    assert json.loads(body["data"])["id"] == "ny.x"
    assert (body["actor"], body["department"]) == (ACTORS.name(AUTHORITY), OFFICE)
    assert body["position"] == outcome.events[0].position == opened.control.model().position
    assert "ny.x" in opened.control.model().departments


def test_a_refused_command_leaves_a_refusal_and_nothing_else(opened: Opened) -> None:
    """Who and why is in a checkpoint before the caller is told; an invalid command leaves nothing."""
    control, before = opened.control, opened.audit.size
    with fails(Refused, "own_account"):
        control.execute(_person(control), c.SuspendPrincipal(AUTHORITY, "tired"))
    kind, body = opened.audit.entry(opened.audit.size - 1)
    assert (kind, body["reasons"], body["actor"]) == ("refusal", ["own_account"], ACTORS.name(AUTHORITY))
    assert body["consumer"] == OFFICE
    position, size = control.model().position, opened.audit.size
    assert size > before
    with fails(Invalid, "name_malformed"):
        control.execute(_person(control), department("X"))
    assert (control.model().position, opened.audit.size) == (position, size)


def test_rights_are_those_of_now_not_of_the_callers_principal(opened: Opened) -> None:
    """A principal that the caller made up, or kept from before, gives no right."""
    control = opened.control
    authority = _person(control)
    control.execute(authority, department(CIVIL))
    control.execute(authority, c.AddPrincipal(CIVIL_SYSTEM, CIVIL, ["department_system"]))
    kept = replace(_person(control, CIVIL_SYSTEM), roles=frozenset({"sharing_authority"}), department=OFFICE)
    with fails(Refused, "role_missing"):
        control.execute(kept, department("ny.x"))
    with fails(Refused, "token_unknown"):
        control.execute(replace(kept, id="no.body"), department("ny.x"))
    outcome = control.execute(kept, c.OpenCase("case-1", "person", "a", [], []))
    assert outcome.receipt is not None
    assert opened.audit.entry(outcome.receipt.index)[1]["department"] == CIVIL


def test_a_command_that_changes_nothing_writes_nothing(opened: Opened) -> None:
    """No event, no entry, no receipt."""
    before = opened.kinds()
    outcome = opened.control.execute(_person(opened.control), c.ExpireAgreements())
    assert (list(outcome.events), outcome.receipt) == ([], None)
    assert opened.kinds() == before


def test_the_active_policys_codes_are_in_the_model(opened: Opened) -> None:
    """From the document, after a new opening too; a withdrawn policy leaves none."""
    control = opened.control
    control.execute(_person(control), c.AddPrincipal("a.b", OFFICE, ["sharing_authority"]))
    revision = control.execute(_person(control), c.SubmitPolicy(BUNDLE, TESTS)).about
    assert control.model().codes == {}
    control.execute(_person(control, "a.b"), c.ApprovePolicy(revision))
    assert control.model().codes == CODES
    assert control.document(revision) == BUNDLE
    again = Control(opened.store, opened.audit, ACTORS, lambda: NOW)
    assert again.model() == control.model()
    control.execute(_person(control), c.WithdrawPolicy("a mistake"))
    assert control.model().codes == again.model().codes == {}
    assert opened.kinds().count("policy_revision") == 3


def test_members_of_a_case_are_read_as_tags(opened: Opened) -> None:
    """From the document that the case names."""
    control = opened.control
    control.execute(_person(control), c.AddPrincipal(CIVIL_SYSTEM, OFFICE, ["department_system"]))
    tags = [random.Random(place).randbytes(16) for place in range(3)]
    command = c.OpenCase("case-1", "person", "a", [tag.hex() for tag in tags], [])
    control.execute(_person(control, CIVIL_SYSTEM), command)
    assert control.members(control.model().cases["case-1"].members) == frozenset(tags)


def test_an_audit_log_that_cannot_take_the_entry_leaves_no_event(opened: Opened) -> None:
    """Events and entries commit together or not at all."""

    class Full(_Around):
        def add(self, connection: Connection, entry: Entry) -> None:
            self.log.add(connection, entry)
            if entry.kind == "key":
                raise Unavailable("audit_unavailable", seconds=0)

    control = Control(opened.store, Full(opened.audit), ACTORS, lambda: NOW)
    position, kinds = control.model().position, opened.kinds()
    with fails(Unavailable, "audit_unavailable"):
        control.execute(_person(control), department("ny.x"))
    assert (control.model().position, opened.kinds()) == (position, kinds)


def test_a_crash_before_the_checkpoint_loses_nothing(site: Site, opened: Opened) -> None:
    """The event counts, and the next opening puts its entry into the log."""

    class Dying(_Around):
        def wait(self, entry_id: bytes, timeout_s: float = 5.0) -> Receipt:
            assert entry_id
            raise Unavailable("audit_unavailable", seconds=timeout_s)

    control = Control(opened.store, Dying(opened.audit), ACTORS, site.now_ns)
    person = _person(control)
    with fails(Unavailable, "audit_unavailable"):
        control.execute(person, department("ny.x"))
    opened.audit.close()
    again = site.opened()
    receipt = again.audit.wait(entry_id("control", "department/ny.x", 1))
    assert again.audit.entry(receipt.index)[1]["aggregate"] == "department/ny.x"
    assert "ny.x" in again.control.model().departments
    again.close()


def test_a_conflict_is_decided_again_on_what_is_so_now(opened: Opened) -> None:
    """Here the actor is suspended between decision and commit: the second decision refuses."""
    control = opened.control
    control.execute(_person(control), c.AddPrincipal("a.b", OFFICE, ["sharing_authority"]))
    kept = _person(control, "a.b")

    class Between(_Store):
        first: bool = True

        def append(self, *args: object, **named: object) -> object:
            if self.first:
                self.first = False
                control.execute(_person(control), c.SuspendPrincipal("a.b", "left"))
            return opened.store.append(*args, **named)  # type: ignore[arg-type]  # handed on as they came

    other = Control(Between(opened.store), opened.audit, ACTORS, lambda: NOW)  # type: ignore[arg-type]  # a store but for its types
    with fails(Refused, "principal_suspended"):
        other.execute(kept, department("ny.x"))
    assert "ny.x" not in control.model().departments


def test_endless_conflicts_end(opened: Opened) -> None:
    """After a bounded number of tries nothing has happened, and the caller may try again."""

    class Contended(_Store):
        def append(self, *_args: object, **_named: object) -> object:
            self.tries += 1
            raise Unavailable("events_conflict")

    store = Contended(opened.store)
    control = Control(store, opened.audit, ACTORS, lambda: NOW)  # type: ignore[arg-type]  # a store but for its types
    with fails(Unavailable, "control_contention"):
        control.execute(_person(control), department("ny.x"))
    assert store.tries == ATTEMPTS


def test_commands_at_once_all_go_through(opened: Opened) -> None:
    """From several threads, each decided on what the others left; ids are given once."""
    control = opened.control
    control.execute(_person(control), c.AddPrincipal("a.b", OFFICE, ["sharing_authority"]))
    barrier = threading.Barrier(3)

    def run(place: int) -> str:
        actor = _person(control)
        barrier.wait()
        return control.execute(actor, department(f"ny.x{place}", region_parent=OFFICE)).about

    with ThreadPoolExecutor(3) as pool:
        assert sorted(pool.map(run, range(3))) == ["ny.x0", "ny.x1", "ny.x2"]
    assert {"ny.x0", "ny.x1", "ny.x2"} < set(control.model().departments)


class _Around:
    """An audit log with a fault."""

    def __init__(self, log: AuditLog) -> None:
        self.log = log

    def add(self, connection: Connection, entry: Entry) -> None:
        self.log.add(connection, entry)

    def submit(self, entries: Sequence[Entry]) -> None:
        self.log.submit(entries)

    def wait(self, entry_id: bytes, timeout_s: float = 5.0) -> Receipt:
        return self.log.wait(entry_id, timeout_s)


class _Store:
    """An event store with a fault."""

    def __init__(self, store: SqlEventStore) -> None:
        self.store = store
        self.tries = 0

    def read(self, after: int, limit: int) -> object:
        return self.store.read(after, limit)


def test_what_another_process_did_is_taken_in_with_the_next_question(site: Site, opened: Opened) -> None:
    """Until then it is this process's lag; no question is answered by an older model."""
    engine = open_engine(f"sqlite:///{site.folder}/control.db")
    other = Control(SqlEventStore(engine), opened.audit, ACTORS, site.now_ns)
    assert (other.lag(), other.model().position, other.lag()) == (3, 3, 0)
    opened.control.execute(_person(opened.control), c.AddPrincipal("a.new", "ny.shuju", ("steward",)))
    assert (other.lag(), "a.new" in other.model().principals, other.lag()) == (1, True, 0)
    engine.dispose()
