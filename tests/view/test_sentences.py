"""A plan in sentences, both languages, from the catalogue only."""

from types import SimpleNamespace
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from exchange.messages import Language
from exchange.plan import REFUSALS, Plan
from exchange.view.sentences import explain
from tests.plan.test_plan import FULL
from tests.view.plans import deny_document, field, plan_document

ZONE = ZoneInfo("Asia/Shanghai")
CONTRACT: Any = SimpleNamespace(fields={"name": SimpleNamespace(label_zh="姓名", label_en="name of person")})


def said(document: dict[str, Any], language: Language) -> str:
    """All sentences of a plan."""
    return "\n".join(explain(Plan.from_document(document, draft=True), CONTRACT, language, ZONE))


def test_an_allow_in_english() -> None:
    """Effect, purpose, case, grounds, each field with label and mask, rows, obligations, until when with the offset."""
    text = said(FULL, "en")
    for part in (
        "ps.hukou_person may be read.",
        "Purpose: dibao.review",
        "case-2026-000123",
        "[agreement]",
        "name of person (name): first 1 and last 0 characters, the others *",
        "address.region_code: the division to the level of county",
        "monthly_income: only whether it is at most 560",
        "to the quarter",
        "0, 0.5, 100",
        "address.region_code begins with 431126",
        "a is one of: x, 1, true",
        "deleted by 2026-12-31",
        "2026-11-23 17:00:00+08:00",
    ):
        assert part in text


def test_an_allow_in_chinese() -> None:
    """The same in Chinese, and no English sentence left in it."""
    text = said(FULL, "zh")
    for part in (
        "允许读取 ps.hukou_person。",
        "姓名（name）：保留前 1 位和后 0 位，其余为 *",
        "精确到季度",
        "县级",
        "不大于 560",
    ):
        assert part in text
    assert "the" not in text.split()


@pytest.mark.parametrize("language", ["zh", "en"])
def test_every_reason_of_a_refusal_is_told(language: Language) -> None:
    """A refusal says that it is one and why, with the code that programs read."""
    text = said(deny_document(*REFUSALS), language)
    assert all(f"{code}" in text for code in REFUSALS)
    assert len(text.splitlines()) == 1 + len(REFUSALS)


def test_branches_are_indented() -> None:
    """A tree of conditions keeps its form."""
    rows = {"op": "or", "of": [{"op": "all"}, {"op": "not", "of": [{"op": "null", "path": "a"}]}]}
    lines = said(plan_document([field("a")], rows), "en").splitlines()
    start = lines.index("  at least one of:")
    assert lines[start + 1 : start + 4] == [
        "    all records",
        "    this does not hold (and is known):",
        "      a is empty",
    ]


def test_long_lists_and_far_times_are_cut_short() -> None:
    """A list of many values is not printed whole; a time beyond the calendar is said to be one."""
    rows = {"op": "in", "path": "a", "values": list(range(50))}
    text = said(plan_document([field("a")], rows, expires_ns=(1 << 63) - 1), "en")
    assert "and 30 more" in text
    assert "2262-04-12" in text
    far = Plan.from_document(FULL)
    assert "beyond" in "\n".join(explain(_until(far, 10**30), None, "en", ZONE))


def _until(plan: Plan, ns: int) -> Plan:
    from dataclasses import replace

    return replace(plan, expires_ns=ns)
