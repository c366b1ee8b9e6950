"""The SQLite record log on storage that lies, fails, is full or belongs to somebody else."""

import os
import random
import shutil
import sqlite3
from collections.abc import Callable
from pathlib import Path

import pytest

from exchange.envelope import Batch
from exchange.errors import ExchangeError, Invalid, Tampered, Unavailable
from exchange.log.sqlite import SqliteRecordLog

TOPIC = "ps.person"
VALUES = [b"value %05d " % number * 20 for number in range(3_000)]


def batch(first: int, count: int, size: int = 1) -> Batch:
    """`count` records from sequence `first` on."""
    sequences = range(first, first + count)
    tags = [sequence.to_bytes(16, "big") for sequence in sequences]
    values = [VALUES[sequence % len(VALUES)] * size for sequence in sequences]
    return Batch(TOPIC, 0, "src", "seal", 1, 1, sequences, tags, values)


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A closed log of 3,000 records in two appends: one file, no WAL."""
    path = tmp_path_factory.mktemp("log") / "records.db"
    log = SqliteRecordLog(path)
    log.create(TOPIC, 1)
    log.append("src", 1_500, [batch(1, 1_500)])
    log.append("src", 3_000, [batch(1_501, 1_500)])
    log.close()
    assert [item.name for item in path.parent.iterdir()] == ["records.db"]
    return path


@pytest.fixture
def path(written: Path, tmp_path: Path) -> Path:
    """A copy of that log."""
    return Path(shutil.copy(written, tmp_path / "records.db"))


def everything(path: Path) -> list[object]:
    """All that the log tells; an error of SQLite or Python's own would leave this function as it is."""
    log = SqliteRecordLog(path)
    try:
        found: list[object] = [dict(log.topics()), log.mark("src"), log.end(TOPIC, 0)]
        found.append(list(log.read(TOPIC, 0, 0, 9_999).values))
        position = 0
        while (records := log.read(TOPIC, 0, position, 700)).values:
            found.append((list(records.positions), list(records.tags), list(records.values)))
            position = records.next_position
        found.append([dict(log.headers(TOPIC, 0, place)) for place in (0, 999, 1_000, 2_999)])
        return found
    finally:
        log.close()


def test_a_file_cut_off_anywhere_is_found(written: Path, tmp_path: Path) -> None:
    """Cut at any page, in a page, or to nothing: Tampered with the file's name, or everything is there."""
    whole, size = everything(written), written.stat().st_size
    cuts = [0, 1, 15, 16, 99, 100, 4_096, 16_384, size - 16_384, size - 1]
    cuts += [random.Random(7).randrange(size) for _ in range(25)]
    for cut in cuts:
        path = tmp_path / f"{cut}.db"
        path.write_bytes(written.read_bytes()[:cut])
        with pytest.raises(Tampered, match="log_damaged") as caught:
            assert everything(path) == whole
        assert caught.value.where == str(path)


def test_bytes_changed_anywhere_are_found_or_do_not_matter(written: Path, tmp_path: Path) -> None:
    """One bit, or a run of garbage, at many places: an error of ours, or exactly what was written."""
    whole, content, pick = everything(written), written.read_bytes(), random.Random(11)
    found = 0
    for number in range(60):
        at, length = pick.randrange(100, len(content)), pick.choice([1, 1, 600])
        damaged = bytearray(content)
        if length == 1:
            damaged[at] ^= 1 << pick.randrange(8)
        else:
            damaged[at : at + length] = pick.randbytes(len(damaged[at : at + length]))
        path = tmp_path / f"{number}.db"
        path.write_bytes(damaged)
        try:
            assert everything(path) == whole
        except Tampered:
            found += 1
    assert found > 40


@pytest.mark.parametrize(
    "change",
    [
        "DELETE FROM block WHERE first = 1000",
        "DELETE FROM block WHERE first = 2500",
        "DELETE FROM part",
        "UPDATE part SET stop = 1500",
        "UPDATE part SET stop = 'x'",
        "UPDATE mark SET mark = 5",
        "UPDATE topic SET partitions = 2",
        "UPDATE block SET bodies = tags WHERE first = 0",
        "UPDATE block SET bodies = 5 WHERE first = 0",
        "UPDATE block SET seal = 'other' WHERE first = 0",
        "UPDATE block SET seal = CAST(x'ff' AS TEXT) WHERE first = 0",
        "UPDATE block SET count = 999 WHERE first = 0",
        "UPDATE block SET first = 1 WHERE first = 0",
        "UPDATE block SET sequences = NULL WHERE first = 0",
        "DROP TABLE mark",
        "PRAGMA application_id = 1",
    ],
)
def test_rows_changed_from_outside_are_found(path: Path, change: str) -> None:
    """Whoever edits the file with SQLite itself is found out: by digests, or because rows no longer join up."""
    connection = sqlite3.connect(path)
    connection.execute("PRAGMA ignore_check_constraints = ON")
    try:
        connection.execute(change)
    except sqlite3.IntegrityError:
        connection.execute("PRAGMA writable_schema = ON")
        connection.execute("UPDATE sqlite_master SET sql = replace(sql, 'sequences BLOB NOT NULL', 'sequences BLOB')")
        connection.commit()
        connection.close()
        connection = sqlite3.connect(path)
        connection.execute(change)
    connection.commit()
    connection.close()
    with pytest.raises(Tampered, match="log_damaged"):
        everything(path)


@pytest.mark.parametrize("first", [0, 1_000, 1_500, 2_500])
def test_a_read_over_a_missing_block_gives_nothing(path: Path, first: int) -> None:
    """Wherever records are missing between two that are there: no shorter answer, no shifted one."""
    connection = sqlite3.connect(path)
    connection.execute("DELETE FROM block WHERE first = ?", (first,))
    connection.commit()
    connection.close()
    log = SqliteRecordLog(path)
    for start in (first, max(first - 600, 0)):
        with pytest.raises(Tampered, match="log_damaged"):
            log.read(TOPIC, 0, start, 9_999)
    with pytest.raises(Tampered, match="log_damaged"):
        log.headers(TOPIC, 0, first)
    log.close()


def test_another_file_in_its_place_is_refused(tmp_path: Path) -> None:
    """Garbage, an empty file, another database: none of them becomes an empty log."""
    path = tmp_path / "records.db"
    other = tmp_path / "other.db"
    sqlite3.connect(other).execute("CREATE TABLE t (a)").connection.close()
    for content in (b"", b"\0" * 5_000, os.urandom(9_000), b"SQLite format 3\0", other.read_bytes()):
        path.write_bytes(content)
        with pytest.raises(Tampered, match="log_damaged"):
            SqliteRecordLog(path)
        assert path.read_bytes() == content


def test_a_log_of_another_format_is_refused(path: Path) -> None:
    """A newer version's file is left alone, and the error names both numbers."""
    connection = sqlite3.connect(path)
    connection.execute("PRAGMA user_version = 3")
    connection.close()
    with pytest.raises(Invalid, match="log_format") as caught:
        SqliteRecordLog(path)
    assert caught.value.facts == {"found": 3, "needed": 1}


def test_a_wal_without_its_file_is_not_thrown_away(path: Path) -> None:
    """The file is gone and its WAL is there: SQLite would delete the WAL; we stop."""
    path.rename(path.with_name("elsewhere"))
    wal = path.with_name("records.db-wal")
    wal.write_bytes(b"the last commits")
    with pytest.raises(Tampered, match="log_damaged"):
        SqliteRecordLog(path)
    assert wal.read_bytes() == b"the last commits"


def test_a_cut_wal_loses_whole_appends_or_is_found(tmp_path: Path) -> None:
    """A WAL cut off or gone gives a state that was once committed, never half an append."""
    live = tmp_path / "records.db"
    log = SqliteRecordLog(live)
    log.create(TOPIC, 1)
    for number in range(4):
        log.append("src", (number + 1) * 10, [batch(number * 10 + 1, 10)])
    wal = Path(f"{live}-wal").read_bytes()
    pick = random.Random(3)
    for cut in [0, 31, 32, len(wal), *(pick.randrange(len(wal)) for _ in range(12))]:
        copy = tmp_path / f"cut{cut}" / "records.db"
        copy.parent.mkdir()
        shutil.copy(live, copy)
        Path(f"{copy}-wal").write_bytes(wal[:cut])
        again = SqliteRecordLog(copy)
        if TOPIC in again.topics():
            end = again.end(TOPIC, 0)
            assert end % 10 == 0
            assert again.mark("src") == end
            assert len(again.read(TOPIC, 0, 0, 100).values) == end
        again.close()
    log.close()


@pytest.mark.parametrize(
    "take", [Path.unlink, lambda path: shutil.copy(path, f"{path}.2") and Path(f"{path}.2").rename(path)]
)
def test_a_file_taken_away_while_open_is_found(path: Path, take: Callable[[Path], object]) -> None:
    """Deleted or replaced under an open log: nothing is written into a file that nobody will find."""
    log = SqliteRecordLog(path)
    take(path)
    for call in (lambda: log.append("src", 3_001, [batch(3_001, 1)]), lambda: log.read(TOPIC, 0, 0, 1)):
        with pytest.raises(Tampered, match="log_damaged"):
            call()
    log.close()


def test_a_full_disk_is_unavailable_and_changes_nothing(path: Path) -> None:
    """SQLite's own limit plays the full disk: the append is undone, and goes through when there is room."""
    log = SqliteRecordLog(path)
    writer = log._database._writer
    (pages,) = writer.execute("PRAGMA page_count").fetchone()
    writer.execute(f"PRAGMA max_page_count = {pages}")
    with pytest.raises(Unavailable, match="log_unavailable"):
        log.append("src", 3_500, [batch(3_001, 500)])
    assert (log.mark("src"), log.end(TOPIC, 0)) == (3_000, 3_000)
    writer.execute(f"PRAGMA max_page_count = {pages + 100}")
    log.append("src", 3_500, [batch(3_001, 500)])
    assert log.end(TOPIC, 0) == 3_500
    log.close()


def test_a_locked_file_is_unavailable_after_a_while(path: Path) -> None:
    """Somebody else holds the write lock: reading goes on, writing gives up in time."""
    log = SqliteRecordLog(path, patience_s=0.02)
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(Unavailable, match="log_unavailable"):
        log.append("src", 3_001, [batch(3_001, 1)])
    assert log.end(TOPIC, 0) == 3_000
    other.execute("ROLLBACK")
    other.close()
    log.append("src", 3_001, [batch(3_001, 1)])
    log.close()


def test_a_folder_that_is_not_there_is_unavailable(tmp_path: Path) -> None:
    """A mount that is missing is no reason to call the auditor."""
    with pytest.raises(Unavailable, match="log_unavailable"):
        SqliteRecordLog(tmp_path / "none" / "records.db")


def test_after_a_failed_write_nothing_more_is_written(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An I/O error at commit: an fsync asked again may lie, so writing ends until the log is opened anew."""
    log = SqliteRecordLog(path)
    real = log._database._writer

    class Failing:
        in_transaction = False

        def execute(self, _statement: str) -> None:
            error = sqlite3.OperationalError("disk I/O error")
            error.sqlite_errorcode, error.sqlite_errorname = sqlite3.SQLITE_IOERR_FSYNC, "SQLITE_IOERR_FSYNC"
            raise error

    monkeypatch.setattr(log._database, "_writer", Failing())
    with pytest.raises(Unavailable, match="SQLITE_IOERR_FSYNC"):
        log.append("src", 3_001, [batch(3_001, 1)])
    monkeypatch.setattr(log._database, "_writer", real)
    with pytest.raises(Unavailable, match="open the store again"):
        log.append("src", 3_001, [batch(3_001, 1)])
    assert log.end(TOPIC, 0) == 3_000
    log.close()
    again = SqliteRecordLog(path)
    again.append("src", 3_001, [batch(3_001, 1)])
    again.close()


def test_a_closed_log_is_unavailable(path: Path) -> None:
    """Using it after closing is an error of ours, closing twice is none."""
    log = SqliteRecordLog(path)
    log.close()
    log.close()
    with pytest.raises(Unavailable, match="closed"):
        log.mark("src")


def test_one_read_gives_a_bounded_number_of_bytes(tmp_path: Path) -> None:
    """Large records come in portions, one at the least, and none is left out."""
    log = SqliteRecordLog(tmp_path / "records.db", largest_read=2_500_000)
    log.create(TOPIC, 1)
    big = batch(1, 8, size=4_000)
    log.append("src", 8, [big])
    counts, position = [], 0
    while (records := log.read(TOPIC, 0, position, 100)).values:
        assert list(records.values) == list(big.values)[position : records.next_position]
        counts.append(len(records.values))
        position = records.next_position
    assert counts == [2, 2, 2, 2]
    log.close()


def test_a_crash_while_making_the_file_leaves_none(tmp_path: Path) -> None:
    """A half-made file has another name, and is made again."""
    (tmp_path / "records.db.new").write_bytes(b"half")
    log = SqliteRecordLog(tmp_path / "records.db")
    assert dict(log.topics()) == {}
    log.close()
    assert not (tmp_path / "records.db.new").exists()


def test_no_error_shows_a_value(path: Path) -> None:
    """SQLite's own text may quote what it could not read; ours never does."""
    connection = sqlite3.connect(path)
    connection.execute("UPDATE topic SET name = CAST(x'ff36343031323331' AS TEXT)")
    connection.commit()
    connection.close()
    with pytest.raises(ExchangeError) as caught:
        everything(path)
    assert "640123" not in str(caught.value)
    assert caught.value.__suppress_context__
