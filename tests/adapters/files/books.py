"""Workbooks for tests: whole ones by openpyxl, and ones made part by part, as no office program would."""

import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import openpyxl

from adapters.files.adapter import FilesAdapter
from adapters.files.config import parse_config
from tests.adapters.files.site import PERSONS, Run

_RELATIONS = "http://schemas.openxmlformats.org/officeDocument/2006/relationships"
_MAIN = "http://schemas.openxmlformats.org/spreadsheetml/2006/main"
BOOK = (
    f'<workbook xmlns="{_MAIN}" xmlns:r="{_RELATIONS}"><sheets>'
    '<sheet name="表" sheetId="1" r:id="r1"/></sheets></workbook>'
)
RELATIONS = (
    '<Relationships xmlns="http://schemas.openxmlformats.org/package/2006/relationships">'
    f'<Relationship Id="r1" Type="{_RELATIONS}/worksheet" Target="worksheets/sheet1.xml"/></Relationships>'
)
ROOT = (
    '<Relationships xmlns="http://schemas.openxmlformats.org/package/2006/relationships">'
    f'<Relationship Id="r1" Type="{_RELATIONS}/officeDocument" Target="xl/workbook.xml"/></Relationships>'
)
TYPES = '<Types xmlns="http://schemas.openxmlformats.org/package/2006/content-types"/>'


def book(path: Path, rows: Sequence[Sequence[Any]], *, merged: Sequence[str] = (), sheet: str = "表") -> Path:
    """A workbook of one sheet with these values; a text stays a text, whatever it begins with."""
    made = openpyxl.Workbook()
    page = made.active
    assert page is not None
    page.title = sheet
    for row, values in enumerate(rows, 1):
        for column, value in enumerate(values, 1):
            cell = page.cell(row, column)
            cell.value = value
            if isinstance(value, str):
                cell.data_type = "s"
    for cells in merged:
        page.merge_cells(cells)
    made.save(path)
    return path


def parts(path: Path, sheet: str, **more: str) -> Path:
    """A workbook whose one sheet is this XML (within `worksheet`); `more` takes the place of other parts."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("[Content_Types].xml", more.get("types", TYPES))
        archive.writestr("_rels/.rels", more.get("root", ROOT))
        archive.writestr("xl/workbook.xml", more.get("book", BOOK))
        archive.writestr("xl/_rels/workbook.xml.rels", more.get("relations", RELATIONS))
        archive.writestr("xl/worksheets/sheet1.xml", f'<worksheet xmlns="{_MAIN}">{sheet}</worksheet>')
    return path


def run_book(file: Path, document: dict[str, Any] | None = None, *, mark: int = 0) -> Run:
    """One run of the adapter over a file that is there already, with its ledger beside it."""
    ledger = file.parent / f"{file.name}.ledger"
    adapter = FilesAdapter(parse_config(document or PERSONS, where="t.toml"), [file], ledger)
    found = Run(mark=mark)
    for batch in adapter.batches(mark, 100):
        found.batches.append(batch)
        found.values.update(zip(batch.sequences, map(dict, batch.values), strict=True))
        found.rejected.extend(batch.rejected)
        found.mark = max([*batch.sequences, *(rejected.sequence for rejected in batch.rejected)])
    found.notes = adapter.notes
    return found
