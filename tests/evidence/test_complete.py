"""An answer that is provably complete: what is left out of it is found, whoever signed it."""

import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest

from exchange.audit import tiles
from exchange.audit.access_entries import bitmap
from exchange.audit.entries import Entry, encode, entry_id, make
from exchange.audit.note import vkey
from exchange.audit.schemas import kind_of
from exchange.audit.sealing import Part, Segmented, Segments, segments_of
from exchange.audit.segments import WIDTHS, opened, pages_proof
from exchange.cli import lesson
from exchange.evidence import check as judge
from exchange.evidence.result import Result
from exchange.names import canonical, digest
from exchange.signing.merkle import leaf_hashes, node_hash
from exchange.wiring.evidence import FORMAT, archive, segment_files
from tests.audit.building import KEY, START_NS, clock, log_at, refusal, release

TAGS = [sha256(bytes([number])).digest()[:16] for number in range(60)]
SUBJECT = TAGS[14]
RECORDS = {
    ("ps.person", 0): [(at, TAGS[at * 7 % 50]) for at in range(0, 2_400, 2)],
    ("ps.person", 1): [(at, TAGS[at % 60]) for at in range(700)],
    ("ps.child", 0): [(at, TAGS[50 + at % 8]) for at in range(40)],
    ("dead.ps.person", 0): [(0, TAGS[3])],
}
GROUNDS = {"decision_missing", "agreement_not_in_force", "policy_not_active"}  # this log is of releases alone
Files = dict[str, bytes]


def _read(topic: str, partition: int, position: int, limit: int) -> tuple[list[bytes], list[int], int]:
    rows = [row for row in RECORDS[topic, partition] if row[0] >= position][:limit]
    return [tag for _, tag in rows], [at for at, _ in rows], rows[-1][0] + 1 if rows else position


def _entries(choice: random.Random, first: int, count: int) -> Iterator[Entry]:
    for number in range(first, first + count):
        topic, partition = choice.choice([place for place in RECORDS if place[0] != "dead.ps.person"])
        end = RECORDS[topic, partition][-1][0] + 1
        lo = choice.randrange(end)
        hi = min(lo + choice.choice([3, 20, 200]), end)
        held = [at for at in range(hi - lo) if (lo + at) % 3 == 0] if choice.random() < 0.3 else []
        yield release(number, topic=topic, partition=partition, lo=lo, hi=hi, excluded=bitmap(held, hi - lo))
        if number % 50 == 7:
            two = [SUBJECT, choice.choice(TAGS[20:])]
            yield refusal(number, tags=two)
            yield make("audit_query", entry_id("earlier", number), START_NS, query="who_saw", tags=two[1:], results=0)
            told: dict[str, Any] = {"tags": two, "partitions": [0, 0], "positions": [number, None]}
            yield release(10_000 + number, lo=None, hi=None, partition=None, **told)


@dataclass(frozen=True)
class World:
    """A log with segments in two generations and entries behind them, and a way to what it says of a subject."""

    leaves: Sequence[bytes]
    bodies: Sequence[tuple[int, str, Mapping[str, Any]]]
    known: Sequence[Segmented]
    segments: Segments

    def truth(self, tag: bytes) -> dict[int, list[int]]:
        """The reference: every entry against every position."""
        own = {place: [at for at, one in rows if one == tag] for place, rows in RECORDS.items()}
        found = {}
        for index, kind, body in self.bodies:
            places = set()
            if kind == "release" and body["lo"] is not None:
                mine = own[body["topic"], body["partition"]]
                places = {at for at in mine if body["lo"] <= at < body["hi"]}
                places = {at for at in places if not (body["excluded"] and at % 3 == 0)}
            if kind == "release":
                pairs = zip(body["tags"], body["positions"], strict=True)
                places |= {at for one, at in pairs if one == tag and at is not None}
            if places or (kind in ("release", "refusal", "audit_query") and tag in body["tags"]):
                found[index] = sorted(places)
        return found

    def parts(self, tag: bytes) -> list[Part]:
        """What the segments show of it."""
        answer = self.segments.answer([tag], self.known)
        assert answer.whole
        return list(answer.parts)


@pytest.fixture(scope="module", name="world")
def _world(tmp_path_factory: pytest.TempPathFactory) -> World:
    folder, choice = tmp_path_factory.mktemp("world"), random.Random(3)
    ends = {place: rows[-1][0] + 1 for place, rows in RECORDS.items()}
    with log_at(folder) as log:
        segments = Segments(folder / "segments", log, _read, clock())
        halves = {place: end // 2 for place, end in ends.items()}
        for first, count, reach in ((1, 500, halves), (501, 300, ends), (801, 20, None)):
            entries = list(_entries(choice, first, count))
            log.submit(entries)
            log.wait(entries[-1].id)
            if reach is not None:
                known = segments_of(log.entries(0, log.size))
                segments.seal(known, log.size, reach, 1, lambda: None)
        bodies = list(log.entries(0, log.size))
        return World([log.leaf(at) for at in range(log.size)], bodies, segments_of(iter(bodies)), segments)


@dataclass(frozen=True)
class Bundle:
    """What a bundle is made of; whoever has the log's key makes what he likes of it."""

    leaves: Sequence[bytes]
    tag: bytes
    answer: Mapping[int, Sequence[int]]
    parts: Sequence[Part]
    sealed: int | None
    entries: frozenset[int]

    def files(self) -> Files:
        """The question is recorded in the log, signed and proved."""
        rows = [{"index": index, "positions": list(places)} for index, places in sorted(self.answer.items())]
        size = len(self.leaves)
        question = {"format": FORMAT, "query": "who_saw", "tags": [self.tag.hex()], "size": size, "answer": rows}
        question |= {} if self.sealed is None else {"sealed": self.sealed}
        asked = make(
            *("audit_query", entry_id("asked"), START_NS),
            query="who_saw",
            tags=[self.tag],
            parameters_digest=digest(question),
            size=size,
            results=len(rows),
        )
        log = lesson.Log([*self.leaves, encode(asked)], KEY)
        note, path = log.checkpoint(), _paths(log.leaves)
        files = {
            "question.json": canonical({**question, "asked": size}) + b"\n",
            "vkey": vkey(lesson.ORIGIN, KEY.public).encode() + b"\n",
            "checkpoint": note,
        }
        for index in sorted({*self.entries, size}):
            files[f"entries/{index}"] = log.leaves[index]
            files[f"proofs/{index}"] = tiles.proof_text(index, path(index), note)
        for one in self.parts:
            files.update(segment_files(one))
        return files


def _paths(leaves: Sequence[bytes]) -> Callable[[int], list[bytes]]:
    """Inclusion proofs by the definition of RFC 6962, each subtree hashed once."""
    hashes = leaf_hashes(leaves)

    @cache
    def tree(low: int, high: int) -> bytes:
        if high - low == 1:
            return hashes[low]
        middle = low + (1 << (high - low - 1).bit_length() - 1)
        return node_hash(tree(low, middle), tree(middle, high))

    def path(index: int) -> list[bytes]:
        low, high, found = 0, len(leaves), list[bytes]()
        while high - low > 1:
            middle = low + (1 << (high - low - 1).bit_length() - 1)
            found.append(tree(middle, high) if index < middle else tree(low, middle))
            low, high = (low, middle) if index < middle else (middle, high)
        return found[::-1]

    return path


def _sound(world: World, tag: bytes) -> Bundle:
    parts = world.parts(tag)
    answer = world.segments.answer([tag], world.known)
    wanted = {index for index, kind, _ in world.bodies if kind == "schema"}
    wanted |= {*answer.indexes, *range(answer.entries, len(world.leaves)), *(one.segment.index for one in parts)}
    return Bundle(world.leaves, tag, world.truth(tag), parts, answer.entries, frozenset(wanted))


def _judged(folder: Path, files: Files) -> tuple[set[str], Result]:
    (folder / "tried.zip").write_bytes(archive(files))
    result = judge.check(str(folder / "tried.zip"))
    return {one.code for one in result.findings} - GROUNDS, result


def test_the_answer_is_computed_again_from_the_bundle_alone(world: World, tmp_path: Path) -> None:
    """For subjects of every partition, of several and of none: what the bundle proves is what a plain scan finds; it is
    complete for the whole checkpoint, and what it rests on is told.
    """
    for tag in (TAGS[3], SUBJECT, TAGS[52], TAGS[59], bytes(16), b"\xff" * 16):
        bundle = _sound(world, tag)
        codes, result = _judged(tmp_path, bundle.files())
        assert codes == set()
        assert result.proved["complete"] == len(world.leaves)
        assert (result.proved["later"], "later" in result.unproved, "since" in result.unproved) == (1, False, False)
        assert {"records", "lists", "outside"} <= set(result.unproved)
        assert not {"completeness", "positions"} & set(result.unproved)
        ends = {f"{topic}/{partition}": rows[-1][0] + 1 for (topic, partition), rows in RECORDS.items()}
        assert result.covered["records"] == ends
        held = set(world.segments.answer([tag], world.known).indexes) - set(bundle.answer)
        assert held <= set(result.covered["excluded"])
    assert len(world.truth(TAGS[3])) > 20


Forge = Callable[[Bundle, World], Bundle]


def _without(bundle: Bundle, index: int) -> Bundle:
    return replace(
        bundle,
        answer={at: places for at, places in bundle.answer.items() if at != index},
        entries=bundle.entries - {index},
    )


def _sealed_ones(bundle: Bundle, world: World, kind: str, *, is_range: bool) -> list[int]:
    """Entries of the answer that segments name."""
    bodies = {index: (kind, body) for index, kind, body in world.bodies}
    picked = [at for at in bundle.answer if bodies[at][0] == kind and (bodies[at][1].get("lo") is not None) is is_range]
    assert bundle.sealed is not None
    found = [at for at in picked if at < bundle.sealed]
    assert found
    return found


def _cut(part: Part, segments: Segments, gone: Sequence[int]) -> Part:
    """A part without some pages, and with a proof that holds for the rest."""
    one = part.segment
    kept = {number: page for number, page in part.pages.items() if number not in gone}
    with opened(segments.file_of(one), WIDTHS[one.list], one.sealed) as segment:
        return replace(part, pages=kept, proof=pages_proof(segment._hashes(), kept))


def _of(bundle: Bundle, topic: str, partition: int = 0) -> list[Part]:
    found = [one for one in bundle.parts if (one.segment.topic, one.segment.partition) == (topic, partition)]
    return sorted(found, key=lambda one: one.segment.lo)


def _swapped(bundle: Bundle, old: Part, new: Part | None) -> Bundle:
    parts = [new if one is old else one for one in bundle.parts]
    return replace(bundle, parts=[one for one in parts if one is not None])


def _largest(parts: Sequence[Part]) -> Part:
    return max(parts, key=lambda one: len(one.pages))


def _pages_cut(topic: str) -> Forge:
    def forge(bundle: Bundle, world: World) -> Bundle:
        part = _largest(_of(bundle, topic))
        return _swapped(bundle, part, _cut(part, world.segments, [min(part.pages)]))

    return forge


def _relabelled(bundle: Bundle, _: World) -> Bundle:
    """The pages of one partition's records under the entry of another's."""
    one, other = _of(bundle, "ps.person", 0)[0], _of(bundle, "ps.person", 1)[0]
    return _swapped(bundle, one, replace(one, pages=other.pages, proof=other.proof))


def _older(bundle: Bundle, topic: str) -> Bundle:
    return _swapped(bundle, _of(bundle, topic)[-1], None)


def _row_gone(bundle: Bundle, _: World) -> Bundle:
    """The subject's first row in the records, out of its page."""
    part = next(one for one in _of(bundle, "ps.person") if any(bundle.tag in page for page in one.pages.values()))
    number, page = next((number, page) for number, page in part.pages.items() if bundle.tag in page)
    at = page.index(bundle.tag)
    return _swapped(bundle, part, replace(part, pages={**part.pages, number: page[:at] + page[at + 24 :]}))


def _exchanged(bundle: Bundle, _: World) -> Bundle:
    one, other = next((one, other) for one in bundle.parts for other in bundle.parts if one.proof != other.proof)
    changed = _swapped(bundle, one, replace(one, proof=other.proof))
    return _swapped(changed, other, replace(other, proof=one.proof))


FORGED: Mapping[str, tuple[Forge, set[str]]] = {
    "a release of a range is left out": (
        lambda b, w: _without(b, _sealed_ones(b, w, "release", is_range=True)[2]),
        {"entry_left_out"},
    ),
    "a look-up is left out": (
        lambda b, w: _without(b, _sealed_ones(b, w, "release", is_range=False)[0]),
        {"entry_left_out"},
    ),
    "a refusal is left out": (
        lambda b, w: _without(b, _sealed_ones(b, w, "refusal", is_range=False)[0]),
        {"entry_left_out"},
    ),
    "a release is in the bundle and not in the answer": (
        lambda b, _: replace(_without(b, sorted(b.answer)[4]), entries=b.entries),
        {"answer_incomplete"},
    ),
    "an entry that no segment covers is left out": (lambda b, _: _without(b, len(b.leaves) - 2), {"entry_left_out"}),
    "a position is not told": (
        lambda b, _: replace(b, answer={**b.answer, next(at for at, some in b.answer.items() if some): []}),
        {"answer_incomplete", "answer_foreign"},
    ),
    "a page of records is left out": (_pages_cut("ps.person"), {"segment_rows"}),
    "the span of ranges is too narrow": (_pages_cut("@ranges"), {"segment_rows"}),
    "a row is left out": (_row_gone, {"segment_differs"}),
    "records as they were sealed earlier": (lambda b, _: _older(b, "ps.person"), {"segment_gap"}),
    "named as it was sealed earlier": (lambda b, _: _older(b, "@named"), {"segment_gap"}),
    "ranges as they were sealed earlier": (lambda b, _: _older(b, "@ranges"), {"segment_gap"}),
    "sealed earlier, and the question says so": (
        lambda b, _: replace(_older(_older(b, "@named"), "@ranges"), sealed=_of(b, "@named")[0].segment.hi),
        {"entry_left_out"},
    ),
    "a gap between segments": (lambda b, _: _swapped(b, _of(b, "ps.person")[0], None), {"segment_gap"}),
    "no segments of a partition": (
        lambda b, _: replace(b, parts=[one for one in b.parts if one not in _of(b, "ps.person", 1)]),
        {"partition_missing"},
    ),
    "pages of another partition": (_relabelled, {"segment_differs"}),
    "another subject": (lambda b, _: replace(b, tag=TAGS[12]), {"answer_foreign", "segment_rows"}),
    "proofs of another segment": (_exchanged, {"segment_differs"}),
    "no segments at all": (lambda b, _: replace(b, parts=[]), {"segment_gap"}),
}


@pytest.mark.parametrize("name", list(FORGED))
def test_what_is_left_out_is_found(world: World, tmp_path: Path, name: str) -> None:
    """The forger has the log's key: the log records his question with his answer, and every entry is proved."""
    forge, expected = FORGED[name]
    forged = forge(_sound(world, SUBJECT), world)
    codes, result = _judged(tmp_path, forged.files())
    assert codes == expected
    assert "complete" not in result.proved
    assert "completeness" in result.unproved


def test_a_bundle_that_claims_nothing_proves_nothing(world: World, tmp_path: Path) -> None:
    """Without `sealed` in its question it is sound, and its completeness is said to be unproved; segments in it are
    stray files.
    """
    bare = replace(_sound(world, SUBJECT), sealed=None, parts=[])
    codes, result = _judged(tmp_path, bare.files())
    assert (codes, "complete" in result.proved, "completeness" in result.unproved) == (set(), False, True)
    assert _judged(tmp_path, replace(_sound(world, SUBJECT), sealed=None).files())[0] == {"file_stray"}


def test_a_forged_segment_entry_needs_a_forged_log(world: World, tmp_path: Path) -> None:
    """Of a segment out of order, of another page size or of no length, signed with the log's key: none is believed."""
    bundle = _sound(world, SUBJECT)
    part = _of(bundle, "@named")[0]
    body = next(body for index, _, body in world.bodies if index == part.segment.index)
    for change in ({"page_records": 128}, {"lo": 5, "hi": 5}, {"count": -1}, {"root": bytes(32)}, {"topic": "@other"}):
        told = {name: value for name, value in {**body, **change}.items() if name not in ("id", "time_ns")}
        leaves = list(bundle.leaves)
        leaves[part.segment.index] = encode(make("index_segment", body["id"], body["time_ns"], **told))
        codes, _ = _judged(tmp_path, replace(bundle, leaves=leaves).files())
        assert codes in ({"segment_differs"}, {"segment_gap"}), change
    assert kind_of("index_segment").prefix == bundle.leaves[part.segment.index][:8]
