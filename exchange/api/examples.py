"""A real example for every operation: `tests/api/test_examples.py` sends each one and compares the answer's form.

What was answered stands in `examples.json`; `python -m tests.api.playing` writes it.
"""

import json
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any, Final

_FIELDS: Final = [
    {"path": "person_id", "mask": {"kind": "partial", "first": 6, "last": 4}},
    {"path": "monthly_benefit_fen", "mask": {"kind": "keep"}},
]
EXAMPLES: Final[Mapping[str, Any]] = {
    "AddDepartment": {
        "id": "ny.yibao",
        "title_zh": "县医保局",
        "title_en": "County Medical Insurance",
        "region": "431126",
        "region_parent": None,
        "line_parent": None,
        "zone": "extranet",
        "seal_key": "",
    },
    "AddPrincipal": {"id": "svc.ny.yibao", "department": "ny.yibao", "roles": ["department_system"]},
    "ChangeRoles": {"roles": ["department_system", "steward"]},
    "SuspendPrincipal": {"reason": "left the department"},
    "IssueToken": {
        "principal": "svc.ny.yibao",
        "digest": "sha256:" + "ab" * 32,
        "expires_ns": 1_900_000_000_000_000_000,
    },
    "SubmitContract": {
        "contract": {
            "format": "exchange.contract/1",
            "dataset": "hrss.unemployment",
            "department": "ny.renshe",
            "steward": "steward.ny.renshe",
            "title": {"zh": "失业登记", "en": "Unemployment"},
            "abstract": {"zh": "失业登记状态"},
            "subject": {"type": "person", "path": "person_id"},
            "share": {
                "type": "conditional",
                "condition": "限社会救助核对使用",
                "legal_basis": "政务数据共享条例（国务院令第809号）",
            },
            "update_cycle": "month",
            "fields": {
                "person_id": {"class": "L3", "label_zh": "公民身份号码", "label_en": "citizen id number"},
                "registered": {"class": "L2", "label_zh": "是否登记", "label_en": "registered"},
            },
            "schemas": [
                {
                    "type": "record",
                    "name": "hrss.unemployment",
                    "doc": "失业登记",
                    "fields": [
                        {"name": "person_id", "type": "string", "confluent:tags": ["id"], "doc": "公民身份号码"},
                        {"name": "registered", "type": "boolean", "doc": "是否登记"},
                    ],
                }
            ],
        }
    },
    "OpenIntake": {"user": "User:ny.renshe.sender"},
    "CloseCase": {"reason": "decided"},
    "RequestAgreement": {
        "terms": {
            "consumer": "ny.minzheng",
            "dataset": "hrss.pension_account",
            "purpose": "dibao.initial_check",
            "legal_basis": "社会救助法 第四十一条",
            "actions": ["read", "lookup"],
            "fields": _FIELDS,
            "rows": {"op": "all"},
            "case_bound": True,
            "zone": "extranet",
            "counts": False,
            "not_before_ns": 1_790_000_000_000_000_000,
            "expires_ns": 1_900_000_000_000_000_000,
            "purge_by": None,
        }
    },
    "ReviewAgreement": {"verdict": "endorse", "note": "needed for the check"},
    "RejectAgreement": {"reason": "no legal basis"},
    "RevokeAgreement": {"reason": "the check is over"},
    "WithdrawPolicy": {"reason": "found to be wrong"},
    "issue_token": {"principal": "svc.ny.renshe", "days": 90},
    "rotate_token": {"days": 90},
    "open_case": {
        "id": "case-2026-000124",
        "title": "低保申请 dibao application",
        "ids": ["11010519491231002X"],
        "subject_type": "person",
        "departments": [],
    },
    "change_members": {"ids": ["11010519491231002X", "440524188001010014"]},
    "submit_policy": {
        "modules": {
            "plan.rego": "package exchange\n\nimport rego.v1\n\n"
            'default plan := {"effect": "deny", "reasons": [{"code": "closed"}]}\n',
            "plan_test.rego": "package exchange.tests\n\nimport rego.v1\n\n"
            'test_everybody_is_refused if data.exchange.plan.effect == "deny"\n',
        },
        "codes": {},
    },
    "lookup": {"purpose": "dibao.initial_check", "case": "case-1", "ids": ["11010519491231002X"], "fields": None},
    "acknowledge": {"acks": [{"index": 0, "outcome": "received"}]},
    "explain": {"purpose": "dibao.initial_check", "case": "case-1", "fields": None, "action": "read"},
    "who_saw": {"ids": ["11010519491231002X"], "subject_type": "person"},
    "audit_bundle": {"ids": ["11010519491231002X"], "subject_type": "person", "kept": []},
    "audit_search_bundle": {"dataset": "hrss.pension_account", "complete": True, "kept": []},
}

_RECORD: Final = {
    "person_id": "432524197901010028",
    "region_code": "431126",
    "scheme": "RESIDENT",
    "status": "RECEIVING",
    "monthly_benefit_fen": 12300,
    "last_paid_month": "2026-10",
    "employer_uscc": None,
    "bank_account": None,
}
_PLACE: Final = {"file": "pension.csv", "row": 9, "column": ""}
_EVENTS: Final = (
    {"sequence": 7, "place": _PLACE, "value": _RECORD},
    {"sequence": 8, "place": _PLACE, "rejected": {"code": "cell_id_damaged", "shape": {"person_id": "9.99A+99"}}},
)
# Bodies of records of `hrss.pension_account`, by media type; the container of Avro is no text.
BODIES: Final[Mapping[str, Any]] = {
    "application/x-ndjson": json.dumps(_RECORD) + "\n",
    "application/vnd.exchange.events+ndjson": "".join(json.dumps(one) + "\n" for one in _EVENTS),
    "text/csv": ",".join(_RECORD) + "\r\n" + "432524197901010028,431126,RESIDENT,RECEIVING,12300,2026-10,,\r\n",
    "application/vnd.kafka.binary.v2+json": {
        "records": [{"value": "AAAAAAEkNDMyNTI0MTk3OTAxMDEwMDI4DDQzMTEyNgICApjAAQIOMjAyNi0xMAAA"}]
    },
}

# For the places in a path.
PLACES: Final[Mapping[str, Any]] = {
    "name": "hrss.pension_account",
    "dataset": "hrss.pension_account",
    "agreement": "agr-1",
    "case": "case-1",
    "principal": "checker.ny.minzheng",
    "token": "0123456789abcdef",
    "revision": "sha256:" + "ab" * 32,
    "code": "token_missing",
}


@cache
def answers() -> Mapping[str, Any]:
    """What the server answered to each example, by the operation's name; JSON answers alone."""
    found: Mapping[str, Any] = json.loads((Path(__file__).parent / "examples.json").read_bytes())
    return found
