"""The ledger says so when it cannot be trusted, and holds nothing in clear."""

import sqlite3
from pathlib import Path

import pytest

from adapters.files.adapter import FilesAdapter
from adapters.files.config import parse_config
from adapters.files.ledger import open_ledger
from exchange.errors import Invalid, Unavailable
from tests.adapters.files.site import HEADER, ID, PERSONS, run

CONTENT = f"{HEADER}{ID},张三,1\n"


def test_nothing_in_clear(tmp_path: Path) -> None:
    """Neither id nor name stands in the ledger, which only its owner may read; another site's digests differ."""
    one, other = tmp_path / "one", tmp_path / "other"
    keys = []
    for folder in (one, other):
        folder.mkdir()
        run(folder, CONTENT)
        assert (folder / "ledger.db").stat().st_mode & 0o077 == 0
        for file in folder.glob("ledger.db*"):
            assert ID.encode() not in file.read_bytes()
            assert "张三".encode() not in file.read_bytes()
        keys.append(sqlite3.connect(folder / "ledger.db").execute("SELECT key FROM sent").fetchall())
    assert keys[0] != keys[1]


@pytest.mark.parametrize("known", ["deleted", "older"])
def test_lost_ledger_is_refused_or_everything_sent_again(tmp_path: Path, known: str) -> None:
    """A ledger that knows less than the exchange took is not compared with: refused, or all sent again, as set."""
    run(tmp_path, CONTENT)
    if known == "deleted":
        (tmp_path / "ledger.db").unlink()
    with pytest.raises(Invalid) as found:
        run(tmp_path, CONTENT, mark=7)
    assert found.value.code == "ledger_behind"
    assert found.value.facts == {"known": 0 if known == "deleted" else 1, "mark": 7}
    again = run(tmp_path, CONTENT, PERSONS | {"lost_ledger": "send_again"}, mark=7)
    assert list(again.values) == [8]
    assert "ledger lost" in again.notes[0]
    assert run(tmp_path, CONTENT, mark=8).values == {}


@pytest.mark.parametrize("content", [b"x" * 5000, b"SQLite format 3\0" + b"\xff" * 5000])
def test_damaged_ledger(tmp_path: Path, content: bytes) -> None:
    """A file that is no ledger is said to be none."""
    (tmp_path / "ledger.db").write_bytes(content)
    with pytest.raises(Invalid, match="ledger_unreadable"):
        run(tmp_path, CONTENT)


def test_foreign_ledgers(tmp_path: Path) -> None:
    """Another source's ledger, another program's database, another format: none is used or changed."""
    run(tmp_path, CONTENT, PERSONS | {"source": "ny.test/others"})
    with pytest.raises(Invalid, match="another source"):
        run(tmp_path, CONTENT)
    with sqlite3.connect(tmp_path / "ledger.db") as connection:
        connection.execute("UPDATE about SET value='exchange.files-ledger/9' WHERE name='format'")
    connection.close()
    with pytest.raises(Invalid, match="not a ledger of this format"):
        run(tmp_path, CONTENT)


def test_one_run_at_a_time(tmp_path: Path) -> None:
    """While one run is open, another is told to wait: two would give the same sequences."""
    run(tmp_path, CONTENT)
    adapter = FilesAdapter(parse_config(PERSONS, where="t"), [tmp_path / "persons.csv"], tmp_path / "ledger.db")
    with open_ledger(tmp_path / "ledger.db", "ny.test/persons", 1), pytest.raises(Unavailable, match="ledger_busy"):
        list(adapter.batches(1, 10))


def test_nowhere_to_write(tmp_path: Path) -> None:
    """A folder that is not there is told as such."""
    with pytest.raises(Unavailable, match="ledger_unwritable"), open_ledger(tmp_path / "no" / "l.db", "s", 0):
        pass
