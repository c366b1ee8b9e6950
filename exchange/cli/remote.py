"""The desk of somebody on an exchange that another process serves: each method is a request (see `Desk`)."""

import base64
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Final, cast
from zoneinfo import ZoneInfo

from exchange.access import Release
from exchange.api.operations import operation_of
from exchange.cli.wire import Wire
from exchange.control import commands as c
from exchange.control.questions import Request
from exchange.errors import Invalid
from exchange.messages import Language
from exchange.policy import Bundle
from exchange.view.formats import MEDIA_TYPES, Format
from exchange.wiring.desk import Listing, Row, Told

if TYPE_CHECKING:
    from exchange.access.acks import Ack
    from exchange.publish import Published
    from exchange.source import Adapter
    from exchange.wiring.searching import Sought, What

_MOST: Final = 10_000
_NOTHING: Final = 204


class RemoteDesk:
    """See `exchange.wiring.desk.Desk`; what is said there holds here, and `Unavailable("server_unreachable")`."""

    def __init__(self, wire: Wire) -> None:
        self._wire = wire

    @property
    def zone(self) -> ZoneInfo:
        """See `Desk.zone`."""
        return ZoneInfo(self._wire.json("GET", ["me"])["zone"])

    def me(self) -> Row:
        """See `Desk.me`."""
        told: Row = self._wire.json("GET", ["me"])
        return {name: told[name] for name in ("id", "department", "roles")}

    def status(self) -> list[Row]:
        """See `Desk.status`."""
        return cast("list[Row]", self._wire.json("GET", ["status"]))

    def execute(self, command: c.Command) -> Told:
        """See `Desk.execute`."""
        operation, values = operation_of(command), asdict(command)
        path = [str(values[part[1:-1]]) if part.startswith("{") else part for part in operation.path.split("/")[1:]]
        return self._told(operation.method, path, {name: values[name] for name in operation.body})

    def open_case(
        self, case: str, subject_type: str, title: str, ids: Sequence[str], departments: Sequence[str]
    ) -> Told:
        """See `Desk.open_case`."""
        body = {"id": case, "subject_type": subject_type, "title": title}
        return self._told("POST", ["cases"], {**body, "ids": list(ids), "departments": list(departments)})

    def change_members(self, case: str, ids: Sequence[str]) -> Told:
        """See `Desk.change_members`."""
        return self._told("PUT", ["cases", case, "members"], {"ids": list(ids)})

    def test_policy(self, bundle: Bundle) -> Mapping[str, bool]:
        """See `Desk.test_policy`."""
        return cast("Mapping[str, bool]", self._wire.json("POST", ["policies", "test"], _document(bundle)))

    def submit_policy(self, bundle: Bundle) -> Told:
        """See `Desk.submit_policy`."""
        return self._told("POST", ["policies"], _document(bundle))

    def _told(self, method: str, path: Sequence[str], body: Row) -> Told:
        return Told(**self._wire.json(method, path, body))

    def listing(self, what: Listing) -> list[Row]:
        """See `Desk.listing`."""
        return cast("list[Row]", self._wire.json("GET", [what]))

    def dataset(self, name: str) -> Row:
        """See `Desk.dataset`."""
        return cast("Row", self._wire.json("GET", ["datasets", name]))

    def contract(self, name: str) -> Row:
        """See `Desk.contract`."""
        return cast("Row", self._wire.json("GET", ["datasets", name, "contract"]))

    def agreement(self, agreement: str) -> Row:
        """See `Desk.agreement`."""
        return cast("Row", self._wire.json("GET", ["agreements", agreement]))

    def read(self, request: Request, start: Mapping[int, int], form: Format) -> Iterator[Release]:
        """See `Desk.read`. One release is asked for after the other, each from where the last one ended."""
        self._check_places(request, start, form)
        partition, partitions = 0, 1
        while partition < max(partitions, 1):
            position = start.get(partition, 0)
            while True:
                release, partitions = self._batch(request, partition, position, form)
                if release is None:
                    break
                yield release
                position = release.next_position or 0
            partition += 1

    def _check_places(self, request: Request, start: Mapping[int, int], form: Format) -> None:
        """Has a partition that there is not refused before anything is released."""
        beyond = [partition for partition in start if partition and start[partition]]
        partitions = self.dataset(request.dataset)["partitions"] if beyond else 0
        for partition in beyond:
            if partition >= partitions:
                self._batch(request, partition, start[partition], form)

    def _batch(self, request: Request, partition: int, position: int, form: Format) -> tuple[Release | None, int]:
        query = [("purpose", request.purpose), ("partition", partition), ("position", position), ("limit", _MOST)]
        query += [("case", request.case)] if request.case is not None else []
        query += [("field", one) for one in request.fields or ()]
        path, accept = ["datasets", request.dataset, "records"], {"Accept": MEDIA_TYPES[form]}
        status, headers, body = self._wire.send("GET", path, None, query, accept)
        release = None if status == _NOTHING else _release(headers, body)
        return release, int(headers["exchange-partitions"])

    def lookup(self, request: Request, ids: Sequence[str], form: Format) -> Release:
        """See `Desk.lookup`."""
        fields = None if request.fields is None else list(request.fields)
        body = {"purpose": request.purpose, "case": request.case, "fields": fields, "ids": list(ids)}
        path = ["datasets", request.dataset, "lookup"]
        content, headers = json.dumps(body).encode(), {"Accept": MEDIA_TYPES[form], "Content-Type": "application/json"}
        _, told, answer = self._wire.send("POST", path, content, None, headers)
        return _release(told, answer)

    def explain(self, request: Request, language: Language) -> tuple[Row, list[str]]:
        """See `Desk.explain`."""
        fields = None if request.fields is None else list(request.fields)
        body = {"purpose": request.purpose, "case": request.case, "fields": fields, "action": request.action}
        path = ["datasets", request.dataset, "explain"]
        told = self._wire.json("POST", path, body, headers={"Accept-Language": language})
        return told["plan"], told["sentences"]

    def acknowledge(self, acks: "Sequence[Ack]") -> list[int]:
        """See `Desk.acknowledge`."""
        return cast("list[int]", self._wire.json("POST", ["acks"], {"acks": [asdict(one) for one in acks]})["indexes"])

    def mark(self, dataset: str, source: str) -> int:
        """See `Desk.mark`."""
        return int(self._wire.json("GET", ["datasets", dataset, "mark"], None, {"source": source})["mark"])

    def publish(
        self, adapter: "Adapter", dataset: str, on_batch: "Callable[[Published], None]", own_key: Path | None = None
    ) -> "Published":
        """See `Desk.publish`. The adapter runs on this side, and so does an `own_key`, which stays here: each batch is
        checked and sealed before it is sent.
        """
        from exchange.cli.sending import send_events

        if own_key is None:
            return send_events(self._wire, adapter, dataset, on_batch)
        from exchange.cli.sealing import Sealer

        sealer = Sealer.of(self, dataset, adapter.source, own_key)
        try:
            return send_events(self._wire, adapter, dataset, on_batch, sealer)
        except Invalid as error:
            if error.code == "seal_key_differs":  # the server does not know in which file the key is
                raise Invalid(error.code, where=str(own_key), **error.facts) from None
            raise

    def dead_letters(self, dataset: str) -> list[Row]:
        """See `Desk.dead_letters`."""
        return self._pages(["datasets", dataset, "dead-letters"])

    def withheld(self, dataset: str) -> list[Row]:
        """See `Desk.withheld`."""
        return self._pages(["datasets", dataset, "withheld"])

    def _pages(self, path: Sequence[str]) -> list[Row]:
        rows: list[Row] = []
        start: int | None = 0
        while start is not None:
            page = self._wire.json("GET", path, None, {"from": start, "limit": _MOST})
            rows += page["rows"]
            start = page["next"]
        return rows

    def who_saw(self, subject_type: str, ids: Sequence[str], *, as_written: bool = False) -> list[Row]:
        """See `Desk.who_saw`."""
        body = {"subject_type": subject_type, "ids": list(ids), "as_written": as_written}
        return cast("list[Row]", self._wire.json("POST", ["audit", "who-saw"], body))

    def search(self, what: "What", sought: "Sought", after: int, most: int) -> list[Row]:
        """See `Desk.search`."""
        asked = {name: value for name, value in asdict(sought).items() if value is not None}
        return cast(
            "list[Row]", self._wire.json("GET", ["audit", what], None, {**asked, "after": after, "limit": most})
        )

    def seal_index(self) -> int:
        """See `Desk.seal_index`."""
        return int(self._wire.json("POST", ["audit", "seal"])["segments"])

    def detail(self, index: int) -> Row:
        """See `Desk.detail`."""
        return cast("Row", self._wire.json("GET", ["audit", "entries", str(index), "detail"]))

    def expire_details(self) -> Mapping[str, int]:
        """See `Desk.expire_details`."""
        return cast("Mapping[str, int]", self._wire.json("POST", ["audit", "expire"])["details"])

    def checkpoint(self) -> bytes:
        """See `Desk.checkpoint`."""
        return self._wire.send("GET", ["audit", "checkpoint"])[2]

    def entry(self, index: int) -> Row:
        """See `Desk.entry`."""
        return cast("Row", self._wire.json("GET", ["audit", "entries", str(index)]))

    def evidence(self, index: int) -> bytes:
        """See `Desk.evidence`."""
        return self._wire.send("GET", ["audit", "entries", str(index), "proof"])[2]

    def evidence_bundle(
        self, subject_type: str, ids: Sequence[str], kept: Sequence[bytes], *, as_written: bool = False
    ) -> bytes:
        """See `Desk.evidence_bundle`."""
        texts = [note.decode("utf-8", "replace") for note in kept]
        body = {"subject_type": subject_type, "ids": list(ids), "kept": texts, "as_written": as_written}
        content = json.dumps(body, ensure_ascii=False).encode()
        return self._wire.send("POST", ["audit", "bundle"], content, None, {"Content-Type": "application/json"})[2]

    def search_bundle(
        self,
        what: "What",
        sought: "Sought",
        kept: Sequence[bytes],
        *,
        complete: bool,
        on_entries: Callable[[int], None] = lambda _: None,
    ) -> bytes:
        """See `Desk.search_bundle`; the entries are put together there."""
        del on_entries
        texts = [note.decode("utf-8", "replace") for note in kept]
        content = json.dumps({**asdict(sought), "complete": complete, "kept": texts}, ensure_ascii=False).encode()
        path = ["audit", what, "bundle"]
        return self._wire.send("POST", path, content, None, {"Content-Type": "application/json"})[2]


def _document(bundle: Bundle) -> Row:
    return {"modules": dict(bundle.modules), "codes": dict(bundle.codes)}


def _release(headers: Mapping[str, str], body: bytes) -> Release:
    """The release that an answer holds (`exchange.api.access`)."""
    head = int(headers["exchange-head-bytes"])
    numbers = ("exchange-partition", "exchange-next-position", "exchange-excluded")
    partition, following, excluded = (int(headers[name]) if name in headers else None for name in numbers)
    return Release(
        index=int(headers["exchange-index"]),
        checkpoint=base64.b64decode(headers["exchange-checkpoint"]),
        partition=partition,
        next_position=following,
        head=body[:head],
        payload=body[head:],
        released=int(headers["exchange-released"]),
        excluded=excluded,
        withheld=int(headers["exchange-withheld"]),
    )
