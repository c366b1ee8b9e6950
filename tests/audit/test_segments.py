"""Segments: what is found is all there is, and nobody can show less."""

from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exchange.audit.segments import (
    PAGE,
    Found,
    Sealed,
    Segment,
    opened,
    range_proof,
    range_root,
    seal,
    shown,
    span_of,
)
from exchange.errors import Tampered
from exchange.signing.merkle import leaf_hashes, root
from tests.log.memory import folder_in_memory

WIDTH = 24


def _rows(subjects: int, each: int = 3) -> list[bytes]:
    tags = [sha256(str(number).encode()).digest()[:16] for number in range(subjects)]
    return [tag + (number * 7).to_bytes(8, "big") for tag in tags for number in range(each)]


@pytest.fixture(scope="module", name="segment")
def _segment(tmp_path_factory: pytest.TempPathFactory) -> Any:
    file = tmp_path_factory.mktemp("segments") / "one"
    rows = _rows(700)
    sealed = seal(file, rows, WIDTH)
    return file, sealed, rows


@given(data=st.data())
def test_a_span_is_found_whole_with_its_proof(segment: Any, data: st.DataObject) -> None:
    """Whatever keys are asked for: exactly the rows between them, by the segment and by the proof alone."""
    file, sealed, rows = segment
    some = st.one_of(st.sampled_from(rows), st.binary(min_size=1, max_size=WIDTH))
    low, high = data.draw(some), data.draw(st.one_of(st.none(), some))
    wanted = sorted(row for row in rows if row >= low and (high is None or row < high))
    with opened(file, WIDTH, sealed) as one:
        found = one.find(low, high)
        assert one.look(low, high) == wanted
    assert list(found.rows) == wanted
    assert shown(found, sealed.count, sealed.root, WIDTH, low, high) == wanted


def test_every_subject_is_found_and_nobody_else(segment: Any) -> None:
    """By the tag as a prefix; a tag without rows has a proof that it has none, of one or two pages."""
    file, sealed, rows = segment
    with opened(file, WIDTH, sealed) as one:
        for tag in {row[:16] for row in rows}:
            found = one.find(*span_of(tag))
            assert list(found.rows) == [row for row in rows if row[:16] == tag]
            assert len(found.pages) <= 2
        for number in range(50):
            tag = sha256(b"nobody%d" % number).digest()[:16]
            found = one.find(*span_of(tag))
            assert shown(found, sealed.count, sealed.root, WIDTH, *span_of(tag)) == [] == list(found.rows)
        assert one.find(*span_of(b"\xff" * 16)).rows == ()


def _forged(found: Found) -> dict[str, Found]:
    """Ways to show less, or other rows."""
    page = found.pages[0]
    without = page[:WIDTH] + page[2 * WIDTH :] + page[:WIDTH]
    return {
        "a row is left out": replace(found, pages=(without, *found.pages[1:])),
        "a page is left out": replace(found, pages=found.pages[1:], first_page=found.first_page + 1),
        "another page": replace(found, first_page=found.first_page + 1),
        "no page": replace(found, pages=()),
        "a hash too many": replace(found, proof=(*found.proof, bytes(32))),
        "a hash too few": replace(found, proof=found.proof[:-1]),
        "a page cut off": replace(found, pages=(page[:-WIDTH], *found.pages[1:])),
        "before the beginning": replace(found, first_page=-1),
    }


@pytest.mark.parametrize("way", _forged(Found((), 0, (b"x" * 48,), ())))
def test_less_than_all_is_no_proof(segment: Any, way: str) -> None:
    """Rows or pages left out or exchanged, hashes too many or too few: nothing is shown by it."""
    file, sealed, rows = segment
    tag = sorted(rows)[PAGE + 5][:16]
    with opened(file, WIDTH, sealed) as one:
        found = one.find(*span_of(tag))
    assert shown(_forged(found)[way], sealed.count, sealed.root, WIDTH, *span_of(tag)) is None


def test_a_subject_at_the_end_of_a_page_needs_the_next_one(segment: Any) -> None:
    """Without the neighbour behind it an answer may be cut off, so it shows nothing."""
    file, sealed, rows = segment
    last = sorted(rows)[PAGE - 1]
    with opened(file, WIDTH, sealed) as one:
        found = one.find(*span_of(last[:16]))
        assert len(found.pages) == 2
        first = one.find(b"", last)
    cut = replace(found, pages=found.pages[:1], proof=first.proof)
    assert shown(cut, sealed.count, sealed.root, WIDTH, *span_of(last[:16])) is None


@given(count=st.integers(1, 70), data=st.data())
def test_a_range_proof_leads_to_the_root_of_rfc_6962(count: int, data: st.DataObject) -> None:
    """From any leaves that stand together; changed, missing or further hashes lead nowhere or elsewhere."""
    hashes = leaf_hashes([b"%d" % number for number in range(count)])
    first = data.draw(st.integers(0, count - 1))
    last = data.draw(st.integers(first + 1, count))
    proof = range_proof(hashes, first, last)
    assert range_root(count, first, hashes[first:last], proof) == root(hashes)
    assert range_root(count, first, hashes[first:last], [*proof, bytes(32)]) is None
    if proof:
        at = data.draw(st.integers(0, len(proof) - 1))
        assert range_root(count, first, hashes[first:last], proof[:at] + proof[at + 1 :]) is None
        changed = [*proof[:at], bytes(32), *proof[at + 1 :]]
        assert range_root(count, first, hashes[first:last], changed) != root(hashes)


def test_an_empty_segment_proves_that_there_is_nothing(tmp_path: Path) -> None:
    """Its root is that of no leaf."""
    sealed = seal(tmp_path / "none", [], WIDTH)
    with opened(tmp_path / "none", WIDTH, sealed) as one:
        found = one.find(*span_of(bytes(16)))
    assert shown(found, 0, sealed.root, WIDTH, *span_of(bytes(16))) == []
    assert shown(found, 0, bytes(32), WIDTH, *span_of(bytes(16))) is None


def test_rows_of_another_width_or_twice_are_no_segment(tmp_path: Path) -> None:
    """Each row stands once."""
    for rows in ([bytes(24), bytes(24)], [bytes(23)]):
        with pytest.raises(ValueError, match="width"):
            seal(tmp_path / "x", rows, WIDTH)


@given(data=st.data())
def test_a_changed_file_gives_no_answer(segment: Any, data: st.DataObject) -> None:
    """Any byte changed, or the file cut off: `check` says so, and a look-up never shows what was not sealed."""
    file, sealed, rows = segment
    body = bytearray(file.read_bytes())
    at = data.draw(st.integers(0, len(body) - 1))
    body[at] ^= data.draw(st.integers(1, 255))
    tag = data.draw(st.sampled_from(rows))[:16]
    with folder_in_memory() as folder:
        (folder / "one").write_bytes(body)
        with opened(folder / "one", WIDTH, sealed) as one:
            with pytest.raises(Tampered, match="segment_damaged"):
                one.check()
            try:
                found = list(one.find(*span_of(tag)).rows)
            except Tampered:
                return
            assert found == [row for row in rows if row[:16] == tag]


@pytest.mark.parametrize("size", [0, 1, -1])
def test_a_file_of_another_size_is_none(segment: Any, tmp_path: Path, size: int) -> None:
    """Missing, cut off or longer."""
    file, sealed, _ = segment
    if size:
        (tmp_path / "x").write_bytes((file.read_bytes() + b"x")[: size if size < 0 else None])
        (tmp_path / "x").write_bytes((tmp_path / "x").read_bytes()[: None if size > 0 else -1])
    with pytest.raises(Tampered, match="segment_damaged"):
        Segment(tmp_path / "x", WIDTH, sealed)


def test_the_same_rows_give_the_same_file(tmp_path: Path) -> None:
    """In whatever order they come: it can be made again, and compared."""
    rows = _rows(50)
    one, other = seal(tmp_path / "a", rows, WIDTH), seal(tmp_path / "b", reversed(rows), WIDTH)
    assert one == other == Sealed(150, one.root, one.digest)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
    assert [path.name for path in sorted(tmp_path.iterdir())] == ["a", "b"]
    with opened(tmp_path / "a", WIDTH, one) as segment:
        assert list(segment.rows()) == sorted(rows)
        segment.check()
