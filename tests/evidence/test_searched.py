"""An answer to a search, forged in every way that its keeper could: each is found, by its code, in both languages."""

import base64
import dataclasses
import datetime as dt
import json
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from exchange.audit import tiles
from exchange.audit.entries import Entry, encode, entry_id, make, schema_entry
from exchange.audit.note import vkey
from exchange.audit.schemas import KINDS, kind_of
from exchange.cli import lesson
from exchange.evidence import check as judge
from exchange.evidence import report, searched, words
from exchange.evidence.result import Result
from exchange.names import canonical, digest
from exchange.wiring.evidence import FORMAT, archive
from exchange.wiring.searched import range_files
from tests.audit.building import DIGEST, KEY, START_NS, approved, refusal, release

HOUR = 3_600 * 10**9
Files = dict[str, bytes]
Facts = Mapping[str, Any]


def _story(choice: random.Random, count: int) -> list[tuple[Entry, Facts]]:
    """Entries of all kinds that are asked for, in no order of time, each with what is true of it."""
    told: list[tuple[Entry, Facts]] = []
    terms = {
        f"agr-{number}": {"dataset": f"d{number}", "consumer": f"dep{number}", "purpose": f"p{number}"}
        for number in range(3)
    }
    for number, (name, one) in enumerate(terms.items()):
        data = canonical({"terms": {**one, "fields": []}}).decode()
        for version, step in ((1, "requested"), (2, "approved")):
            entry = approved(
                *(version, name),
                type=f"agreement.{step}/1",
                actor=f"a{number}",
                data=data if version == 1 else "{}",
            )
            about = {**one, "department": one["consumer"], "officer": f"a{number}"}
            told.append((entry, {"what": ["grants"], "time": START_NS + version, **about}))
    released: list[tuple[Entry, dict[str, Any]]] = []
    for number in range(count):
        at = START_NS + choice.randrange(10) * HOUR
        dep, data, officer = f"dep{choice.randrange(3)}", f"d{choice.randrange(3)}", f"a{choice.randrange(3)}"
        case, purpose = choice.choice([None, "c1", "c2"]), f"p{choice.randrange(2)}"
        own: dict[str, Any] = {"dataset": data, "actor": officer, "purpose": purpose, "case": case}
        facts: dict[str, Any] = {
            "dataset": data,
            "officer": officer,
            "purpose": purpose,
            "case": case,
            "department": dep,
            "time": at,
        }
        kind = choice.choice(["release", "release", "refusal", "case", "query", "key", "policy", "ack"])
        if kind == "release":
            path = choice.choice(["name", "born"])
            text = canonical([{"path": path, "mask": {"kind": "keep"}}]).decode()
            entry = _at(release(number, recipient=dep, fields=text, **own), at)
            released.append((entry, {"what": ["releases", "unconfirmed"], "field": path, **facts}))
            told.append(released[-1])
        elif kind == "refusal":
            told.append((_at(refusal(number, consumer=dep, **own), at), {"what": ["refusals"], **facts}))
        elif kind == "case":
            opened = approved(1, "x", aggregate=f"case/c{number}", type="case.opened/1", actor=officer, department=dep)
            opened = _at(_named(opened, number), at)
            told.append((opened, _only(facts, "openings", "officer", "department", case=f"c{number}")))
        elif kind == "query":
            entry = make(
                "audit_query", entry_id("q", number), at, query="who_saw", actor=officer, department=dep, tags=[]
            )
            told.append((entry, _only(facts, "queries", "officer", "department")))
        elif kind == "key":
            more: dict[str, Any] = {
                "event": "added",
                "use": "seal",
                "owner": dep,
                "algorithm": "ed25519",
                "actor": officer,
            }
            told.append((make("key", entry_id("k", number), at, **more), _only(facts, "keys", "officer", "department")))
        elif kind == "policy":
            more = {"event": "submitted", "revision": DIGEST, "actor": officer, "department": dep}
            entry = make("policy_revision", entry_id("p", number), at, **more)
            told.append((entry, _only(facts, "policy", "officer", "department")))
        elif released:
            index = 14 + next(at for at, one in enumerate(told) if one[0] is released[-1][0])
            released[-1][1]["what"] = ["releases"]
            more = {"release": released[-1][0].id, "index": index, "recipient": dep, "outcome": "received"}
            told.append((make("ack", entry_id("ack", number), at, **more), {"what": [], "time": at}))
    return told


def _at(entry: Entry, ns: int) -> Entry:
    return dataclasses.replace(entry, body={**entry.body, "time_ns": ns})


def _named(entry: Entry, number: int) -> Entry:
    identity = entry_id("case", number)
    return dataclasses.replace(entry, id=identity, body={**entry.body, "id": identity})


def _only(facts: Facts, what: str, *names: str, **more: Any) -> Facts:
    return {"what": [what], "time": facts["time"], **{name: facts[name] for name in names}, **more}


@dataclass(frozen=True)
class Bundle:
    """What a bundle is made of; whoever has the log's key makes what he likes of it, and the log records it."""

    leaves: Sequence[bytes]
    query: str
    filter: Mapping[str, Any]
    answer: Sequence[int]
    span: tuple[int, int] | None
    alone: frozenset[int] = frozenset()
    recorded: Mapping[str, Any] = field(default_factory=dict)  # what of the question the log recorded otherwise
    shown: tuple[int, ...] | None = None  # the range that the files hold; of none: ()

    def files(self) -> Files:
        """Signed and proved."""
        question: dict[str, Any] = {
            "format": FORMAT,
            "query": self.query,
            "filter": dict(self.filter),
            "size": len(self.leaves),
            "answer": list(self.answer),
            **({"range": list(self.span)} if self.span else {}),
        }
        told = {**question, **self.recorded}
        more: dict[str, Any] = {"query": told["query"], "parameters_digest": digest(told), "tags": []}
        asked = make(
            *("audit_query", entry_id("asked"), START_NS + 99 * HOUR),
            size=len(self.leaves),
            results=len(told["answer"]),
            **more,
        )
        log = lesson.Log([*self.leaves, encode(asked)], KEY)
        note, tile = log.checkpoint(), cache(log.tile)
        files = {
            "question.json": canonical({**question, "asked": len(self.leaves)}) + b"\n",
            "vkey": vkey(lesson.ORIGIN, KEY.public).encode() + b"\n",
            "checkpoint": note,
        }
        shown = self.span if self.shown is None else self.shown
        alone = {*range(14), *self.alone, len(self.leaves)}
        if shown:
            lo, hi = shown
            files |= range_files(lo, log.leaves[lo:hi], tiles.range_proof(lo, hi, len(log.leaves), tile))
            alone -= set(range(lo, hi))
        for index in alone:
            files[f"entries/{index}"] = log.leaves[index]
            proof = tiles.inclusion(index, len(log.leaves), tile)
            files[f"proofs/{index}"] = tiles.proof_text(index, proof, note)
        return files


@dataclass(frozen=True)
class World:
    """A log of 13 schemas and a story, and what is true of its entries."""

    leaves: Sequence[bytes]
    facts: Sequence[Facts]

    def truth(self, query: str, filters: Facts) -> list[int]:
        """The reference: which entries answer a question."""

        def fits(one: Facts) -> bool:
            given = dict(filters)
            begin, end = given.pop("from_ns", 0), given.pop("until_ns", 1 << 62)
            own = all(one.get(name) == value for name, value in given.items())
            return query in one["what"] and own and begin <= one["time"] < end

        return [index for index, one in enumerate(self.facts) if fits(one)]

    def whole(self, query: str, filters: Facts) -> Bundle:
        """A sound answer with every entry of the log."""
        return Bundle(self.leaves, query, filters, self.truth(query, filters), (0, len(self.leaves)))

    def listed(self, query: str, filters: Facts) -> Bundle:
        """A sound answer of the entries alone."""
        answer = self.truth(query, filters)
        requests = range(14, 20, 2) if query == "grants" else ()
        return Bundle(self.leaves, query, filters, answer, None, frozenset({*answer, *requests}))


@pytest.fixture(scope="module", name="world")
def _world() -> World:
    story = _story(random.Random(7), 300)
    schemas = [schema_entry(kind_of(name), START_NS) for name in ("schema", *sorted(set(KINDS) - {"schema"}))]
    assert len(schemas) == 14
    entries = [*schemas, *(one for one, _ in story)]
    return World([encode(one) for one in entries], [{"what": [], "time": START_NS}] * 14 + [one for _, one in story])


def _judged(folder: Path, files: Files, *given: Any) -> Result:
    (folder / "tried.zip").write_bytes(archive(files))
    return judge.check(str(folder / "tried.zip"), *given)


def _found(result: Result) -> list[tuple[str, str]]:
    return [(one.code, one.place) for one in result.findings]


FILTERS: Mapping[str, Sequence[Any]] = {
    "officer": ["a0", "a9"],
    "department": ["dep1", "nobody"],
    "dataset": ["d2"],
    "case": ["c1", "c20"],
    "purpose": ["p0", "p2"],
    "field": ["born"],
    "from_ns": [START_NS + 3 * HOUR],
    "until_ns": [START_NS + 5 * HOUR],
}


@pytest.mark.parametrize("query", list(searched.QUERIES))
def test_the_filter_is_applied_again(world: World, tmp_path: Path, query: str) -> None:
    """Whatever the question, a sound answer holds, as a list and with every entry; with one of its entries left out, or
    one that does not answer it, it is found which.
    """
    choice = random.Random(query)
    pairs = [(name, value) for name, values in FILTERS.items() for value in values]
    asked: list[Facts] = [dict(choice.sample(pairs, 1)) for _ in range(4)]
    for filters in (*asked, {"department": "dep1", "from_ns": START_NS + HOUR, "until_ns": START_NS + 9 * HOUR}):
        whole = world.whole(query, filters)
        result = _judged(tmp_path, whole.files())
        assert _found(result) == [], filters
        assert result.proved["range"] == len(world.leaves)
        assert [one.index for one in result.answer] == world.truth(query, filters)
        assert "omitted" not in result.unproved
    listed = world.listed(query, {})
    result = _judged(tmp_path, listed.files())
    assert (_found(result), "range" in result.proved, "omitted" in result.unproved) == ([], False, True)
    answer = list(listed.answer)
    assert len(answer) > 2
    gone = choice.choice(answer)
    short = replace(world.whole(query, {}), answer=[one for one in answer if one != gone])
    assert _found(_judged(tmp_path, short.files())) == [("answer_left_out", str(gone))]
    more = choice.choice([one for one in range(20, len(world.leaves)) if one not in answer])
    long = replace(listed, answer=sorted([*answer, more]), alone=listed.alone | {more})
    assert ("answer_unfitting", str(more)) in _found(_judged(tmp_path, long.files()))


def test_a_range_is_proved_whole(world: World, tmp_path: Path) -> None:
    """From any entry to any other: what is shown leads to the root, whatever its borders; nothing of it is free."""
    choice, size = random.Random(1), len(world.leaves)
    for lo, hi in [(0, 1), (255, 257), (size - 1, size), *(sorted(choice.sample(range(size), 2)) for _ in range(3))]:
        files = replace(world.whole("keys", {}), shown=(lo, hi)).files()
        assert "range_differs" not in [code for code, _ in _found(_judged(tmp_path, files))]
        name = choice.choice([one for one in files if one.startswith("range/") and files[one]])
        at = choice.randrange(len(files[name]))
        bad = files[name][:at] + bytes([files[name][at] ^ 1]) + files[name][at + 1 :]
        assert "range_differs" in [code for code, _ in _found(_judged(tmp_path, {**files, name: bad}))]
        proof = files["range/proof"]
        for longer in (proof + b"x", proof + base64.b64encode(bytes(32)) + b"\n", proof + b"AAAA\n", b"*\n" + proof):
            found = _found(_judged(tmp_path, {**files, "range/proof": longer}))
            assert "range_differs" in [code for code, _ in found]


Forge = Callable[[World], Files]
RANGE = "the entries of the range do not lead to the checkpoint: one was changed, left out, put in or cut off"
OFFICER = {"officer": "a1"}
PERIOD = {"from_ns": START_NS + 3 * HOUR, "until_ns": START_NS + 5 * HOUR}


def _whole(world: World, **changes: Any) -> Files:
    return replace(world.whole("releases", OFFICER), **changes).files()


def _listed(world: World, **changes: Any) -> Files:
    return replace(world.listed("releases", OFFICER), **changes).files()


def _first(world: World) -> int:
    return world.truth("releases", OFFICER)[0]


def _without(files: Files, *names: str) -> Files:
    return {name: data for name, data in files.items() if name not in names}


def _other_log(world: World) -> Files:
    """An entry of another log with its proof there, this log's checkpoint put under it."""
    index, files, leaves = _first(world), _listed(world), list(world.leaves)
    leaves[index] = encode(_at(release(7_000, actor="a1"), START_NS))
    other = replace(world.listed("releases", OFFICER), leaves=leaves).files()
    proof = other[f"proofs/{index}"].replace(other["checkpoint"], files["checkpoint"])
    return {**files, f"entries/{index}": leaves[index], f"proofs/{index}": proof}


def _moved(world: World, *, head: bool) -> Files:
    """An entry under the index of another, its proof as it is, or with that index written into it."""
    files, index = _listed(world), _first(world)
    leaf, proof = files.pop(f"entries/{index}"), files.pop(f"proofs/{index}")
    if head:
        proof = proof.replace(b"index %d\n" % index, b"index %d\n" % (index + 1))
    return {**files, f"entries/{index + 1}": leaf, f"proofs/{index + 1}": proof}


def _proof_of_another(world: World) -> Files:
    files, (one, other, *_) = _listed(world), world.truth("releases", OFFICER)
    return {**files, f"proofs/{one}": files[f"proofs/{other}"]}


def _one_less(world: World) -> Files:
    """The last entry of the range's first file is gone, and so is the rest of it."""
    files, keep = _whole(world), world.leaves[:255]
    return {**files, "range/0": b"".join(map(tiles.frame, keep))}


def _swapped(world: World) -> Files:
    """Two neighbours in each other's place."""
    files, leaves = _whole(world), list(world.leaves[:256])
    leaves[40], leaves[41] = leaves[41], leaves[40]
    return {**files, "range/0": b"".join(map(tiles.frame, leaves))}


def _asked_otherwise(world: World, old: bytes, new: bytes) -> Files:
    files = _listed(world)
    assert old in files["question.json"]
    return {**files, "question.json": files["question.json"].replace(old, new)}


def _older_checkpoint(world: World) -> Files:
    """The checkpoint that the log had an entry earlier."""
    return {**_listed(world), "checkpoint": lesson.Log(world.leaves, KEY).checkpoint()}


def _period(world: World, lo: int, hi: int) -> Files:
    """A range that does not reach as far as the period does."""
    inside = [one for one in world.truth("releases", PERIOD) if lo <= one < hi]
    return Bundle(world.leaves, "releases", PERIOD, inside, (lo, hi)).files()


def _inside(world: World) -> tuple[int, int]:
    """Two entries of the period, with some between."""
    chosen = [at for at, one in enumerate(world.facts) if PERIOD["from_ns"] <= one["time"] < PERIOD["until_ns"]]
    return chosen[3], chosen[12]


def _no_ack(world: World) -> Files:
    """Releases that were confirmed later, asked for as unconfirmed in a range that ends before."""
    hi = next(at for at in range(len(world.leaves) - 1, 0, -1) if world.leaves[at][:8] == kind_of("ack").prefix)
    period = {"until_ns": world.facts[hi - 1]["time"]}  # as far as the time goes, the range is long enough
    answer = [one for one in world.truth("unconfirmed", period) if one < hi]
    return Bundle(world.leaves, "unconfirmed", period, answer, (0, hi)).files()


def _without_request(world: World) -> Files:
    bundle = world.listed("grants", {"dataset": "d1"})
    return replace(bundle, answer=[17], alone=frozenset({17})).files()


# What is forged → code, place, and the sentences.
FORGED: Mapping[str, tuple[Forge, str, str, str, str]] = {
    "an entry of the answer is not in the bundle": (
        lambda w: _listed(w, alone=frozenset(w.truth("releases", OFFICER)[1:])),
        *("answer_missing", "{first}"),
        "第 {first} 条：属于答复，却不在证据包中",
        "entry {first}: it belongs to the answer and is not in the bundle, or not proved",
    ),
    "an entry is left out, and the log recorded the answer so": (
        lambda w: _whole(w, answer=w.truth("releases", OFFICER)[1:]),
        *("answer_left_out", "{first}"),
        "第 {first} 条：符合所问，答复中却没有",
        "entry {first}: it answers the question, and the answer lacks it",
    ),
    "an entry is left out of the answer alone": (
        lambda w: _listed(
            w, answer=w.truth("releases", OFFICER)[1:], recorded={"answer": w.truth("releases", OFFICER)}
        ),
        *("question_differs", "question.json"),
        "question.json：问题或答复与日志记录（第 {size} 条）不一致",
        "question.json: the question or its answer is not what the log recorded (entry {size})",
    ),
    "the filter is widened afterwards": (
        lambda w: _listed(w, filter={}, recorded={"filter": OFFICER}),
        *("question_differs", "question.json"),
        "question.json：问题或答复与日志记录（第 {size} 条）不一致",
        "question.json: the question or its answer is not what the log recorded (entry {size})",
    ),
    "the filter is narrowed afterwards": (
        lambda w: _listed(w, filter={**OFFICER, "dataset": "d1"}, recorded={"filter": OFFICER}),
        *("question_differs", "question.json"),
        "question.json：问题或答复与日志记录（第 {size} 条）不一致",
        "question.json: the question or its answer is not what the log recorded (entry {size})",
    ),
    "the filter is narrower than the answer, and the log recorded it so": (
        lambda w: _listed(w, filter={"officer": "a2"}),
        *("answer_unfitting", "{first}"),
        "第 {first} 条：不符合所问（officer）",
        "entry {first}: it does not answer the question (officer)",
    ),
    "the filter is wider than the answer, and the log recorded it so": (
        lambda w: _whole(w, filter={}),
        *("answer_left_out", "{other}"),
        "第 {other} 条：符合所问，答复中却没有",
        "entry {other}: it answers the question, and the answer lacks it",
    ),
    "the question's words are others": (
        lambda w: _asked_otherwise(w, b'"query":"releases"', b'"query":"unconfirmed"'),
        *("question_differs", "question.json"),
        "question.json：问题或答复与日志记录（第 {size} 条）不一致",
        "question.json: the question or its answer is not what the log recorded (entry {size})",
    ),
    "an entry of another log": (
        _other_log,
        *("entry_not_proved", "{first}"),
        "第 {first} 条：内容或其证明被改动，不在检查点之下",
        "entry {first}: it or its proof was changed, the checkpoint does not cover it",
    ),
    "an entry under another index": (
        lambda w: _moved(w, head=False),
        *("file_changed", "proofs/{second}"),
        "proofs/{second}：文件被改动：not a proof that ends in the checkpoint",
        "proofs/{second}: the file was changed: not a proof that ends in the checkpoint",
    ),
    "an entry and its proof under another index": (
        lambda w: _moved(w, head=True),
        *("entry_not_proved", "{second}"),
        "第 {second} 条：内容或其证明被改动，不在检查点之下",
        "entry {second}: it or its proof was changed, the checkpoint does not cover it",
    ),
    "the proof of another index": (
        _proof_of_another,
        *("file_changed", "proofs/{first}"),
        "proofs/{first}：文件被改动：not a proof that ends in the checkpoint",
        "proofs/{first}: the file was changed: not a proof that ends in the checkpoint",
    ),
    "the end of the range is cut off": (
        lambda w: _without(_whole(w), "range/256"),
        *("range_differs", "range/0"),
        "range/0：范围内的条目与检查点不符，有条目被改动、增删或截去：[0, 256)",
        f"range/0: {RANGE}: [0, 256)",
    ),
    "an entry is cut out of the range": (
        _one_less,
        *("range_differs", "range/256"),
        "range/256：范围内的条目与检查点不符，有条目被改动、增删或截去：255",
        f"range/256: {RANGE}: 255",
    ),
    "a file of the range is cut off within an entry": (
        lambda w: {**_whole(w), "range/0": _whole(w)["range/0"][:-1]},
        *("range_differs", "range/0"),
        "range/0：范围内的条目与检查点不符，有条目被改动、增删或截去：byte {cut}",
        f"range/0: {RANGE}: byte {{cut}}",
    ),
    "two entries of the range are in each other's place": (
        _swapped,
        *("range_differs", "range/0"),
        "range/0：范围内的条目与检查点不符，有条目被改动、增删或截去：[0, {size})",
        f"range/0: {RANGE}: [0, {{size}})",
    ),
    "the range is shorter than the question says": (
        lambda w: _whole(w, shown=(0, len(w.leaves) - 9)),
        *("range_cut", "[0, {size})"),
        "[0, {size})：问题所列的条目范围未全部出示，包内为 [0, {short})",
        "[0, {size}): the bundle does not hold the range of entries that the question names: [0, {short})",
    ),
    "there is no range at all": (
        lambda w: _whole(w, shown=()),
        *("range_cut", "[0, {size})"),
        "[0, {size})：问题所列的条目范围未全部出示，包内为 -",
        "[0, {size}): the bundle does not hold the range of entries that the question names: -",
    ),
    "the range begins within the period": (
        lambda w: _period(w, _inside(w)[0], len(w.leaves)),
        *("range_short", "{begin}"),
        "第 {begin} 条：范围在所问时段之内开始或结束，其外的条目未出示",
        "entry {begin}: the range begins or ends within the period asked about; what is beyond it is not shown",
    ),
    "the range ends within the period": (
        lambda w: _period(w, 0, _inside(w)[1] + 1),
        *("range_short", "{end}"),
        "第 {end} 条：范围在所问时段之内开始或结束，其外的条目未出示",
        "entry {end}: the range begins or ends within the period asked about; what is beyond it is not shown",
    ),
    "the range ends before an acknowledgement": (
        _no_ack,
        *("range_short", "{acked}"),
        "第 {acked} 条：范围在所问时段之内开始或结束，其外的条目未出示",
        "entry {acked}: the range begins or ends within the period asked about; what is beyond it is not shown",
    ),
    "an older checkpoint": (
        _older_checkpoint,
        *("file_changed", "proofs/0"),
        "proofs/0：文件被改动：not a proof that ends in the checkpoint",
        "proofs/0: the file was changed: not a proof that ends in the checkpoint",
    ),
    "an agreement without its request": (
        _without_request,
        *("terms_missing", "17"),
        "第 17 条：证据包缺少该协议的申请条目，无法判断协议内容：agreement/agr-1",
        "entry 17: the request of its agreement is not in the bundle, which says what it is about: agreement/agr-1",
    ),
    "an entry of the range once more, alone": (
        lambda w: {**_whole(w), "entries/20": w.leaves[20]},
        *("file_stray", "entries/20"),
        "entries/20：不属于证据包的文件",
        "entries/20: the file does not belong to a bundle",
    ),
    "a range beside a list": (
        lambda w: {**_listed(w), **{k: v for k, v in _whole(w).items() if k.startswith("range/")}},
        *("file_stray", "range/0"),
        "range/0：不属于证据包的文件",
        "range/0: the file does not belong to a bundle",
    ),
    "a segment of the subject index": (
        lambda w: {**_listed(w), "segments/3/0": b"x"},
        *("file_stray", "segments/3/0"),
        "segments/3/0：不属于证据包的文件",
        "segments/3/0: the file does not belong to a bundle",
    ),
}


@pytest.mark.parametrize("name", list(FORGED))
def test_what_is_forged_is_found(world: World, tmp_path: Path, name: str) -> None:
    """The forger has the log's key: where the log recorded what he wrote, the entries themselves tell. In the report,
    too, and it claims no completeness.
    """
    forge, code, place, zh, en = FORGED[name]
    first = _first(world)
    facts = {
        "first": first,
        "second": first + 1,
        "other": next(one for one in world.truth("releases", {}) if one not in world.truth("releases", OFFICER)),
        "size": len(world.leaves),
        "short": len(world.leaves) - 9,
        "begin": _inside(world)[0],
        "end": _inside(world)[1],
        "acked": max(at for at, leaf in enumerate(world.leaves) if leaf[:8] == kind_of("ack").prefix) - 1,
        "cut": len(b"".join(map(tiles.frame, world.leaves[:255]))),
    }
    result = _judged(tmp_path, forge(world))
    found = next((one for one in result.findings if (one.code, one.place) == (code, place.format(**facts))), None)
    assert found is not None, result.findings
    page = report.page(result, "x", "-", dt.datetime(2026, 11, 25, tzinfo=dt.UTC))
    for language, sentence in (("zh", zh), ("en", en)):
        told = sentence.format(**facts)
        assert f"{code}: {told}" in list(report.lines(result, language))
        assert told in page
    assert code == "file_stray" or "range" not in result.proved


@pytest.mark.parametrize(
    "change",
    [
        {"answer": [30, 29]},
        {"answer": [30, 30]},
        {"answer": [9_999]},
        {"answer": [True]},
        {"answer": "30"},
        {"filter": {"officer": 1}},
        {"filter": {"from_ns": True}},
        {"filter": {"colour": "red"}},
        {"filter": []},
        {"size": -1},
        {"size": 9_999},
        {"range": [0]},
        {"range": [5, 5]},
        {"range": [0, 9_999]},
        {"range": "x"},
        {"tags": []},
    ],
)
def test_a_question_has_one_form(world: World, tmp_path: Path, change: dict[str, Any]) -> None:
    """An answer out of order, twice, beyond the log; a filter that there is not; a range of nothing."""
    files = _listed(world)
    files["question.json"] = canonical({**json.loads(files["question.json"]), **change}) + b"\n"
    assert ("file_changed", "question.json") in _found(_judged(tmp_path, files))


def test_a_stale_checkpoint_is_found_by_who_kept_a_newer_one(world: World, tmp_path: Path) -> None:
    """By a checkpoint, and by the state of a verification: the log was cut off. A state of this log is continued, one
    of another history is not, one that was changed is none.
    """
    files = _whole(world)
    asked = lesson.Log(world.leaves, KEY)
    key, size = files["vkey"].decode().strip(), len(world.leaves)
    grown = lesson.Log([*asked.leaves, *asked.leaves[:5]], KEY).checkpoint()
    assert _found(_judged(tmp_path, files, key, [grown])) == [("log_cut_off", "--checkpoint 1")]
    root = tiles.root_at(100, asked.tile)
    old = f"{lesson.ORIGIN}\n100\n{base64.b64encode(root).decode()}\n".encode()
    tile, note = cache(lesson.Log(_leaves(files, world), KEY).tile), files["checkpoint"]
    hashes = [base64.b64encode(one).decode() for one in tiles.consistency(100, size + 1, tile)]
    files["kept/100"] = old
    files["consistency/100"] = "\n".join(["old 100", *hashes, ""]).encode() + b"\n" + note
    result = _judged(tmp_path, files, key, [], [_state(key, 100, root)])
    assert (_found(result), result.proved["history"]) == ([], 1)
    for state, code, place in (
        (_state(key, size + 9, root), "log_cut_off", "--state 1"),
        (_state(key, 100, bytes(32)), "history_rewritten", "100"),
        (_state(key, 101, root), "history_not_shown", "--state 1"),
        (_state(key, -1, root), "state_invalid", "--state 1"),
        (_state("x+y+z", 100, root), "state_invalid", "--state 1"),
        (_state(key, 100, root).replace(b"100", b"101"), "state_invalid", "--state 1"),
        (b"\xff", "state_invalid", "--state 1"),
        (b"[" * 99_999, "state_invalid", "--state 1"),
    ):
        assert _found(_judged(tmp_path, files, key, [], [state])) == [(code, place)]
    for bad in (old.replace(lesson.ORIGIN.encode(), b"x"), old[:-1], b"\xff\n100\n"):
        assert ("kept_invalid", "kept/100") in _found(_judged(tmp_path, {**files, "kept/100": bad}, key))
    assert words.said("finding_state_invalid", "zh", place="x") == "x：不是对该日志验证后留存的状态文件，或已被改动"


def _leaves(files: Files, world: World) -> list[bytes]:
    return [*world.leaves, files[f"entries/{len(world.leaves)}"]]


def _state(key: str, size: int, root: bytes) -> bytes:
    from exchange.audit.verify_state import FORMAT as STATE
    from exchange.audit.verify_state import _digest

    document = {
        "format": STATE,
        "key": key,
        "size": size,
        "root": root.hex(),
        "rows": [],
        "checkpoints": [],
        "rules": {},
    }
    return json.dumps({**document, "digest": _digest(document)}).encode()


def test_the_report_says_what_is_proved_and_what_is_not(world: World, tmp_path: Path) -> None:
    """Question and filter in words; of a list, that completeness is not proved; of a range, which indexes it has, that
    order comes from them and times from who wrote.
    """
    bundle = Bundle(world.leaves, "releases", {**PERIOD, "officer": "a1"}, [], None)
    answer = world.truth("releases", bundle.filter)
    assert answer
    for complete in (False, True):
        more: dict[str, Any] = {"span": (0, len(world.leaves))} if complete else {"alone": frozenset(answer)}
        result = _judged(tmp_path, replace(bundle, answer=answer, **more).files())
        page = report.page(result, "x", "-", dt.datetime(2026, 11, 25, tzinfo=dt.UTC))
        for text in (
            "发放了什么、给谁、依据什么？",
            "What was released, to whom, under what?",
            _utc(PERIOD["from_ns"]),
            "经办人（假名）",
            "that the pseudonym is that of the officer who was asked about",
            "只有条目的先后顺序已证明",
        ):
            assert text in page
        assert ("不能证明两个检查点之间没有遗漏其他条目" in page) is not complete
        assert ("the answer is complete within a range of" in page) is complete
        assert ("order comes from the indexes" in page) is complete
        assert "<script" not in page


def _utc(ns: int) -> str:
    return dt.datetime.fromtimestamp(ns // 10**9, dt.UTC).strftime("%Y-%m-%d %H:%M:%S")
