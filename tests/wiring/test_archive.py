"""The form of a backup: what was written comes back, and nothing else gets in."""

import hashlib
import io
import os
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exchange.errors import ExchangeError, Invalid, Tampered
from exchange.names import canonical
from exchange.wiring.archive import HEADER, MANIFEST, Writer, read_members
from tests.control.failing import fails

Content = dict[str, bytes]
PART = st.text(st.characters(categories=("L", "N"), include_characters="._- "), min_size=1, max_size=20).filter(
    lambda part: part.isprintable() and part not in {".", ".."}
)
NAMES = st.lists(PART, min_size=1, max_size=4).map("/".join).filter(lambda name: name not in {HEADER, MANIFEST})


def packed(content: Content, *, compress: bool = False) -> bytes:
    """A whole archive."""
    out = io.BytesIO()
    with Writer(out, 1_000_000_000, compress=compress) as writer:
        for name, data in content.items():
            writer.add_bytes(name, data)
    return out.getvalue()


def unpacked(data: bytes) -> Content:
    """What is in an archive."""
    return {one.name: b"".join(one.portions()) for one in read_members(io.BytesIO(data))}


@given(st.dictionaries(NAMES, st.binary(max_size=3_000), max_size=6), st.booleans())
def test_what_is_put_in_comes_out(content: Content, compress: bool) -> None:
    """Names in any script, any bytes, packed or not."""
    assert unpacked(packed(content, compress=compress)) == content


def test_a_plain_archive_is_a_tar_file() -> None:
    """Whoever has only tar can look into it."""
    with tarfile.open(fileobj=io.BytesIO(packed({"exchange.toml": b"format = 1", "政策/一.rego": b""}))) as tar:
        assert tar.getnames() == ["exchange.toml", "政策/一.rego", MANIFEST]


CONTENT: Content = {HEADER: b'{"a": 1}', "data/x.db": bytes(range(256)) * 20, "exchange.toml": b"format = 1\n"}


@given(st.data(), st.booleans())
def test_an_archive_that_was_cut_off_is_told(data: st.DataObject, compress: bool) -> None:
    """At whatever byte: before the end of its manifest it is no archive; behind it stand zeros alone."""
    whole = packed(CONTENT, compress=compress)
    cut = data.draw(st.integers(0, len(whole) - 1))
    try:
        assert unpacked(whole[:cut]) == CONTENT
    except Invalid as error:
        assert error.code in {"backup_cut_off", "backup_unreadable"}  # noqa: PT017 - either is right
    else:
        assert cut > len(whole) * 0.8 if compress else not whole[cut:].strip(b"\0")


@given(st.data(), st.booleans())
def test_a_changed_byte_is_told(data: st.DataObject, compress: bool) -> None:
    """Wherever it lies: one clear error, or (in padding and times that carry nothing) the very same content."""
    whole = bytearray(packed(CONTENT, compress=compress))
    at = data.draw(st.integers(0, len(whole) - 1))
    whole[at] ^= 1 << data.draw(st.integers(0, 7))
    try:
        assert unpacked(bytes(whole)) == CONTENT
    except ExchangeError as error:
        assert error.code in {"backup_changed", "backup_cut_off", "backup_unreadable"}  # noqa: PT017 - either is right


def _member(name: str, **fields: Any) -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    for field, value in fields.items():
        setattr(info, field, value)
    return info


def _tar(*members: tuple[tarfile.TarInfo, bytes]) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.GNU_FORMAT) as tar:
        for info, data in members:
            info.size = len(data) if info.isreg() else 0
            tar.addfile(info, io.BytesIO(data))
    return out.getvalue()


@pytest.mark.parametrize(
    "name", ["/etc/passwd", "../x", "data/../../x", "./x", "data//x", "data/\n", "data\\x", "a/" * 70 + "x", "x/"]
)
def test_a_name_that_leads_elsewhere_is_refused(name: str) -> None:
    """Absolute, upwards, with control characters or too deep: read or written, it is one error."""
    with fails(Invalid, "backup_unreadable"):
        unpacked(_tar((_member(name), b"x")))
    with fails(Invalid, "backup_name"):
        packed({name: b""})


@pytest.mark.parametrize(
    "kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.FIFOTYPE, tarfile.DIRTYPE, b"S", b"Z"]
)
def test_only_plain_files_are_members(kind: bytes) -> None:
    """No link, device, pipe, folder, sparse file or kind that nobody knows."""
    with fails(Invalid, "backup_unreadable"):
        unpacked(_tar((_member("data/x", type=kind, linkname="/etc/passwd"), b"")))


def test_a_name_stands_once() -> None:
    """The second one would replace the first, after it was checked."""
    with fails(Invalid, "backup_unreadable"):
        unpacked(_tar((_member("data/x"), b"1"), (_member("data/x"), b"2")))


def _claims(kind: bytes) -> bytes:
    """A header that says that a long name of a gigabyte follows; packed, it really may."""
    return _member("x", type=kind, size=1 << 30).tobuf(tarfile.GNU_FORMAT) + bytes(4 << 20)


@pytest.mark.parametrize("kind", [tarfile.GNUTYPE_LONGNAME, tarfile.XHDTYPE, tarfile.XGLTYPE])
def test_a_header_takes_no_memory(kind: bytes) -> None:
    """However long it claims to be."""
    with fails(Invalid, "backup_unreadable"):
        unpacked(_claims(kind))


Change = Callable[[dict[str, Any]], object]


@pytest.mark.parametrize(
    ("change", "family", "code"),
    [
        (lambda files: files.pop("data/x"), Tampered, "backup_changed"),
        (lambda files: files.update(more=[0, ""]), Tampered, "backup_changed"),
        (lambda files: files.update({"data/x": [1, "0" * 64]}), Tampered, "backup_changed"),
        (lambda files: files.update({"data/x": 7}), Tampered, "backup_changed"),
    ],
)
def test_the_manifest_names_every_member(change: Change, family: type[ExchangeError], code: str) -> None:
    """No more, no fewer, no others."""
    files = {"data/x": [1, hashlib.sha256(b"\x01").hexdigest()]}
    manifest = {"format": "exchange.backup-manifest/1", "files": files}
    assert unpacked(_tar((_member("data/x"), b"\x01"), (_member(MANIFEST), canonical(manifest)))) == {"data/x": b"\x01"}
    change(files)
    with fails(family, code):
        unpacked(_tar((_member("data/x"), b"\x01"), (_member(MANIFEST), canonical(manifest))))


@pytest.mark.parametrize("manifest", [b"", b"[]", b"{}", b'{"files": {}}', b"[" * 50_000, b"\xff"])
def test_a_manifest_of_another_form(manifest: bytes) -> None:
    """Nothing that is no manifest passes for one."""
    with fails(Invalid, "backup_unreadable"):
        unpacked(_tar((_member(MANIFEST), manifest)))


@pytest.mark.parametrize("data", [b"", b"\x1f\x8b", b"garbage" * 500, os.urandom(2_000), bytes(20_000)])
def test_what_is_no_archive(data: bytes) -> None:
    """Nothing, garbage, zeros."""
    with pytest.raises(Invalid) as caught:
        unpacked(data)
    assert caught.value.code in {"backup_unreadable", "backup_cut_off"}


def test_a_source_that_is_shorter_than_said(tmp_path: Path) -> None:
    """A file that shrinks while it is read is an error of the system, never a member with other bytes."""
    (tmp_path / "x").write_bytes(b"short")
    with (tmp_path / "x").open("rb") as file, pytest.raises(OSError, match="unexpected end"):
        Writer(io.BytesIO(), 0, compress=False).add("data/x", file, 100)
