"""Contracts that hold: what they say, their document and their digest."""

import json
from pathlib import Path
from typing import Any

import pytest

from exchange.contracts import Contract, FieldTerms, load
from exchange.errors import Invalid
from exchange.names import canonical
from tests.conftest import ROOT
from tests.contracts.samples import GOOD, V1, V2, write

DEMO = {
    "cn.mca/mz.division": ("division", "code", "unconditional"),
    "ny.gongan/ps.hukou_person": ("person", "person_id", "conditional"),
    "ny.renshe/hrss.pension_account": ("person", "person_id", "conditional"),
    "ny.caizheng/fin.receipt": ("person", "party_id", "conditional"),
    "ny.wanjing/ca.dibao_application": ("household", "household_id", "conditional"),
    "yz.minzheng/ca.dibao_standard": ("division", "region_code", "unconditional"),
}


def test_the_demo_has_exactly_these_contracts() -> None:
    """Every folder under schemas/ is known here, so none is shipped unchecked."""
    assert {str(path.relative_to(ROOT / "schemas")) for path in (ROOT / "schemas").glob("*/*")} == DEMO.keys()


@pytest.mark.parametrize("folder", DEMO)
def test_a_demo_contract_holds(folder: str) -> None:
    """Each loads, belongs where it lies, has the subject and share type of the scenario (domain.md C1)."""
    contract = load(ROOT / "schemas" / folder)
    assert f"{contract.department}/{contract.dataset}" == folder
    assert (contract.subject_type, contract.subject_path, contract.share_type) == DEMO[folder]
    assert Contract.from_document(contract.to_document()) == contract


def test_a_contract_says_what_its_file_says(tmp_path: Path) -> None:
    """Terms in the schema's order, tags from the schema, labels in English fall back to the path."""
    contract = load(write(tmp_path))
    assert list(contract.fields) == ["id", "age", "address.region", "address.key"]
    assert contract.fields["id"] == FieldTerms("L3", ("id",), "号码", "number")
    assert contract.fields["age"] == FieldTerms("L1", (), "年龄", "age")
    assert (contract.title_zh, contract.title_en, contract.abstract_zh) == ("人口", "People", "人口信息")
    assert (contract.share_condition, contract.legal_basis, contract.update_cycle) == ("限法定履职用途", "", "day")


def test_versions_are_oldest_first_and_the_last_is_current(tmp_path: Path) -> None:
    """Fields are those of the newest version; the older stay readable."""
    text = GOOD.replace("[v1.avsc]", "[v1.avsc, v2.avsc]") + "  note: {class: L1, label_zh: 备注}\n"
    contract = load(write(tmp_path, text, v1=V1, v2=V2))
    assert [len(schema.leaves) for schema in contract.schemas] == [4, 5]
    assert list(contract.fields)[-1] == "note"


def test_the_document_round_trips_through_json(tmp_path: Path) -> None:
    """Stored as canonical JSON and read back it is the same contract of the same digest."""
    contract = load(write(tmp_path))
    stored = json.loads(canonical(contract.to_document()))
    again = Contract.from_document(stored)
    assert again == contract
    assert again.digest == contract.digest
    assert again.to_document() == contract.to_document()


def test_the_digest_is_of_the_meaning(tmp_path: Path) -> None:
    """Order of keys and comments do not change it, a changed word does; the value is pinned."""
    contract = load(write(tmp_path))
    assert contract.digest == "sha256:b6d51a761425845fcf71dd90a642b2ec589d241e93a8b2ed032786579d1dd8bf"
    lines = GOOD.splitlines()
    moved = "\n".join(["# a comment", *lines[1:4], lines[0], *lines[4:]]) + "\n"
    assert load(write(tmp_path, moved)).digest == contract.digest
    assert load(write(tmp_path, GOOD.replace("年龄", "岁数"))).digest != contract.digest


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"schemas": []}, "contract_value_wrong"),
        ({"schemas": None}, "contract_value_wrong"),
        ({"schemas": [V1] * 101}, "contract_value_wrong"),
        ({"schemas": [{"type": "record"}]}, "schema_unparsable"),
        ({"schemas": [5]}, "schema_unparsable"),
        ({"fields": []}, "contract_value_wrong"),
        ({"fields": {5: {}}}, "contract_value_wrong"),
        ({"share": {"type": ["conditional"]}}, "contract_value_wrong"),
        ({"title": {"zh": 5}}, "contract_value_wrong"),
        ({"dataset": None}, "name_malformed"),
        ({"format": "exchange.contract/2"}, "contract_value_wrong"),
        ({"extra": 1}, "contract_key_unknown"),
        ({5: 1}, "contract_value_wrong"),
    ],
)
def test_a_document_from_elsewhere_is_checked_like_a_file(tmp_path: Path, change: dict[Any, Any], code: str) -> None:
    """Documents in events may be wrong too: the same rules, the place named by keys."""
    document = {**load(write(tmp_path)).to_document(), **change}
    with pytest.raises(Invalid) as refused:
        Contract.from_document(document)
    assert refused.value.code == code
    assert refused.value.where.startswith("contract")


@pytest.mark.parametrize("document", [None, [], "x", {}])
def test_what_is_no_document_is_refused(document: Any) -> None:
    """Not a mapping, or an empty one: one error."""
    with pytest.raises(Invalid):
        Contract.from_document(document)
