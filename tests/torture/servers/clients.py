"""A department that publishes and one that reads, steadily, over HTTP: `clients.py publish|read ORDERS`, in JSON.

Nothing but the standard library. What was answered is written to a ledger, a line of JSON each, before the next
request is made: the publisher's acknowledgements, and of each release its bytes' digest with what its headers said.
Times are of the machine's monotonic clock, which all processes share. SIGTERM ends it after the request it is at.
"""

import hashlib
import http.client
import json
import os
import signal
import sys
import time
from pathlib import Path
from typing import Any

PATIENCE_S = 20.0  # of one request; then another connection, and the same again
AGAIN_S = 0.05
BASE = 1_000_000  # the amount of the record of sequence 1 is one more

stopped = False


def stop(*_: object) -> None:
    """No further request."""
    global stopped  # noqa: PLW0603  # the one thing that a signal can tell this program
    stopped = True


class Client:
    """Requests to the gateways in turn, where they are several."""

    def __init__(self, orders: dict[str, Any]) -> None:
        self._ports, self._token = orders["ports"], Path(orders["token"]).read_text("utf-8").strip()
        self._ledger = os.open(orders["ledger"], os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        self._connections: dict[int, http.client.HTTPConnection] = {}
        self.via = 0  # the port that answered

    def ask(self, method: str, target: str, body: bytes = b"", media: str = "") -> tuple[int, dict[str, str], bytes]:
        """Status, headers and body; status 0 where there was no whole answer."""
        self.via, *others = self._ports
        self._ports = [*others, self.via]
        if self.via not in self._connections:
            self._connections[self.via] = http.client.HTTPConnection("127.0.0.1", self.via, timeout=PATIENCE_S)
        connection = self._connections[self.via]
        headers = {"Authorization": f"Bearer {self._token}", **({"Content-Type": media} if media else {})}
        try:
            connection.request(method, target, body, headers)
            answer = connection.getresponse()
            content = answer.read()
        except (OSError, http.client.HTTPException) as error:
            self._connections.pop(self.via).close()
            return 0, {}, type(error).__name__.encode()
        return answer.status, {name.lower(): value for name, value in answer.getheaders()}, content

    def note(self, **what: object) -> None:
        """A line in the ledger."""
        os.write(self._ledger, json.dumps({"at": time.monotonic(), **what}).encode() + b"\n")


def record(person: str, sequence: int) -> bytes:
    """The record of a sequence: its amount names it wherever it appears."""
    fields = {"person_id": person, "region_code": "431126", "scheme": "RESIDENT", "status": "RECEIVING"}
    rest = {"last_paid_month": "2026-10", "employer_uscc": None, "bank_account": "6222020000001234"}
    return json.dumps({**fields, "monthly_benefit_fen": BASE + sequence, **rest}).encode() + b"\n"


def publish(orders: dict[str, Any]) -> None:
    """Batches of a source one after another; one that was not acknowledged is sent again, as it was."""
    client, persons, count = Client(orders), orders["persons"], orders["batch"]
    first = 1
    while not stopped:
        body = b"".join(record(persons[number % len(persons)], number) for number in range(first, first + count))
        target = f"/v1/datasets/{orders['dataset']}/records?source={orders['source']}&first={first}&fates=bad"
        began = time.monotonic()
        status, _, answer = client.ask("POST", target, body, "application/x-ndjson")
        told = json.loads(answer) if status == 200 else {}
        if told.get("last_sequence", 0) >= first + count - 1:
            client.note(acknowledged=first + count - 1, via=client.via, began=began)
            first += count
            time.sleep(orders["pause"])
        else:
            client.note(status=status, code=code(status, answer), began=began)
            time.sleep(AGAIN_S)


def read(orders: dict[str, Any]) -> None:
    """Releases of every partition in turn, each from the last one's `next_position`."""
    client, next_position = Client(orders), dict.fromkeys(range(orders["partitions"]), 0)
    fields = "".join(f"&{name}={orders[name]}" for name in ("purpose", "case"))
    while not stopped:
        quiet = True
        for partition, position in next_position.items():
            target = f"/v1/datasets/{orders['dataset']}/records?partition={partition}&position={position}{fields}"
            began = time.monotonic()
            status, headers, content = client.ask("GET", target)
            if status == 200:
                quiet = False
                next_position[partition] = int(headers["exchange-next-position"])
                payload = content[int(headers["exchange-head-bytes"]) :]
                client.note(
                    index=int(headers["exchange-index"]),
                    checkpoint=headers["exchange-checkpoint"],
                    partition=partition,
                    lo=position,
                    hi=next_position[partition],
                    released=int(headers["exchange-released"]),
                    digest="sha256:" + hashlib.sha256(payload).hexdigest(),
                    amounts=[json.loads(line)["monthly_benefit_fen"] for line in payload.splitlines()],
                    via=client.via,
                    began=began,
                )
            elif status == 204:
                client.note(empty=partition, began=began)
            else:
                client.note(status=status, code=code(status, content), began=began)
        if quiet:
            time.sleep(AGAIN_S)


def code(status: int, answer: bytes) -> str:
    """The problem's code, or what kept the answer away."""
    if not status:
        return answer.decode()
    try:
        return str(json.loads(answer)["code"])
    except (ValueError, KeyError, TypeError):
        return "?"


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, stop)
    {"publish": publish, "read": read}[sys.argv[1]](json.loads(sys.argv[2]))
