"""Sending: nothing twice, nothing lost, whatever was edited in between and wherever it crashed."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from adapters.files.adapter import FilesAdapter
from adapters.files.config import FilesConfig, parse_config
from tests.adapters.files.site import HEADER, ID, OTHER, PERSONS, run
from tests.profiles import examples


def row(name: str, identifier: str = ID) -> str:
    """One line of a file."""
    return f"{identifier},{name},1\n"


def names(folder: Path, content: str, mark: int, document: dict[str, Any] | None = None) -> list[tuple[int, str]]:
    """The sequences and names sent for this content."""
    return [(n, value["name"]) for n, value in run(folder, HEADER + content, document, mark=mark).values.items()]


def test_sending_again_changes_nothing(tmp_path: Path) -> None:
    """The same content, in another order or another encoding, gives no event; refused rows are told once."""
    content = row("张三") + row("李四", OTHER) + row("王五", "4.31E+17")
    first = run(tmp_path, HEADER + content)
    assert (len(first.values), first.codes, first.mark) == (2, ["cell_id_damaged"], 3)
    for again in (HEADER + content, HEADER + "".join(reversed(content.splitlines(keepends=True)))):
        found = run(tmp_path, again.encode("gb18030"), mark=3)
        assert (found.values, found.rejected) == ({}, [])
        assert "refused before" in found.notes[-1]


def test_value_that_returns_is_a_new_event(tmp_path: Path) -> None:
    """A, B, A are three events, with three sequences."""
    assert names(tmp_path, row("张"), 0) == [(1, "张")]
    assert names(tmp_path, row("李"), 1) == [(2, "李")]
    assert names(tmp_path, row("张"), 2) == [(3, "张")]
    assert names(tmp_path, row("张"), 3) == []


def test_what_the_exchange_did_not_take_is_sent_again(tmp_path: Path) -> None:
    """A crash between ledger and exchange: the same rows come again under the same sequences."""
    content = row("张") + row("李", OTHER)
    assert names(tmp_path, content, 0) == names(tmp_path, content, 0) == [(1, "张"), (2, "李")]
    assert names(tmp_path, content, 1) == [(2, "李")]


def test_unchanged_row_is_not_doubled_by_a_crash_in_between(tmp_path: Path) -> None:
    """A is taken; B is noted and not taken; the file is A again: nothing to send."""
    assert names(tmp_path, row("张"), 0) == [(1, "张")]
    assert names(tmp_path, row("李"), 1) == [(2, "李")]
    assert names(tmp_path, row("张"), 1) == []


def test_rows_with_one_key_keep_their_order(tmp_path: Path) -> None:
    """Two rows of one person: the last is the latest event, also after the first was edited or the last removed."""
    assert names(tmp_path, row("甲") + row("乙"), 0) == [(1, "甲"), (2, "乙")]
    assert names(tmp_path, row("甲") + row("乙"), 2) == []
    assert names(tmp_path, row("丙") + row("乙"), 2) == [(3, "丙"), (4, "乙")]
    assert names(tmp_path, row("丙"), 4) == [(5, "丙")]
    assert names(tmp_path, row("丙"), 5) == []
    assert names(tmp_path, row("丙") + row("乙"), 5) == [(6, "乙")]


def test_without_a_key_the_place_is_the_key(tmp_path: Path) -> None:
    """Rows are known by their number in the file of that name."""
    document = PERSONS | {"key": []}
    assert names(tmp_path, row("甲") + row("甲"), 0, document) == [(1, "甲"), (2, "甲")]
    assert names(tmp_path, row("甲") + row("乙"), 2, document) == [(3, "乙")]


def test_several_files_in_order(tmp_path: Path) -> None:
    """Files are one sequence of rows; the same files again give nothing."""
    one, two = tmp_path / "1.csv", tmp_path / "2.csv"
    one.write_text(HEADER + row("甲"), "utf-8")
    two.write_text(HEADER + row("乙"), "utf-8")
    adapter = FilesAdapter(parse_config(PERSONS, where="t"), [one, two], tmp_path / "l.db")
    assert [[value["name"] for value in batch.values] for batch in adapter.batches(0, 1)] == [["甲"], ["乙"]]
    assert list(adapter.batches(2, 1)) == []
    assert adapter.source == "ny.test/persons"


def test_batches_are_as_large_as_asked(tmp_path: Path) -> None:
    """Good and refused rows together fill a batch up to its limit; all sequences rise without a gap."""
    lines = "".join(row("张", f"{n:015}") if n % 3 else row("张", "x" * n) for n in range(1, 12))
    found = run(tmp_path, HEADER + lines, limit=4)
    assert [len(batch.sequences) + len(batch.rejected) for batch in found.batches] == [4, 4, 3]
    given = [sorted([*batch.sequences, *(r.sequence for r in batch.rejected)]) for batch in found.batches]
    assert list(chain.from_iterable(given)) == list(range(1, 12))
    assert all(len(b.sequences) == len(b.values) == len(b.places) for b in found.batches)


@dataclass
class Exchange:
    """An exchange that only holds the mark and what it accepted; refuses what stands at or below its mark."""

    mark: int = 0
    events: dict[int, tuple[str, str] | None] = field(default_factory=dict)

    def state(self) -> dict[str, str]:
        """The latest value of each key."""
        return dict(event for event in self.events.values() if event)


Step = tuple[Sequence[tuple[int, str, bool]], int, int, bool]
LINE = st.tuples(st.integers(0, 3), st.sampled_from("甲乙丙"), st.integers(0, 9).map(lambda n: n == 0))
STEP = st.tuples(st.lists(LINE, max_size=6), st.integers(1, 4), st.integers(0, 5), st.booleans())


@settings(max_examples=examples(14), deadline=None)
@given(st.lists(STEP, min_size=1, max_size=6))
def test_no_event_is_lost_or_doubled(steps: list[Step]) -> None:
    """Edit, send, crash before or after the exchange takes a batch, and so on: the state is always the last file's.

    After each whole run: the latest event of each key in the file is its last good row; events that the model says
    are needed were made and no others; a second run makes none.
    """
    exchange = Exchange()
    config = parse_config(PERSONS, where="t")
    with TemporaryDirectory() as folder:
        for lines, limit, crash, taken in steps:
            file = Path(folder) / "persons.csv"
            file.write_text(
                HEADER + "".join(row(name, "?" if bad else f"{key:015}") for key, name, bad in lines), "utf-8"
            )
            _send(config, file, exchange, limit, crash=crash, taken=taken)
            _send(config, file, exchange, limit)
            last = {f"{key:015}": name for key, name, bad in lines if not bad}
            assert {key: exchange.state()[key] for key in last} == last
            _send(config, file, exchange, limit, nothing=True)
            assert sorted(exchange.events) == list(range(1, exchange.mark + 1))
    _no_needless_event(exchange, steps)


def _send(
    config: FilesConfig,
    file: Path,
    exchange: Exchange,
    limit: int,
    *,
    crash: int = -1,
    taken: bool = False,
    nothing: bool = False,
) -> None:
    """One run; `crash`: the batch at which it stops, which the exchange had `taken` or not."""
    adapter = FilesAdapter(config, [file], file.parent / "ledger.db")
    for number, batch in enumerate(adapter.batches(exchange.mark, limit)):
        assert not nothing
        if number == crash and not taken:
            break
        found: dict[int, tuple[str, str] | None] = dict.fromkeys(r.sequence for r in batch.rejected)
        for sequence, value in zip(batch.sequences, batch.values, strict=True):
            found[sequence] = (value["person_id"], value["name"])
        assert min(found) == exchange.mark + 1
        exchange.events.update(found)
        exchange.mark = max(found)
        if number == crash:
            break


def _no_needless_event(exchange: Exchange, steps: list[Step]) -> None:
    """Where each file has every key at most once, no two events of a key in a row are the same."""
    if any(len({key for key, _, _ in lines}) < len(lines) for lines, *_ in steps):
        return
    latest: dict[str, str] = {}
    for event in (exchange.events[sequence] for sequence in sorted(exchange.events)):
        if event:
            assert latest.get(event[0]) != event[1]
            latest[event[0]] = event[1]
