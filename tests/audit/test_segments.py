"""Segments: what is found is all there is, and nobody can show less."""

from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exchange.audit.segments import (
    PAGE,
    Sealed,
    Segment,
    opened,
    pages_proof,
    pages_root,
    rows_in,
    seal,
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
        pages, proof = one.pages([(low, high)])
        assert one.look(low, high) == wanted
    assert _root(sealed, pages, proof) == sealed.root
    assert rows_in(pages, sealed.count, WIDTH, low, high) == wanted


def test_every_subject_is_found_and_nobody_else(segment: Any) -> None:
    """By the tag as a prefix; a tag without rows has a proof that it has none, of one or two pages."""
    file, sealed, rows = segment
    with opened(file, WIDTH, sealed) as one:
        for tag in {row[:16] for row in rows}:
            pages, _ = one.pages([span_of(tag)])
            assert one.look(*span_of(tag)) == [row for row in sorted(rows) if row[:16] == tag]
            assert len(pages) <= 2
        for number in range(50):
            span = span_of(sha256(b"nobody%d" % number).digest()[:16])
            pages, _ = one.pages([span])
            assert rows_in(pages, sealed.count, WIDTH, *span) == [] == one.look(*span)
        assert one.look(*span_of(b"\xff" * 16)) == []


@pytest.mark.parametrize("subject", [0, 85, 200, 699])
def test_less_than_all_is_no_proof(segment: Any, subject: int) -> None:
    """A page left out, hashes too many or too few, another page: nothing is shown by it."""
    file, sealed, rows = segment
    low, high = span_of(sorted(rows)[3 * subject][:16])
    with opened(file, WIDTH, sealed) as one:
        pages, proof = one.pages([(low, high)])
        others, _ = one.pages([(b"", b"\x01")] if min(pages) else [(b"\xff", None)])
    number, page = min(pages.items())
    assert _root(sealed, pages, proof) == sealed.root
    assert _root(sealed, pages, [*proof, bytes(32)]) is None
    assert _root(sealed, pages, proof[:-1]) is None
    assert _root(sealed, {**pages, **others}, proof) != sealed.root
    without = page[:WIDTH] + page[2 * WIDTH :] + page[:WIDTH]
    assert _root(sealed, {**pages, number: without}, proof) != sealed.root
    rest = {at: data for at, data in pages.items() if at != number}
    assert rows_in(rest, sealed.count, WIDTH, low, high) is None
    assert rows_in({number: without}, sealed.count, WIDTH, page[:WIDTH], page[WIDTH : 2 * WIDTH]) is None


def _root(sealed: Sealed, pages: Any, proof: Any) -> bytes | None:
    return pages_root(-(-sealed.count // PAGE), pages, proof)


def test_a_subject_at_the_end_of_a_page_needs_the_next_one(segment: Any) -> None:
    """Without the neighbour behind it an answer may be cut off, so it shows nothing."""
    file, sealed, rows = segment
    low, high = span_of(sorted(rows)[PAGE - 1][:16])
    with opened(file, WIDTH, sealed) as one:
        pages, _ = one.pages([(low, high)])
    assert sorted(pages) == [0, 1]
    assert rows_in({0: pages[0]}, sealed.count, WIDTH, low, high) is None


@given(count=st.integers(1, 70), data=st.data())
def test_a_proof_of_pages_leads_to_the_root_of_rfc_6962(count: int, data: st.DataObject) -> None:
    """From any of them; changed, missing or further hashes lead nowhere or elsewhere."""
    every = {number: b"%d" % number for number in range(count)}
    hashes = leaf_hashes(list(every.values()))
    pages = {number: every[number] for number in data.draw(st.sets(st.sampled_from(range(count))))}
    proof = pages_proof(hashes, pages)
    assert pages_root(count, pages, proof) == root(hashes)
    assert pages_root(count, pages, [*proof, bytes(32)]) is None
    if proof:
        at = data.draw(st.integers(0, len(proof) - 1))
        assert pages_root(count, pages, proof[:at] + proof[at + 1 :]) is None
        assert pages_root(count, pages, [*proof[:at], bytes(32), *proof[at + 1 :]]) != root(hashes)


def test_an_empty_segment_proves_that_there_is_nothing(tmp_path: Path) -> None:
    """Its root is that of no leaf."""
    sealed = seal(tmp_path / "none", [], WIDTH)
    with opened(tmp_path / "none", WIDTH, sealed) as one:
        assert one.pages([span_of(bytes(16))]) == ({}, [])
    assert (pages_root(0, {}, []), rows_in({}, 0, WIDTH, b"", None)) == (sealed.root, [])
    assert pages_root(0, {}, [bytes(32)]) is None


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
                pages, _ = one.pages([span_of(tag)])
                found = rows_in(pages, sealed.count, WIDTH, *span_of(tag))
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
