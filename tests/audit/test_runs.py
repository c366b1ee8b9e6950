"""A gateway's runs: each names the end of the one before, taken from the log and from nothing else."""

import json
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from exchange.audit.entries import counters_digest
from exchange.audit.log import AuditLog
from exchange.audit.runs import GATEWAY, Ends, GatewayRuns
from exchange.audit.sequencer import Committed, Sequencer
from exchange.errors import Unavailable
from tests.audit.building import START_NS, clock, control, log_at, refusal, release
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
