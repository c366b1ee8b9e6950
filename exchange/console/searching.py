"""An auditor's searches: a page for each question, with its filters in its address, and the same as CSV or xlsx.

The first page's address is completed by the size that the log has then (`size`): whoever keeps the address of any page
gets the same rows later. `before` and `after` are indexes of the log, as the API's `after` is.
"""

import io
import json
import re
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any, Final
from urllib.parse import urlencode

from fastapi import APIRouter
from starlette.responses import Response, StreamingResponse

from exchange.console.rendering import PERSON, time_text
from exchange.console.visits import Here, Visit
from exchange.errors import Invalid
from exchange.messages import text
from exchange.plan.shapes import shown
from exchange.wiring.searching import FILTERS, MOST_TABLE, WHATS, Sought, Span, What, columns, moment
from exchange.wiring.sheets import SUFFIXES, cells, table

router: Final = APIRouter()
_ROWS: Final = 25
_MOST_FIELDS: Final = 8  # named in one row; the page of the entry has all
_MOST_OFFERED: Final = 24_000  # bytes of the page for what its filters offer: beyond that it is typed
_OPTION: Final = 40  # bytes around a value that is offered
_LONGEST_LABEL: Final = 60
_LONGEST: Final = 300
_CHUNK: Final = 1 << 16
_PLACES: Final = ("size", "after", "before")
_NUMBER: Final = re.compile(r"-1|[0-9]{1,18}", re.ASCII)
_TYPES: Final = {
    ".csv": "text/csv; charset=utf-8",
    ".xlsx": "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet",
}
# What a row of the page tells, beside its index and its time.
_COLUMNS: Final[Mapping[What, tuple[str, ...]]] = {
    "releases": ("recipient", "for", "shown", "counts", "actor"),
    "unconfirmed": ("recipient", "for", "shown", "counts", "actor"),
    "refusals": ("consumer", "for", "why", "actor"),
    "grants": ("step", "agreement", "consumer", "for", "by"),
    "policy": ("step", "revision", "previous", "by"),
    "openings": ("step", "case", "by"),
    "queries": ("asked", "answer", "by"),
    "keys": ("step", "key", "owner", "actor"),
}


@dataclass(frozen=True)
class Asked:
    """A question as an address asks it: `values` are its parameters as they stand there, none of them empty."""

    what: What
    values: Mapping[str, str]
    sought: Sought
    span: Span

    def address(self, suffix: str = "", **places: int) -> str:
        """The address of another page of it."""
        kept = {name: value for name, value in self.values.items() if name not in _PLACES}
        size = {} if self.span.size is None else {"size": self.span.size}
        return f"/audit/{self.what}{suffix}?{urlencode({**kept, **size, **places})}"


def _mount(what: What) -> None:
    def search(visit: Here) -> Response:
        return _page(visit, what)

    def export(suffix: str) -> Callable[[Visit], Response]:
        def exported(visit: Here) -> Response:
            return _table(visit, what, suffix)

        return exported

    router.get(f"/audit/{what}")(search)
    for suffix in SUFFIXES:
        router.get(f"/audit/{what}{suffix}")(export(suffix))


for _what in WHATS:
    _mount(_what)


def _page(visit: Visit, what: What) -> Response:
    """The form, and what it finds; what is wrong is told at its field."""
    desk = visit.desk
    values = {name: value for name, value in visit.request.query_params.items() if value.strip() and name != "lang"}
    desk.need_search(what, values.get("department"))
    try:
        asked = _asked(visit, what, values)
        if asked.span.size is None:
            lang = visit.request.query_params.get("lang")
            return visit.next(
                asked.address(size=desk.exchange.audit.size) + (f"&lang={visit.language}" if lang else "")
            )
        found = desk.search_page(what, asked.sought, asked.span, _ROWS)
    except Invalid as error:
        return _wrong(visit, what, values, error)
    facts = {"asked": asked, "found": found, "rows": [_row(visit, row) for row in found.rows]}
    return _form(visit, what, values, 200, **facts)


def _asked(visit: Visit, what: What, values: Mapping[str, str]) -> Asked:
    """The question of an address.

    Raises:
        Invalid: `search_filter_unknown`, `search_filter_unusable`, `date_malformed`, `search_period`, `search_cursor`;
            `where` is the field.
    """
    filters = FILTERS[what]
    for name, value in values.items():
        if name not in {*filters, "from", "until", *_PLACES}:
            known = ", ".join((*filters, "from", "until"))
            raise Invalid("search_filter_unknown", where="cursor", name=shown(name), known=known)
        if len(value) > _LONGEST or not value.isprintable() or re.search(PERSON, value):
            raise Invalid("search_filter_unusable", where=name)
    begin, until = period(visit, values)
    words = {name: values[name].strip() for name in filters if name in values}
    return Asked(what, values, Sought(**words, from_ns=begin, until_ns=until), _span(visit, values))


def period(visit: Visit, values: Mapping[str, str]) -> tuple[int | None, int | None]:
    """From when until when, by two fields of a form; a day is that of the site, the last one is within.

    Raises:
        Invalid: `date_malformed`, `search_period`.
    """
    found: list[int | None] = []
    for name in ("from", "until"):
        try:
            given = values.get(name)
            found.append(moment(given.strip(), visit.desk.zone, after=name == "until") if given else None)
        except ValueError:
            raise Invalid("date_malformed", where=name) from None
    begin, until = found
    if begin is not None and until is not None and until <= begin:
        raise Invalid("search_period", where="until")
    return begin, until


def _span(visit: Visit, values: Mapping[str, str]) -> Span:
    known = {name: values[name] for name in _PLACES if name in values}
    if ("after" in known and "before" in known) or not all(_NUMBER.fullmatch(one) for one in known.values()):
        raise Invalid("search_cursor", where="cursor")
    span = Span(**{name: int(one) for name, one in known.items()})
    size = visit.desk.exchange.audit.size
    if not 1 <= (size if span.size is None else span.size) <= size or (span.before is not None and span.before < 0):
        raise Invalid("search_cursor", where="cursor")
    return span


def _wrong(visit: Visit, what: What, values: Mapping[str, str], error: Invalid) -> Response:
    """The form again; what cannot be searched for, a person's number among it, is not shown again."""
    place = "cursor" if error.where in _PLACES else error.where
    kept = dict(values)
    if error.code == "search_filter_unusable":
        kept.pop(error.where, None)
    return _form(visit, what, kept, 400, asked=None, found=None, rows=[], error=error, place=place)


def _form(visit: Visit, what: What, values: Mapping[str, str], status: int, **facts: Any) -> Response:  # noqa: ANN401
    desk, model = visit.desk, visit.desk.exchange.control.model()
    auditor = desk.has("auditor")
    facts = {"error": None, "place": "", **facts}
    return visit.page(
        "search.html",
        status,
        what=what,
        filters=FILTERS[what],
        offered=_offered(visit, FILTERS[what]) if auditor else {},
        values=values,
        columns=_COLUMNS[what],
        rows_of_page=_ROWS,
        most=MOST_TABLE,
        most_fields=_MOST_FIELDS,
        person=PERSON,
        mark=desk.mark_of_log() if auditor and facts["found"] else None,
        departments=model.departments,
        titles=titles(visit, facts["rows"]),
        agreements=model.agreements,
        purposes=model.codes.get("purposes", {}),
        auditor=auditor,
        **facts,
    )


def _offered(visit: Visit, filters: Sequence[str]) -> Mapping[str, Mapping[str, str]]:
    """The values that each filter may have now, each with its title; a list that would make the page heavy is left out.
    Another value may be typed: the log is older.
    """
    model, key = visit.desk.exchange.control.model(), f"title_{visit.language}"
    purposes = model.codes.get("purposes", {})
    offers: Mapping[str, Callable[[], dict[str, str]]] = {
        "department": lambda: {one.id: getattr(one, key) for one in model.departments.values()},
        "dataset": lambda: dict.fromkeys(model.datasets, ""),
        "purpose": lambda: {code: one.get(key) or "" for code, one in purposes.items()},
        "officer": lambda: {one.id: one.department for one in model.principals.values()},
        "case": lambda: {one.id: one.title for one in model.cases.values()},
    }
    found, left = {}, _MOST_OFFERED
    for name in (one for one in offers if one in filters):
        values = {value: label[:_LONGEST_LABEL] for value, label in sorted(offers[name]().items())}
        weight = sum(_OPTION + len(f"{value}{label}{value}".encode()) for value, label in values.items())
        if weight <= left:
            found[name], left = values, left - weight
    return found


def titles(visit: Visit, rows: Iterable[Mapping[str, Any]]) -> Mapping[str, Any]:
    """What the datasets of some rows are called, by name; those that there are."""
    known = visit.desk.exchange.control.model().datasets
    return {
        name: visit.desk.exchange.contract(name) for name in {str(row.get("dataset")) for row in rows} if name in known
    }


def _row(visit: Visit, row: Mapping[str, Any]) -> Mapping[str, Any]:
    """A row with its fields as they are called in the dataset's contract."""
    if not row.get("fields"):
        return row
    shown_fields = json.loads(row["fields"])
    return {**row, "fields": labelled(visit, row["dataset"], shown_fields)}


def labelled(visit: Visit, dataset: str | None, fields: Iterable[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """What was shown (path and mask), each with its label where the dataset has the field still."""
    model = visit.desk.exchange.control.model()
    labels: Mapping[str, Any] = {}
    if dataset in model.datasets:
        labels = visit.desk.exchange.contract(str(dataset)).fields
    key = f"label_{visit.language}"
    return [{**one, "label": getattr(labels.get(one["path"]), key, None) or one["path"]} for one in fields]


def _table(visit: Visit, what: What, suffix: str) -> Response:
    """All that is found, as the command line writes it; nothing is sent before the first rows are there."""
    desk = visit.desk
    values = {name: value for name, value in visit.request.query_params.items() if value.strip() and name != "lang"}
    desk.need_search(what, values.get("department"))
    asked = _asked(visit, what, {name: value for name, value in values.items() if name not in {"after", "before"}})
    chunks = _written(visit, what, suffix, desk.search_all(what, asked.sought, asked.span.size))
    first = next(chunks)
    headers = {"Content-Disposition": f'attachment; filename="audit-{what}{suffix}"'}
    return StreamingResponse(chain([first], chunks), headers=headers, media_type=_TYPES[suffix])


def _written(visit: Visit, what: What, suffix: str, rows: Iterator[Mapping[str, Any]]) -> Iterator[bytes]:
    """The file in chunks: CSV while it is written; an xlsx, which is a ZIP archive, once it is on disk."""
    told, zone, language = columns(what), visit.desk.zone, visit.language
    headers = [text(f"column_{name}", language) for name in told]
    with tempfile.TemporaryFile() if suffix == ".xlsx" else io.BytesIO() as out:
        with table(out, suffix, headers, text(f"sheet_{what}", language)) as write:
            for row in rows:
                write(cells(row, told, lambda ns: time_text(ns, zone)))
                if suffix == ".csv" and out.tell() >= _CHUNK:
                    yield _taken(out)
        out.seek(0)
        while chunk := out.read(_CHUNK):
            yield chunk


def _taken(out: Any) -> bytes:  # noqa: ANN401  # a file in memory
    chunk = bytes(out.getvalue())
    out.seek(0)
    out.truncate()
    return chunk
