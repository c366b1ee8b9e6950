"""That the log continues what an auditor kept of it: checkpoints, or the state of an earlier verification."""

from __future__ import annotations

import hashlib
import json
import re
from typing import Any, Dict, Sequence, Tuple

from . import forms

FILE = re.compile(r"(kept|consistency)/(0|[1-9][0-9]{0,17})")
_STATE = "exchange.verification/1"


def judged(
    files: Dict[str, bytes],
    key: forms.Key,
    new: forms.Checkpoint,
    kept: Sequence[bytes],
    states: Sequence[bytes],
    find: Any,
) -> Tuple[int, int]:
    """Judges the checkpoints in the bundle and the auditor's own; `find(code, place, detail)` is told what is wrong.
    How many there are of either, his own first.
    """
    inside = [(name, files[name]) for name in sorted(files) if name.startswith("kept/")]
    for name in sorted(files):
        match = FILE.fullmatch(name)
        if match and match[1] == "consistency" and "kept/" + match[2] not in files:
            find("file_missing", "kept/" + match[2])
    own = [("--checkpoint %d" % number, note) for number, note in enumerate(kept, 1)]
    for name, note in [*inside, *own]:
        try:
            # In the bundle a checkpoint may stand without a signature: it is somebody's word for what he kept.
            bare = name.startswith("kept/") and b"\n\n" not in note
            old = forms.stated(note, key) if bare else forms.opened(note, key)
        except forms.Wrong as error:
            find("kept_invalid", name, error)
            continue
        if name.startswith("kept/") and name != "kept/%d" % old.size:
            find("kept_invalid", name, "of another size than its name says")
            continue
        _continues(files, name, old, new, find)
    for number, data in enumerate(states, 1):
        try:
            _continues(files, "--state %d" % number, _state(data, key), new, find)
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
            find("state_invalid", "--state %d" % number)
    return len(own) + len(states), len(inside)


def _continues(files: Dict[str, bytes], name: str, old: forms.Checkpoint, new: forms.Checkpoint, find: Any) -> None:
    place, hashes = "consistency/%d" % old.size, []
    if old.size > new.size:
        find("log_cut_off", name, "%d > %d" % (old.size, new.size))
        return
    if old.size not in (0, new.size) or place in files:
        if place not in files:
            find("history_not_shown", name, old.size)
            return
        try:
            hashes = forms.proof_of(files[place], "old %d\n" % old.size, files["checkpoint"])
        except forms.Wrong as error:
            find("file_changed", place, error)
            return
    if not forms.continued(old, new, hashes):
        find("history_rewritten", old.size, name)


def _state(data: bytes, key: forms.Key) -> forms.Checkpoint:
    """What `exchange audit verify --state` keeps, as far as it is the beginning of this log."""
    document = json.loads(data.decode("utf-8"))
    digest = document.pop("digest")
    if digest != hashlib.sha256(json.dumps(document, sort_keys=True).encode()).hexdigest():
        raise forms.Wrong("changed")
    if document["format"] != _STATE or document["key"].strip() != key.text:
        raise forms.Wrong("of another log")
    if type(document["size"]) is not int or document["size"] < 0:
        raise forms.Wrong("no size")
    return forms.Checkpoint(document["size"], bytes.fromhex(document["root"]), "")
