"""A draft as the files that the exchange understands: contract, schema, the adapter's configuration."""

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Final

from adapters.draft.proposal import Draft, DraftField, shown_line

_AVRO: Final[Mapping[str, Any]] = {
    "text": "string",
    "name": "string",
    "id": "string",
    "month": "string",
    "int": "long",
    "fen": "long",
    "bool": "boolean",
    "date": {"type": "int", "logicalType": "date"},
}
_TITLE: Final = 50
_ABSTRACT: Final = 200


def write_draft(draft: Draft, folder: Path) -> tuple[Path, Path]:
    """Writes `schemas/DEPARTMENT/DATASET/` (contract.yaml, v1.avsc) and `adapters/DATASET.toml` below a folder.

    Gives the folder of the contract and the configuration's file.
    """
    contract = folder / "schemas" / draft.department / draft.dataset
    contract.mkdir(parents=True)
    (contract / "contract.yaml").write_text("".join(f"{line}\n" for line in _contract(draft)), "utf-8")
    (contract / "v1.avsc").write_text(_schema(draft), "utf-8")
    config = folder / "adapters" / f"{draft.dataset}.toml"
    config.parent.mkdir(exist_ok=True)
    config.write_text("".join(f"{line}\n" for line in _config(draft)), "utf-8")
    return contract, config


def _contract(draft: Draft) -> Iterable[str]:
    title = shown_line(draft.table.path.stem, _TITLE) or draft.dataset
    yield "# 试用草稿：分级、标签、共享类型和法律依据须由数据专员核定。Draft: to be settled by the steward."
    yield "format: exchange.contract/1"
    yield f"dataset: {draft.dataset}"
    yield f"department: {draft.department}"
    yield f"steward: steward.{draft.department}"
    yield f"title: {{zh: {_quoted(title)}, en: {_quoted(draft.dataset)}}}"
    if abstract := shown_line(" ".join(draft.table.titles), _ABSTRACT):
        yield f"abstract: {{zh: {_quoted(abstract)}}}"
    yield f"subject: {{type: {draft.subject_type}, path: {draft.subject_path}}}"
    yield "share: {type: conditional, condition: 试用：共享条件待核定, legal_basis: 试用：法律依据待填写}"
    yield "update_cycle: month"
    yield "schemas: [v1.avsc]"
    yield "fields:"
    for one in draft.fields:
        label = f"label_zh: {_quoted(one.label_zh)}, label_en: {_quoted(one.label_en)}"
        yield f"  {one.field}: {{class: {one.security_class}, {label}}}"


def _schema(draft: Draft) -> str:
    name = draft.dataset.rpartition(".")[2]
    fields = ",\n".join(f"    {json.dumps(_avro(one, name), ensure_ascii=False)}" for one in draft.fields)
    head = {"type": "record", "name": name, "namespace": draft.dataset.rpartition(".")[0]}
    return f'{json.dumps(head, ensure_ascii=False)[:-1]},\n  "fields": [\n{fields}\n  ]\n}}\n'


def _avro(one: DraftField, record: str) -> dict[str, Any]:
    plain = _AVRO.get(one.type)
    if one.type == "enum":
        name = f"{one.field}_values" if one.field == record else one.field
        plain = {"type": "enum", "name": name, "symbols": list(dict.fromkeys(one.values.values()))}
    entry: dict[str, Any] = {"name": one.field, "type": ["null", plain] if one.nullable else plain}
    if one.nullable:
        entry["default"] = None
    if one.tags:
        entry["confluent:tags"] = list(one.tags)
    return {**entry, "doc": one.label_zh}


def _config(draft: Draft) -> Iterable[str]:
    table = draft.table.config
    yield "# 试用草稿。Draft."
    yield f"source = {_quoted(draft.source)}"
    yield f"dataset = {_quoted(draft.dataset)}"
    if table.delimiter != ",":
        yield f"delimiter = {_quoted(table.delimiter)}"
    if table.sheet:
        yield f"sheet = {_quoted(table.sheet)}"
    yield f"header = {table.header}"
    if table.header and table.header_lines > 1:
        yield f"header_lines = {table.header_lines}"
    if draft.skip:
        yield f"skip = {_quoted(list(draft.skip))}"
    if draft.key:
        yield f"key = {_quoted(list(draft.key))}"
    if draft.nulls:
        yield f"nulls = {_quoted(['', *draft.nulls])}"
    yield ""
    yield "[columns]"
    for one in draft.fields:
        yield f"{_quoted(one.key)} = {{ {', '.join(_options(one))} }}"


def _options(one: DraftField) -> Iterable[str]:
    yield f"field = {_quoted(one.field)}"
    yield f"type = {_quoted(one.type)}"
    if one.type == "id" and one.form != "person":
        yield f"form = {_quoted(one.form)}"
    if one.values:
        pairs = ", ".join(f"{_quoted(text)} = {_quoted(symbol)}" for text, symbol in one.values.items())
        yield f"values = {{ {pairs} }}"
    if one.also:
        yield f"also = {_quoted(list(one.also))}"


def _quoted(value: object) -> str:
    """A text or list of texts as JSON writes it, which is how YAML and TOML read it too."""
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
