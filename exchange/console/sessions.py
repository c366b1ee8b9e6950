"""Who is signed in: sessions in memory, each bound to the token it was opened with.

Several people share a machine in many offices, so sessions are short. The cookie holds a random name and nothing
else; the token stays here and is checked again at every request, so that a token that ends ends its sessions. A restart
of the process signs everybody out.
"""

import hashlib
import threading
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

from exchange.errors import Unavailable

_SECOND_NS: Final = 1_000_000_000
IDLE_NS: Final = 15 * 60 * _SECOND_NS
WHOLE_NS: Final = 8 * 3_600 * _SECOND_NS
_TRIES: Final = 10  # refused tokens from one address in a minute
_MINUTE_NS: Final = 60 * _SECOND_NS
_ADDRESSES: Final = 10_000


@dataclass
class Session:
    """One signed-in browser: its token, the secret of its forms, and what its next page tells it (`told`)."""

    token: str
    csrf: str
    made_ns: int
    seen_ns: int
    told: list[tuple[str, dict[str, object]]] = field(default_factory=list)

    def lives(self, now_ns: int) -> bool:
        """Whether it was used lately and is not too old. A clock that went back makes none young again."""
        return 0 <= now_ns - self.seen_ns < IDLE_NS and 0 <= now_ns - self.made_ns < WHOLE_NS


class Sessions:
    """All sessions of this process. Any thread may use it."""

    def __init__(self, now_ns: Callable[[], int], random_bytes: Callable[[int], bytes], most: int = 10_000) -> None:
        self._now_ns, self._random, self._most = now_ns, random_bytes, most
        self._open: OrderedDict[bytes, Session] = OrderedDict()
        self._lock = threading.Lock()

    def open(self, token: str) -> str:
        """A new session for whoever's token this is; what its cookie holds."""
        name, now = self._random(32).hex(), self._now_ns()
        with self._lock:
            while self._open and (len(self._open) >= self._most or not next(iter(self._open.values())).lives(now)):
                self._open.popitem(last=False)
            self._open[_key(name)] = Session(token, self._random(32).hex(), now, now)
        return name

    def find(self, name: str | None) -> Session | None:
        """The session of this cookie, when it lives; it was used now."""
        now = self._now_ns()
        with self._lock:
            found = self._open.get(_key(name)) if name else None
            if found is None or not found.lives(now):
                return None
            found.seen_ns = now
            return found

    def close(self, name: str | None) -> None:
        """Ends the session of this cookie, if there is one."""
        with self._lock:
            self._open.pop(_key(name or ""), None)


class Tries:
    """Bounds how often an address is told why its token is none. Only who fails is kept waiting: behind a proxy many
    people come from one address, and a right token is always taken.
    """

    def __init__(self, now_ns: Callable[[], int]) -> None:
        self._now_ns = now_ns
        self._failed: OrderedDict[str, tuple[int, int]] = OrderedDict()  # address → since when, how many
        self._lock = threading.Lock()

    def failed(self, address: str) -> None:
        """Counts one more; `Unavailable("too_many_requests")` beyond ten in a minute."""
        now = self._now_ns()
        with self._lock:
            since, count = self._failed.pop(address, (now, 0))
            since, count = (since, count + 1) if 0 <= now - since < _MINUTE_NS else (now, 1)
            self._failed[address] = since, count
            while len(self._failed) > _ADDRESSES:
                self._failed.popitem(last=False)
        if count > _TRIES:
            raise Unavailable("too_many_requests", seconds=_MINUTE_NS // _SECOND_NS)


def _key(name: str) -> bytes:
    """Under what a session is kept: the time that a look-up takes tells nothing of a name that is nearly right."""
    return hashlib.sha256(name.encode("utf-8", "replace")).digest()
