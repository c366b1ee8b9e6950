"""Which encoding a file of text has: the byte order mark, then strict UTF-8, else GB18030, and what speaks for it.

Never Python's `gbk` codec: it lacks 䶮 and its like, which stand in people's names, and GB18030 reads all that GBK
wrote. One wrong byte does not make a UTF-8 file GB18030: of the two, the one with fewer broken lines is taken.
"""

import codecs
from typing import Final

from adapters.files.rows import Openable
from exchange.errors import Invalid

_CHUNK: Final = 1 << 20
_UTF16: Final = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
_GB18030_BOM: Final = "\ufeff".encode("gb18030")
_ZIP: Final = b"PK\x03\x04"
_OLE: Final = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"


def is_workbook(path: Openable) -> bool:
    """Whether the file begins as workbooks do, of today (a zip archive) or of before 2007.

    Raises:
        Invalid: `source_unreadable`.
    """
    try:
        with path.open("rb") as stream:
            head: bytes = stream.read(8)
            return head.startswith((_ZIP, _OLE))
    except OSError as error:
        raise Invalid("source_unreadable", where=path.name, detail=type(error).__name__) from error


def encoding_of(path: Openable, setting: str) -> tuple[str, str]:
    """The codec to read this file with, and a note for the operator where it was guessed (else "").

    Raises:
        Invalid: `source_unreadable`, `file_empty`, `file_utf16`, `file_not_csv` (a workbook).
    """
    try:
        with path.open("rb") as stream:
            head = stream.read(4096)
        _refuse(head, path.name)
        if head.startswith(codecs.BOM_UTF8) and setting != "gb18030":
            return "utf-8-sig", ""
        if setting != "guess":
            return setting, ""
        return _guess(path, head)
    except OSError as error:
        raise Invalid("source_unreadable", where=path.name, detail=type(error).__name__) from error


def _refuse(head: bytes, where: str) -> None:
    if not head:
        raise Invalid("file_empty", where=where)
    if head.startswith(_UTF16) or head.count(0) * 4 > len(head):
        raise Invalid("file_utf16", where=where)
    if head.startswith((_ZIP, _OLE)):
        raise Invalid("file_not_csv", where=where)


def _guess(path: Openable, head: bytes) -> tuple[str, str]:
    if head.startswith(_GB18030_BOM):
        return "gb18030", ""
    if _decodes(path, "utf-8"):
        return "utf-8", ""
    if _decodes(path, "gb18030"):
        return "gb18030", _note(path, "GB18030")
    if _broken_lines(path, "utf-8") < _broken_lines(path, "gb18030"):
        return "utf-8", _note(path, "UTF-8")
    return "gb18030", _note(path, "GB18030")


def _note(path: Openable, name: str) -> str:
    return f"{path.name}: encoding guessed: {name} | 编码猜定为 {name}"


def _decodes(path: Openable, codec: str) -> bool:
    decoder = codecs.getincrementaldecoder(codec)()
    try:
        with path.open("rb") as stream:
            while chunk := stream.read(_CHUNK):
                decoder.decode(chunk)
        decoder.decode(b"", final=True)
    except UnicodeDecodeError:
        return False
    return True


def _broken_lines(path: Openable, codec: str) -> int:
    # A line feed is never part of a character in either encoding, so that lines can be judged one by one.
    broken = 0
    with path.open("rb") as stream:
        while line := stream.readline(_CHUNK):
            try:
                line.decode(codec)
            except UnicodeDecodeError:
                broken += 1
    return broken
