"""An answer to a search, forged in every way that its keeper could: each is found, by its code, in both languages."""

import datetime as dt
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from exchange.audit import tiles
from exchange.audit.entries import encode
from exchange.audit.schemas import kind_of
from exchange.cli import lesson
from exchange.evidence import report
from tests.audit.building import KEY, START_NS, release
from tests.evidence.answers import HOUR, Bundle, Files, World, at_time, judged

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
    leaves[index] = encode(at_time(release(7_000, actor="a1"), START_NS))
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
    result = judged(tmp_path, forge(world))
    found = next((one for one in result.findings if (one.code, one.place) == (code, place.format(**facts))), None)
    assert found is not None, result.findings
    page = report.page(result, "x", "-", dt.datetime(2026, 11, 25, tzinfo=dt.UTC))
    for language, sentence in (("zh", zh), ("en", en)):
        told = sentence.format(**facts)
        assert f"{code}: {told}" in list(report.lines(result, language))
        assert told in page
    assert code == "file_stray" or "range" not in result.proved
