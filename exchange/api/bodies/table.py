"""Bodies of CSV: a header of field names, or of the contract's Chinese labels, then a record a row.

Encodings, quotes and cells are read as the files adapter reads them, so that ids keep their digits and what a
spreadsheet damaged is told. A field within a record has a column of its own, `address.city`; lists and maps stand as
JSON in a cell, and what has no writing of its own among people stands as in JSON (`exchange.view.plain`).
"""

import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass
from typing import Any, Final

from adapters.files import cells, identifiers
from adapters.files.config import Column, FilesConfig, plain_header
from adapters.files.csvfile import CsvFile
from adapters.files.mapping import shape_of
from adapters.files.rows import RawRow
from exchange.api.bodies.adapter import FILE, Event, Form
from exchange.api.bodies.content import Content
from exchange.api.bodies.lines import parsed
from exchange.avro.from_json import from_json
from exchange.avro.kinds import Avro, Named, branches, kind, logical, resolve
from exchange.errors import Invalid
from exchange.source import Place

_CHARSETS: Final = {
    "": "guess",
    "utf-8": "utf-8",
    "utf8": "utf-8",
    **dict.fromkeys(("gb18030", "gbk", "gb2312"), "gb18030"),
}
_FLOAT: Final = re.compile(r"[+-]?[0-9]+(?:\.[0-9]+)?(?:[eE][+-]?[0-9]{1,3})?")
_PLAIN: Final[Mapping[str, Callable[[str], Any]]] = {
    "int": cells.integer,
    "long": cells.integer,
    "boolean": cells.converter(Column("", "", "bool"), Counter()),
    "date": cells.day,
    "string": cells.text,
    "enum": cells.text,
}
Cell = Callable[[str], Any]


@dataclass(frozen=True, slots=True)
class _Column:
    """The leaf at `path` stands in the column called so, or by its label."""

    path: tuple[str, ...]
    label: str
    read: Cell


def rows(content: Content, form: Form) -> Iterator[Event]:
    """A record a row; empty rows are none.

    Raises:
        Invalid: `body_charset_unknown`; the `file_…` codes of the files adapter; `file_column_unknown`.
    """
    encoding = _CHARSETS.get(form.charset)
    if encoding is None:
        raise Invalid("body_charset_unknown", known="utf-8, gb18030")
    config = FilesConfig(source=FILE, dataset=form.contract.dataset, columns=(), encoding=encoding)
    columns = _columns(form)
    with closing(CsvFile(content, config)) as file:
        headers = file.headers()
        places = _places(columns, headers.unmapped, headers.width)
        build = _builder(form.schema.document, (), form.schema.named)
        for sequence, row in enumerate(file.rows(headers.width), form.first):
            yield _event(sequence, row, places, build)
        form.notes.extend(file.notes)


def _places(columns: list[_Column], found: tuple[str, ...], width: int) -> list[tuple[int, _Column]]:
    """Where each column stands; a header is never shown, since a file without one has somebody's data there."""
    by_name = {name: column for column in columns for name in (plain_header(column.label), ".".join(column.path))}
    where = f"{FILE}:1"
    known = [by_name.get(header) for header in found]
    for column in columns:
        if known.count(column) > 1:
            raise Invalid("file_column_repeated", where=where, column=".".join(column.path))
        if column not in known:
            raise Invalid("file_column_missing", where=where, column=".".join(column.path))
    if None in known or len(known) != width:
        raise Invalid("file_column_unknown", where=where, number=known.index(None) + 1 if None in known else width)
    return [(position, column) for position, column in enumerate(known) if column is not None]


def _event(sequence: int, row: RawRow, places: list[tuple[int, _Column]], build: Callable[..., Any]) -> Event:
    place = Place(row.file, row.row)
    if row.fault is not None:
        name = next((".".join(column.path) for position, column in places if position == row.column), "")
        return Event(sequence, Place(row.file, row.row, name), None, row.fault.code, {"columns": str(len(row.cells))})
    found: dict[tuple[str, ...], Any] = {}
    for position, column in places:
        cell = row.cells[position]
        try:
            found[column.path] = column.read(cell) if cell.strip() else None
        except Invalid as error:
            name = ".".join(column.path)
            return Event(sequence, Place(row.file, row.row, name), None, error.code, {name: shape_of(cell)})
    return Event(sequence, place, build(found))


def _columns(form: Form) -> list[_Column]:
    contract = form.contract
    found = []
    labels = Counter(terms.label_zh for terms in contract.fields.values())
    for path, avro in _leaves(form.schema.document, (), form.schema.named):
        name = ".".join(path)
        terms = contract.fields.get(name)
        label = terms.label_zh if terms is not None and labels[terms.label_zh] == 1 else name
        if name == contract.subject_path:
            read: Cell = identifiers.person_id if contract.subject_type == "person" else identifiers.code
        else:
            read = _reader(avro, form.schema.named)
        found.append(_Column(path, label, read))
    return found


def _leaves(record: Mapping[str, Any], prefix: tuple[str, ...], named: Named) -> Iterator[tuple[tuple[str, ...], Avro]]:
    for entry in record["fields"]:
        only = _only(entry["type"], named)
        if kind(only) == "record":
            yield from _leaves(only, (*prefix, entry["name"]), named)
        else:
            yield (*prefix, entry["name"]), only


def _only(avro: Avro, named: Named) -> Avro:
    """A type without its null; a union where several are left."""
    options, _ = branches(resolve(avro, named))
    return resolve(options[0], named) if len(options) == 1 else options


def _builder(
    record: Mapping[str, Any], prefix: tuple[str, ...], named: Named
) -> Callable[[Mapping[tuple[str, ...], Any]], dict[str, Any]]:
    """Puts the cells of a row together; a record that may be null is so where all its cells are empty."""
    steps = []
    for entry in record["fields"]:
        path, only = (*prefix, entry["name"]), _only(entry["type"], named)
        inner = _builder(only, path, named) if kind(only) == "record" else None
        steps.append((entry["name"], path, inner, branches(resolve(entry["type"], named))[1]))

    def build(found: Mapping[tuple[str, ...], Any]) -> dict[str, Any]:
        made: dict[str, Any] = {}
        for name, path, inner, nullable in steps:
            if inner is None:
                made[name] = found[path]
                continue
            value = inner(found)
            made[name] = None if nullable and _is_empty(value) else value
        return made

    return build


def _is_empty(value: Mapping[str, Any]) -> bool:
    return all(one is None or (isinstance(one, dict) and _is_empty(one)) for one in value.values())


def _reader(avro: Avro, named: Named) -> Cell:
    word = kind(avro)
    plain = _PLAIN.get(logical(avro) or word)
    if plain is not None:
        return plain
    convert = from_json(avro, named)
    if word in {"array", "map", "union"}:
        return lambda cell: _json(cell) if convert is None else convert(_json(cell))
    if word in {"float", "double"}:
        return lambda cell: float(cell) if _FLOAT.fullmatch(cell.strip()) else cell
    return lambda cell: cell if convert is None else convert(cell.strip())


def _json(cell: str) -> Any:  # noqa: ANN401  whatever JSON says
    value, code = parsed(cell.encode("utf-8", "surrogateescape"))
    if code:
        raise Invalid(code)
    return value
