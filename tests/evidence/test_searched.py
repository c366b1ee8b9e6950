"""Answers to searches judged: the filter applied again, a range proved whole, what is told of it."""

import base64
import datetime as dt
import json
import random
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from exchange.audit import tiles
from exchange.cli import lesson
from exchange.evidence import report, searched, words
from exchange.names import canonical
from tests.audit.building import KEY, START_NS
from tests.evidence.answers import HOUR, Bundle, Facts, Files, World, judged, state_of, wrong_in

OFFICER = {"officer": "a1"}


PERIOD = {"from_ns": START_NS + 3 * HOUR, "until_ns": START_NS + 5 * HOUR}


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
        result = judged(tmp_path, whole.files())
        assert wrong_in(result) == [], filters
        assert result.proved["range"] == len(world.leaves)
        assert [one.index for one in result.answer] == world.truth(query, filters)
        assert "omitted" not in result.unproved
    listed = world.listed(query, {})
    result = judged(tmp_path, listed.files())
    assert (wrong_in(result), "range" in result.proved, "omitted" in result.unproved) == ([], False, True)
    answer = list(listed.answer)
    assert len(answer) > 2
    gone = choice.choice(answer)
    short = replace(world.whole(query, {}), answer=[one for one in answer if one != gone])
    assert wrong_in(judged(tmp_path, short.files())) == [("answer_left_out", str(gone))]
    more = choice.choice([one for one in range(20, len(world.leaves)) if one not in answer])
    long = replace(listed, answer=sorted([*answer, more]), alone=listed.alone | {more})
    assert ("answer_unfitting", str(more)) in wrong_in(judged(tmp_path, long.files()))


def test_a_range_is_proved_whole(world: World, tmp_path: Path) -> None:
    """From any entry to any other: what is shown leads to the root, whatever its borders; nothing of it is free."""
    choice, size = random.Random(1), len(world.leaves)
    for lo, hi in [(0, 1), (255, 257), (size - 1, size), *(sorted(choice.sample(range(size), 2)) for _ in range(3))]:
        files = replace(world.whole("keys", {}), shown=(lo, hi)).files()
        assert "range_differs" not in [code for code, _ in wrong_in(judged(tmp_path, files))]
        name = choice.choice([one for one in files if one.startswith("range/") and files[one]])
        at = choice.randrange(len(files[name]))
        bad = files[name][:at] + bytes([files[name][at] ^ 1]) + files[name][at + 1 :]
        assert "range_differs" in [code for code, _ in wrong_in(judged(tmp_path, {**files, name: bad}))]
        proof = files["range/proof"]
        for longer in (proof + b"x", proof + base64.b64encode(bytes(32)) + b"\n", proof + b"AAAA\n", b"*\n" + proof):
            found = wrong_in(judged(tmp_path, {**files, "range/proof": longer}))
            assert "range_differs" in [code for code, _ in found]


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
    files = world.listed("releases", OFFICER).files()
    files["question.json"] = canonical({**json.loads(files["question.json"]), **change}) + b"\n"
    assert ("file_changed", "question.json") in wrong_in(judged(tmp_path, files))


def test_a_stale_checkpoint_is_found_by_who_kept_a_newer_one(world: World, tmp_path: Path) -> None:
    """By a checkpoint, and by the state of a verification: the log was cut off. A state of this log is continued, one
    of another history is not, one that was changed is none.
    """
    files = world.whole("releases", OFFICER).files()
    asked = lesson.Log(world.leaves, KEY)
    key, size = files["vkey"].decode().strip(), len(world.leaves)
    grown = lesson.Log([*asked.leaves, *asked.leaves[:5]], KEY).checkpoint()
    assert wrong_in(judged(tmp_path, files, key, [grown])) == [("log_cut_off", "--checkpoint 1")]
    root = tiles.root_at(100, asked.tile)
    old = f"{lesson.ORIGIN}\n100\n{base64.b64encode(root).decode()}\n".encode()
    tile, note = cache(lesson.Log(_leaves(files, world), KEY).tile), files["checkpoint"]
    hashes = [base64.b64encode(one).decode() for one in tiles.consistency(100, size + 1, tile)]
    files["kept/100"] = old
    files["consistency/100"] = "\n".join(["old 100", *hashes, ""]).encode() + b"\n" + note
    result = judged(tmp_path, files, key, [], [state_of(key, 100, root)])
    assert (wrong_in(result), result.proved["history"]) == ([], 1)
    for state, code, place in (
        (state_of(key, size + 9, root), "log_cut_off", "--state 1"),
        (state_of(key, 100, bytes(32)), "history_rewritten", "100"),
        (state_of(key, 101, root), "history_not_shown", "--state 1"),
        (state_of(key, -1, root), "state_invalid", "--state 1"),
        (state_of("x+y+z", 100, root), "state_invalid", "--state 1"),
        (state_of(key, 100, root).replace(b"100", b"101"), "state_invalid", "--state 1"),
        (b"\xff", "state_invalid", "--state 1"),
        (b"[" * 99_999, "state_invalid", "--state 1"),
    ):
        assert wrong_in(judged(tmp_path, files, key, [], [state])) == [(code, place)]
    for bad in (old.replace(lesson.ORIGIN.encode(), b"x"), old[:-1], b"\xff\n100\n"):
        assert ("kept_invalid", "kept/100") in wrong_in(judged(tmp_path, {**files, "kept/100": bad}, key))
    assert words.said("finding_state_invalid", "zh", place="x") == "x：不是对该日志验证后留存的状态文件，或已被改动"


def _leaves(files: Files, world: World) -> list[bytes]:
    return [*world.leaves, files[f"entries/{len(world.leaves)}"]]


def test_the_report_says_what_is_proved_and_what_is_not(world: World, tmp_path: Path) -> None:
    """Question and filter in words; of a list, that completeness is not proved; of a range, which indexes it has, that
    order comes from them and times from who wrote.
    """
    bundle = Bundle(world.leaves, "releases", {**PERIOD, "officer": "a1"}, [], None)
    answer = world.truth("releases", bundle.filter)
    assert answer
    for complete in (False, True):
        more: dict[str, Any] = {"span": (0, len(world.leaves))} if complete else {"alone": frozenset(answer)}
        result = judged(tmp_path, replace(bundle, answer=answer, **more).files())
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
