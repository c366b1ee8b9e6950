"""What aics-tlog says of our log; it runs in that package's own environment (see `tools.aics`), not in ours.

A JSON value on standard input, one on standard output:
    {"claims": [...]}                                         for each, whether the proof holds (see prove.go)
    {"log": URL or folder, "vkey": KEY, "entries": true}      size, tiles and bundles that were authenticated
    {"note": TEXT, "vkey": KEY, "witness": KEY}               whether log and witness have signed this checkpoint
"""

import base64
import json
import sys
from pathlib import Path
from typing import Any

from aics_tlog import (
    FileSystemTileReader,
    HttpTileReader,
    audit_tiles,
    parse_note,
    parse_vkey,
    verify_checkpoint,
    verify_consistency,
    verify_inclusion,
)


def _holds(claim: dict[str, Any]) -> bool:
    old, size, root = claim["old"], claim["size"], _bytes(claim["root"])
    proof = [_bytes(one) for one in claim["proof"]]
    if claim.get("leaf"):
        return bool(verify_inclusion(_bytes(claim["leaf"]), old, size, proof, root))
    return bool(verify_consistency(old, size, _bytes(claim["old_root"]), root, proof))


def _bytes(text: str) -> bytes:
    return base64.b64decode(text)


def _audited(asked: dict[str, Any]) -> dict[str, Any]:
    remote = asked["log"].startswith("http:")
    reader: Any = HttpTileReader(asked["log"], proxies={}) if remote else FileSystemTileReader(asked["log"])
    note = reader.read_checkpoint() if remote else (Path(asked["log"]) / "checkpoint").read_bytes()
    key = parse_vkey(asked["vkey"])
    result = verify_checkpoint(parse_note(note), key, expected_origin=key.name)
    if not result.log_ok or result.size is None or result.root is None:
        return {"error": f"checkpoint: {result.error}"}
    try:
        report = audit_tiles(reader, result.size, result.root, entries=asked["entries"])
    except (OSError, ValueError) as error:
        return {"error": f"tiles: {error}"}
    return {"size": report.size, "tiles": report.tiles, "bundles": report.bundles}


def _cosigned(asked: dict[str, Any]) -> dict[str, Any]:
    witnesses = [parse_vkey(asked["witness"])]
    result = verify_checkpoint(parse_note(asked["note"]), parse_vkey(asked["vkey"]), witnesses, 1)
    return {"log": result.log_ok, "all": result.ok, "error": result.error}


def _main() -> None:
    asked = json.load(sys.stdin)
    if "claims" in asked:
        found: Any = [_holds(claim) for claim in asked["claims"]]
    else:
        found = _audited(asked) if "log" in asked else _cosigned(asked)
    json.dump(found, sys.stdout)


if __name__ == "__main__":
    _main()
