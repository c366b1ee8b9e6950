"""A small county to decide on: departments, people, datasets, an active policy; decided and folded without storage."""

import json
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from exchange.control import commands as c
from exchange.control.decide import decide
from exchange.control.events import Event
from exchange.control.model import Model, Terms
from exchange.control.projections import fold
from exchange.names import digest_bytes

NOW = 1_795_420_800_000_000_000
DAY = 86_400_000_000_000
SEAL_KEY = "ab" * 32
TOKEN = "0123456789abcdef"
DIGEST = digest_bytes(b"a token")
POLICE, CIVIL, FINANCE, OFFICE = "ny.gongan", "ny.minzheng", "ny.caizheng", "ny.shuju"
AUTHORITY, SECOND_AUTHORITY = "li.authority", "he.authority"
POLICE_STEWARD, POLICE_CLERK, POLICE_SYSTEM = "wang.gongan", "zhou.gongan", "svc.gongan"
CIVIL_STEWARD, CIVIL_SYSTEM = "chen.minzheng", "svc.minzheng"
FINANCE_STEWARD, AUDITOR, OPERATOR = "sun.caizheng", "zhao.auditor", "qian.operator"
CODES = {
    "purposes": {
        "own.review": {"title_zh": "本部门自查", "title_en": "own review", "case_required": False, "own_data": True},
        "dibao.review": {"case_required": True},
        "statistics": {"case_required": False},
    },
    "dibao_standard": {"431126": 56_000, "note": "text"},
}
BUNDLE: dict[str, Any] = {"modules": {"exchange/plan.rego": "package exchange\n"}, "codes": CODES}
TESTS = {"exchange.test_denies_by_default": True}


def department(name: str, **changes: Any) -> c.AddDepartment:
    """A department of the county, on top of both trees unless said otherwise."""
    plain = {"region": "431126", "region_parent": None, "line_parent": None, "zone": "extranet", "seal_key": SEAL_KEY}
    return c.AddDepartment(**{"id": name, "title_zh": "某局", "title_en": "A bureau", **plain, **changes})


def schema(*extra: Mapping[str, Any]) -> dict[str, Any]:
    """The first version of the household register's schema, with further fields at its end."""
    region = {"name": "region_code", "type": "string"}
    street = {"name": "street", "type": ["null", "string"], "default": None}
    address = {"type": "record", "name": "ps.address", "fields": [region, street]}
    return {
        "type": "record",
        "name": "ps.hukou_person",
        "fields": [
            {"name": "person_id", "type": "string"},
            {"name": "name", "type": "string"},
            {"name": "address", "type": address},
            {"name": "photo_ref", "type": "string"},
            {"name": "income_fen", "type": "long"},
            *extra,
        ],
    }


CLASSES = {
    "person_id": "L3",
    "name": "L2",
    "address.region_code": "L1",
    "address.street": "L3",
    "photo_ref": "L4",
    "income_fen": "L3",
}


def contract(**changes: Any) -> dict[str, Any]:
    """The document of the household register's contract."""
    fields = {path: {"class": level, "label_zh": "字段", "label_en": path} for path, level in CLASSES.items()}
    return {
        "format": "exchange.contract/1",
        "dataset": "ps.hukou_person",
        "department": POLICE,
        "steward": POLICE_STEWARD,
        "title": {"zh": "户籍人口", "en": "Registered residents"},
        "subject": {"type": "person", "path": "person_id"},
        "share": {"type": "conditional", "condition": "for social assistance", "legal_basis": "国发〔2016〕51号"},
        "update_cycle": "day",
        "fields": fields,
        "schemas": [schema()],
        **changes,
    }


def terms(**changes: Any) -> dict[str, Any]:
    """Terms that may be granted: civil affairs reads names and addresses for the review of a case."""
    return {
        "consumer": CIVIL,
        "dataset": "ps.hukou_person",
        "purpose": "dibao.review",
        "legal_basis": "社会救助法第四十一条",
        "actions": ["read", "lookup"],
        "fields": [
            {"path": "name", "mask": {"kind": "partial", "first": 1, "last": 0}},
            {"path": "address", "mask": {"kind": "keep"}},
        ],
        "rows": {"op": "prefix", "path": "address.region_code", "value": "431126"},
        "case_bound": True,
        "zone": "extranet",
        "counts": False,
        "not_before_ns": NOW,
        "expires_ns": NOW + 365 * DAY,
        "purge_by": "2027-12-31",
        **changes,
    }


class Town:
    """A model and the events that led to it. `do` decides and folds, as `Control` does with a store between."""

    def __init__(self) -> None:
        self.now_ns = NOW
        self.events: list[Event] = []
        self.documents: dict[str, bytes] = {}
        self.model = Model()

    def do(self, actor: str | None, command: c.Command) -> str:
        """Decides for this account, takes the events in, and gives back what the command was about."""
        who = None if actor is None else self.model.principals[actor]
        decision = decide(command, who, self.model, self.now_ns)
        versions = dict(self.model.versions)
        stored = []
        for place, event in enumerate(decision.events, start=self.model.position + 1):
            versions[event.aggregate] = versions.get(event.aggregate, 0) + 1
            acting = actor or decision.about
            number = versions[event.aggregate]
            stored.append(Event(place, event.aggregate, number, event.name, event.data, acting, self.now_ns))
        self.documents.update(decision.documents)
        self.events += stored
        self.model = self._with_codes(fold(self.model, stored))
        return decision.about

    def _with_codes(self, model: Model) -> Model:
        active = model.active_policy
        return replace(model, codes=json.loads(self.documents[active])["codes"] if active else {})

    def terms_of(self, agreement: str) -> Terms:
        """The terms of an agreement as they are now."""
        return self.model.agreement(agreement).terms


def first_command() -> c.Bootstrap:
    """What `exchange init` sends."""
    return c.Bootstrap(department(OFFICE), AUTHORITY, TOKEN, DIGEST, NOW + 30 * DAY)


def founded() -> Town:
    """Departments and people, nothing else."""
    town = Town()
    town.do(None, first_command())
    for name in (POLICE, CIVIL, FINANCE):
        town.do(AUTHORITY, department(name, region_parent=OFFICE))
    for person, at, roles in (
        (SECOND_AUTHORITY, OFFICE, ["sharing_authority"]),
        (POLICE_STEWARD, POLICE, ["steward"]),
        (POLICE_CLERK, POLICE, ["steward"]),
        (POLICE_SYSTEM, POLICE, ["department_system"]),
        (CIVIL_STEWARD, CIVIL, ["steward"]),
        (CIVIL_SYSTEM, CIVIL, ["department_system"]),
        (FINANCE_STEWARD, FINANCE, ["steward", "department_system"]),
        (AUDITOR, OFFICE, ["auditor"]),
        (OPERATOR, OFFICE, ["operator"]),
    ):
        town.do(AUTHORITY, c.AddPrincipal(person, at, roles))
    return town


def governed() -> Town:
    """Founded, and with an active policy and a dataset to ask for."""
    town = founded()
    revision = town.do(POLICE_STEWARD, c.SubmitPolicy(BUNDLE, TESTS))
    town.do(AUTHORITY, c.ApprovePolicy(revision))
    town.do(POLICE_STEWARD, c.SubmitContract(contract()))
    return town


def agreed(town: Town, **changes: Any) -> str:
    """Brings an agreement through its three people; its id."""
    name = town.do(CIVIL_SYSTEM, c.RequestAgreement(terms(**changes)))
    town.do(POLICE_STEWARD, c.ReviewAgreement(name, "endorse", "as the decree says"))
    town.do(AUTHORITY, c.ApproveAgreement(name))
    return name
