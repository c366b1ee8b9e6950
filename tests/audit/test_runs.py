"""A gateway's runs: each names the end of the one before, taken from the log and from nothing else."""

import hmac
import json
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from exchange.audit.entries import counters_digest
from exchange.audit.log import AuditLog
from exchange.audit.reading import LogReader
from exchange.audit.runs import GATEWAY, Ends, GatewayRuns
from exchange.audit.sequencer import Committed, Sequencer
from exchange.errors import Unavailable
from tests.audit.building import ORIGIN, START_NS, clock, control, log_at, refusal, release
from tests.log.memory import folder_in_memory


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder in memory."""
    with folder_in_memory() as made:
        yield made


@pytest.fixture
def log(folder: Path) -> Iterator[AuditLog]:
    """A new log."""
    with log_at(folder) as made:
        yield made


def runs(log: AuditLog, folder: Path, gateway: str = GATEWAY) -> GatewayRuns:
    """The runs of a gateway, with its hint in this folder."""
    return GatewayRuns(folder / f"{gateway}.json", log, clock(START_NS), gateway)


def run(number: int) -> bytes:
    """A run's id."""
    return bytes([number]) * 16


def opened(log: AuditLog) -> list[dict[str, Any]]:
    """The opening entries."""
    return [body for _, kind, body in log.entries(0, log.size) if kind == "gateway_run"]


def test_the_first_run_has_none_before_it(log: AuditLog, folder: Path) -> None:
    """Whatever else the log holds."""
    log.append(release(1, run=run(9)))
    runs(log, folder).start(run(1))
    [body] = opened(log)
    assert (body["run"], body["previous"], body["previous_counters_digest"]) == (run(1), None, None)
    assert body["gateway"] == GATEWAY


def test_a_run_names_the_end_of_the_one_before(log: AuditLog, folder: Path) -> None:
    """By agreement, or by dataset where there is none, the highest number, of a release or of a refused one."""
    runs(log, folder).start(run(1))
    log.submit(
        [
            release(1, run=run(1)),
            release(2, run=run(1)),
            release(1, run=run(1), agreement=None),
            release(7, run=run(5)),
            refusal(1, run=run(1), counter=3, attempt=0),
            refusal(2),
        ]
    )
    runs(log, folder).start(run(2))
    assert opened(log)[1]["previous"] == run(1)
    assert opened(log)[1]["previous_counters_digest"] == counters_digest({"agr-1": 3, "ps.person": 1})
    runs(log, folder).start(run(3))
    assert opened(log)[2]["previous_counters_digest"] == counters_digest({})


def test_what_still_waits_belongs_to_the_run_before(log: AuditLog, folder: Path) -> None:
    """Entries that were submitted before a crash and are not in the log yet are waited for."""
    runs(log, folder).start(run(1))
    entries = [release(number, run=run(1)) for number in range(1, 700)]
    log.submit(entries)
    runs(log, folder).start(run(2))
    assert opened(log)[1]["previous_counters_digest"] == counters_digest({"agr-1": 699})


def test_gateways_have_lines_of_their_own(log: AuditLog, folder: Path) -> None:
    """Each follows its own last run, though another gateway began in between."""
    for number, name in enumerate(("a", "b", "a", "b"), 1):
        runs(log, folder, name).start(run(number))
    assert [body["previous"] for body in opened(log)] == [None, None, run(1), run(2)]


@pytest.mark.parametrize(
    "hint",
    [None, "", "{", "[]", "{}", '{"index": "3"}', '{"index": -1}', '{"index": 99}', '{"index": true}', "[" * 9_999]
    + [json.dumps({"index": index}) for index in range(6)],
)
def test_the_hint_is_only_a_hint(log: AuditLog, folder: Path, hint: str | None) -> None:
    """Missing, damaged, of another site, or an old one: the run before is found all the same."""
    runs(log, folder).start(run(1))
    log.append(release(1, run=run(1)))
    runs(log, folder).start(run(2))
    log.append(release(1, run=run(2), agreement="agr-2"))
    file = folder / f"{GATEWAY}.json"
    file.unlink()
    if hint is not None:
        file.write_text(hint, "utf-8")
    runs(log, folder).start(run(3))
    assert opened(log)[2]["previous"] == run(2)
    assert opened(log)[2]["previous_counters_digest"] == counters_digest({"agr-2": 1})


def test_a_hint_that_cannot_be_written_costs_nothing(log: AuditLog, folder: Path) -> None:
    """The run has begun; the next one looks from an older place on."""
    (folder / f"{GATEWAY}.json").mkdir()
    for number in (1, 2):
        runs(log, folder).start(run(number))
    assert [body["previous"] for body in opened(log)] == [None, run(1)]


def test_many_gateways_look_once(log: AuditLog, folder: Path) -> None:
    """The ends that one look at the log finds are those that each gateway finds by itself; a second run of the same
    process follows the first.
    """
    for number, name in enumerate(("a", "b", "a"), 1):
        runs(log, folder, name).start(run(number))
        log.submit([release(count, run=run(number)) for count in range(1, 3 + number)])
    log.submit([refusal(1, run=run(2), counter=9, attempt=0), release(5, run=run(9))])
    ends = Ends(log)
    later = {name: GatewayRuns(folder / "none" / name, log, clock(START_NS), name, ends) for name in ("a", "b", "c")}
    for number, name in enumerate(later, 4):
        later[name].start(run(number))
    told = [(one["previous"], one["previous_counters_digest"]) for one in opened(log)[3:]]
    assert told == [
        (run(3), counters_digest({"agr-1": 5})),
        (run(2), counters_digest({"agr-1": 9})),
        (None, None),
    ]
    log.submit([release(1, run=run(4))])
    later["a"].start(run(7))
    assert opened(log)[-1]["previous"] == run(4)
    assert opened(log)[-1]["previous_counters_digest"] == counters_digest({"agr-1": 1})


class Counted:
    """How many leaves of a log were read since."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.leaves = 0
        plain = LogReader._leaves

        def counted(reader: LogReader, start: int, stop: int) -> Iterator[tuple[int, bytes]]:
            for one in plain(reader, start, stop):
                self.leaves += 1
                yield one

        monkeypatch.setattr(LogReader, "_leaves", counted)


@pytest.fixture
def counted(monkeypatch: pytest.MonkeyPatch) -> Counted:
    """From here on."""
    return Counted(monkeypatch)


def begin(log: AuditLog, folder: Path, names: Sequence[str], first: int) -> Ends:
    """Each of these gateways begins a run in a new process; the runs are numbered from `first` on."""
    ends = Ends(log, folder / "runs.json", b"key")
    for number, name in enumerate(names, first):
        GatewayRuns(folder / f"{name}.json", log, clock(START_NS), name, ends).start(run(number))
    return ends


def used(log: AuditLog, number: int, first: int, last: int) -> None:
    """These releases of a run."""
    log.submit([release(count, run=run(number)) for count in range(first, last + 1)])
    log.settle()


def test_a_later_process_reads_only_what_came_since(log: AuditLog, folder: Path, counted: Counted) -> None:
    """After a clean end nothing but what the openings themselves wrote, after a kill what came since the last look."""
    ends = begin(log, folder, "ab", 1)
    used(log, 1, 1, 300)
    ends.close()
    counted.leaves = 0
    begin(log, folder, "ab", 3)
    assert counted.leaves == 0
    used(log, 3, 1, 7)  # and then the process is killed
    begin(log, folder, "ab", 5)
    assert counted.leaves == 2 + 7  # the openings 3 and 4, and these releases
    told = [(one["previous"], one["previous_counters_digest"]) for one in opened(log)[2:]]
    assert told == [
        (run(1), counters_digest({"agr-1": 300})),
        (run(2), counters_digest({})),
        (run(3), counters_digest({"agr-1": 7})),
        (run(4), counters_digest({})),
    ]


def forged(text: str) -> str:
    """Its counter is lower than what the log has."""
    assert '"agr-1": 300' in text
    return text.replace('"agr-1": 300', '"agr-1": 100')


def resigned(text: str) -> str:
    """The same by somebody who has another key."""
    body = forged(text.partition("\n")[2])
    return hmac.digest(b"other", b"exchange.runs/1\0" + ORIGIN.encode() + body.encode(), "sha256").hex() + "\n" + body


@pytest.mark.parametrize("change", [forged, resigned, lambda text: text[:-9], lambda _: "", lambda _: "[" * 9_999])
def test_what_was_kept_of_runs_is_not_trusted(
    log: AuditLog, folder: Path, counted: Counted, change: Callable[[str], str]
) -> None:
    """Changed by whoever has not the site's key: the whole log is read, and the numbers are the log's."""
    ends = begin(log, folder, "a", 1)
    used(log, 1, 1, 300)
    ends.close()
    file = folder / "runs.json"
    file.write_text(change(file.read_text("utf-8")), "utf-8")
    counted.leaves, size = 0, log.size
    begin(log, folder, "a", 2)
    assert counted.leaves == size
    assert opened(log)[-1]["previous_counters_digest"] == counters_digest({"agr-1": 300})


def test_what_was_kept_of_another_log_is_not_taken(log: AuditLog, folder: Path) -> None:
    """A copy of a site that went on by itself, or an older log than the file: its tree is not the one that was seen."""
    used(log, 1, 1, 400)
    with folder_in_memory() as other, log_at(other) as longer:
        ends = begin(longer, folder, "a", 1)
        used(longer, 1, 1, 300)
        ends.close()
        begin(log, folder, "a", 2)
        assert opened(log)[-1]["previous"] is None
        ends = begin(longer, folder, "a", 3)
        used(longer, 3, 1, 600)
        ends.close()
    begin(log, folder, "a", 4)
    assert opened(log)[-1]["previous"] == run(2)


def test_a_process_keeps_up(log: AuditLog, folder: Path, monkeypatch: pytest.MonkeyPatch, counted: Counted) -> None:
    """When the log has grown it looks on by itself: after a kill the next one reads the rest."""
    monkeypatch.setattr("exchange.audit.runs._GROWN", 100)
    ends = begin(log, folder, "a", 1)
    used(log, 1, 1, 150)
    ends.keep_up(log.size)
    while ends._going_on is not None and ends._going_on.is_alive():
        ends._going_on.join()
    used(log, 1, 151, 155)
    ends.keep_up(log.size)
    counted.leaves = 0
    begin(log, folder, "a", 2)
    assert counted.leaves == 5
    assert opened(log)[-1]["previous_counters_digest"] == counters_digest({"agr-1": 155})


def test_settle_waits_for_what_was_submitted(log: AuditLog) -> None:
    """In the published log on return; of an empty outbox at once; a log that stopped says so."""
    log.settle()
    log.submit([control(number) for number in range(1, 600)])
    log.settle()
    assert sum(kind == "control" for _, kind, _ in log.entries(0, log.size)) == 599
    log.close()
    with pytest.raises(Unavailable) as caught:
        log.settle()
    assert caught.value.code == "audit_stopped"


def test_settle_does_not_wait_for_ever(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What does not get in within the time is `audit_unavailable`."""
    held, commit = threading.Event(), Sequencer.commit

    def slow(sequencer: Sequencer) -> Committed | None:
        held.wait(20)
        return commit(sequencer)

    monkeypatch.setattr(Sequencer, "commit", slow)
    with log_at(folder) as log:
        log.submit([control(1)])
        with pytest.raises(Unavailable) as caught:
            log.settle(0.01)
        assert caught.value.code == "audit_unavailable"
        held.set()
        log.settle()
        assert log.entry(log.size - 1)[0] == "control"
