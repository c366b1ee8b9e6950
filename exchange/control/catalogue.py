"""Rules for contracts: who may publish what, and the wire ids of schemas, which are given once and never again."""

from typing import TYPE_CHECKING, Any, Final

from exchange.control import commands
from exchange.control.decision import Decision, need_department, need_role, shallow
from exchange.control.events import NewEvent
from exchange.control.model import Dataset, Model, Principal
from exchange.errors import Invalid
from exchange.names import canonical, digest

if TYPE_CHECKING:  # only a contract's submission needs the Avro room, and it is dear to import
    from exchange.contracts import Contract

AGGREGATE: Final = "schemas"

# The one schema of all dead letters, `dead.<dataset>`: why a record was refused, its place in the source and its
# shape; never its values.
DEAD_LETTER: Final[dict[str, Any]] = {
    "type": "record",
    "name": "exchange.dead_letter",
    "fields": [
        {"name": "source", "type": "string"},
        {"name": "sequence", "type": "long"},
        {"name": "code", "type": "string"},
        {"name": "file", "type": "string"},
        {"name": "row", "type": "long"},
        {"name": "column", "type": "string"},
        {"name": "shape", "type": {"type": "map", "values": "string"}},
    ],
}


def submit(command: commands.SubmitContract, actor: Principal, model: Model, _now_ns: int) -> Decision:
    """By a steward of the contract's department; a revision keeps what others build on."""
    from exchange.contracts import Contract

    need_role(actor, "steward")
    shallow(command.contract, where="contract")
    contract = Contract.from_document(command.contract)
    need_department(actor, contract.department)
    former = model.datasets.get(contract.dataset)
    if former is not None and former.contract == contract.digest:
        return Decision([], contract.dataset)
    if former is not None:
        need_department(actor, former.department)
        _same_subject(contract, former)
        _same_schemas(contract, former)
    body = canonical(contract.to_document())
    return Decision(_events(contract, model), contract.dataset, documents={contract.digest: body})


def _same_subject(contract: "Contract", former: Dataset) -> None:
    if (contract.subject_type, contract.subject_path) != (former.subject_type, former.subject_path):
        raise Invalid("contract_subject_changed", where=contract.dataset, path=former.subject_path)


def _same_schemas(contract: "Contract", former: Dataset) -> None:
    """Versions once accepted stay as they are. That later ones read their records, `Contract` has checked."""
    known = [schema.fingerprint for schema in former.schemas]
    if [schema.fingerprint for schema in contract.schemas[: len(known)]] != known:
        raise Invalid("contract_schemas_changed", where=contract.dataset, versions=len(known))


def _events(contract: "Contract", model: Model) -> list[NewEvent]:
    ids = {use.fingerprint: use.schema_id for use in model.schemas.values()}
    assigned: list[dict[str, Any]] = []

    def schema_id(fingerprint: str, subject: str) -> int:
        if fingerprint not in ids:
            ids[fingerprint] = len(ids) + 1
            assigned.append({"schema_id": ids[fingerprint], "fingerprint": fingerprint, "subject": subject})
        return ids[fingerprint]

    schemas = [
        {
            "version": version,
            "schema_id": schema_id(schema.fingerprint, f"{contract.dataset}-value"),
            "fingerprint": schema.fingerprint,
        }
        for version, schema in enumerate(contract.schemas, start=1)
    ]
    dead = schema_id(digest(DEAD_LETTER), f"dead.{contract.dataset}-value")
    accepted = NewEvent(f"dataset/{contract.dataset}", "contract.accepted/1", _accepted(contract, schemas, dead))
    return [NewEvent(AGGREGATE, "schemas.assigned/1", {"assigned": assigned}), accepted] if assigned else [accepted]


def _accepted(contract: "Contract", schemas: list[dict[str, Any]], dead: int) -> dict[str, Any]:
    return {
        "dataset": contract.dataset,
        "department": contract.department,
        "steward": contract.steward,
        "contract": contract.digest,
        "share_type": contract.share_type,
        "legal_basis": contract.legal_basis,
        "subject_type": contract.subject_type,
        "subject_path": contract.subject_path,
        "schemas": schemas,
        "fields": [
            {"path": path, "class": terms.security_class, "tags": list(terms.tags)}
            for path, terms in contract.fields.items()
        ],
        "dead_schema_id": dead,
    }
