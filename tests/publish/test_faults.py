"""The PUBLISH path where each step fails: acknowledged ⊆ readable, nothing twice, and sending again mends it.

Each store call fails in two ways: before it did anything, and after it did everything (the answer was lost).
"""

import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import pytest
from sqlalchemy import Connection, text

from exchange.errors import Invalid, Tampered, Unavailable
from exchange.log.dead_letters import topic_of
from exchange.publish import Published, PublishParts, publish, recover
from tests.publish.building import (
    DATASET,
    SOURCE,
    ListAdapter,
    Site,
    check_commits,
    open_site,
    people,
    person,
    readable,
)

pytestmark = pytest.mark.torture  # steps that fail: the second part of `make test`

RECORDS: dict[int, Any] = {number: person(number) for number in range(1, 11)} | {3: {"bad": 1}, 9: {}}
GOOD = [number for number in RECORDS if number not in (3, 9)]
STEPS = ["seals.put", "log.append", "transaction", "audit.add", "audit.wait", "log.mark", "marks.mark"]


class Crash(Exception):
    """The process ends here."""


class Faulty:
    """Stands before a store: the `at`-th call of `method` ends in `fault`, before or after it was done."""

    def __init__(self, inner: Any, method: str, at: int, fault: Exception, *, done: bool) -> None:
        self._inner, self._method, self._left, self._fault, self._done = inner, method, at, fault, done

    def __getattr__(self, name: str) -> Any:
        real = getattr(self._inner, name)
        return self._failing(real) if name == self._method else real

    def __call__(self) -> Any:
        return self._failing_transaction()

    def _failing(self, real: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any, **keywords: Any) -> Any:
            self._left -= 1
            if self._left == 0 and not self._done:
                raise self._fault
            answer = real(*arguments, **keywords)
            if self._left == 0:
                raise self._fault
            return answer

        return call

    @contextmanager
    def _failing_transaction(self) -> Iterator[Connection]:
        self._left -= 1
        now = self._left == 0
        with self._inner() as connection:
            yield connection
            if now and not self._done:
                raise self._fault
        if now:
            raise self._fault


def with_fault(parts: PublishParts, step: str, at: int, fault: Exception, *, done: bool) -> PublishParts:
    """The parts with one of them failing at its `at`-th use."""
    name, _, method = step.partition(".")
    faulty = Faulty(getattr(parts, name), method, at, fault, done=done)
    return replace(parts, **{name: cast("Any", faulty)})


def try_publish(site: Site, parts: PublishParts) -> tuple[list[Published], bool]:
    """What was acknowledged, and whether the run ended in the planned fault."""
    told: list[Published] = []
    try:
        publish(ListAdapter(RECORDS), site.target, parts, on_batch=told.append)
    except (Unavailable, Crash):
        return told, True
    return told, False


def check_acknowledged(site: Site, told: list[Published]) -> None:
    """What was acknowledged can be read, and nothing can be read twice."""
    found = people(site)
    assert len(found) == len(set(found))
    until = told[-1].last_sequence if told else 0
    assert set(found) >= {number for number in GOOD if number <= until}


def copy_of(empty: Path, folder: Path) -> Path:
    """A fresh copy of the site."""
    return Path(shutil.copytree(empty, folder))


@pytest.mark.parametrize("done", [False, True], ids=["not done", "done"])
@pytest.mark.parametrize("step", STEPS)
def test_a_step_that_fails_loses_and_doubles_nothing(empty: Path, folder: Path, step: str, done: bool) -> None:
    """For the first, second, … use of a step until none is left: publish, fail, publish again, all there once."""
    at, failed = 0, True
    site = open_site(copy_of(empty, folder / "site"))
    while failed and at < 3:
        at += 1
        if at > 1:
            site.close()
            site = open_site(copy_of(empty, folder / f"site{at}"))
        fault = Unavailable("log_unavailable", where="test", detail="planned")
        told, failed = try_publish(site, with_fault(site.parts, step, at, fault, done=done))
        check_acknowledged(site, told)
        again, _ = try_publish(site, site.parts)
        assert people(site) == GOOD
        assert len(readable(site, topic_of(DATASET))) == 2
        check_acknowledged(site, again)
        check_commits(site)
    assert at > 1
    site.close()


@pytest.mark.parametrize("done", [False, True], ids=["not done", "done"])
@pytest.mark.parametrize("step", ["seals.put", "log.append", "transaction", "audit.wait"])
def test_a_crash_is_mended_when_the_site_is_opened(empty: Path, folder: Path, step: str, done: bool) -> None:
    """After a crash at any durable step, opening makes what was appended readable, without the source."""
    made = copy_of(empty, folder / "site")
    site = open_site(made)
    told, crashed = try_publish(site, with_fault(site.parts, step, 2, Crash(), done=done))
    assert crashed
    site.close()
    site = open_site(made)
    recover(site.parts)
    check_acknowledged(site, told)
    assert people(site) == [number for number in GOOD if number <= site.log.mark(SOURCE)]
    check_commits(site)
    assert recover(site.parts) == 0
    size = site.audit.size
    assert try_publish(site, site.parts)[1] is False
    assert people(site) == GOOD
    assert site.audit.size > size or site.log.mark(SOURCE) == 10
    site.close()


def test_recovery_writes_the_entries_that_the_publisher_would_have_written(empty: Path, folder: Path) -> None:
    """Ranges, ids and roots are the same with and without a crash between append and commit."""
    bodies = []
    for name, done in (("whole", None), ("crashed", True)):
        site = open_site(copy_of(empty, folder / name), batch_records=20)
        parts = site.parts if done is None else with_fault(site.parts, "log.append", 1, Crash(), done=True)
        try_publish(site, parts)
        assert recover(site.parts) == (0 if done is None else 3)
        entries = [body for _, kind, body in site.audit.entries(0, site.audit.size) if kind == "record_commit"]
        bodies.append({body["id"]: {**body, "time_ns": 0} for body in entries})
        site.close()
    assert bodies[0] == bodies[1]
    assert len(bodies[0]) == 3


def test_records_without_their_commit_are_not_readable(empty: Path, folder: Path) -> None:
    """Appended and not committed: no reader sees them, until the next publisher of the partition commits them."""
    site = open_site(copy_of(empty, folder / "site"), partitions=1)
    try_publish(site, with_fault(site.parts, "log.append", 1, Crash(), done=True))
    assert site.log.end(DATASET, 0) == 3
    assert readable(site) == []
    other = ListAdapter({1: person(77)}, source="ps.person/other")
    publish(other, replace(site.target, actor=None), site.parts, on_batch=lambda _: None)
    assert people(site) == [1, 2, 4, 77]
    site.close()


def test_a_publisher_commits_those_who_stand_before_it(empty: Path, folder: Path) -> None:
    """Two publishers append to one partition and the second comes first to its commit: no gap, nothing twice."""
    site = open_site(copy_of(empty, folder / "site"), partitions=1, batch_records=20)
    inner = site.parts.log

    class Overtaken:
        def __getattr__(self, name: str) -> Any:
            return getattr(inner, name)

        def append(self, *arguments: Any) -> Any:
            positions = inner.append(*arguments)
            other = ListAdapter({1: person(77)}, source="ps.person/other")
            publish(other, site.target, site.parts, on_batch=lambda _: None)
            return positions

    told, failed = try_publish(site, replace(site.parts, log=cast("Any", Overtaken())))
    assert (told[-1].taken, failed) == (8, False)
    assert people(site) == [*GOOD, 77]
    covered = [
        (body["lo"], body["hi"], body["source"])
        for _, kind, body in site.audit.entries(0, site.audit.size)
        if kind == "record_commit" and body["topic"] == DATASET
    ]
    assert covered == [(0, 8, SOURCE), (8, 9, "ps.person/other")]
    site.close()


@pytest.mark.parametrize("before", [0, 2], ids=["nothing committed", "something committed"])
def test_a_publisher_never_skips_what_others_left_uncommitted(empty: Path, folder: Path, before: int) -> None:
    """Somebody appends right before us and dies: their records are committed with their own entry, then ours."""
    site = open_site(copy_of(empty, folder / "site"), partitions=1, batch_records=20)
    inner, other = site.parts.log, "ps.person/other"
    if before:
        early = ListAdapter({number: person(50 + number) for number in range(1, before + 1)}, source="ps.person/early")
        publish(early, site.target, site.parts, on_batch=lambda _: None)

    class Preceded:
        def __getattr__(self, name: str) -> Any:
            return getattr(inner, name)

        def append(self, *arguments: Any) -> Any:
            dying = with_fault(site.parts, "log.append", 1, Crash(), done=True)
            with pytest.raises(Crash):
                publish(ListAdapter({1: person(77)}, source=other), site.target, dying, on_batch=lambda _: None)
            return inner.append(*arguments)

    told, failed = try_publish(site, replace(site.parts, log=cast("Any", Preceded())))
    assert (told[-1].taken, failed) == (8, False)
    covered = [
        (body["lo"], body["hi"], body["source"])
        for _, kind, body in site.audit.entries(0, site.audit.size)
        if kind == "record_commit" and body["topic"] == DATASET
    ]
    assert covered[-2:] == [(before, before + 1, other), (before + 1, before + 9, SOURCE)]
    assert len(people(site)) == before + 9
    site.close()


def test_a_log_that_lost_committed_records_is_found(empty: Path, folder: Path) -> None:
    """The log's file is gone (so that an empty one is made), or an older copy came back: recovery stops."""
    made = copy_of(empty, folder / "site")
    site = open_site(made)
    try_publish(site, site.parts)
    site.close()
    (made / "records.db").rename(made / "kept.db")
    site = open_site(made)
    with pytest.raises(Tampered, match="log_behind_commits"):
        recover(site.parts)
    site.log.create(DATASET, 2)
    with pytest.raises(Tampered, match="log_behind_commits"):
        recover(site.parts)
    site.close()


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ("DELETE FROM seals", "seal_missing"),
        ("UPDATE seals SET leaves = zeroblob(length(leaves))", "seal_broken"),
        ("UPDATE seals SET sequences = zeroblob(8)", "seal_broken"),
        ("UPDATE seals SET sequences = zeroblob(length(sequences))", "seal_broken"),
        ("UPDATE seals SET sequences = 5", "seal_broken"),
        ("UPDATE seals SET department = 'other'", "seal_broken"),
        ("UPDATE seals SET signature = zeroblob(64)", "seal_broken"),
        ("UPDATE seals SET public = 'x'", "seal_broken"),
        ("UPDATE seals SET count = 'x'", "seal_broken"),
    ],
)
def test_a_seal_that_is_gone_or_changed_commits_nothing(empty: Path, folder: Path, change: str, code: str) -> None:
    """Recovery verifies the kept seal before it writes an entry on its word."""
    site = open_site(copy_of(empty, folder / "site"))
    try_publish(site, with_fault(site.parts, "log.append", 1, Crash(), done=True))
    with site.engine.begin() as connection:
        connection.execute(text(change))
    with pytest.raises(Tampered, match=code):
        recover(site.parts)
    assert readable(site) == []
    site.close()


def test_the_audit_log_standing_still_acknowledges_nothing(empty: Path, folder: Path) -> None:
    """No checkpoint, no acknowledgement: what is stored waits for the next start."""
    made = copy_of(empty, folder / "site")
    site = open_site(made)
    site.audit.close()
    assert try_publish(site, site.parts) == ([], True)
    site.close()
    site = open_site(made)
    recover(site.parts)
    assert people(site) == [1, 2, 4]
    check_commits(site)
    site.close()


def test_another_error_of_the_log_is_not_taken_for_a_lost_race(empty: Path, folder: Path) -> None:
    """An append that is refused while the mark stands still is handed on, not tried for ever."""
    site = open_site(copy_of(empty, folder / "site"))
    fault = Invalid("sequence_not_after_mark", source=SOURCE)
    with pytest.raises(Invalid, match="sequence_not_after_mark"):
        try_publish(site, with_fault(site.parts, "log.append", 1, fault, done=False))
    site.close()
