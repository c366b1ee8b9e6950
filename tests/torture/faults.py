"""Randomised fault runs: each draws from its seed a log, what is appended, and what goes wrong; then the judge.

A run has one to three lives that end in a fault and a last one that recovers. What goes wrong in a life:

    store, files, events   one call fails, persisted or not; or the process ends there; or the power does (files)
    clock                  it stands still, or is set an hour back or ahead
    rival                  a second sequencer moves the log on behind the first one's back
    flip                   one byte of the lock row, the checkpoint, the staged bundle or a waiting row is changed
    sigkill                a real process with several appenders is killed at a random moment

All but the last are the same for the same seed, so that a run can be played again alone.
"""

import json
import os
import select
import shutil
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any, Final

from exchange.audit.embedded import EmbeddedAuditStore
from exchange.audit.entries import Entry, entry_id
from exchange.audit.log import AuditLog
from exchange.audit.sequencer import Sequencer
from exchange.control.database import open_engine
from exchange.errors import ExchangeError, Refused, Tampered, Unavailable
from tests.audit.building import KEY, commit, control, decision, refusal, release
from tests.torture.flips import Alarms, Flip
from tests.torture.judge import Broken, Judge, need
from tests.torture.lives import Clock, Fault, Gate, Log, Mortal, Pen, Step, Strike
from tests.torture.places import Base, Folder, Schema, folder_base
from tests.torture.rounds import start_child, until_end
from tests.torture.told import Tell

_STUCK_S: Final = 30.0
_STOPPED_S: Final = 2.0  # a sequencer that goes on so long has not stopped
_LARGE: Final = 250  # entries of the base whose next commits fill a tile
_KINDS: Final = {"store": 30, "files": 30, "events": 5, "clock": 5, "rival": 5, "flip": 20, "sigkill": 5}
_ON_SERVER: Final = {"store": 80, "events": 10, "clock": 10}
_WAYS: Final = ("before", "after", "kill", "killed")


@dataclass
class Bases:
    """The logs that runs begin with: a small one, and one whose next commits fill a tile."""

    small: Base
    large: Base

    @classmethod
    def made(cls, folder: Path) -> "Bases":
        """Makes them."""
        first = [control(1, policy=1)]
        many = [control(number) for number in range(2, _LARGE)]
        return cls(
            folder_base(folder / "small", [first, [control(2)]]),
            folder_base(folder / "large", [first, many[:100], many[100:]]),
        )


class Script:
    """Draws what is appended. Numbers go on over a run, so that no two entries are alike."""

    def __init__(self, random: Random) -> None:
        self._random, self._number, self._policy = random, 1_000, 1

    def entry(self) -> Entry:
        """An entry of some kind; the first of its kind brings its schema into the log."""
        self._number += 1
        kind = self._random.choice(("control", "control", "raising", "release", "release", "refusal", "other"))
        if kind == "raising":
            self._policy += 1
            return control(self._number, policy=self._policy)
        if kind == "release":
            rested = self._policy - (self._random.random() < 0.2)
            return release(self._number, epochs={"policy": rested})
        if kind == "refusal":
            return refusal(self._number)
        if kind == "other":
            identity = entry_id("decision", self._number)
            return self._random.choice((commit(self._number, self._number + 1), decision(identity)))
        return control(self._number)

    def event(self) -> Entry:
        """An entry that comes with an event."""
        self._number += 1
        return control(self._number)

    def appenders(self) -> list[list[Entry]]:
        """What one to three appenders submit at once."""
        return [[self.entry() for _ in range(self._random.randint(1, 4))] for _ in range(self._random.randint(1, 3))]

    def steps(self) -> list[Step]:
        """A few commits."""
        return [
            Step(self.appenders(), self.event() if self._random.random() < 0.3 else None)
            for _ in range(self._random.randint(1, 4))
        ]


@dataclass
class Run:
    """One run; `met` counts what it met. `begin` makes its log, given a folder of its own."""

    begin: Callable[[Path], tuple[Any, Judge]]
    folder: Path
    seed: str
    kinds: Mapping[str, int] = field(default_factory=lambda: _KINDS)
    met: Counter[str] = field(default_factory=Counter)

    def play(self) -> Log:
        """Plays it: the log as it was judged in the end; raises `Broken`."""
        random = Random(self.seed)
        shutil.rmtree(self.folder, ignore_errors=True)
        self.folder.mkdir(parents=True)
        place, judge = self.begin(self.folder / "log")
        log, script = Log(place, judge, random), Script(random)
        for _ in range(random.choice((1, 1, 1, 2, 3))):
            kind = random.choices([*self.kinds], [*self.kinds.values()])[0]
            getattr(self, f"_{kind}")(log, place, script, random)
        log.recover(script.event())
        shutil.rmtree(self.folder)
        return log

    def _store(self, log: Log, _place: Folder, script: Script, random: Random) -> None:
        self._struck(log, script, Fault("store", random.randint(1, 40), random.choice(_WAYS)))

    def _files(self, log: Log, _place: Folder, script: Script, random: Random) -> None:
        ways = (*_WAYS, "cut", "cut", "cut")
        self._struck(log, script, Fault("files", random.randint(1, 70), random.choice(ways)))

    def _events(self, log: Log, _place: Folder, script: Script, random: Random) -> None:
        self._struck(log, script, Fault("events", random.randint(1, 2), random.choice(_WAYS)))

    def _struck(self, log: Log, script: Script, fault: Fault) -> None:
        at = fault.at
        while not log.live(script.steps(), Fault(fault.layer, at, fault.way)):  # there was no call so late
            at = max(at // 2, 1)
        self.met[f"{fault.layer}, {fault.way}"] += 1

    def _clock(self, log: Log, _place: Folder, script: Script, random: Random) -> None:
        how = random.choice(("frozen", "back", "ahead"))
        still = [Step(script.appenders(), clock="still")] if how == "frozen" else []
        log.live([*script.steps(), Step([*script.appenders(), [script.event()]], clock=how), *still, *script.steps()])
        self.met[f"clock {how}"] += 1
        log.clock.stands = None
        if how == "back":
            log.clock.jump(3_700_000_000_000)

    def _rival(self, log: Log, place: Folder, script: Script, _random: Random) -> None:
        """The log's own sequencer loses the swap and stops; what the other one has committed stands."""
        strike, gate, pen = Strike(None, log.random), Gate(), Pen()
        opened = place.open(strike, gate)
        own = Mortal(opened.store, pen, log.clock, log.judge)
        gate.reached()
        engine = open_engine(f"sqlite:///{place.folder / 'control.db'}")
        behind, late = script.appenders(), script.event()
        log.tried += [*(entry for entries in behind for entry in entries), late]
        for entries in behind:
            own.submit(entries)
        rival = Sequencer(EmbeddedAuditStore(place.folder / "audit", engine), KEY, log.clock)
        before = rival.head.size
        rival.commit()
        own.submit([late])
        gate.one()
        stopped = False
        try:
            own.check_running()
        except Unavailable:
            stopped = True
        gate.open()
        own.close()
        opened.end(killed=False, lost=None)
        engine.dispose()
        need(stopped or rival.head.size == before, "a sequencer that lost the swap goes on")
        need(not stopped or late.id not in log.judge.told, "who lost the swap told somebody all the same")
        place.look(log.judge)
        self.met["a second sequencer"] += 1

    def _flip(self, log: Log, place: Folder, script: Script, random: Random) -> None:
        """Killed at some call, mostly of a commit; then a byte is another one: it stops, says so, and signs nothing."""
        fault = Fault("store", random.randint(12, 30), "kill")
        log.live(script.steps(), fault)
        waiting = [*script.appenders(), [script.event()]]
        log.tried += [entry for entries in waiting for entry in entries]
        self._submit(place, waiting)
        flip = Flip(place, random)
        flip.make()
        try:
            self._must_stop(log, place, flip)
        finally:
            flip.undo()
        self.met[f"a byte of {flip.what}"] += 1

    def _submit(self, place: Folder, waiting: Sequence[Sequence[Entry]]) -> None:
        from exchange.audit.log import _row

        engine = open_engine(f"sqlite:///{place.folder / 'control.db'}")
        for entries in waiting:
            EmbeddedAuditStore(place.folder / "audit", engine).submit([_row(entry) for entry in entries])
        engine.dispose()

    def _must_stop(self, log: Log, place: Folder, flip: "Flip") -> None:
        strike, gate, pen = Strike(None, log.random), Gate(), Pen()
        opened = place.open(strike, gate)
        own, alarms = None, Alarms()
        before = place.query("SELECT checkpoint FROM audit_lock") if flip.what != "audit_lock.checkpoint" else None
        try:
            with alarms:
                own = Mortal(opened.store, pen, log.clock, log.judge)
                gate.reached()
                gate.one()
                gate.open()
                own._thread.join(_STOPPED_S)
                own.check_running()
        except (Tampered, Unavailable):
            need(own is None or bool(alarms.said), f"it stopped without an alarm at a changed byte of {flip.what}")
        else:
            raise Broken(f"a changed byte of {flip.what} was not noticed ({flip.told})")
        finally:
            gate.open()
            if own is not None:
                own.close()
            opened.end(killed=False, lost=None)
        after = place.query("SELECT checkpoint FROM audit_lock") if flip.what != "audit_lock.checkpoint" else None
        need(before == after, f"something was committed over a changed byte of {flip.what}")

    def _sigkill(self, log: Log, place: Folder, script: Script, random: Random) -> None:
        """A real process, with three appenders at once."""
        each = [[script.entry() for _ in range(20)] for _ in range(3)]
        log.tried += [entry for entries in each for entry in entries]
        log.clock.jump(60_000_000_000)
        _alone()
        reading, writing = os.pipe()
        child = start_child(lambda tell: _append(place.folder, log.clock, each, tell), reading, writing)
        told = _killed(child, reading, random)
        for line in told.splitlines():
            kind, *facts = json.loads(line)
            need(kind in ("told", "refused"), str(facts))
            if kind == "told":
                log.judge.tell(bytes.fromhex(facts[0]), facts[1], facts[2].encode())
            else:
                log.judge.refuse(bytes.fromhex(facts[0]))
        log.clock.jump(60_000_000_000)
        place.look(log.judge)
        self.met["SIGKILL"] += 1


def _alone() -> None:
    """Returns when this process has one thread: one that was joined may still hold a lock of OpenSSL for a moment, and
    a child forked then would wait for it for ever.
    """
    while sum(1 for _ in Path("/proc/self/task").iterdir()) > 1:
        time.sleep(0.000_1)


def _killed(child: int, reading: int, random: Random) -> bytes:
    """Kills the child a little after it has told so much; all that it told."""
    try:
        told, least = b"", random.randint(0, 40)
        while told.count(b"\n") < least and select.select([reading], [], [], _STUCK_S)[0]:
            part = os.read(reading, 65_536)
            if not part:
                break
            told += part
        time.sleep(random.uniform(0, 0.006))
        os.kill(child, signal.SIGKILL)
        return told + until_end(reading, child)
    finally:
        os.close(reading)
        os.waitpid(child, 0)


def _append(folder: Path, clock: Clock, each: Sequence[Sequence[Entry]], tell: Tell) -> None:
    """The child: opens the log, and has each appender append one entry after another."""
    log = AuditLog(EmbeddedAuditStore(folder / "audit", open_engine(f"sqlite:///{folder / 'control.db'}")), KEY, clock)

    def append(entries: Sequence[Entry]) -> None:
        for entry in entries:
            try:
                receipt = log.append(entry)
            except Refused:
                tell("refused", entry.id.hex())
            except ExchangeError as error:
                tell("error", str(error))
                return
            else:
                tell("told", entry.id.hex(), receipt.index, receipt.checkpoint.decode())

    threads = [threading.Thread(target=append, args=(entries,)) for entries in each]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def play(bases: Bases, folder: Path, seed: str) -> tuple[Counter[str], str]:
    """One run by its seed: what it met, and what it broke, or nothing."""
    base = bases.large if Random(f"{seed} base").random() < 0.15 else bases.small
    return _played(Run(base.begin, folder / "run", seed))


def play_on_server(place: Schema, judge: Judge, folder: Path, seed: str) -> tuple[Counter[str], str]:
    """One run on PostgreSQL, in a schema that is reset for it; as `play`."""

    def begin(_: Path) -> tuple[Schema, Judge]:
        place.reset()
        return place, judge.copy()

    return _played(Run(begin, folder / "run", seed, _ON_SERVER))


def _played(run: Run) -> tuple[Counter[str], str]:
    try:
        run.play()
    except Exception as error:  # noqa: BLE001 - whatever it is, it is told with the seed
        return run.met, f"{type(error).__name__}: {error}"
    return run.met, ""


def main_alone(folder: Path, seed: str) -> tuple[Counter[str], str]:
    """One run alone, played again; as `play`."""
    return play(Bases.made(folder / "bases"), folder, seed)
