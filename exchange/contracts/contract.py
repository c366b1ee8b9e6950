"""The contract of a dataset: its schemas, its subject, the class of every field, how it may be shared."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Final

from exchange.avro.schema import Schema
from exchange.names import digest

FORMAT: Final = "exchange.contract/1"


@dataclass(frozen=True, slots=True)
class FieldTerms:
    """What a contract says of a leaf: its class (L1 … L4), the schema's tags, its labels."""

    security_class: str
    tags: tuple[str, ...]
    label_zh: str
    label_en: str


@dataclass(frozen=True)
class Contract:
    """A contract as `rules.py` lets it pass. Two are equal when all their terms and schemas are.

    `fields` has one entry for every leaf of the newest schema, in its order; `schemas` are oldest first. The
    subject's id is the text at `subject_path`, a leaf of every schema.
    """

    dataset: str
    department: str
    steward: str
    title_zh: str
    title_en: str
    subject_type: str
    subject_path: str
    share_type: str
    share_condition: str
    legal_basis: str
    update_cycle: str
    fields: Mapping[str, FieldTerms]
    schemas: tuple[Schema, ...]
    abstract_zh: str = ""

    def to_document(self) -> dict[str, Any]:
        """The contract as JSON, schemas written out; fit for canonical JSON."""
        share = {"type": self.share_type, "condition": self.share_condition, "legal_basis": self.legal_basis}
        return {
            "format": FORMAT,
            "dataset": self.dataset,
            "department": self.department,
            "steward": self.steward,
            "title": {"zh": self.title_zh, "en": self.title_en},
            **({"abstract": {"zh": self.abstract_zh}} if self.abstract_zh else {}),
            "subject": {"type": self.subject_type, "path": self.subject_path},
            "share": {key: text for key, text in share.items() if text},
            "update_cycle": self.update_cycle,
            "fields": {
                path: {"class": terms.security_class, "label_zh": terms.label_zh, "label_en": terms.label_en}
                for path, terms in self.fields.items()
            },
            "schemas": [dict(schema.document) for schema in self.schemas],
        }

    @classmethod
    def from_document(cls, document: object) -> "Contract":
        """The contract of a document that `to_document` made; every rule is checked again.

        Raises:
            Invalid: as `load`.
        """
        from exchange.contracts.rules import from_document

        return from_document(document)

    @cached_property
    def digest(self) -> str:
        """The digest of the document: the contract's identity."""
        return digest(self.to_document())


def load(folder: Path) -> Contract:
    """Reads `contract.yaml` in a folder and the schema files that it names.

    Raises:
        Invalid: one of the `contract_…` codes with the file, its line and the key; `schema_…` with the file.
    """
    from exchange.contracts.files import read_folder  # YAML is needed only where contracts are read from files

    return read_folder(folder)
