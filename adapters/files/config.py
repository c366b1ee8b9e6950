r"""What a source's files look like: one TOML file in the site's `adapters/` folder, read strictly.

source = "ny.gongan/hukou"        # the name of this source; with a sequence, an event id
dataset = "ps.hukou_person"
format = "guess"                  # guess (by the file's first bytes) | csv | xlsx
encoding = "guess"                # guess | utf-8 | gb18030 (of csv)
delimiter = ","                   # one of , ; | and the tab ("\t") (of csv)
sheet = ""                        # the sheet's name; "": the first visible one (of xlsx)
header = 1                        # the line that holds the headers; 0: none, columns are named "1", "2", …
header_lines = 1                  # lines of the header: a text above several columns goes before each of theirs
skip = ["合计", "制表人"]         # rows that begin with such a text (alone, or with a colon behind it) are no records
key = ["person_id"]               # the fields that identify a row; without it a row's place does
nulls = ["", "无"]                # texts that mean: no value
absent = ["photo_ref"]            # fields that this source never fills: always null
lost_ledger = "refuse"            # refuse | send_again: what to do when the ledger is behind the exchange

[constants]
region = "431126"                 # a field with one value in every record

[columns]                         # header = field and type; "#3" is the third column, whatever its header
"公民身份号码" = { field = "person_id", type = "id" }
"户号" = { field = "household_id", type = "id", form = "code" }
"性别" = { field = "sex", type = "enum", values = { "男" = "MALE", "女" = "FEMALE" } }
"出生日期" = { field = "birth_date", type = "date", also = ["serial"] }   # spellings taken besides the usual ones
# for dates and months: serial (46025, a spreadsheet's day since 1899-12-30), serial_1904 (of one counting from 1904),
# han (二〇二六年一月三日), midnight (2026-01-03 00:00:00); for months also day (2026-01-03 for its month)
"共同生活成员" = { field = "members", type = "list", separator = ";", within = ":", parts = [
    { field = "person_id", type = "id" }, { field = "relation", type = "text" } ] }
"""

import re
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from dataclasses import field as field_
from pathlib import Path
from typing import Any, Final

from adapters.files import strict
from exchange import names
from exchange.errors import Invalid

TYPES: Final = (
    "text",
    "name",
    "id",
    "int",
    "fen",
    "date",
    "month",
    "enum",
    "bool",
    "timestamp",
    "list",
)
MAX_CONFIG: Final = 1 << 20

_TOP: Final = (
    "source",
    "dataset",
    "format",
    "encoding",
    "delimiter",
    "sheet",
    "header",
    "header_lines",
    "skip",
    "key",
    "nulls",
    "absent",
    "lost_ledger",
    "constants",
    "columns",
)
_OPTIONS: Final[Mapping[str, tuple[str, ...]]] = {
    "id": ("form",),
    "enum": ("values",),
    "bool": ("values",),
    "date": ("also",),
    "month": ("also",),
    "timestamp": ("zone",),
    "list": ("separator", "within", "parts"),
}
ALSO: Final[Mapping[str, tuple[str, ...]]] = {
    "date": ("serial", "serial_1904", "han", "midnight"),
    "month": ("serial", "serial_1904", "han", "midnight", "day"),
}
MAX_HEADER_LINES: Final = 5
_NUMBER: Final = re.compile("[1-9][0-9]{0,3}")
_FIELD: Final = re.compile(r"[a-z][a-z0-9_]{0,99}")
_BLANK: Final = re.compile(r"[\s\u200b\ufeff]+")
_ZONE: Final = re.compile(r"[+-](?:0[0-9]|1[0-4]):[0-5][0-9]")


@dataclass(frozen=True)
class Column:
    """One column: which field it fills and how its text is read. `parts` are those of a list's items."""

    header: str
    field: str
    type: str
    form: str = "person"
    values: Mapping[str, Any] = field_(default_factory=dict)
    zone: str = "+08:00"
    separator: str = ";"
    within: str = ":"
    parts: tuple["Column", ...] = ()
    also: tuple[str, ...] = ()


@dataclass(frozen=True)
class FilesConfig:
    """How the files of one source are read (see the module's docstring for the meaning of each)."""

    source: str
    dataset: str
    columns: tuple[Column, ...]
    format: str = "guess"
    encoding: str = "guess"
    delimiter: str = ","
    sheet: str = ""
    header: int = 1
    header_lines: int = 1
    skip: tuple[str, ...] = ()
    key: tuple[str, ...] = ()
    nulls: frozenset[str] = frozenset({""})
    absent: tuple[str, ...] = ()
    lost_ledger: str = "refuse"
    constants: Mapping[str, Any] = field_(default_factory=dict)


def plain_header(header: str) -> str:
    """A header as it is compared: without white space, which spreadsheets put anywhere."""
    return _BLANK.sub("", header)


def load_config(path: Path) -> FilesConfig:
    """The configuration in this TOML file.

    Raises:
        Invalid: `adapter_config_unreadable` (no such file, not TOML, over 1 MiB), `adapter_config_unknown_key`
            (the nearest known one is named), `adapter_config_value` (a missing or wrong value).
    """
    where = path.name
    try:
        if path.stat().st_size > MAX_CONFIG:
            raise Invalid("adapter_config_unreadable", where=where, detail="over 1 MiB")
        document = tomllib.loads(path.read_text("utf-8"))
    except OSError as error:
        raise Invalid("adapter_config_unreadable", where=where, detail=type(error).__name__) from error
    except (ValueError, RecursionError) as error:
        detail = str(error) if isinstance(error, tomllib.TOMLDecodeError) else type(error).__name__
        raise Invalid("adapter_config_unreadable", where=where, detail=detail) from error
    return parse_config(document, where=where)


def parse_config(document: Mapping[str, Any], *, where: str) -> FilesConfig:
    """The configuration in this document; raises as `load_config` does."""
    strict.known(document, _TOP, where)
    source = names.check("source", document.get("source"), where=f"{where}: source")
    dataset = names.check("dataset", document.get("dataset"), where=f"{where}: dataset")
    columns = _columns(document.get("columns"), f"{where}: columns")
    config = FilesConfig(
        source=source,
        dataset=dataset,
        columns=columns,
        format=strict.one_of(document, "format", ("guess", "csv", "xlsx"), where),
        encoding=strict.one_of(document, "encoding", ("guess", "utf-8", "gb18030"), where),
        delimiter=strict.one_of(document, "delimiter", (",", ";", "\t", "|"), where),
        sheet=_sheet(document, where),
        header=strict.whole(document, "header", 1, range(1001), where),
        header_lines=strict.whole(document, "header_lines", 1, range(1, MAX_HEADER_LINES + 1), where),
        skip=strict.texts(document, "skip", where),
        key=strict.texts(document, "key", where),
        nulls=frozenset(strict.texts(document, "nulls", where)) if "nulls" in document else frozenset({""}),
        absent=strict.texts(document, "absent", where),
        lost_ledger=strict.one_of(document, "lost_ledger", ("refuse", "send_again"), where),
        constants=_constants(document.get("constants", {}), f"{where}: constants"),
    )
    _consistent(config, where)
    return config


def _consistent(config: FilesConfig, where: str) -> None:
    scalars = {column.field for column in config.columns if column.type != "list"}
    filled = [column.field for column in config.columns] + list(config.constants) + list(config.absent)
    for name in filled:
        if filled.count(name) > 1:
            raise strict.wrong(f"{where}: {name}", "one column, constant or absence for each field")
    headers = [plain_header(column.header) for column in config.columns]
    if len(set(headers)) < len(headers) or "" in headers:
        raise strict.wrong(f"{where}: columns", "each header once, none of them empty")
    if config.header == 0 and not all(_NUMBER.fullmatch(header) for header in headers):
        raise strict.wrong(f"{where}: columns", 'columns named by number ("1", "2", …), for there is no header')
    for name in config.key:
        if name not in scalars:
            near = names.nearest(name, scalars)
            raise strict.wrong(f"{where}: key", f"a field of a column ({name}?{' nearest: ' + near if near else ''})")


def _columns(table: object, where: str) -> tuple[Column, ...]:
    if not isinstance(table, dict) or not table:
        raise strict.wrong(where, 'a table: header = { field = "…", type = "…" }')
    return tuple(_column(header, entry, f"{where}.{header}") for header, entry in table.items())


def _column(header: str, entry: object, where: str, *, types: Iterable[str] = TYPES) -> Column:
    if not isinstance(entry, dict):
        raise strict.wrong(where, '{ field = "…", type = "…" }')
    kind = strict.one_of(entry, "type", tuple(types), where, required=True)
    strict.known(entry, ("field", "type", *_OPTIONS.get(kind, ())), where)
    zone = entry.get("zone", "+08:00")
    if not isinstance(zone, str) or not _ZONE.fullmatch(zone):
        raise strict.wrong(f"{where}.zone", "an offset such as +08:00")
    return Column(
        header=header,
        field=_field(entry.get("field"), f"{where}.field"),
        type=kind,
        form=strict.one_of(entry, "form", ("person", "code"), where),
        values=_values(kind, entry.get("values"), f"{where}.values"),
        zone=zone,
        separator=strict.character(entry, "separator", ";", where),
        within=strict.character(entry, "within", ":", where),
        parts=_parts(header, entry, where) if kind == "list" else (),
        also=_also(kind, entry, where),
    )


def _parts(header: str, entry: Mapping[str, Any], where: str) -> tuple[Column, ...]:
    parts = entry.get("parts")
    if not isinstance(parts, list) or not parts:
        raise strict.wrong(f"{where}.parts", 'a list of { field = "…", type = "…" }')
    flat = [kind for kind in TYPES if kind != "list"]
    found = tuple(_column(header, part, f"{where}.parts[{i}]", types=flat) for i, part in enumerate(parts))
    if len({part.field for part in found}) < len(found):
        raise strict.wrong(f"{where}.parts", "each field once")
    if entry.get("separator", ";") == entry.get("within", ":"):
        raise strict.wrong(f"{where}.within", "another character than separator")
    return found


def _values(kind: str, table: object, where: str) -> Mapping[str, Any]:
    if table is None and kind != "enum":
        return {}
    wanted = str if kind == "enum" else bool
    if not isinstance(table, dict) or not table or not all(isinstance(v, wanted) for v in table.values()):
        raise strict.wrong(where, f"a table: text in the file = {'a symbol' if kind == 'enum' else 'true or false'}")
    return table


def _constants(table: object, where: str) -> Mapping[str, Any]:
    if not isinstance(table, dict):
        raise strict.wrong(where, "a table: field = value")
    for name, value in table.items():
        _field(name, f"{where}.{name}")
        if not isinstance(value, str | bool | int):
            raise strict.wrong(f"{where}.{name}", "a text, a whole number, true or false")
    return table


def _field(name: object, where: str) -> str:
    if isinstance(name, str) and _FIELD.fullmatch(name):
        return name
    raise strict.wrong(where, "a field's name: a-z, 0-9 and _")


def _also(kind: str, entry: Mapping[str, Any], where: str) -> tuple[str, ...]:
    also, known = strict.texts(entry, "also", where), ALSO.get(kind, ())
    if not set(also) <= set(known):
        raise strict.wrong(f"{where}.also", "some of " + ", ".join(known))
    return also


def _sheet(document: Mapping[str, Any], where: str) -> str:
    sheet = document.get("sheet", "")
    if isinstance(sheet, str):
        return sheet
    raise strict.wrong(f"{where}: sheet", "a sheet's name")
