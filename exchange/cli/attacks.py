"""Three attacks on copies of an audit log, for the demo and for lessons: they show what a verifier must find.

The attacker of the second and third has the log's own signing key: an insider. Nothing here touches a live log.
"""

import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path

from exchange.audit import tiles
from exchange.audit.entries import Entry, decode, encode
from exchange.audit.note import Checkpoint, Signer, sign_checkpoint
from exchange.audit.schemas import KINDS, kind_of
from exchange.errors import Invalid
from exchange.names import digest_bytes
from exchange.signing.merkle import leaf_hash, root


def flip_byte(log: Path, copy: Path) -> Path:
    """A copy in which one bit of one byte, in the middle of the first bundle's middle entry, is turned over.

    Raises:
        Invalid: `attack_impossible`, as the others: the log holds nothing to attack.
    """
    shutil.copytree(log, copy)
    bundle = next(iter(_bundles(copy)), None)
    if bundle is None:
        raise Invalid("attack_impossible", where=log.name)
    data = bytearray(bundle.read_bytes())
    frames = list(_frames(bytes(data)))
    start, stop = frames[len(frames) // 2]
    data[(start + stop) // 2] ^= 1
    bundle.write_bytes(data)
    return copy


def cut_off(log: Path, copy: Path, origin: str, key: Signer, last: int) -> Path:
    """A log without its `last` entries, signed with the real key."""
    entries = leaves(log)
    if not 0 < last < len(entries):
        raise Invalid("attack_impossible", where=log.name)
    return _written(copy, entries[:-last], origin, key)


def rewrite(log: Path, copy: Path, origin: str, key: Signer) -> Path:
    """A log whose first release handed over something else, all of it signed with the real key: no rule is broken."""
    entries = leaves(log)
    schemas = {kind_of(kind).prefix: kind_of(kind).parsed for kind in KINDS}
    for index, leaf in enumerate(entries):
        kind, body = decode(leaf, schemas)
        if kind == "release":
            forged = Entry(
                kind, body["id"], {**body, "payload_digest": digest_bytes(b"something else")}, rests_on=body["epochs"]
            )
            entries[index] = encode(forged)
            return _written(copy, entries, origin, key)
    raise Invalid("attack_impossible", where=log.name)


def _bundles(log: Path) -> list[Path]:
    """The bundles of entries in order: of a number's partials only the widest, unless the full one is there."""
    found: list[Path] = []
    n = 0
    while True:
        full = log / tiles.path(None, n)
        if full.is_file():
            found.append(full)
            n += 1
            continue
        partials = list(full.with_name(full.name + ".p").glob("*"))
        return [*found, *sorted(partials, key=lambda file: int(file.name))[-1:]]


def leaves(log: Path) -> list[bytes]:
    """The entries of a log's folder in their order, as they are hashed."""
    bundles = [bundle.read_bytes() for bundle in _bundles(log)]
    return [data[start:stop] for data in bundles for start, stop in _frames(data)]


def _frames(bundle: bytes) -> Iterator[tuple[int, int]]:
    """Where each entry of a bundle begins and ends, without its length."""
    start = 2
    while start <= len(bundle):
        stop = start + int.from_bytes(bundle[start - 2 : start], "big")
        yield start, stop
        start = stop + 2


def _written(folder: Path, leaves: Sequence[bytes], origin: str, key: Signer) -> Path:
    """A log of these leaves, every tile and the checkpoint in place, as its own sequencer would have left it."""
    hashes = [leaf_hash(leaf) for leaf in leaves]
    _tiles(folder, None, [tiles.frame(leaf) for leaf in leaves])
    level, nodes = 0, hashes
    while nodes:
        _tiles(folder, level, nodes)
        nodes = [root(nodes[at : at + tiles.WIDTH]) for at in range(0, len(nodes) - tiles.WIDTH + 1, tiles.WIDTH)]
        level += 1
    (folder / "staging").mkdir(exist_ok=True)
    signed = sign_checkpoint(Checkpoint(origin, len(leaves), root(hashes)), key)
    (folder / "checkpoint").write_bytes(signed)
    return folder


def _tiles(folder: Path, level: int | None, items: Sequence[bytes]) -> None:
    for n in range(0, len(items), tiles.WIDTH):
        part = items[n : n + tiles.WIDTH]
        file = folder / tiles.path(level, n // tiles.WIDTH, len(part))
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(b"".join(part))
