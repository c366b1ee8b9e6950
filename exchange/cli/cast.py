"""Who lives in the sample county, and what they ask for: C1 of the domain, the check before a minimum living allowance.

The demo plays with them, and a sample site is made of them.
"""

import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from exchange.contracts.contract import Contract

PUBLISHERS: Final = {
    "mz.division": "cn.mca",
    "ps.hukou_person": "ny.gongan",
    "hrss.pension_account": "ny.renshe",
    "fin.receipt": "ny.caizheng",
    "ca.dibao_application": "ny.wanjing",
    "ca.dibao_standard": "yz.minzheng",
}
_TITLES: Final = {
    "cn.mca": ("民政部", "Ministry of Civil Affairs", "000000", None),
    "yz.minzheng": ("永州市民政局", "Yongzhou Civil Affairs", "431100", "cn.mca"),
    "ny.minzheng": ("宁远县民政局", "Ningyuan Civil Affairs", "431126", "yz.minzheng"),
    "ny.wanjing": ("湾井镇", "Wanjing Township", "431126103", "ny.minzheng"),
    "ny.gongan": ("宁远县公安局", "Ningyuan Public Security", "431126", None),
    "ny.renshe": ("宁远县人社局", "Ningyuan Human Resources", "431126", None),
    "ny.caizheng": ("宁远县财政局", "Ningyuan Finance", "431126", None),
    "ny.shenji": ("宁远县审计局", "Ningyuan Audit Office", "431126", None),
}
CLERK: Final = "clerk.ny.wanjing"
CHECKER: Final = "checker.ny.minzheng"
AUDITOR: Final = "auditor.ny.shenji"
AUTHORITY: Final = "authority.ny.shuju"
OFFICE: Final = "ny.shuju"
CASE: Final = "case-2026-000123"
CASE_DEAD: Final = "case-2026-000124"
CASE_HOME: Final = "case-2026-000125"


def register() -> dict[str, Any]:
    """The departments with their places, and the people with their roles, as `exchange register` takes them.

    Every department that publishes or asks has two stewards: what one requests of the own department, or submits,
    the other reviews or approves.
    """
    departments = [
        {"id": id_, "title_zh": zh, "title_en": en, "region": region, "line_parent": line}
        for id_, (zh, en, region, line) in _TITLES.items()
    ]
    people = [
        (f"{kind}.{department}", department, "steward")
        for department in _TITLES
        if department != "ny.shenji"
        for kind in ("steward", "deputy")
    ]
    people += [(f"svc.{department}", department, "department_system") for department in PUBLISHERS.values()]
    people += [
        (CLERK, "ny.wanjing", "department_system"),
        (CHECKER, "ny.minzheng", "department_system"),
        (AUDITOR, "ny.shenji", "auditor"),
        (f"deputy.{OFFICE}", OFFICE, "sharing_authority"),
        (f"operator.{OFFICE}", OFFICE, "operator"),
    ]
    principals = [{"id": id_, "department": department, "roles": [role]} for id_, department, role in people]
    return {"departments": departments, "principals": principals}


def reviewer(terms: Mapping[str, Any]) -> str:
    """Who reviews a request: the provider's steward; where that one asked, for the own department, the deputy."""
    provider = PUBLISHERS[terms["dataset"]]
    return f"{'deputy' if terms['consumer'] == provider else 'steward'}.{provider}"


def _terms(
    consumer: str,
    dataset: str,
    purpose: str,
    fields: Mapping[str, Mapping[str, Any]],
    rows: Mapping[str, Any],
    basis: str = "社会救助法 第四十一条",
) -> dict[str, Any]:
    return {
        "consumer": consumer,
        "dataset": dataset,
        "purpose": purpose,
        "legal_basis": basis,
        "actions": ["read", "lookup"],
        "fields": [{"path": path, "mask": mask} for path, mask in fields.items()],
        "rows": rows,
        "case_bound": True,
        "zone": "extranet",
        "counts": False,
        "from": time.strftime("%Y-%m-%d", time.localtime(time.time() - 86_400)),
        "until": time.strftime("%Y-%m-%d", time.localtime(time.time() + 180 * 86_400)),
        "purge_by": None,
    }


KEEP: Final[dict[str, Any]] = {"kind": "keep"}
_PARTIAL_ID: Final = {"kind": "partial", "first": 6, "last": 4}
_LAST_FOUR: Final = {"kind": "partial", "first": 0, "last": 4}
_BELOW: Final = {"kind": "verdict", "op": "lt", "value": {"table": "dibao_standard_fen", "key": "431126"}}


def agreements_of_c1() -> dict[str, tuple[str, dict[str, Any]]]:
    """What the two consumers of C1 ask for: name → (requesting steward, terms)."""
    everything = {"op": "all"}
    subsidies = {"op": "in", "path": "kind", "values": ["SUBSIDY", "REFUND"]}
    county = {"op": "prefix", "path": "hukou_region", "value": "431126"}
    clerk, checker = ("ny.wanjing", "dibao.intake"), ("ny.minzheng", "dibao.initial_check")
    asked: dict[str, tuple[str, str, str, dict[str, dict[str, Any]], dict[str, Any]]] = {
        "clerk-pension": (
            clerk[0],
            "hrss.pension_account",
            clerk[1],
            {"person_id": _PARTIAL_ID, "monthly_benefit_fen": _BELOW},
            everything,
        ),
        "clerk-receipt": (
            clerk[0],
            "fin.receipt",
            clerk[1],
            {"party_id": _PARTIAL_ID, "amount_fen": _BELOW},
            subsidies,
        ),
        "checker-person": (
            checker[0],
            "ps.hukou_person",
            checker[1],
            {
                **dict.fromkeys(("person_id", "name", "sex", "birth_date", "household_id", "relation_to_head"), KEEP),
                **dict.fromkeys(("hukou_region", "status", "status_date"), KEEP),
            },
            county,
        ),
        "checker-pension": (
            checker[0],
            "hrss.pension_account",
            checker[1],
            {
                **dict.fromkeys(("person_id", "scheme", "status", "monthly_benefit_fen", "last_paid_month"), KEEP),
                "bank_account": _LAST_FOUR,
            },
            everything,
        ),
        "checker-receipt": (
            checker[0],
            "fin.receipt",
            checker[1],
            dict.fromkeys(("party_id", "kind", "item_code", "amount_fen", "issued_at"), KEEP),
            subsidies,
        ),
        "checker-application": (
            checker[0],
            "ca.dibao_application",
            checker[1],
            dict.fromkeys(("application_id", "household_id", "township_code", "status"), KEEP),
            everything,
        ),
    }
    return {name: (f"steward.{terms[0]}", _terms(*terms)) for name, terms in asked.items()}


def own_review(contract: "Contract") -> tuple[str, dict[str, Any]]:
    """What a department asks for of its own dataset: (requesting steward, terms) for all of a case's records.

    Class L4 is never shown as it is, to nobody: the end of a bank account, of anything else that there is something.
    """
    fields = {
        path: KEEP if terms.security_class != "L4" else _LAST_FOUR if path == "bank_account" else {"kind": "redact"}
        for path, terms in contract.fields.items()
    }
    own, basis = contract.department, "政务数据共享条例（国务院令第809号）"
    return f"steward.{own}", _terms(own, contract.dataset, "own.review", fields, {"op": "all"}, basis)


def unfinished() -> dict[str, tuple[str, dict[str, Any]]]:
    """Requests of the sample site, by how far they came: `requested`, `endorsed`, `returned`, `rejected`, `revoked`."""
    amounts = dict.fromkeys(("person_id", "monthly_benefit_fen", "last_paid_month"), KEEP)
    receipts = dict.fromkeys(("party_id", "kind", "amount_fen", "issued_at"), KEEP)
    checked, everything = ("ny.minzheng", "dibao.recheck"), {"op": "all"}
    asked: dict[str, tuple[str, str, str, dict[str, dict[str, Any]], dict[str, Any]]] = {
        "requested": (checked[0], "hrss.pension_account", checked[1], amounts, everything),
        "endorsed": (checked[0], "fin.receipt", checked[1], receipts, everything),
        "returned": ("ny.wanjing", "ps.hukou_person", "dibao.review", {"birth_date": KEEP}, everything),
        "rejected": ("yz.minzheng", "ps.hukou_person", "supervise", {"name": KEEP}, everything),
        "revoked": (checked[0], "ca.dibao_application", "dibao.review", {"status": KEEP}, everything),
    }
    return {name: (f"steward.{terms[0]}", _terms(*terms)) for name, terms in asked.items()}
