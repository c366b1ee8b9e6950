"""The SQLite state on storage that was changed, lost or belongs to somebody else."""

import os
import random
import shutil
import sqlite3
from pathlib import Path

import pytest

from exchange.envelope import Stored
from exchange.errors import Invalid, Tampered, Unavailable
from exchange.state import Latest
from exchange.state.sqlite import SqliteStateStore

TOPIC = "ps.person"
TAGS = [random.Random(number).randbytes(16) for number in range(800)]


def stored(first: int = 0) -> Stored:
    """One record for each subject."""
    positions = range(first, first + len(TAGS))
    values = [b"value %05d " % position * 10 for position in positions]
    return Stored(TOPIC, 0, positions, [7] * len(TAGS), TAGS, values, positions.stop)


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A closed state in which every subject had two records."""
    path = tmp_path_factory.mktemp("state") / "state.db"
    state = SqliteStateStore(path)
    state.apply(stored())
    state.apply(stored(len(TAGS)))
    state.close()
    return path


@pytest.fixture
def path(written: Path, tmp_path: Path) -> Path:
    """A copy of it."""
    return Path(shutil.copy(written, tmp_path / "state.db"))


def everything(path: Path) -> dict[bytes, Latest]:
    """The latest record of each subject."""
    state = SqliteStateStore(path)
    try:
        assert state.current_to(TOPIC, 0) == 2 * len(TAGS)
        return dict(state.get(TOPIC, TAGS))
    finally:
        state.close()


def test_bytes_changed_or_cut_off_are_found_or_do_not_matter(written: Path, tmp_path: Path) -> None:
    """Bits flipped, runs of garbage, the end cut off: Tampered, or exactly what was written; nobody is missing."""
    whole, content, pick = everything(written), written.read_bytes(), random.Random(5)
    found = 0
    for number in range(45):
        at, damaged = pick.randrange(100, len(content)), bytearray(content)
        if number % 3 == 0:
            damaged[at] ^= 1 << pick.randrange(8)
        elif number % 3 == 1:
            damaged[at : at + 300] = pick.randbytes(len(damaged[at : at + 300]))
        else:
            del damaged[at:]
        path = tmp_path / f"{number}.db"
        path.write_bytes(damaged)
        try:
            assert everything(path) == whole
        except Tampered:
            found += 1
    assert found > 25


@pytest.mark.parametrize(
    "change",
    [
        "DELETE FROM latest WHERE tag = ?",
        "UPDATE latest SET value = x'00' WHERE tag = ?",
        "UPDATE latest SET position = 3 WHERE tag = ?",
        "UPDATE latest SET position = 'x' WHERE tag = ?",
        "UPDATE latest SET digest = 5 WHERE tag = ?",
        "UPDATE latest SET tag = zeroblob(16) WHERE tag = ?",
        "UPDATE latest SET tag = 'text' WHERE tag = ?",
        "UPDATE latest SET topic = 'other.topic' WHERE tag = ?",
        "DELETE FROM bucket WHERE ? NOTNULL",
        "UPDATE bucket SET sum = 'x' WHERE ? NOTNULL",
        "UPDATE current SET position = 5 WHERE ? NOTNULL",
    ],
)
def test_rows_changed_from_outside_are_found(path: Path, change: str) -> None:
    """A record that was lost, changed or moved is Tampered when its subject is asked for, never just absent."""
    connection = sqlite3.connect(path)
    connection.execute(change, (TAGS[3],))
    connection.commit()
    connection.close()
    state = SqliteStateStore(path)
    with pytest.raises(Tampered, match="state_damaged"):
        state.get(TOPIC, [TAGS[3]]) if "current" not in change else state.current_to(TOPIC, 0)
    state.close()


@pytest.mark.parametrize(
    "change",
    [
        "UPDATE latest SET position = 'x' WHERE tag = ?",
        "UPDATE latest SET digest = 5 WHERE tag = ?",
        "UPDATE bucket SET sum = 'x' WHERE ? NOTNULL",
    ],
)
def test_changed_rows_are_not_built_upon(path: Path, change: str) -> None:
    """Taking in more records stops at a row that cannot be compared or added up."""
    connection = sqlite3.connect(path)
    connection.execute(change, (TAGS[3],))
    connection.commit()
    connection.close()
    state = SqliteStateStore(path)
    with pytest.raises(Tampered, match="state_damaged"):
        state.apply(stored(10_000))
    state.close()


def test_a_record_put_back_to_an_older_one_is_found(path: Path) -> None:
    """A whole old row, with its own digest, does not fit the sum of its bucket."""
    connection = sqlite3.connect(path)
    older = path.with_name("older.db")
    state = SqliteStateStore(older)
    state.apply(stored())
    state.close()
    connection.execute("ATTACH ? AS older", (str(older),))
    query = "INSERT OR REPLACE INTO main.latest SELECT * FROM older.latest WHERE tag = ?"
    connection.execute(query, (TAGS[3],))
    connection.commit()
    connection.close()
    state = SqliteStateStore(path)
    with pytest.raises(Tampered, match="state_damaged"):
        state.get(TOPIC, [TAGS[3]])
    state.close()


def test_a_state_that_fails_in_the_middle_has_taken_nothing(path: Path) -> None:
    """No room for half of a batch: neither records nor position have moved."""
    state = SqliteStateStore(path)
    writer = state._database._writer
    (pages,) = writer.execute("PRAGMA page_count").fetchone()
    writer.execute(f"PRAGMA max_page_count = {pages}")
    before = dict(state.get(TOPIC, TAGS))
    fresh = [bytes(8) + number.to_bytes(8, "big") for number in range(2_000)]
    more = Stored(TOPIC, 0, range(2_000, 4_000), [7] * 2_000, fresh, [b"x" * 200] * 2_000, 4_000)
    with pytest.raises(Unavailable, match="state_unavailable"):
        state.apply(more)
    assert dict(state.get(TOPIC, TAGS + fresh)) == before
    assert state.current_to(TOPIC, 0) == 2 * len(TAGS)
    state.close()


def test_another_file_in_its_place_is_refused(tmp_path: Path, path: Path) -> None:
    """Garbage, nothing, a record log, another format."""
    garbage = tmp_path / "garbage.db"
    for content in (b"", os.urandom(9_000)):
        garbage.write_bytes(content)
        with pytest.raises(Tampered, match="state_damaged"):
            SqliteStateStore(garbage)
    connection = sqlite3.connect(path)
    connection.execute("PRAGMA user_version = 9")
    connection.close()
    with pytest.raises(Invalid, match="state_format"):
        SqliteStateStore(path)
