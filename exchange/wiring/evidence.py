"""An auditor's answer as one file that proves itself: the writer of `exchange.evidence` bundles."""

import base64
import io
import zipfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

from exchange.audit import tiles
from exchange.audit.note import checkpoint_of, open_checkpoint
from exchange.errors import Refused, Tampered
from exchange.names import canonical
from exchange.site import VKEY

if TYPE_CHECKING:
    from exchange.audit.note import Checkpoint
    from exchange.audit.sealing import Answer, Part
    from exchange.control.model import Principal
    from exchange.wiring.exchange import Exchange

FORMAT: Final = "exchange.evidence/1"
_BEHIND: Final = 2_000  # entries that a bundle holds whole, because no segment covers them yet
_LINES: Final = 3  # of a checkpoint: origin, size, root
_EPOCH: Final = (1980, 1, 1, 0, 0, 0)


def bundle(exchange: "Exchange", who: "Principal", tags: Sequence[str], kept: Sequence[bytes] = ()) -> bytes:
    """Who saw these subjects (tags in hex), with every proof, as `exchange.evidence` describes it.

    What is not sealed yet is sealed first; the question and its answer are an entry of the log before this returns.
    Reads the log once: what the answer's releases rest on can be anywhere before them.

    Raises:
        Refused: `auditor_required`, audited.
        Tampered: `audit_note_invalid`, `audit_log_shorter` for a kept checkpoint.
    """
    vkey = exchange.settings.path(VKEY).read_text("utf-8").strip()
    if "auditor" not in who.roles:
        exchange.refuse(who, "audit bundle", Refused("auditor_required"))
    olds = opened_kept(exchange, vkey, kept)
    asked = [bytes.fromhex(tag) for tag in tags]
    shown = _sealed(exchange, asked)
    size, positions = _seen(exchange, asked)
    if not _reaches(exchange, shown, size):
        shown = None
    question: dict[str, Any] = {
        "format": FORMAT,
        "query": "who_saw",
        "tags": list(tags),
        "size": size,
        "answer": [{"index": index, "positions": sorted(places)} for index, places in sorted(positions.items())],
    }
    if shown is not None:
        question["sealed"] = shown.entries
    entry = exchange.note_query(
        who, "who_saw", parameters=question, tags=asked, size=size, results=len(question["answer"]), told=True
    )
    # A crash here: a question of the auditor's whose answer nobody got.
    signed, files = begun(exchange, vkey, question, entry, olds)
    wanted = {*positions, entry, *_grounds(exchange, positions, signed.size)}
    if shown is not None:
        # Up to the checkpoint, unless the log has grown too much since: then up to what the answer covers.
        end = signed.size if signed.size - shown.entries <= _BEHIND else size
        wanted |= {*range(shown.entries, end), *shown.indexes, *(one.segment.index for one in shown.parts)}
        for one in shown.parts:
            files.update(segment_files(one))
    put_entries(exchange, files, wanted, signed.size)
    return archive(files)


def opened_kept(exchange: "Exchange", vkey: str, kept: Sequence[bytes]) -> dict[int, bytes]:
    """Checkpoints that an auditor kept, by size: signed notes, or the three lines of one (what he keeps of a
    verification has no signature).

    Raises:
        Tampered: `audit_note_invalid`; `audit_log_shorter` for one that is ahead of this log: its end is gone.
    """
    olds = {}
    for note in kept:
        plain = note.decode("utf-8", "replace")
        signed = "\n\n" in plain or plain.count("\n") != _LINES
        size = (open_checkpoint(note, vkey) if signed else checkpoint_of(plain, vkey)).size
        if size > exchange.audit.size:
            raise Tampered("audit_log_shorter", kept=size, size=exchange.audit.size)
        olds[size] = note
    return olds


def begun(
    exchange: "Exchange", vkey: str, question: Mapping[str, Any], entry: int, olds: Mapping[int, bytes]
) -> tuple["Checkpoint", dict[str, bytes]]:
    """The published checkpoint, and what every bundle has: question, key, checkpoint, the way from kept ones."""
    note = exchange.audit.checkpoint()
    signed = open_checkpoint(note, vkey)
    files = {
        "question.json": canonical({**question, "asked": entry}) + b"\n",
        "vkey": vkey.encode() + b"\n",
        "checkpoint": note,
    }
    for old, earlier in olds.items():
        hashes = exchange.audit.consistency(old, signed.size)
        lines = [f"old {old}", *(base64.b64encode(one).decode() for one in hashes), ""]
        files[f"kept/{old}"] = earlier
        files[f"consistency/{old}"] = "\n".join(lines).encode() + b"\n" + note
    return signed, files


def put_entries(
    exchange: "Exchange",
    files: dict[str, bytes],
    indexes: Iterable[int],
    size: int,
    on_entries: Callable[[int], None] = lambda _: None,
) -> None:
    """Entries with their proofs under the checkpoint of this size, which is among the files."""
    for number, (index, leaf, proof) in enumerate(exchange.audit.proved(indexes, size), 1):
        on_entries(number)
        files[f"entries/{index}"] = leaf
        files[f"proofs/{index}"] = tiles.proof_text(index, proof, files["checkpoint"])


def segment_files(part: "Part") -> dict[str, bytes]:
    """What one segment shows, as files of a bundle."""
    folder = f"segments/{part.segment.index}"
    proof = b"".join(base64.b64encode(one) + b"\n" for one in part.proof)
    return {f"{folder}/proof": proof, **{f"{folder}/{number}": page for number, page in part.pages.items()}}


def archive(files: Mapping[str, bytes]) -> bytes:
    """The files as a ZIP archive: equal files give equal bytes."""
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_STORED) as made:
        for name in sorted(files):
            info = zipfile.ZipInfo(name, _EPOCH)
            info.create_system, info.external_attr = 0, 0x20  # a plain file, by MS-DOS: no machine's rights in it
            made.writestr(info, files[name])
    return stream.getvalue()


def _seen(exchange: "Exchange", tags: Sequence[bytes]) -> tuple[int, dict[int, set[int]]]:
    """How much of the log the answer covers, and by entry the positions of the subjects' records that it showed."""
    found: dict[int, set[int]] = {}
    size = exchange.audit.size
    for tag in tags:
        for one in exchange.sightings(tag):
            if one.index < size:
                found.setdefault(one.index, set()).update(one.positions)
    return size, found


def _sealed(exchange: "Exchange", tags: Sequence[bytes]) -> "Answer | None":
    """What proves that the answer is complete; None where the segments cannot."""
    from exchange.wiring.sealed import answer

    found = answer(exchange, tags)
    return found if found.whole else None


def _reaches(exchange: "Exchange", shown: "Answer | None", size: int) -> bool:
    """Whether the few entries behind the sealed ones release nothing but sealed records."""
    if shown is None or size - shown.entries > _BEHIND:
        return False
    released = (
        (shown.records.get((body["topic"], body["partition"]), 0), body["hi"])
        for _, kind, body in exchange.audit.entries(shown.entries, size)
        if kind == "release" and body["lo"] is not None
    )
    return all(hi <= end for end, hi in released)


def _grounds(exchange: "Exchange", positions: Mapping[int, set[int]], size: int) -> Iterator[int]:
    """The entries that those of the answer rest on, and the schemas of all."""
    answer = [(exchange.audit.entry(index)[1], places) for index, places in positions.items()]
    decisions = {body["decision"] for body, _ in answer if body.get("decision")}
    about = {f"agreement/{body['agreement']}" for body, _ in answer if body.get("agreement")}
    about |= {f"case/{body['case']}" for body, _ in answer if body.get("case")}
    runs = {body["run"] for body, _ in answer if body.get("run")}
    shown = [
        (body["topic"], body["partition"], place) for body, places in answer if body.get("run") for place in places
    ]
    for index, kind, body in exchange.audit.entries(0, size):
        if (
            kind in ("schema", "policy_revision")
            or (kind == "decision" and body["id"] in decisions)
            or (kind == "control" and body["aggregate"] in about)
            or (kind == "gateway_run" and body["run"] in runs)
            or (kind == "record_commit" and any(_covers(body, *place) for place in shown))
        ):
            yield index


def _covers(commit: Mapping[str, Any], topic: str, partition: int | None, position: int) -> bool:
    of_it = commit["topic"] == topic and partition in (None, commit["partition"])
    return bool(of_it and commit["lo"] <= position < commit["hi"])
