"""What an .xlsx unpacks to, looked at before a reader of workbooks opens it: that reader knows no bounds.

An .xlsx (ECMA-376) is a zip archive of XML parts. A few kilobytes may unpack to gigabytes, whatever sizes they declare;
two cells in opposite corners make a sheet of 17 thousand million, which the reader lays out in memory. And cells whose
value is an error, or a formula that was never calculated, the reader gives as empty ones: they are noted here, so that
nothing is lost unseen.
"""

import errno
import posixpath
import re
import struct
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO, Final
from xml.etree import ElementTree as ET

from exchange.errors import Invalid

MAX_UNPACKED: Final = 512 << 20
MAX_PARTS: Final = 5_000
MAX_CELLS: Final = 12_000_000  # a million rows of twelve columns
MAX_NOTED: Final = 100_000
_SMALL_PART: Final = 4 << 20
_CHUNK: Final = 1 << 18
_PIECE: Final = 1 << 20
_LONGEST_CELL: Final = 1 << 16
_OLE: Final = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"
_ENCRYPTED: Final = "EncryptedPackage".encode("utf-16-le")
_BOOK: Final = re.compile(r"(?:.*/)?workbook\w*\.xml")
_ROOT: Final = "_rels/.rels"
_IS_BOOK: Final = "/officeDocument"
_OF_RELATION: Final = "{http://schemas.openxmlformats.org/officeDocument/2006/relationships}id"
_OF_RELATION_STRICT: Final = "{http://purl.oclc.org/ooxml/officeDocument/relationships}id"
# In the text of a part "<" never stands for itself, so this finds elements only.
_PLACE: Final = re.compile(rb"""<(?:\w+:)?(?:c|row)\b[^>]*?\br=["']([A-Z]{0,4})([0-9]{1,9})["']""")
_CELL_OR_ROW: Final = re.compile(rb"<(?:\w+:)?(c|row)\b()")
_ERROR: Final = re.compile(rb"""<(?:\w+:)?c\b(?=[^>]*\bt=["']e["'])[^>]*\br=["']([A-Z]{1,4})([0-9]{1,9})["']""")
_UNCALCULATED: Final = re.compile(
    rb"""<(?:\w+:)?c\b(?![^>]*\bt=["']str["'])[^>]*\br=["']([A-Z]{1,4})([0-9]{1,9})["'][^>]*>\s*"""
    rb"""<(?:\w+:)?f\b(?:[^>]*/>|[^>]*>[^<]*</(?:\w+:)?f>)\s*(?:<(?:\w+:)?v\s*/>|<(?:\w+:)?v></(?:\w+:)?v>)?\s*</"""
)


@dataclass
class Part:
    """What was seen of one part: its rows and columns, its formulas, and cells that the reader would give as empty.

    `lost` maps (row, column), both from 0, to the code of what stands there.
    """

    rows: int = 0
    columns: int = 0
    formulas: int = 0
    in_row: int = 0
    lost: dict[tuple[int, int], str] = field(default_factory=dict)


def look_into(path: Path) -> Mapping[str, Part]:
    """The sheets of a workbook by their names, all of the archive unpacked once, piece by piece, and found in bounds.

    Raises:
        Invalid: `source_unreadable`, `file_empty`, `file_old_workbook`, `file_protected`, `file_not_workbook`,
            `file_damaged`, `file_unpacks_too_large`, `file_sheet_too_large`.
    """
    where = path.name
    try:
        with path.open("rb") as stream:
            _refuse_other_forms(stream, where)
            with zipfile.ZipFile(stream) as archive:
                parts = _parts(archive, stream, where)
                return {name: parts.get(part, Part()) for name, part in _sheets(archive, where)}
    except OSError as error:
        if error.errno == errno.EINVAL:  # a place before the file's beginning, named by the archive
            raise Invalid("file_damaged", where=where) from error
        raise Invalid("source_unreadable", where=where, detail=type(error).__name__) from error
    except (zipfile.BadZipFile, zlib.error, struct.error, NotImplementedError, ValueError, RuntimeError) as error:
        raise Invalid("file_damaged", where=where) from error


def _refuse_other_forms(stream: BinaryIO, where: str) -> None:
    head = stream.read(_CHUNK)
    if not head:
        raise Invalid("file_empty", where=where)
    if head.startswith(_OLE):
        # An encrypted .xlsx lies in a container of the older form, which names what it holds.
        before = b""
        while head:
            if _ENCRYPTED in before + head:
                raise Invalid("file_protected", where=where)
            before, head = head[-len(_ENCRYPTED) :], stream.read(_CHUNK)
        raise Invalid("file_old_workbook", where=where)
    stream.seek(0)


def _parts(archive: zipfile.ZipFile, stream: BinaryIO, where: str) -> dict[str, Part]:
    infos = archive.infolist()
    if not any(_BOOK.fullmatch(name) for name in archive.namelist()):
        raise Invalid("file_not_workbook", where=where)
    if len(infos) > MAX_PARTS or sum(info.file_size for info in infos) > MAX_UNPACKED:
        raise Invalid("file_unpacks_too_large", where=where, limit=MAX_UNPACKED >> 20)
    parts: dict[str, Part] = {}
    left = MAX_UNPACKED
    for info in infos:
        if info.flag_bits & 1:
            raise Invalid("file_protected", where=where)
        part, rest = Part(), b""
        for piece in _unpacked(stream, info):
            left -= len(piece)
            if left < 0:  # whatever was declared
                raise Invalid("file_unpacks_too_large", where=where, limit=MAX_UNPACKED >> 20)
            rest = _look(part, rest + piece)
        _look(part, rest, last=True)
        if part.rows * part.columns > MAX_CELLS:
            raise Invalid("file_sheet_too_large", where=where, limit=MAX_CELLS)
        parts[info.filename] = part
    return parts


def _unpacked(stream: BinaryIO, info: zipfile.ZipInfo) -> Iterator[bytes]:
    """The bytes of an entry as they really are; `zipfile` itself would stop at the size declared."""
    if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise zipfile.BadZipFile("compression")
    stream.seek(info.header_offset)
    name, extra = struct.unpack("<HH", stream.read(30)[26:30])
    stream.seek(name + extra, 1)
    inflate = zlib.decompressobj(-zlib.MAX_WBITS) if info.compress_type == zipfile.ZIP_DEFLATED else None
    left = info.compress_size
    while left > 0:
        data = stream.read(min(left, _CHUNK))
        if not data:
            raise zipfile.BadZipFile("cut off")
        left -= len(data)
        if inflate is None:
            yield data
            continue
        while data:
            yield inflate.decompress(data, _PIECE)
            data = inflate.unconsumed_tail


def _look(part: Part, data: bytes, *, last: bool = False) -> bytes:
    """Notes the cells in these bytes; gives back the beginning of one that may go on in the next."""
    if not last:
        cut = max(data.rfind(b"<c "), data.rfind(b":c ", 0) - 20)
        cut = cut if cut > len(data) - _LONGEST_CELL and cut > 0 else max(0, len(data) - _LONGEST_CELL)
        data, rest = data[:cut], data[cut:]
    else:
        rest = b""
    cells = 0
    for letters, digits in _PLACE.findall(data):
        part.rows = max(part.rows, int(digits))
        if letters:
            cells += 1
            part.columns = max(part.columns, _column(letters))
    if cells < data.count(b"<c ") + data.count(b"<c>") + data.count(b"<c/>") + data.count(b":c"):
        _count(part, data)
    part.formulas += data.count(b"<f>") + data.count(b"<f ")
    if b't="e"' in data or b"t='e'" in data:
        _note(part, _ERROR, data, "cell_formula_error")
    if b"f>" in data or b"/>" in data:
        _note(part, _UNCALCULATED, data, "cell_formula_uncalculated")
    return rest


def _count(part: Part, data: bytes) -> None:
    """Cells that say no place stand behind the one before: they count as they come."""
    for name, _ in _CELL_OR_ROW.findall(data):
        part.in_row = 0 if name == b"row" else part.in_row + 1
        part.rows += name == b"row"
        part.columns = max(part.columns, part.in_row)


def _note(part: Part, form: re.Pattern[bytes], data: bytes, code: str) -> None:
    for letters, digits in form.findall(data):
        if len(part.lost) < MAX_NOTED:
            part.lost[int(digits) - 1, _column(letters) - 1] = code


def _column(letters: bytes) -> int:
    number = 0
    for letter in letters:
        number = number * 26 + letter - 64
    return number


def _sheets(archive: zipfile.ZipFile, where: str) -> Iterator[tuple[str, str]]:
    """Each sheet's name with the part that holds it (ECMA-376 part 1, 18.2.19; part 2, 9.3)."""
    root = _xml(archive, _ROOT, where)
    book = next((one.get("Target", "") for one in root if one.get("Type", "").endswith(_IS_BOOK)), "").lstrip("/")
    folder, name = posixpath.split(book)
    relations = _xml(archive, posixpath.join(folder, "_rels", f"{name}.rels"), where)
    targets = {one.get("Id"): one.get("Target", "") for one in relations}
    for element in _xml(archive, book, where).iter():
        if element.tag.rpartition("}")[2] == "sheet":
            target = targets.get(element.get(_OF_RELATION) or element.get(_OF_RELATION_STRICT), "")
            yield element.get("name", ""), posixpath.normpath(posixpath.join("/", folder, target)).lstrip("/")


def _xml(archive: zipfile.ZipFile, name: str, where: str) -> ET.Element:
    try:
        if archive.getinfo(name).file_size > _SMALL_PART:
            raise Invalid("file_unpacks_too_large", where=where, limit=_SMALL_PART >> 20)
        text = archive.read(name)
        if b"<!DOCTYPE" in text or b"<!ENTITY" in text:
            raise Invalid("file_damaged", where=where)
        return ET.fromstring(text)  # noqa: S314 - small, and without entities
    except (KeyError, ET.ParseError) as error:
        raise Invalid("file_damaged", where=where) from error
