"""What a decision is, and the questions that every rule asks: who acts, with which role, is the input well formed."""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from exchange.control.events import NewEvent
from exchange.control.model import Model, Principal
from exchange.errors import Invalid, Refused
from exchange.names import canonical
from exchange.plan.shapes import near, shown

MAX_TEXT: Final = 500
MAX_EVENT: Final = 2**20  # bytes of JSON; an audit leaf holds the digest alone where it has more than 30,000
MAX_DEPTH: Final = 64
DAY_NS: Final = 86_400_000_000_000
MAX_PERIOD_NS: Final = 1_827 * DAY_NS  # five years, two of them leap years
_ID_LIKE: Final = re.compile(r"(?<!\d)\d{15}(\d{2}[\dXx])?(?!\d)", re.ASCII)
_LONGEST_INTEGER: Final = 2**63


@dataclass(frozen=True)
class Decision:
    """What a command comes to.

    `rests_on` are the aggregates that were read, besides those of the events; `documents` maps digests to bodies;
    `about` is the id of what was made or changed.
    """

    events: Sequence[NewEvent]
    about: str
    rests_on: frozenset[str] = frozenset()
    documents: Mapping[str, bytes] = field(default_factory=dict)


def malformed(where: str, expected: str) -> Invalid:
    """A part of a command that has not the form it must have."""
    return Invalid("command_malformed", where=where, expected=expected)


def acting(model: Model, actor: Principal) -> Principal:
    """The actor as the model has it now: a stale `Principal` in the caller's hands gives no right."""
    found = model.principals.get(actor.id)
    if found is None:
        raise Refused("token_unknown")
    if found.status != "active":
        raise Refused("principal_suspended")
    return found


def need_role(actor: Principal, *roles: str) -> None:
    """Refuses an actor with none of these roles."""
    if not actor.roles & set(roles):
        raise Refused("role_missing", roles=" / ".join(roles))


def need_department(actor: Principal, department: str) -> None:
    """Refuses an actor of another department."""
    if actor.department != department:
        raise Refused("other_department", department=department)


def need_state(what: str, found: str, *allowed: str) -> None:
    """Refuses what is not in one of these states."""
    if found not in allowed:
        raise Refused("wrong_state", what=what, found=found, allowed=" / ".join(allowed))


def text(value: object, *, where: str) -> str:
    """A short text that people wrote: not empty, printable, and without anything like a citizen's id."""
    if not isinstance(value, str) or not value.strip() or len(value) > MAX_TEXT or not value.isprintable():
        raise malformed(where, f"1 … {MAX_TEXT} printable characters")
    if _ID_LIKE.search(value):
        raise Invalid("text_holds_id", where=where)
    return value


def one_of(value: object, known: Iterable[str], *, where: str) -> str:
    """A word out of a closed list."""
    words = list(known)
    if isinstance(value, str) and value in words:
        return value
    raise Invalid("unknown_word", where=where, word=shown(value), known=", ".join(words))


def words(value: object, *, where: str) -> list[str]:
    """A list of strings, none of them twice."""
    if isinstance(value, str) or not isinstance(value, Sequence) or not all(isinstance(one, str) for one in value):
        raise malformed(where, "list without repetition")
    if len(set(value)) != len(value):
        raise malformed(where, "list without repetition")
    return list(value)


def instant(value: object, *, where: str) -> int:
    """A time in UTC nanoseconds after 1970."""
    if isinstance(value, bool) or not isinstance(value, int) or not 0 < value < _LONGEST_INTEGER:
        raise malformed(where, "UTC nanoseconds")
    return value


def exact_keys(document: object, keys: Iterable[str], *, where: str, optional: Iterable[str] = ()) -> Mapping[str, Any]:
    """An object with exactly these keys; the name nearest to an unknown one is told."""
    if not isinstance(document, Mapping):
        raise malformed(where, "object")
    required = set(keys)
    known = sorted(required | set(optional))
    for key in document:
        if key not in known:
            raise Invalid("unknown_key", where=where, key=shown(key), nearest=near(key, known))
    for key in sorted(required - document.keys()):
        raise Invalid("missing_key", where=where, key=key)
    return document


def shallow(document: object, *, where: str) -> None:
    """Refuses a document nested more deeply than `MAX_DEPTH`, before anything walks it by recursion."""
    level = [document]
    for _ in range(MAX_DEPTH):
        level = [child for one in level for child in _children(one)]
        if not level:
            return
    raise Invalid("document_too_deep", where=where, deepest=MAX_DEPTH)


def _children(value: object) -> Iterable[object]:
    if isinstance(value, Mapping):
        return value.values()
    return value if isinstance(value, list | tuple) else ()


def bounded(event: NewEvent) -> NewEvent:
    """The event, when it is not huge."""
    size = len(canonical(event.data))
    if size > MAX_EVENT:
        raise Invalid("event_too_large", where=event.name.partition("/")[0], size=size, largest=MAX_EVENT)
    return event
