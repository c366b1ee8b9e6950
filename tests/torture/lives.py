"""The lives of one audit log: opened, driven commit by commit, struck at one call, thrown away, opened anew.

The real `AuditLog` with its thread, on its real store. A gate holds the sequencer's thread before each of its commits,
so that the same script meets the same calls in the same order. `Strike` counts the calls of the store (or of the files
below it) and has one of them go wrong:

    before     it fails and did nothing          after      it was done, and fails all the same
    kill       the process ends instead of it    killed     it was done, and the process ends
    cut        as `kill`, and the power fails: of what was not synced any part is lost (a write may be torn)
"""

import itertools
import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from random import Random
from typing import Any, Final, Protocol

from exchange.audit.entries import Entry
from exchange.audit.log import AuditLog
from exchange.control import EventStore
from exchange.control.events import NewEvent
from exchange.errors import ExchangeError, Refused, Unavailable
from tests.audit.building import KEY, START_NS
from tests.torture.judge import Broken, Judge, need

_THREAD: Final = "audit-sequencer"
_STUCK_S: Final = 30.0
HOUR_NS: Final = 3_600_000_000_000
# Never struck: hints that cannot fail, and the end.
_PASSED: Final = frozenset({"close", "listen", "call"})
_OF_FILES: Final = frozenset({"stage", "staged", "unstage", "write", "read", "prune", "publish", "published"})
WAYS: Final = ("before", "after", "kill", "killed", "cut")


class Killed(SystemExit):
    """The process is gone: nothing of it does anything any more. (A thread that ends with it says nothing.)"""


@dataclass(frozen=True)
class Fault:
    """The `at`-th call of the layer ("store", "files" or "events") in one life, and how it goes wrong."""

    layer: str
    at: int
    way: str


class Strike:
    """Counts the calls of one life, and strikes one."""

    def __init__(self, fault: Fault | None, random: Random) -> None:
        self._fault, self._random, self._count = fault, random, 0
        self.struck = ""
        self.dead = False

    @property
    def power_failed(self) -> bool:
        """Whether what was not synced is lost."""
        return bool(self.struck) and self._fault is not None and self._fault.way == "cut"

    def __call__(self, layer: str, name: str, plain: Callable[..., Any], *arguments: Any, **named: Any) -> Any:
        """Makes the call, unless it is the one."""
        if self.dead:
            raise Killed
        fault = self._fault
        if fault is None or layer != fault.layer:
            return plain(*arguments, **named)
        self._count += 1
        if self._count != fault.at:
            return plain(*arguments, **named)
        self.struck = name
        if fault.way in ("after", "killed"):
            plain(*arguments, **named)
        if fault.way in ("before", "after"):
            raise OSError(5, "by the test") if layer == "files" or name in _OF_FILES else _refused()
        self.dead = True
        if fault.way == "cut" and (layer, name) == ("files", "write"):
            file, data = arguments
            plain.__self__.tear(file, data[: self._random.randint(0, len(data))])  # type: ignore[attr-defined]
        raise Killed


def _refused() -> Unavailable:
    return Unavailable("audit_stopped", cause="control database: by the test")


class Gate:
    """Holds the sequencer's thread before each of its commits."""

    def __init__(self) -> None:
        self._arrived, self._go = threading.Semaphore(0), threading.Semaphore(0)
        self._open = False

    def enter(self) -> None:
        """The sequencer's thread comes to its next commit."""
        if not self._open:
            self._arrived.release()
            self._go.acquire()

    def leave(self) -> None:
        """The sequencer's thread ends."""
        self._arrived.release()

    def reached(self) -> None:
        """Returns when the thread stands before a commit, or has ended."""
        need(self._arrived.acquire(timeout=_STUCK_S), "the sequencer is stuck")

    def one(self) -> None:
        """Lets it make one commit."""
        self._go.release()
        self.reached()

    def open(self) -> None:
        """Holds it no more."""
        self._open = True
        self._go.release()


class Struck:
    """A store, or the files below one, whose calls are counted; `layer` says which of the two it is."""

    def __init__(self, inner: Any, strike: Strike, layer: str, gate: Gate | None = None) -> None:
        self._inner, self._strike, self._layer, self._gate = inner, strike, layer, gate

    def __getattr__(self, name: str) -> Any:
        plain = getattr(self._inner, name)
        if name.startswith("_") or not callable(plain) or name in _PASSED:
            return self._ended if name == "close" and self._gate is not None else plain

        def call(*arguments: Any, **named: Any) -> Any:
            if name == "pending" and self._gate is not None and threading.current_thread().name == _THREAD:
                self._gate.enter()
            return self._strike(self._layer, name, plain, *arguments, **named)

        return call

    def _ended(self) -> None:
        if not self._strike.dead:  # a process that was killed gives nothing back
            self._inner.close()
        if self._gate is not None:
            self._gate.leave()


class Mortal(AuditLog):
    """A log whose process may be killed, each of whose sequencers takes up a new pen, and whose judge hears at once
    whatever anybody is told.
    """

    def __init__(self, store: Any, pen: "Pen", clock: "Clock", judge: Judge) -> None:
        self._judge = judge
        self.broken = ""
        super().__init__(store, pen, clock)

    def _lead(self, signer: Any) -> None:
        signer.take_up()
        super()._lead(signer)
        assert self._sequencer is not None
        self._sequencer.__dict__["resolve"] = self._resolve  # a mutant of the sequencer tells by itself

    def _tell(self, outcomes: Mapping[bytes, tuple[int, int] | Mapping[str, object] | None]) -> None:
        for entry_id, outcome in outcomes.items():
            if isinstance(outcome, tuple):
                self._hear(entry_id, outcome[0])
        super()._tell(outcomes)

    def _hear(self, entry_id: bytes, index: int) -> None:
        try:
            self._judge.tell(entry_id, index, self._published.checkpoint)
        except Broken as broken:
            self.broken = self.broken or str(broken)

    def _run(self) -> None:
        with suppress(Killed):
            super()._run()


class Pen:
    """The log's key in one life, which notes what one sequencer signs with it.

    The next sequencer may sign another checkpoint of a size where the former's swap failed: then nobody has seen that
    one, for it was never stored.
    """

    def __init__(self) -> None:
        self.public = KEY.public
        self._signed: dict[bytes, bytes] = {}
        self.twice = False

    def take_up(self) -> None:
        """A new sequencer begins."""
        self._signed.clear()

    def sign(self, message: bytes) -> bytes:
        size = message.split(b"\n")[1]
        self.twice |= self._signed.setdefault(size, message) != message
        return KEY.sign(message)


class Clock:
    """A clock that advances by a millisecond each time it is read; it goes on through all lives, and can be set."""

    def __init__(self, start: int = START_NS + 10 * HOUR_NS) -> None:
        self._ticks, self._offset = itertools.count(start, 1_000_000), 0
        self.stands: int | None = None

    def __call__(self) -> int:
        now = next(self._ticks) + self._offset
        return now if self.stands is None else self.stands

    def jump(self, by: int) -> None:
        """Sets it forward or back."""
        self._offset += by

    def stand(self) -> None:
        """Lets it stand still."""
        self.stands = self()


@dataclass(frozen=True)
class Step:
    """What comes between two commits: what each appender submits at once, and an event with its entry."""

    appenders: Sequence[Sequence[Entry]]
    event: Entry | None = None
    clock: str = ""  # "frozen", "back", "ahead": what the clock does before it; "still": it stands since the last one
    asked: Sequence[Entry] = ()  # sent before, and asked for again

    @property
    def sent(self) -> list[Entry]:
        """What appenders submit."""
        return list(itertools.chain.from_iterable(self.appenders))


class Opened(Protocol):
    """A log's storage, opened for one life."""

    store: Any
    events: EventStore | None

    def end(self, *, killed: bool, lost: Random | None) -> None:
        """Throws the process's state away; `lost`: the power failed."""
        ...


class Place(Protocol):
    """Where a log lies."""

    def open(self, strike: Strike, gate: Gate) -> Opened:
        """The storage for the next life, with its faults."""
        ...

    def look(self, judge: Judge) -> None:
        """Has the log's bytes judged."""
        ...

    def events(self) -> set[str]:
        """The events that are stored: their entries' ids in hex."""
        ...


@dataclass
class Log:
    """A log in a place, with its judge, its clock, and all that anybody ever tried to append."""

    place: Place
    judge: Judge
    random: Random
    clock: Clock = field(default_factory=Clock)
    tried: list[Entry] = field(default_factory=list)
    happened: list[Entry] = field(default_factory=list)  # of these: with an event in the same transaction

    def live(self, steps: Sequence[Step], fault: Fault | None = None) -> str:
        """One life, up to its fault or the end of the script: the name of the call that was struck, or nothing.

        Raises:
            Broken: what holds always does not; or it failed without a fault.
        """
        strike, gate, pen = Strike(fault, self.random), Gate(), Pen()
        opened = self.place.open(strike, gate)
        log = None
        try:
            log = Mortal(opened.store, pen, self.clock, self.judge)
            gate.reached()
            for step in steps:
                self._step(log, opened.events, gate, step)
                if strike.struck:
                    break
        except (ExchangeError, OSError, Killed) as error:
            need(bool(strike.struck) or self._clock_stopped(error), f"without a fault: {type(error).__name__}: {error}")
        finally:
            gate.open()
            if log is not None and not strike.dead:
                log.close()
            elif log is not None:
                log._thread.join(_STUCK_S)
            opened.end(killed=strike.dead, lost=self.random if strike.power_failed else None)
        if log is not None and log.broken:
            raise Broken(log.broken)
        need(not pen.twice, "two checkpoints of one size were signed")
        self.place.look(self.judge)
        return strike.struck

    def _clock_stopped(self, error: BaseException) -> bool:
        return isinstance(error, Unavailable) and "clock" in str(error.facts.get("cause"))

    def _step(self, log: AuditLog, events: EventStore | None, gate: Gate, step: Step) -> None:
        self._set_clock(step.clock)
        self.tried += step.sent
        for entries in step.appenders:
            if entries:
                log.submit(entries)
        if step.event is not None:
            self.happened.append(step.event)
            self._happen(log, events, step.event)
        if step.sent or step.event is not None or step.asked:  # else the thread would wait for its next poll
            gate.one()
        for entry in [*step.sent, *([step.event] if step.event else []), *step.asked]:
            self._ask(log, entry)
            wrong = step.clock in ("still", "back") and entry.id in self.judge.told
            need(not wrong, f"a checkpoint was made while the clock was {step.clock}")

    def _happen(self, log: AuditLog, events: EventStore | None, entry: Entry) -> None:
        """A control event and its entry, in one transaction."""
        if events is None:
            log.submit([entry])
            return
        name = entry.id.hex()
        events.append(
            {name: 0},
            [NewEvent(name, "thing.done/1", {})],
            {},
            actor="a",
            time_ns=1,
            alongside=lambda connection, _: log.add(connection, entry),
        )

    def _ask(self, log: AuditLog, entry: Entry) -> None:
        try:
            receipt = log.wait(entry.id, 0.0)
        except Refused:
            self.judge.refuse(entry.id)
        else:
            self.judge.tell(entry.id, receipt.index, receipt.checkpoint)

    def _set_clock(self, how: str) -> None:
        if how == "frozen":
            self.clock.stand()
        elif how in ("ahead", "back"):
            self.clock.jump(HOUR_NS if how == "ahead" else -HOUR_NS)

    def recover(self, last: Entry) -> None:
        """The last life: all that was ever tried is sent again and settles, each once; the log still appends.

        Raises:
            Broken: as `live`; or an entry neither is in the log nor is refused.
        """
        self.clock.stands = None
        self.clock.jump(3 * HOUR_NS)
        stored = self.place.events()
        there = [entry for entry in self.happened if entry.id.hex() in stored]
        self.live([Step([[entry] for entry in self.tried], asked=there), Step([[last]])])
        needed = {entry.id for entry in (*self.tried, *there, last)}
        unsettled = needed - self.judge.told.keys() - self.judge.refused
        need(not unsettled, f"{len(unsettled)} entries are neither in the log nor refused")
        need(last.id in self.judge.told, "the log does not append any more")
        audited = {body["id"] for _, body in self.judge.entries}
        lone = [entry for entry in self.happened if (entry.id in audited) != (entry in there)]
        need(not lone, "of an event and its entry one is there without the other")
