"""Who plays in the demo, and what they ask for: C1 of the domain, the check before a minimum living allowance."""

import time
from typing import Any, Final

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


def register() -> dict[str, Any]:
    """The departments with their places, and the people with their roles, as `exchange register` takes them."""
    departments = [
        {"id": id_, "title_zh": zh, "title_en": en, "region": region, "line_parent": line}
        for id_, (zh, en, region, line) in _TITLES.items()
    ]
    people: list[dict[str, Any]] = [
        {"id": f"steward.{department}", "department": department, "roles": ["steward"]}
        for department in _TITLES
        if department != "ny.shenji"
    ]
    people += [
        {"id": f"svc.{department}", "department": department, "roles": ["department_system"]}
        for department in PUBLISHERS.values()
    ]
    for name, department, role in (
        (CLERK, "ny.wanjing", "department_system"),
        (CHECKER, "ny.minzheng", "department_system"),
        (AUDITOR, "ny.shenji", "auditor"),
    ):
        people.append({"id": name, "department": department, "roles": [role]})
    return {"departments": departments, "principals": people}


def _terms(
    consumer: str, dataset: str, purpose: str, fields: dict[str, dict[str, Any]], rows: dict[str, Any]
) -> dict[str, Any]:
    return {
        "consumer": consumer,
        "dataset": dataset,
        "purpose": purpose,
        "legal_basis": "社会救助法 第四十一条",
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
                "bank_account": {"kind": "partial", "first": 0, "last": 4},
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
