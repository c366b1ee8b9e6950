"""The log as C2SP resources over HTTP: what is published and nothing else, to whom it may be, as caches like it."""

import gzip
import os
import time
from pathlib import Path
from typing import Final

import pytest

from exchange.audit import tiles
from exchange.audit.note import open_checkpoint
from exchange.audit.verify import verify
from exchange.site import VKEY
from tests.api.calling import Api, calling
from tests.simulator import AUDITOR, AUTHORITY, CHECKER, SYSTEM, Site

_HOUR_NS: Final = 3_600_000_000_000


def _size(api: Api) -> int:
    vkey = (api.site.root / VKEY).read_text("utf-8").strip()
    return open_checkpoint(api.get("/log/checkpoint").body, vkey).size


def _queries(api: Api, start: int) -> list[str]:
    found = list(api.exchange.audit.entries(start, 1 << 60))
    return [str(body["query"]) for _, kind, body in found if kind == "audit_query"]


def test_the_served_log_is_the_exported_one(shared: Api, tmp_path: Path) -> None:
    """Every file of an export is at its path below `/log`, byte for byte, and what was served passes the verifier."""
    shared.get("/log/tile/entries/000.p/1", AUDITOR)  # the hour's entry is in the log before the export is made
    exported, served = tmp_path / "exported", tmp_path / "served"
    assert shared.site.run("audit", "export", str(exported)).code == 0
    files = sorted(str(file.relative_to(exported)) for file in exported.rglob("*") if file.is_file())
    for name in files:
        answer = shared.get(f"/log/{name}", AUDITOR)
        assert (answer.status, answer.body) == (200, (exported / name).read_bytes()), name
        (served / name).parent.mkdir(parents=True, exist_ok=True)
        (served / name).write_bytes(answer.body)
    assert {name.split("/")[0] for name in files} == {"checkpoint", "tile"}
    verdict = verify(served, (shared.site.root / VKEY).read_text("utf-8").strip())
    assert verdict.ok, verdict.findings


def test_types_and_caching(shared: Api) -> None:
    """The checkpoint is asked for anew each time; tiles are for every cache, entries for the auditor's own alone."""
    found = {
        target: shared.get(f"/log/{target}", AUDITOR).headers
        for target in ("checkpoint", "tile/0/000.p/1", "tile/entries/000.p/1")
    }
    assert [(one["content-type"], one["cache-control"]) for one in found.values()] == [
        ("text/plain; charset=utf-8", "no-cache"),
        ("application/octet-stream", "public, max-age=31536000, immutable"),
        ("application/octet-stream", "private, max-age=31536000, immutable"),
    ]
    assert found["tile/entries/000.p/1"]["vary"] == "Accept-Encoding"


@pytest.mark.parametrize("target", ["checkpoint", "tile/0/000.p/2", "tile/entries/000.p/2"])
def test_head_and_conditions(shared: Api, target: str) -> None:
    """HEAD says what GET says, without the bytes; who has them is told so, by any form of the condition; a problem has
    no tag.
    """
    whole = shared.get(f"/log/{target}", AUDITOR)
    head = shared.ask("HEAD", f"/log/{target}", AUDITOR)
    named = ("content-length", "content-type", "etag", "cache-control")
    assert (head.status, head.body) == (200, b"")
    assert [head.headers[name] for name in named] == [whole.headers[name] for name in named]
    assert int(head.headers["content-length"]) == len(whole.body)
    tag = whole.headers["etag"]
    for condition in (tag, f"W/{tag}", f'"other", {tag}', "*"):
        for method in ("GET", "HEAD"):
            answer = shared.ask(method, f"/log/{target}", AUDITOR, [("If-None-Match", condition)])
            assert (answer.status, answer.body, answer.headers["etag"]) == (304, b"", tag)
    for condition in ('"other"', tag.strip('"'), ""):
        assert shared.get(f"/log/{target}", AUDITOR, [("If-None-Match", condition)]).body == whole.body
    lacking = shared.get("/log/tile/0/999", AUDITOR, [("If-None-Match", "*")])
    assert (lacking.status, lacking.headers.get("etag"), lacking.headers["cache-control"]) == (404, None, "no-store")


def test_entries_are_compressed_for_who_can(shared: Api) -> None:
    """Compressed where it is accepted, as C2SP wishes, and a tag of its own; hashes cannot be compressed."""
    plain = shared.get("/log/tile/entries/000.p/9", AUDITOR)
    for accepted in ("gzip", "br, GZIP;q=0.5"):
        zipped = shared.get("/log/tile/entries/000.p/9", AUDITOR, [("Accept-Encoding", accepted)])
        assert zipped.headers["content-encoding"] == "gzip"
        assert int(zipped.headers["content-length"]) == len(zipped.body) < len(plain.body)
        assert gzip.decompress(zipped.body) == plain.body
        assert zipped.headers["etag"] != plain.headers["etag"]
    for accepted in ("gzip;q=0", "identity", "br"):
        answer = shared.get("/log/tile/entries/000.p/9", AUDITOR, [("Accept-Encoding", accepted)])
        assert (answer.headers.get("content-encoding"), answer.body) == (None, plain.body)
    tile = shared.get("/log/tile/0/000.p/9", headers=[("Accept-Encoding", "gzip")])
    assert "content-encoding" not in tile.headers


def test_nothing_beyond_the_checkpoint(api: Api) -> None:
    """Every width up to the published size is there, none beyond it, whether its bytes are written or not."""
    size = _size(api)
    assert api.get(f"/log/tile/0/000.p/{size}").status == 200
    beyond = [f"tile/0/000.p/{size + 1}", "tile/0/000", "tile/0/001.p/1", "tile/1/000.p/1", "tile/63/000.p/1"]
    beyond += [f"tile/entries/000.p/{size + 1}", "tile/entries/000", f"tile/0/{tiles.number((1 << 63) // 256 + 1)}"]
    for target in beyond:
        assert api.get(f"/log/{target}", AUDITOR).said == (404, "audit_tile_unknown"), target
    # A commit that a crash kept from its checkpoint: tiles and bundle are there, and are nobody's business yet.
    grown = api.exchange.audit.size
    folder = api.site.data / "audit" / "tile"
    for kind, data in (("0", b"h" * 32 * 200), ("entries", tiles.frame(b"unpublished") * 200)):
        (folder / kind / "000.p" / "200").write_bytes(data)
        assert api.get(f"/log/tile/{kind}/000.p/200", AUDITOR).said == (404, "audit_tile_unknown")
        assert api.get(f"/log/tile/{kind}/000.p/{grown}", AUDITOR).status == 200


_UNKNOWN: Final = [
    *("tile/0/0", "tile/0/00", "tile/0/0000", "tile/0/x000/001", "tile/0/x001", "tile/0/001/001", "tile/0/-01"),
    *("tile/00/000", "tile/01/000.p/1", "tile/64/000", "tile/x/000", "tile/-1/000", "tile/ENTRIES/000"),
    *("tile/0/000.p/0", "tile/0/000.p/00", "tile/0/000.p/01", "tile/0/000.p/256", "tile/0/000.p/", "tile/0/000.p"),
    *("tile/0/000.p/1/", "tile/0//000", "tile/0/000.p/1.p/1", "tile/0/000.P/1", "tile/0/%D9%A0%D9%A0%D9%A0"),
    *("tile/0/../0/000.p/1", "tile/entries/../../checkpoint", "tile/0/000.p/1%00", "tile/0/000%0a"),
    *("tile/entries/%2e%2e/%2e%2e/%2e%2e/keys/audit.key", "tile/0/" + "x000/" * 6 + "000"),
    "tile/0/" + "x999/" * 9 + "000",
]  # fmt: skip


@pytest.mark.parametrize("target", _UNKNOWN)
def test_the_grammar_of_paths_is_exact(shared: Api, target: str) -> None:
    """A path that C2SP does not write is 404: there is one address for each tile, and none for anything else."""
    assert shared.get(f"/log/{target}", AUDITOR).said == (404, "audit_tile_unknown")


@pytest.mark.parametrize(
    "target", ["", "tile", "tile/0", "staging", "staging/1-x", "Checkpoint", "checkpoint/", "../v1/me"]
)
def test_there_is_nothing_else_below_the_prefix(shared: Api, target: str) -> None:
    """Neither staged bundles nor folders."""
    assert shared.get(f"/log/{target}", AUDITOR).said == (404, "page_unknown")


@pytest.mark.parametrize("who", [CHECKER, SYSTEM, AUTHORITY])
def test_entries_are_for_auditors(shared: Api, who: str) -> None:
    """Nobody without a token, nobody else with one: that is a refusal in the log; hashes are for anybody."""
    before = shared.exchange.audit.size
    for method in ("GET", "HEAD"):
        assert shared.ask(method, "/log/tile/entries/000.p/1").status == 401
    assert shared.get("/log/tile/entries/000.p/1").said == (401, "token_missing")
    assert shared.get("/log/tile/entries/000.p/1", who).said == (403, "auditor_required")
    assert shared.get("/log/tile/entries/999", who).said == (403, "auditor_required")
    found = [body for _, kind, body in shared.exchange.audit.entries(before, 1 << 60) if kind == "refusal"]
    assert [body["action"] for body in found] == ["audit log"] * 2
    assert shared.get("/log/checkpoint").status == shared.get("/log/tile/0/000.p/1").status == 200


def test_nothing_is_public_where_the_setting_says_so(site: Site) -> None:
    """Then checkpoint and tiles are for auditors, too, and no shared cache keeps them."""
    with (site.root / "exchange.toml").open("a", encoding="utf-8") as file:
        file.write('\n[audit]\npublic = "nothing"\n')
    with calling(site) as api:
        for target in ("/log/checkpoint", "/log/tile/0/000.p/1"):
            assert api.get(target).said == (401, "token_missing")
            assert api.get(target, CHECKER).said == (403, "auditor_required")
            assert api.get(target, AUDITOR).status == 200
        assert api.get("/log/tile/0/000.p/1", AUDITOR).headers["cache-control"].startswith("private,")


def test_following_does_not_make_the_log_grow(api: Api) -> None:
    """The first bundle of an hour is an entry before it is answered, the others are none; nor are tiles."""
    before = api.exchange.audit.size
    for _ in range(5):
        for width in (1, before):
            assert api.get(f"/log/tile/entries/000.p/{width}", AUDITOR).status == 200
            assert api.get(f"/log/tile/0/000.p/{width}").status == 200
        api.get("/log/checkpoint")
    assert _queries(api, before) == ["log_entries"]
    assert api.get("/log/tile/entries/999", AUDITOR).status == 404  # nothing was read
    api.exchange.now_ns = lambda: time.time_ns() + _HOUR_NS
    api.get("/log/tile/entries/000.p/1", AUDITOR)
    assert _queries(api, before) == ["log_entries"] * 2


def test_damage_is_not_served(api: Api) -> None:
    """A tile that is cut off, a bundle that is gone, a checkpoint that nobody signed: a 500 that says what it is."""
    size, folder = _size(api), api.site.data / "audit"
    file = folder / "tile" / "0" / "000.p" / str(size)
    os.truncate(file, 32 * (size - 1))
    assert api.get(f"/log/tile/0/000.p/{size}").said == (500, "audit_log_damaged")
    (folder / "tile" / "entries" / "000.p" / str(size)).unlink()
    assert api.get(f"/log/tile/entries/000.p/{size}", AUDITOR).said == (500, "audit_log_damaged")
    note = (folder / "checkpoint").read_bytes()
    (folder / "checkpoint").write_bytes(note.replace(b"\n", b"x\n", 1))
    assert api.get("/log/checkpoint").said == (500, "audit_note_invalid")
    (folder / "checkpoint").unlink()
    assert api.get("/log/checkpoint").said == (503, "audit_missing")
