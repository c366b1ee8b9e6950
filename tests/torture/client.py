"""A consumer's, steward's and publisher's client of the gateways: Python's own HTTP, and none of our code."""

import http.client
import json
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any

_PATIENCE_S = 60.0
_IDLE_S = 2.0


@dataclass(frozen=True, slots=True)
class Asked:
    """One request: when it was sent and when its answer was there (one clock of this machine), and the answer."""

    sent: float
    answered: float
    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        """The answer's document."""
        return json.loads(self.body)

    @property
    def code(self) -> str:
        """The problem's code; empty where it is none."""
        return "" if self.status < 400 else str(self.json.get("code", ""))


@dataclass
class Client:
    """Connections of one thread to every gateway, kept open; `tokens` by account."""

    ports: list[int]
    tokens: Mapping[str, str]
    _open: dict[int, tuple[http.client.HTTPConnection, float]] = field(default_factory=dict)

    def ask(
        self, gateway: int, who: str, method: str, target: str, body: object = None, media: str = "application/json"
    ) -> Asked:
        """One request; `body` is a JSON value, or bytes of this media type."""
        headers = {"Authorization": f"Bearer {self.tokens[who]}", "Accept": "application/x-ndjson"}
        content = body if isinstance(body, bytes) else None if body is None else json.dumps(body).encode()
        if content is not None:
            headers["Content-Type"] = media
        sent = time.monotonic()
        connection, used = self._open.get(gateway, (None, 0.0))
        if connection is None or sent - used > _IDLE_S:  # a server closes what is idle
            if connection is not None:
                connection.close()
            connection = http.client.HTTPConnection("127.0.0.1", self.ports[gateway], timeout=_PATIENCE_S)
        connection.request(method, target, content, headers)
        with connection.getresponse() as answer:
            data, status, told = answer.read(), answer.status, {k.lower(): v for k, v in answer.getheaders()}
        answered = time.monotonic()
        self._open[gateway] = connection, answered
        return Asked(sent, answered, status, told, data)

    def done(self, gateway: int, who: str, method: str, target: str, body: object = None) -> Any:
        """The document of a request that must succeed."""
        answer = self.ask(gateway, who, method, target, body)
        if answer.status >= 300:
            raise AssertionError(f"{method} {target} by {who}: {answer.status} {answer.body[:300]!r}")
        return answer.json

    def close(self) -> None:
        """Gives back the connections."""
        for connection, _ in self._open.values():
            connection.close()


def released(answer: Asked) -> tuple[int, str, int]:
    """What an answer of records says of itself: its entry's index, its payload's SHA-256, its records."""
    payload = answer.body[int(answer.headers["exchange-head-bytes"]) :]
    digest = "sha256:" + sha256(payload).hexdigest()
    return int(answer.headers["exchange-index"]), digest, int(answer.headers["exchange-released"])
