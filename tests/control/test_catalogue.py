"""Contracts: who publishes what, what a revision must keep, and wire ids that are given once."""

from typing import Any

import pytest

from exchange.avro.schema import from_document
from exchange.contracts import Contract
from exchange.control import commands as c
from exchange.control.catalogue import DEAD_LETTER
from exchange.errors import Invalid, Refused
from exchange.names import canonical, digest
from tests.control.failing import fails
from tests.control.town import (
    AUDITOR,
    AUTHORITY,
    CIVIL,
    CIVIL_STEWARD,
    FINANCE,
    FINANCE_STEWARD,
    POLICE_CLERK,
    POLICE_STEWARD,
    POLICE_SYSTEM,
    Town,
    contract,
    schema,
)

STATUS = {"name": "status", "type": "string", "default": "ACTIVE"}
NAME = "ps.hukou_person"


def _second(**changes: Any) -> dict[str, Any]:
    fields = {**contract()["fields"], "status": {"class": "L1", "label_zh": "状态"}}
    return contract(schemas=[schema(), schema(STATUS)], fields=fields, **changes)


def test_a_steward_publishes_for_the_own_department(new_town: Town) -> None:
    """The document is kept by its digest; the read model has what questions need, in the schema's order."""
    new_town.do(POLICE_CLERK, c.SubmitContract(contract()))
    made = new_town.model.dataset(NAME)
    whole = Contract.from_document(contract())
    assert new_town.documents[made.contract] == canonical(whole.to_document())
    assert made.contract == whole.digest
    assert list(made.fields) == list(whole.fields)
    assert made.fields["photo_ref"] == ("L4", ())
    assert (made.share_type, made.subject_type, made.subject_path) == ("conditional", "person", "person_id")
    assert made.current.fingerprint == whole.schemas[-1].fingerprint


@pytest.mark.parametrize(
    ("actor", "code"),
    [
        (CIVIL_STEWARD, "other_department"),
        (POLICE_SYSTEM, "role_missing"),
        (AUTHORITY, "role_missing"),
        (AUDITOR, "role_missing"),
    ],
)
def test_nobody_else_publishes_for_it(new_town: Town, actor: str, code: str) -> None:
    """Neither another department's steward, nor a system, nor the authority."""
    with fails(Refused, code):
        new_town.do(actor, c.SubmitContract(contract()))


def test_a_dataset_stays_with_its_department(new_town: Town) -> None:
    """A name that one department publishes is not taken over by another's contract."""
    new_town.do(POLICE_STEWARD, c.SubmitContract(contract()))
    with fails(Refused, "other_department"):
        new_town.do(CIVIL_STEWARD, c.SubmitContract(contract(department=CIVIL)))


def test_the_same_contract_again_changes_nothing(new_town: Town) -> None:
    """No event, no new id."""
    new_town.do(POLICE_STEWARD, c.SubmitContract(contract()))
    position = new_town.model.position
    assert new_town.do(POLICE_CLERK, c.SubmitContract(contract())) == NAME
    assert new_town.model.position == position


def test_a_revision_adds_a_version(new_town: Town) -> None:
    """Older versions and their ids stay; revision and epoch rise."""
    new_town.do(POLICE_STEWARD, c.SubmitContract(contract()))
    first = new_town.model.dataset(NAME)
    new_town.do(POLICE_STEWARD, c.SubmitContract(_second()))
    second = new_town.model.dataset(NAME)
    assert second.schemas[0] == first.schemas[0]
    assert [one.version for one in second.schemas] == [1, 2]
    assert (first.revision, second.revision) == (1, 2)
    assert new_town.model.epochs[f"dataset/{NAME}"] == second.epoch == 2
    assert second.fields["status"] == ("L1", ())


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"schemas": [schema(STATUS)]}, "contract_schemas_changed"),
        ({"schemas": [schema(), schema({"name": "status", "type": "string"})]}, "contract_versions_incompatible"),
        ({"subject": {"type": "household", "path": "person_id"}}, "contract_subject_changed"),
        ({"subject": {"type": "person", "path": "name"}}, "contract_subject_changed"),
    ],
)
def test_a_revision_keeps_what_others_build_on(new_town: Town, changes: dict[str, Any], code: str) -> None:
    """Accepted versions unchanged at the front, later ones able to read them, the subject the same."""
    new_town.do(POLICE_STEWARD, c.SubmitContract(contract()))
    with fails(Invalid, code):
        new_town.do(POLICE_STEWARD, c.SubmitContract({**_second(), **changes}))


def test_a_revision_does_not_drop_versions(new_town: Town) -> None:
    """The log still has records of each."""
    new_town.do(POLICE_STEWARD, c.SubmitContract(_second()))
    with fails(Invalid, "contract_schemas_changed"):
        new_town.do(POLICE_STEWARD, c.SubmitContract(contract()))


def test_wire_ids_are_given_once_and_by_content(new_town: Town) -> None:
    """One id for one schema over all datasets, the dead letters' too; a revision never changes an id."""
    new_town.do(POLICE_STEWARD, c.SubmitContract(contract()))
    other = contract(dataset="fin.person", department=FINANCE, schemas=[schema(), schema(STATUS)])
    other["fields"]["status"] = {"class": "L1", "label_zh": "状态"}
    new_town.do(FINANCE_STEWARD, c.SubmitContract(other))
    first, second = new_town.model.dataset(NAME), new_town.model.dataset("fin.person")
    assert [one.schema_id for one in first.schemas] == [1]
    assert [one.schema_id for one in second.schemas] == [1, 3]
    assert first.dead_schema_id == second.dead_schema_id == 2
    uses = new_town.model.schemas
    assert uses[2].fingerprint == digest(DEAD_LETTER) == from_document(DEAD_LETTER).fingerprint
    assert {key: use.subject for key, use in uses.items()} == {
        1: f"{NAME}-value",
        2: f"dead.{NAME}-value",
        3: "fin.person-value",
    }


def _deep(levels: int) -> Any:
    value: Any = {}
    for _ in range(levels):
        value = {"schemas": value}
    return value


@pytest.mark.parametrize("document", [None, [], {}, _deep(10_000), {**contract(), "owner": "x"}])
def test_what_is_no_contract_is_invalid(new_town: Town, document: Any) -> None:
    """The contracts room says why; hostile depth ends before it."""
    with pytest.raises(Invalid):
        new_town.do(POLICE_STEWARD, c.SubmitContract(document))


def test_an_unknown_dataset_is_named_with_the_nearest(town: Town) -> None:
    """So that a slip of the pen is mended at once."""
    with pytest.raises(Invalid) as caught:
        town.model.dataset("ps.hukou_persn")
    assert (caught.value.code, caught.value.facts["nearest"]) == ("unknown_dataset", NAME)
