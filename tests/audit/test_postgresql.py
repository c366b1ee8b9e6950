"""The audit log on a real PostgreSQL: one sequencer among processes, its place, its death; failures of the server."""

import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from functools import partial
from pathlib import Path

import pytest
from sqlalchemy import Engine

from exchange.audit.export import export
from exchange.audit.log import AuditLog, create
from exchange.audit.postgresql import PostgresAuditStore
from exchange.audit.reading import LogReader
from exchange.audit.runs import Ends, GatewayRuns
from exchange.audit.verify import verify
from exchange.control.database import open_engine
from exchange.control.events import NewEvent
from exchange.control.store import SqlEventStore
from exchange.errors import Refused, Tampered, Unavailable
from tests.audit.building import KEY, ORIGIN, VKEY, clock, control, release
from tests.services_postgres import ROOT, OwnServer, Server

pytestmark = pytest.mark.postgres

Open = Callable[[], AuditLog]


@pytest.fixture(name="engine")
def _engine(postgres: str) -> Iterator[Engine]:
    engine = open_engine(postgres)
    create(PostgresAuditStore(engine), ORIGIN, KEY, clock())
    yield engine
    engine.dispose()


@pytest.fixture(name="opened")
def _opened(engine: Engine) -> Iterator[Open]:
    """Opens the log once more; each opening is what another process would have. All are closed at the end."""
    with ExitStack() as stack:

        def opened() -> AuditLog:
            log = AuditLog(PostgresAuditStore(engine), KEY, time.time_ns)
            stack.callback(log.close)
            return log

        yield opened


def _verified(engine: Engine, folder: Path, kept: bytes) -> None:
    export(PostgresAuditStore(engine), folder, VKEY)
    verdict = verify(folder, VKEY, [kept], rules=False)  # its entries are numbers, not a story
    assert verdict.ok, verdict.findings


def test_the_log_in_rows_verifies_as_a_folder(engine: Engine, opened: Open, tmp_path: Path) -> None:
    """Over several tiles, with what is partial pruned: what is exported is what the offline verifier accepts."""
    log = opened()
    kept = log.append(control(1)).checkpoint
    for first in range(2, 700, 100):
        log.submit([control(number) for number in range(first, first + 100)])
    log.settle()
    _verified(engine, tmp_path / "out", kept)
    assert PostgresAuditStore(engine).read("tile/0/000.p/3") is None
    assert log.proof(5)


def test_logs_on_one_server_share_one_sequence(engine: Engine, opened: Open, tmp_path: Path) -> None:
    """Threads on three openings at once: each entry once, receipts agree with the log, epochs hold across them."""
    logs = [opened() for _ in range(3)]
    kept = logs[0].append(control(1, policy=1)).checkpoint
    found: dict[int, int] = {}

    def append(log: AuditLog, first: int) -> None:
        for number in range(first, first + 20):
            found[number] = log.append(control(number)).index

    threads = [threading.Thread(target=append, args=(log, 100 * at)) for at, log in enumerate(logs, 1)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(found.values())) == 60
    logs[2].settle()
    assert all(logs[2].entry(index)[1]["version"] == number for number, index in found.items())
    logs[1].append(control(2, policy=2))
    with pytest.raises(Refused, match="epoch_behind"):
        logs[2].append(release(1, epochs={"policy": 1}))
    assert [log._sequencer is not None for log in logs] == [True, False, False]
    _verified(engine, tmp_path / "out", kept)


def _cut(server: Server, engine: Engine, condition: str = "true") -> None:
    """Ends sessions of this test's database from outside."""
    server.execute(
        "SELECT pg_terminate_backend(pid, 10000) FROM pg_stat_activity "
        f"WHERE datname = '{engine.url.database}' AND pid <> pg_backend_pid() AND {condition}"
    )


HOLDS = "pid IN (SELECT pid FROM pg_locks WHERE locktype = 'advisory' AND granted)"


def test_the_place_goes_with_its_connection(engine: Engine, postgres_server: Server) -> None:
    """A store whose connection is cut, or that has given its place up, changes nothing any more."""
    for end in (lambda _: _cut(postgres_server, engine, HOLDS), PostgresAuditStore.resign, PostgresAuditStore.close):
        lost, other = PostgresAuditStore(engine), PostgresAuditStore(engine)
        assert lost.lead()
        assert not other.lead()
        lost.publish(b"its own")
        end(lost)
        while not other.lead():
            time.sleep(0.01)
        other.publish(b"newer")
        for change in (partial(lost.publish, b"old"), partial(lost.stage, "x", b""), partial(lost.write, {"a": b""})):
            with pytest.raises(Unavailable, match="audit_stopped"):
                change()
        with pytest.raises(Unavailable, match="audit_stopped"):
            lost.unstage()
        assert other.published() == b"newer"
        other.close()


def test_a_sequencer_whose_connection_is_cut_begins_anew(
    engine: Engine, opened: Open, postgres_server: Server, tmp_path: Path
) -> None:
    """Whichever process takes the place recovers first; all go on, none has to be started again (appends wait 5 s)."""
    first, second = opened(), opened()
    kept = first.append(control(1)).checkpoint
    numbers = iter(range(2, 99))
    for _ in range(5):
        _cut(postgres_server, engine, HOLDS)
        for log in (second, first):
            number = next(numbers)
            assert log.append(control(number)).index == number + 1
    assert (first._sequencer is None) != (second._sequencer is None)
    _verified(engine, tmp_path / "out", kept)


def test_a_checkpoint_that_a_reader_saw_is_never_replaced_by_an_older_one(engine: Engine, opened: Open) -> None:
    """A follower stops when the published log goes back: a restored copy of the database, or a forgery."""
    first, second = opened(), opened()
    old = first.checkpoint()
    assert second.append(control(1)).index == 2
    PostgresAuditStore(engine).publish(old)
    second._thread.join(10)
    with pytest.raises(Unavailable, match="audit_stopped"):
        second.checkpoint()


APPENDING = """
import os, signal, sys, time
from exchange.audit.log import AuditLog
from exchange.audit.postgresql import PostgresAuditStore
from exchange.control.database import open_engine
from tests.audit.building import KEY, control

class Stopping(PostgresAuditStore):
    calls = 0

    def _stop(self):
        Stopping.calls += 1
        if Stopping.calls == 8:
            os.kill(os.getpid(), signal.SIGSTOP)

    def swap(self, *words):
        if sys.argv[3] == "swap":
            self._stop()
        super().swap(*words)

    def publish(self, *words):
        if sys.argv[3] == "publish":
            self._stop()
        super().publish(*words)

log = AuditLog(Stopping(open_engine(sys.argv[1])), KEY, time.time_ns)
print("open", log._sequencer is not None, flush=True)
sys.stdin.readline()
for number in range(int(sys.argv[2]), 10**9):
    print(number, log.append(control(number)).index, flush=True)
"""


class Appending:
    """A process that appends entry after entry and says what it was acknowledged.

    It stops itself as SIGSTOP does right before the eighth call of the method `stops_in` of its store.
    """

    def __init__(self, url: str, first: int, stops_in: str = "") -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-c", textwrap.dedent(APPENDING), url, str(first), stops_in],
            *(), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT,
        )  # fmt: skip
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._in, self._out = self._process.stdin, self._process.stdout
        self.leads = self._out.readline().split()[1] == "True"
        self.acknowledged: dict[int, int] = {}

    def begin(self) -> None:
        """Lets it append."""
        self._in.write("\n")
        self._in.flush()

    def take(self, count: int) -> None:
        """Reads so many acknowledgements more."""
        for _ in range(count):
            self._read(self._out.readline())

    def kill(self) -> None:
        """SIGKILL; what it said before counts."""
        self._process.kill()
        for line in self._out:
            if line.endswith("\n"):
                self._read(line)
        self._process.wait()
        self._in.close()
        self._out.close()

    def stopped(self) -> None:
        """Returns when it has stopped itself."""
        _, status = os.waitpid(self._process.pid, os.WUNTRACED)
        assert os.WIFSTOPPED(status)

    def go_on(self) -> None:
        """SIGCONT."""
        self._process.send_signal(signal.SIGCONT)

    def _read(self, line: str) -> None:
        number, index = map(int, line.split())
        self.acknowledged[number] = index


@pytest.mark.processes
def test_of_two_processes_one_is_the_sequencer_and_the_other_takes_over(
    postgres: str, engine: Engine, opened: Open, tmp_path: Path
) -> None:
    """SIGKILL of the first while both append: the second goes on (no append of it waits 5 s), nothing acknowledged by
    either is missing.
    """
    with ExitStack() as stack:
        first = Appending(postgres, 1_000)
        stack.callback(first.kill)
        second = Appending(postgres, 2_000)
        stack.callback(second.kill)
        assert (first.leads, second.leads) == (True, False)
        first.begin()
        second.begin()
        first.take(20)
        second.take(20)
        first.kill()
        second.take(200)
        second.kill()
        stack.pop_all()
    log = opened()
    kept = log.checkpoint()
    for number, index in {**first.acknowledged, **second.acknowledged}.items():
        assert log.entry(index)[1]["version"] == number
    assert log.append(control(1)).index > max(second.acknowledged.values())
    _verified(engine, tmp_path / "out", kept)


class Looking(threading.Thread):
    """Sees what checkpoints are public or in the lock row."""

    def __init__(self, engine: Engine) -> None:
        super().__init__()
        self._store, self._ended = PostgresAuditStore(engine), threading.Event()
        self.seen: dict[int, set[bytes]] = {}
        self.went_back = False

    def run(self) -> None:
        last = 0
        while not self._ended.is_set():
            head, note = self._store.head(), self._store.published()
            assert head is not None
            assert note is not None
            size = int(note.split(b"\n")[1])
            self.went_back |= size < last
            last = size
            self.seen.setdefault(size, set()).add(note)
            self.seen.setdefault(head.size, set()).add(head.checkpoint)
            time.sleep(0.002)

    def end(self) -> None:
        """Looks no more."""
        self._ended.set()
        self.join()


@pytest.mark.processes
@pytest.mark.parametrize("method", ["swap", "publish"])
def test_a_sequencer_that_stood_still_finds_its_place_taken(
    postgres: str, engine: Engine, opened: Open, postgres_server: Server, tmp_path: Path, method: str
) -> None:
    """Two real processes append; the first is stopped in the middle of a commit, and its session is ended. The second
    goes on. When the first one runs again it changes nothing, follows, and appends through the second: of no size were
    there two checkpoints, the public one never went back, and what either was told stands.
    """
    looking = Looking(engine)
    with ExitStack() as stack:
        stack.callback(looking.end)
        first, second = Appending(postgres, 1_000, method), Appending(postgres, 2_000)
        stack.callback(first.kill)
        stack.callback(second.kill)
        looking.start()
        first.begin()
        first.stopped()
        second.begin()
        _cut(postgres_server, engine, HOLDS)
        second.take(15)
        first.go_on()
        first.take(10)
        second.take(10)
    assert not looking.went_back
    assert [notes for notes in looking.seen.values() if len(notes) > 1] == []
    log = opened()
    for number, index in {**first.acknowledged, **second.acknowledged}.items():
        assert log.entry(index)[1]["version"] == number
    log.append(control(1))
    export(PostgresAuditStore(engine), tmp_path / "out", VKEY)
    kept = [note for notes in looking.seen.values() for note in notes]
    assert verify(tmp_path / "out", VKEY, kept, rules=False).ok


FAILING = """
CREATE FUNCTION failing() RETURNS trigger LANGUAGE plpgsql AS
$$ BEGIN RAISE EXCEPTION 'by the test' USING ERRCODE = '{state}'; END $$;
CREATE TRIGGER failing BEFORE INSERT OR UPDATE OR DELETE ON {table} FOR EACH STATEMENT EXECUTE FUNCTION failing()
"""
WRITTEN = ("audit_lock", "audit_outbox", "audit_staging", "audit_files", "audit_checkpoint")


@pytest.mark.parametrize("table", WRITTEN)
@pytest.mark.parametrize("state", ["53100", "58030"])
def test_a_disk_that_is_full_or_fails(engine: Engine, opened: Open, tmp_path: Path, table: str, state: str) -> None:
    """At each table of a commit: nobody gets a receipt; the log goes on when it may, in this process or the next."""
    log = opened()
    kept = log.append(control(1)).checkpoint
    with engine.begin() as connection:
        connection.exec_driver_sql(FAILING.format(table=table, state=state))
    for _ in range(2):
        with pytest.raises(Unavailable, match=r"audit_(unavailable|stopped)"):
            log.append(control(2), timeout_s=0.3)
    assert log.size == 3
    if state == "53100":
        log.close()
    with engine.begin() as connection:
        connection.exec_driver_sql("DROP FUNCTION failing CASCADE")
    again = opened() if state == "53100" else log
    assert again.append(control(2)).index == 3
    again.close()
    _verified(engine, tmp_path / "out", kept)


@pytest.mark.parametrize(
    "damage",
    [
        "UPDATE audit_lock SET root = '\\x00'",
        "UPDATE audit_lock SET size = size - 1",
        "UPDATE audit_checkpoint SET note = '\\x00'",
        "DELETE FROM audit_files WHERE starts_with(path, 'tile/0/')",
        "UPDATE audit_files SET data = set_byte(data, 3, 9) WHERE starts_with(path, 'tile/entries/')",
        "DROP TABLE audit_files",
    ],
)
def test_changed_rows_are_never_signed(engine: Engine, opened: Open, damage: str) -> None:
    """The lock row, the checkpoint, a tile: opening says so, and signs nothing."""
    log = opened()
    log.append(control(1))
    log.close()
    with engine.begin() as connection:
        connection.exec_driver_sql(damage)
    with pytest.raises(Tampered):
        opened()


def test_a_server_that_is_restarted_while_nobody_works(opened: Open, engine: Engine, postgres_server: Server) -> None:
    """Connections that were cut between two uses cost nobody an error."""
    logs = [opened(), opened()]
    logs[1].append(control(1))
    _cut(postgres_server, engine)
    assert [log.append(control(number)).index for number, log in enumerate(logs, 2)] == [3, 4]


def _happen(store: SqlEventStore, version: int) -> None:
    event = NewEvent("it", "thing.done/1", {})
    store.append({"it": version}, [event], {}, actor="a", time_ns=1, alongside=lambda *_: None)


def test_a_log_outlives_its_server(own_postgres: OwnServer, tmp_path: Path) -> None:
    """SIGKILL of the server under a sequencer and a follower that append, and an event store: `Unavailable`, and when
    it is there again all go on, unopened. What was acknowledged before is there.
    """
    with own_postgres.database(own_postgres.template()) as url:
        engine = open_engine(url)
        create(PostgresAuditStore(engine), ORIGIN, KEY, clock())
        logs = [AuditLog(PostgresAuditStore(engine), KEY, time.time_ns) for _ in range(2)]
        kept = logs[0].checkpoint()
        found: dict[int, int] = {}

        def append(log: AuditLog, first: int) -> None:
            with suppress(Unavailable):
                for number in range(first, first + 10_000):
                    found[number] = log.append(control(number), timeout_s=1.0).index

        threads = [threading.Thread(target=append, args=(log, 10_000 * at)) for at, log in enumerate(logs, 1)]
        for thread in threads:
            thread.start()
        while len(found) < 50:
            time.sleep(0.01)
        store = SqlEventStore(engine)
        _happen(store, 0)
        own_postgres.kill()
        for thread in threads:
            thread.join()
        for _ in range(2):
            with pytest.raises(Unavailable, match="control_database_unavailable"):
                _happen(store, 1)
        own_postgres.start()
        _happen(store, 1)
        assert len(store.read(0, 9)) == 2
        until = time.monotonic() + 60
        for number, log in enumerate(logs, 1):
            while number not in found and time.monotonic() < until:
                with suppress(Unavailable):
                    found[number] = log.append(control(number)).index
        logs[1].settle()
        assert all(logs[1].entry(index)[1]["version"] == number for number, index in found.items())
        assert found.keys() >= {1, 2}
        for log in logs:
            log.close()
        _verified(engine, tmp_path / "out", kept)
        engine.dispose()


def test_a_later_process_reads_only_what_came_since(
    opened: Open, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The ends of runs are kept: opening reads no entry, the first request only those since the last look."""
    read: list[int] = []
    plain = LogReader._leaves

    def counted(reader: LogReader, start: int, stop: int) -> Iterator[tuple[int, bytes]]:
        for one in plain(reader, start, stop):
            read.append(one[0])
            yield one

    log = opened()
    GatewayRuns(tmp_path / "hint", log, time.time_ns, "a", Ends(log, tmp_path / "runs", b"key")).start(b"1" * 16)
    log.submit([release(count, run=b"1" * 16) for count in range(1, 300)])
    log.settle()
    ends = Ends(log, tmp_path / "runs", b"key")
    ends.of("a")
    log.submit([release(count, run=b"1" * 16) for count in range(300, 304)])  # and then the process is killed
    log.settle()
    log.close()
    monkeypatch.setattr(LogReader, "_leaves", counted)
    later = opened()
    assert read == []
    found = Ends(later, tmp_path / "runs", b"key").of("a")
    assert found == (b"1" * 16, {"agr-1": 303})
    assert len(read) == 4
