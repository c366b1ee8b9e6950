"""The rules that a contract keeps (domain.md B1 and B3): each breach is one error with its place.

What a contract says comes from the catalogue guide (目录编制指南: share type with its condition or its legal basis,
update cycle, title of at most 50 and abstract of at most 256 characters) and from Decree 809 (state secrets and work
secrets are out of scope, Art. 3).
"""

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from typing import Any, Final

from exchange.avro.kinds import kind
from exchange.avro.schema import Leaf, Schema
from exchange.avro.schema import from_document as schema_of
from exchange.contracts.compatibility import incompatibilities
from exchange.contracts.contract import FORMAT, Contract, FieldTerms
from exchange.errors import Invalid
from exchange.names import CLASSES, SHARE_TYPES, check, nearest

UPDATE_CYCLES: Final = ("realtime", "day", "week", "ten_days", "month", "season", "year")
MAX_VERSIONS: Final = 100
MAX_TITLE: Final = 50
MAX_ABSTRACT: Final = 256
MAX_TEXT: Final = 500
SECRET: Final = frozenset(
    (
        "secret",
        "top_secret",
        "top secret",
        "confidential",
        "state_secret",
        "work_secret",
        "classified",
        "秘密",
        "机密",
        "绝密",
        "国家秘密",
        "工作秘密",
        "涉密",
    )
)
_KEYS: Final[Mapping[str, tuple[tuple[str, ...], tuple[str, ...]]]] = {  # required, optional
    "": (
        (
            "format",
            "dataset",
            "department",
            "steward",
            "title",
            "subject",
            "share",
            "update_cycle",
            "fields",
            "schemas",
        ),
        ("abstract",),
    ),
    "title": (("zh",), ("en",)),
    "abstract": (("zh",), ()),
    "subject": (("type", "path"), ()),
    "share": (("type",), ("condition", "legal_basis")),
    "field": (("class", "label_zh"), ("label_en",)),
}
Keys = tuple[str, ...]
Place = Callable[[Keys], str]


def from_document(document: object) -> Contract:
    """The contract of a JSON document as `Contract.to_document` makes it. Raises `Invalid` as `check_contract`."""

    def place(keys: Keys) -> str:
        return ".".join(("contract", *keys))

    listed = document.get("schemas", ()) if isinstance(document, Mapping) else ()
    if listed != () and (not isinstance(listed, list) or not 1 <= len(listed) <= MAX_VERSIONS):
        expected = f"a list of 1 to {MAX_VERSIONS} schemas"
        raise Invalid("contract_value_wrong", where=place(("schemas",)), key="schemas", expected=expected)
    schemas = [schema_of(item, where=place(("schemas", str(i)))) for i, item in enumerate(listed)]
    return check_contract(document, schemas, place)


def check_contract(document: object, schemas: Sequence[Schema], place: Place) -> Contract:
    """The contract that a document and its schemas make, when every rule holds.

    Raises:
        Invalid: the first breach: `contract_secret`, `contract_key_unknown`, `contract_key_missing`,
            `contract_value_wrong`, `contract_text_too_long`, `name_malformed`, `contract_subject_wrong`,
            `contract_field_missing`, `contract_field_unknown`, `contract_condition_missing`,
            `contract_legal_basis_missing`, `contract_unconditional_sensitive`, `contract_versions_incompatible`.
    """
    rules = _Rules(place)
    top = rules.mapping(document, "", ())
    _no_secrets(top, schemas, place)
    rules.keys(top, "", ())
    rules.one_of(top["format"], (FORMAT,), ("format",))
    fields = rules.fields(top["fields"], schemas[-1])
    title, share, subject = (rules.part(top, key) for key in ("title", "share", "subject"))
    abstract = rules.part(top, "abstract") if "abstract" in top else {}
    contract = Contract(
        dataset=rules.name("dataset", top, ("dataset",)),
        department=rules.name("department", top, ("department",)),
        steward=rules.name("principal", top, ("steward",)),
        title_zh=rules.text(title, ("title", "zh"), MAX_TITLE),
        title_en=rules.text(title, ("title", "en"), MAX_TITLE, otherwise=str(top["dataset"])),
        subject_type=rules.name("subject_type", subject, ("subject", "type")),
        subject_path=rules.text(subject, ("subject", "path"), MAX_TEXT),
        share_type=rules.one_of(share["type"], SHARE_TYPES, ("share", "type")),
        share_condition=rules.text(share, ("share", "condition"), MAX_TEXT, otherwise=""),
        legal_basis=rules.text(share, ("share", "legal_basis"), MAX_TEXT, otherwise=""),
        update_cycle=rules.one_of(top["update_cycle"], UPDATE_CYCLES, ("update_cycle",)),
        fields=fields,
        schemas=tuple(schemas),
        abstract_zh=rules.text(abstract, ("abstract", "zh"), MAX_ABSTRACT, otherwise=""),
    )
    _subject(contract, place)
    _sharing(contract, place)
    _versions(contract.schemas, place)
    return contract


class _Rules:
    """The rules on single values; each raises at the value's place."""

    def __init__(self, place: Place) -> None:
        self._place = place

    def mapping(self, value: object, kind_of: str, keys: Keys) -> Mapping[str, Any]:
        if not isinstance(value, Mapping) or not all(isinstance(key, str) for key in value):
            raise self._wrong(keys, f"a mapping with the keys {', '.join(_KEYS[kind_of][0])}")
        return value

    def keys(self, value: Mapping[str, Any], kind_of: str, keys: Keys) -> None:
        """All required keys and none that is not known."""
        required, optional = _KEYS[kind_of]
        for key in value:
            if key not in required + optional:
                known = nearest(key[:40], required + optional) or ", ".join(required + optional)
                raise Invalid("contract_key_unknown", where=self._place((*keys, key)), key=key[:40], known=known)
        for key in required:
            if key not in value:
                raise Invalid("contract_key_missing", where=self._place(keys), key=".".join((*keys, key)))

    def part(self, top: Mapping[str, Any], key: str) -> Mapping[str, Any]:
        found = self.mapping(top[key], key, (key,))
        self.keys(found, key, (key,))
        return found

    def text(self, part: Mapping[str, Any], keys: Keys, most: int, *, otherwise: str | None = None) -> str:
        """The text of the last key; `otherwise` where the key is absent and may be."""
        if otherwise is not None and keys[-1] not in part:
            return otherwise
        value = part[keys[-1]]
        if not isinstance(value, str) or not value.strip() or not value.isprintable():
            raise self._wrong(keys, "a text of one line")
        if len(value) > most:
            facts = {"key": ".".join(keys), "length": len(value), "most": most}
            raise Invalid("contract_text_too_long", where=self._place(keys), **facts)
        return value

    def name(self, form: str, part: Mapping[str, Any], keys: Keys) -> str:
        return check(form, part[keys[-1]], where=self._place(keys))

    def one_of(self, value: object, known: Sequence[str], keys: Keys) -> str:
        if not isinstance(value, str) or value not in known:
            raise self._wrong(keys, "one of " + ", ".join(known) if len(known) > 1 else known[0])
        return value

    def fields(self, value: object, schema: Schema) -> dict[str, FieldTerms]:
        """One entry for each leaf, in the schema's order; none for anything else."""
        if not isinstance(value, Mapping) or not all(isinstance(key, str) for key in value):
            raise self._wrong(("fields",), "a mapping from each field's path to its terms")
        for path in value:
            if path not in schema.leaves:
                known = nearest(path[:80], schema.leaves) or ", ".join(list(schema.leaves)[:5])
                where = self._place(("fields", path))
                raise Invalid("contract_field_unknown", where=where, path=path[:80], known=known)
        for path in schema.leaves:
            if path not in value:
                raise Invalid("contract_field_missing", where=self._place(("fields",)), path=path)
        return {path: self._terms(value[path], leaf) for path, leaf in schema.leaves.items()}

    def _terms(self, value: object, leaf: Leaf) -> FieldTerms:
        keys = ("fields", leaf.path)
        part = self.mapping(value, "field", keys)
        self.keys(part, "field", keys)
        return FieldTerms(
            self.one_of(part["class"], CLASSES, (*keys, "class")),
            leaf.tags,
            self.text(part, (*keys, "label_zh"), MAX_TITLE),
            self.text(part, (*keys, "label_en"), MAX_TEXT, otherwise=leaf.path),
        )

    def _wrong(self, keys: Keys, expected: str) -> Invalid:
        key = ".".join(keys) or "contract"
        return Invalid("contract_value_wrong", where=self._place(keys), key=key, expected=expected)


def _no_secrets(top: Mapping[str, Any], schemas: Sequence[Schema], place: Place) -> None:
    """Decree 809 Art. 3: what bears a label of secrecy is not exchanged here at all."""
    for keys, label in _labels(top):
        if isinstance(label, str) and label.strip().casefold() in SECRET:
            raise Invalid("contract_secret", where=place(keys), key=".".join(keys))
    for schema in schemas:
        for leaf in schema.leaves.values():
            if any(tag.strip().casefold() in SECRET for tag in leaf.tags):
                raise Invalid("contract_secret", where=place(("fields", leaf.path)), key=leaf.path)


def _labels(top: Mapping[str, Any]) -> Iterator[tuple[Keys, object]]:
    yield ("classification",), top.get("classification")
    fields = top.get("fields")
    for path, terms in fields.items() if isinstance(fields, Mapping) else ():
        if isinstance(terms, Mapping):
            for key in ("class", "classification"):
                yield ("fields", str(path), key), terms.get(key)


def _subject(contract: Contract, place: Place) -> None:
    keys, path = ("subject", "path"), contract.subject_path
    for version, schema in enumerate(contract.schemas, 1):
        leaf = schema.leaves.get(path)
        if leaf is None or leaf.logical or kind(leaf.type) != "string" or _repeated(path):
            known = nearest(path[:80], _texts(schema)) or ", ".join(_texts(schema)[:5])
            facts = {"path": path[:80], "version": version, "known": known}
            raise Invalid("contract_subject_wrong", where=place(keys), **facts)


def _repeated(path: str) -> bool:
    return "[]" in path or "{}" in path


def _texts(schema: Schema) -> list[str]:
    return [path for path, leaf in schema.leaves.items() if kind(leaf.type) == "string" and not _repeated(path)]


def _sharing(contract: Contract, place: Place) -> None:
    if contract.share_type == "conditional" and not contract.share_condition:
        raise Invalid("contract_condition_missing", where=place(("share",)))
    if contract.share_type == "not_shared" and not contract.legal_basis:
        raise Invalid("contract_legal_basis_missing", where=place(("share",)))
    if contract.share_type == "unconditional":
        sensitive = _first(contract.fields, ("L3", "L4"))
        if sensitive:
            facts = {"path": sensitive, "class": contract.fields[sensitive].security_class}
            raise Invalid("contract_unconditional_sensitive", where=place(("share", "type")), **facts)


def _first(fields: Mapping[str, FieldTerms], classes: Collection[str]) -> str:
    return next((path for path, terms in fields.items() if terms.security_class in classes), "")


def _versions(schemas: Sequence[Schema], place: Place) -> None:
    """Each version reads what any before it wrote: old records stay in the log and are read with the newest."""
    for later, new in enumerate(schemas):
        for earlier, old in enumerate(schemas[:later], 1):
            reasons = ["it is the same schema"] if old == new else incompatibilities(old, new)
            if reasons:
                where = place(("schemas", str(later)))
                raise Invalid(
                    "contract_versions_incompatible", where=where, earlier=earlier, fault="; ".join(reasons[:5])
                )
