"""Several policy revisions side by side on one OPA: each in packages and code tables of its own.

`package exchange.x` of a revision becomes `package revisions.r<digest>.exchange.x`, and likewise `data.exchange` and
`data.codes` in it. Which revision answers is then a matter of what is asked, and an OPA that has not got it answers
nothing.
"""

import hashlib
import json
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from threading import Lock
from typing import Final

from exchange.names import canonical
from exchange.policy import Bundle, modules

ROOT: Final = "revisions"
# What is asked for. The answer names its revision; a plan that the policy does not define is an empty list, so that it
# differs from a revision that is not there. Without an input, `revision` alone says that it is.
_ANSWER: Final = """package {package}

revision := {revision}

answer := {{"revision": {revision}, "plan": [plan | plan := data.{package}.exchange.plan]}}
"""
_NAMED: Final = re.compile(r"(?<![A-Za-z0-9_.])data(?=\.)")
_PACKAGE: Final = re.compile(r"^[ \t]*package[ \t]+(?=exchange\b)", re.MULTILINE)


def package_of(revision: str) -> str:
    """The package under which all of a revision stands."""
    return f"{ROOT}.r{revision.removeprefix('sha256:')}"


def files(bundle: Bundle) -> dict[str, bytes]:
    """A revision as files of an OPA bundle: its modules without tests, its code tables, and what is asked for."""
    package, revision = package_of(bundle.revision), json.dumps(bundle.revision)
    folder = package.replace(".", "/")
    texts = {f"{folder}/answer.rego": _ANSWER.format(package=package, revision=revision)}
    for path, text in modules.running(bundle.modules).items():
        texts[f"{folder}/exchange/{path}"] = moved(text, package)
    coded = {f"{folder}/data.json": canonical({"codes": bundle.codes})}
    return coded | {path: text.encode() for path, text in texts.items()}


def moved(text: str, package: str) -> str:
    """A module that `modules.check` lets pass, moved below a package, each line where it was.

    Comments are left out: OPA reads some of them as annotations.
    """
    plain = modules.blanked(text)
    edits = [(place.start(), place.end(), f"data.{package}") for place in _NAMED.finditer(plain)]
    edits += [(place.end(), place.end(), f"{package}.") for place in _PACKAGE.finditer(plain)][:1]
    edits += [(start, end, "") for start, end in modules.comments(text)]
    for start, end, new in sorted(edits, reverse=True):
        text = text[:start] + new + text[end:]
    return text


def digest_of_json(document: object) -> str:
    """SHA-256 of a JSON file as OPA hashes it for a bundle's signature (`v1/bundle/hash.go`): keys in order, no white
    space, texts as Go's encoder writes them. Whole numbers and texts only.
    """
    text = canonical(document).decode().replace("\u2028", "\\u2028").replace("\u2029", "\\u2029")
    return hashlib.sha256(text.encode()).hexdigest()


class Shelf:
    """Bundles that OPA shall get besides those of the control plane, while they are offered. For any thread."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._held: list[Bundle] = []

    @contextmanager
    def holding(self, bundle: Bundle) -> Iterator[None]:
        """Holds a bundle for as long as the block lasts."""
        with self._lock:
            self._held.append(bundle)
        try:
            yield
        finally:
            with self._lock:
                self._held.remove(bundle)

    def held(self) -> Mapping[str, Bundle]:
        """What is on it now, by revision."""
        with self._lock:
            return {bundle.revision: bundle for bundle in self._held}
