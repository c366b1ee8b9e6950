"""Of the demo's play: the same records as the township clerk, the county checker and their own department see them."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

from exchange.cli.cast import CASE, CASE_DEAD, CASE_HOME, CHECKER, CLERK, PUBLISHERS
from exchange.cli.report import View
from exchange.cli.stage import Stage
from exchange.messages import text

if TYPE_CHECKING:
    from adapters.sample.truth import Truth

VIEWED: Final = "hrss.pension_account"  # of which three people see the same records
PROVIDER: Final = f"steward.{PUBLISHERS[VIEWED]}"


def clerk(stage: Stage, truth: "Truth") -> View:
    """The township clerk: verdicts on the members of an open application, and nothing else."""
    applicant = truth.role("applicant")
    members = "\n".join(one.person_id for one in truth.members(applicant.application_id))
    words = ["--title", "低保申请 宁远县湾井镇（合成）", "--department", "ny.minzheng"]
    words += ["--department", PUBLISHERS[VIEWED], "--json"]
    stage.run(CLERK, "case", "open", CASE, *words, stdin=members, quiet=True)
    asked = ["--purpose", "dibao.intake", "--case", CASE]
    plan = stage.run(CLERK, "explain", VIEWED, *asked, lines=20)
    read = stage.run(CLERK, "read", "hrss.pension_account", *asked)
    receipts = stage.run(CLERK, "read", "fin.receipt", *asked)
    stage.check(
        text("demo_check_verdicts", stage.language), sorted(read.records[0]), ["monthly_benefit_fen", "person_id"]
    )
    received = read.stdout + receipts.stdout
    shown = [value for one in read.records + receipts.records for key, value in one.items() if key.endswith("_fen")]
    stage.check(
        text("demo_check_no_amount", stage.language), [one for one in shown if one not in (True, False, None)], []
    )
    ids = [one.person_id for one in truth.planted]
    stage.check(text("demo_check_no_id", stage.language), [one for one in ids if one in received], [])
    neighbour = truth.role("neighbour").person_id
    refused = stage.run(CLERK, "lookup", "hrss.pension_account", *asked, stdin=neighbour, ends=1)
    stage.check(text("demo_check_neighbour", stage.language), refused.reasons, ["not_in_case"])
    return View("clerk", CLERK, plan.stdout.splitlines(), read.records)


def checker(stage: Stage, truth: "Truth") -> View:
    """The county checker: what all may read, then amounts, masked as the table says; the hard cases a to d of C1."""
    out = stage.root.parent / "divisions-read-by-the-checker.jsonl"
    stage.run(CHECKER, "read", "mz.division", "--purpose", "open.use", "--out", str(out))
    count = len(out.read_text("utf-8").splitlines())
    stage.check(text("demo_check_open", stage.language), count, truth.files["divisions.csv"].good)
    asked = ["--purpose", "dibao.initial_check"]
    plan = stage.run(CHECKER, "explain", VIEWED, *asked, "--case", CASE, quiet=True)
    pension = stage.run(CHECKER, "read", "hrss.pension_account", *asked, "--case", CASE).records
    banks = [one["bank_account"] for one in pension if one["bank_account"]]
    stage.check(text("demo_check_bank", stage.language), [bank for bank in banks if set(bank[:-4]) != {"*"}], [])
    stage.run(CHECKER, "read", "fin.receipt", *asked, "--case", CASE)
    people = stage.run(CHECKER, "read", "ps.hukou_person", *asked, "--case", CASE, quiet=True).records
    old = truth.role("spouse").person_id
    regions = {one["person_id"]: one["hukou_region"] for one in people}
    stage.check(text("demo_check_a", stage.language, prefix=old[:6]), regions[old][:6], "431126")
    planted = {one.role: one for one in truth.planted}
    others = [one for one in truth.planted if one.case in {"b", "c"}]
    words = ["--title", "低保复核（合成）", "--department", "ny.minzheng"]
    stage.run(CLERK, "case", "open", CASE_DEAD, *words, stdin="\n".join(one.person_id for one in others), quiet=True)
    people = stage.run(CHECKER, "read", "ps.hukou_person", *asked, "--case", CASE_DEAD, quiet=True).records
    seen = {one["person_id"]: one["status"] for one in people}
    elsewhere = [planted[role].person_id for role in ("member_elsewhere", "member_elsewhere_old_code")]
    stage.check(text("demo_check_b", stage.language), [one for one in elsewhere if one in seen], [])
    dead = planted["dead_still_paid"].person_id
    paid = stage.run(CHECKER, "read", "hrss.pension_account", *asked, "--case", CASE_DEAD, quiet=True).records
    found = [one["monthly_benefit_fen"] for one in paid if one["person_id"] == dead]
    stage.check(text("demo_check_c", stage.language), [seen[dead], len(found)], ["DECEASED", 1])
    home = planted["applicant_d"].household_id
    words = ["--title", "低保重复申请（合成）", "--department", "ny.minzheng", "--subject-type", "household"]
    stage.run(CLERK, "case", "open", CASE_HOME, *words, stdin=home, quiet=True)
    twice = stage.run(CHECKER, "read", "ca.dibao_application", *asked, "--case", CASE_HOME).records
    stage.check(
        text("demo_check_d", stage.language), sorted(one["township_code"] for one in twice), ["431126103", "431126104"]
    )
    return View("checker", CHECKER, plan.stdout.splitlines(), pension)


def provider(stage: Stage, others: Sequence[View]) -> View:
    """The same records as their own department sees them: what the others' views are made of."""
    stage.note("demo_provider")
    asked = ["--purpose", "own.review", "--case", CASE]
    plan = stage.run(PROVIDER, "explain", VIEWED, *asked, quiet=True)
    read = stage.run(PROVIDER, "read", VIEWED, *asked)
    fields = {name for other in others for name in other.records[0]}
    stage.check(text("demo_check_whole", stage.language), sorted(fields - set(read.records[0])), [])
    stage.check(
        text("demo_check_same", stage.language),
        [len(view.records) for view in others],
        [len(read.records)] * len(others),
    )
    return View("provider", PROVIDER, plan.stdout.splitlines(), read.records)
