"""Rules of who-saw: every release and refusal of a subject is found, and no other."""

import random
import sqlite3
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy import Engine

from exchange.audit import index_tables as t
from exchange.audit.access_entries import bitmap
from exchange.audit.entries import Entry, entry_id, make
from exchange.audit.log import AuditLog
from exchange.audit.sealing import ReadTags
from exchange.audit.subjects import _PROBE, _PROBE_ON_SERVER, FORMAT, Sighting, SubjectIndex, Wanted
from exchange.control.database import open_engine
from exchange.errors import Invalid, Tampered, Unavailable
from tests.audit.building import START_NS, control, log_at, new_log, refusal, release
from tests.services_postgres import schema_of

TAGS = [bytes([n]) * 16 for n in range(8)]
Records = Mapping[tuple[str, int], Sequence[tuple[int, bytes]]]  # partition → (position, tag)
RECORDS: Records = {
    ("ps.person", 0): [(position, TAGS[position % 5]) for position in range(0, 200, 3)],
    ("ps.person", 1): [(position, TAGS[5 + position % 2]) for position in range(10)],
}
TOPICS = {"ps.person": 2}


def index_at(file: Path) -> SubjectIndex:
    """The index in a file."""
    return SubjectIndex(open_engine(f"sqlite:///{file}"))


Open = Callable[[str], SubjectIndex]


@pytest.fixture(name="index_of", params=["sqlite", "postgres"])
def _index_of(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Open]:
    """Opens the index of a name, on either engine."""
    engines: list[Engine] = []

    def opened(name: str) -> SubjectIndex:
        file = request.param == "sqlite"
        engines.append(open_engine(f"sqlite:///{tmp_path / name}.db" if file else schema_of(tmp_path / name)))
        return SubjectIndex(engines[-1])

    yield opened
    for one in engines:
        one.dispose()


def _reader(records: Records) -> ReadTags:
    def read(topic: str, partition: int, position: int, limit: int) -> tuple[list[bytes], list[int], int]:
        rows = [row for row in records[topic, partition] if row[0] >= position][: min(limit, 7)]
        return [tag for _, tag in rows], [at for at, _ in rows], rows[-1][0] + 1 if rows else position

    return read


def _plainly(tag: bytes, log: AuditLog) -> dict[int, tuple[int, ...]]:
    """The reference: every entry against every position, by its definition."""
    found = {}
    for index, kind, body in log.entries(0, log.size):
        answers = zip(body.get("tags", ()), body.get("positions", ()), strict=False)
        shown = [place for one, place in answers if one == tag]
        if kind == "release" and body["lo"] is not None:
            held = body["excluded"]
            shown += [
                position
                for position, one in RECORDS[body["topic"], body["partition"]]
                if one == tag and body["lo"] <= position < body["hi"] and not (held and position % 2)
            ]
        named = kind in ("refusal", "audit_query", "release") and tag in body["tags"]
        if shown or named:
            found[index] = tuple(sorted(place for place in shown if place is not None))
    return found


def _entries(choice: random.Random) -> list[Entry]:
    entries: list[Entry] = []
    for counter in range(1, 60):
        lo, length = choice.randrange(0, 150), choice.randrange(1, 40)
        odd = [offset for offset in range(length) if (lo + offset) % 2] if choice.random() < 0.3 else []
        agreement, partition = choice.choice(["agr-1", "agr-2", None]), choice.randrange(2)
        what: dict[str, Any] = {"lo": lo, "hi": lo + length, "excluded": bitmap(odd, length), "partition": partition}
        entries.append(release(counter, agreement=agreement, **what))
    answered: dict[str, Any] = {"tags": TAGS[:2], "partitions": [0, 0], "positions": [15, None], "action": "lookup"}
    entries.append(release(99, lo=None, hi=None, partition=None, **answered))
    entries.append(refusal(1, tags=TAGS[:1], action="lookup", case="case-1"))
    entries.append(make("audit_query", entry_id("q"), START_NS, query="who_saw", tags=[TAGS[3]], results=0))
    return entries


def test_who_saw_is_what_its_definition_says(tmp_path: Path, index_of: Open) -> None:
    """Over random ranges, overlaps, replays and exclusions: the probe finds what a plain scan finds; rebuilt, too."""
    with log_at(tmp_path) as log:
        entries = _entries(random.Random(7))
        log.submit(entries)
        log.wait(entries[-1].id)
        index = index_of("index")
        index.follow(TOPICS, _reader(RECORDS), log)
        found = {tag: index.who_saw(tag) for tag in TAGS}
        index.close()
        for tag in TAGS:
            assert {one.index: one.positions for one in found[tag]} == _plainly(tag, log)
        again = index_of("again")
        again.follow(TOPICS, _reader(RECORDS), log)
        assert {tag: again.who_saw(tag) for tag in TAGS} == found
        again.close()
        assert len(found[TAGS[0]]) > 10
        assert found[TAGS[7]] == []


def test_a_search_finds_from_either_end_what_there_was_at_a_size(tmp_path: Path, index_of: Open) -> None:
    """Between any two indexes, from either end, up to any size: as a plain scan does, what was confirmed later too."""
    with log_at(tmp_path) as log:
        entries = _entries(random.Random(5))
        entries[20:20] = [_ack(4), _ack(9)]
        entries += [_ack(10), _ack(30)]
        log.submit(entries)
        log.wait(entries[-1].id)
        index = index_of("index")
        index.follow(TOPICS, _reader(RECORDS), log)
        told = list(log.entries(0, log.size))
        choice = random.Random(3)
        for _ in range(40):
            size, after = choice.randrange(2, log.size + 1), choice.randrange(-1, log.size)
            before = choice.choice([None, choice.randrange(log.size + 1)])
            most, unconfirmed = choice.choice([1, 3, 1000]), choice.random() < 0.5
            acked = {body["index"] for _, kind, body in told[:size] if kind == "ack"} if unconfirmed else set()
            wanted = [at for at, kind, _ in told[:size] if kind == "release" and at not in acked and at > after]
            wanted = [at for at in wanted if before is None or at < before]
            asked = Wanted(kinds=("release",), unconfirmed=unconfirmed, size=size)
            found = list(index.find(asked, after, most, before))
            assert found == (wanted[:most] if before is None else wanted[-most:])
            assert index.count(asked, after, most, before) == min(len(wanted), most)
        index.close()


def _ack(index: int) -> Entry:
    told: dict[str, Any] = {"release": entry_id("release", index), "recipient": "ny.minzheng", "outcome": "received"}
    return make("ack", entry_id("ack", index), START_NS, index=index, **told)


def test_what_was_so_at_a_size_is_found_for_ever(tmp_path: Path, index_of: Open) -> None:
    """Below a size the index answers as the log was then: a release that was confirmed later is unconfirmed there."""
    with log_at(tmp_path) as log:
        told = [release(1), release(2)]
        log.submit(told)
        log.wait(told[-1].id)
        size = log.size
        one = size - 2
        more = [
            make(
                "ack",
                entry_id("a"),
                START_NS,
                release=told[0].id,
                index=one,
                recipient="ny.minzheng",
                outcome="received",
            ),
            release(3),
        ]
        log.submit(more)
        log.wait(more[-1].id)
        index = index_of("index")
        index.follow(TOPICS, _reader(RECORDS), log)
        last = log.size - 1

        def found(at: int | None) -> list[int]:
            return list(index.find(Wanted(("release",), unconfirmed=True, size=at), -1, 9))

        assert (found(size), found(log.size), found(None)) == ([one, one + 1], [one + 1, last], [one + 1, last])
        times = [body["time_ns"] for _, _, body in log.entries(one, log.size)]
        assert index.period(times[1], None, log.size) == (one + 1, last)
        assert index.period(None, times[1], size)[1] == one
        assert index.period(1 << 62, 1, log.size) == (None, None)
        for odd in ("\x00", "", "'", "x" * 300, "\n"):  # no database may take offence at what somebody asks for
            assert index.find(Wanted(("release",), dataset=odd, field=odd), -1, 9) == {}
        index.close()


def test_following_goes_on_where_it_was(tmp_path: Path, index_of: Open) -> None:
    """Entries and records that come later are taken in by the next call, once."""
    with log_at(tmp_path) as log:
        index = index_of("index")
        log.append(release(1, lo=0, hi=10))
        early: Records = {place: rows[:4] for place, rows in RECORDS.items()}
        index.follow(TOPICS, _reader(early), log)
        assert [one.index for one in index.who_saw(TAGS[0])] == [2]
        log.append(release(2, lo=10, hi=20))
        index.follow(TOPICS, _reader(RECORDS), log)
        index.follow(TOPICS, _reader(RECORDS), log)
        assert [one.positions for one in index.who_saw(TAGS[0])] == [(0,), (15,)]
        index.close()


def test_a_sighting_says_what_was_seen_and_why(tmp_path: Path, index_of: Open) -> None:
    """Fields with masks, purpose, policy revision, agreement, recipient, actor, case, time and place."""
    with log_at(tmp_path) as log:
        fields = '[{"mask":{"kind":"keep"},"path":"name"}]'
        entry = release(1, lo=0, hi=10, fields=fields, actor="a" * 32, case="case-1")
        log.append(control(1))
        log.append(entry)
        index = index_of("index")
        index.follow(TOPICS, _reader(RECORDS), log)
        body = entry.body
        assert index.who_saw(TAGS[0]) == [
            Sighting(
                index=4, kind="release", time_ns=body["time_ns"], positions=(0,), dataset="ps.person",
                fields=({"mask": {"kind": "keep"}, "path": "name"},), purpose="dibao.review",
                policy_revision=body["policy_revision"], agreement="agr-1", recipient="ny.minzheng", actor="a" * 32,
                case="case-1", action="read", reasons=(),
            )
        ]  # fmt: skip
        index.close()


def test_an_unreadable_bitmap_excludes_nobody(tmp_path: Path) -> None:
    """Rather one sighting too many: garbage in place of the bitmap holds nothing back."""
    with log_at(tmp_path) as log:
        log.append(release(1, lo=0, hi=10, excluded=b"garbage"))
        index = index_at(tmp_path / "index.db")
        index.follow(TOPICS, _reader(RECORDS), log)
        assert len(index.who_saw(TAGS[0])) == 1
        index.close()


def test_an_index_of_a_later_version_is_left_alone(tmp_path: Path) -> None:
    """It is told by its format's number, and the file stays as it is; one without a number is of the first format."""
    file = tmp_path / "index.db"
    for number, refused in ((0, False), (FORMAT, False), (FORMAT + 1, True)):
        with sqlite3.connect(file) as plain:
            plain.execute(f"PRAGMA user_version = {number}")
        plain.close()
        before = file.read_bytes()
        if refused:
            with pytest.raises(Invalid, match="subject_index_format"):
                index_at(file)
            assert file.read_bytes() == before
        else:
            index_at(file).close()


def test_an_index_that_cannot_be_opened_is_unavailable(tmp_path: Path) -> None:
    """No folder, a full disk, a lock: it is not said to be damaged, and nothing is made of it."""
    with pytest.raises(Unavailable, match="subject_index_unavailable"):
        index_at(tmp_path / "nowhere" / "index.db")
    assert list(tmp_path.iterdir()) == []


def test_a_damaged_index_is_said_to_be_one(tmp_path: Path) -> None:
    """Garbage in the file, or an index that is ahead of the audit log: one clear error."""
    (tmp_path / "bad.db").write_bytes(b"garbage" * 1000)
    with pytest.raises(Tampered, match="subject_index_damaged"):
        index_at(tmp_path / "bad.db")
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
    longer, shorter = new_log(tmp_path / "one"), new_log(tmp_path / "two")
    longer.append(control(1))
    index = index_at(tmp_path / "index.db")
    index.follow({}, _reader(RECORDS), longer)
    with pytest.raises(Tampered, match="ahead of the audit log"):
        index.follow({}, _reader(RECORDS), shorter)
    index.close()
    longer.close()
    shorter.close()


@pytest.mark.parametrize("engine", ["sqlite", "postgres"])
def test_the_probe_reads_no_whole_table_of_ranges(engine: str, tmp_path: Path) -> None:
    """On each engine: one backward step in the key of the ranges for each position and stream."""
    url = f"sqlite:///{tmp_path / 'index.db'}" if engine == "sqlite" else schema_of(tmp_path)
    opened = open_engine(url)
    SubjectIndex(opened)
    rows = [{"stream": number % 5, "lo": number, "hi": number + 1} for number in range(5_000)]
    with opened.begin() as connection:
        connection.execute(t.SEEN.insert(), [{"tag": TAGS[0], "part": 1, "position": at} for at in range(100)])
        connection.execute(t.STREAM.insert(), [{"id": at, "part": 1, "agreement": "a", "hi": 9} for at in range(5)])
        connection.execute(t.RANGE.insert(), [{**row, "idx": row["lo"], "time_ns": 1, "facts": 1} for row in rows])
        connection.execute(sa.text("ANALYZE"))
        probe, word = (_PROBE, "QUERY PLAN ") if engine == "sqlite" else (_PROBE_ON_SERVER, "")
        plan = "\n".join(
            str(row[-1]) for row in connection.execute(sa.text(f"EXPLAIN {word}{probe}"), {"tag": TAGS[0]})
        )
    opened.dispose()
    if engine == "sqlite":
        assert "SEARCH e USING PRIMARY KEY (stream=? AND lo<?)" in plan
        assert "SCAN r" not in plan
    else:
        assert "Index Scan Backward using index_range_pkey" in plan
        assert "Seq Scan on index_range" not in plan
