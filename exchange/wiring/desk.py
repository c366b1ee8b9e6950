"""What one signed-in person may ask of an exchange, in plain values: the counter at which every caller stands.

The API, the pages and the command line work through a `Desk`, so that whoever comes by any of them may do the same,
is refused the same, and leaves the same entries. There are two: `LocalDesk`, on an exchange that this process owns,
and the command line's `RemoteDesk`, which speaks HTTP to the process that does.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal, Protocol
from zoneinfo import ZoneInfo

from exchange.control import commands as c
from exchange.control.questions import Request
from exchange.errors import Invalid, Refused
from exchange.policy import Bundle

if TYPE_CHECKING:
    from exchange.access import Release
    from exchange.access.acks import Ack
    from exchange.control.control import Outcome
    from exchange.control.model import Principal
    from exchange.messages import Language
    from exchange.publish import Fates, Published
    from exchange.signing.seals import Seal
    from exchange.source import Adapter
    from exchange.view.formats import Format
    from exchange.wiring.exchange import Exchange
    from exchange.wiring.searching import Sought, What

Listing = Literal["departments", "principals", "tokens", "datasets", "cases", "agreements", "policies"]
Row = dict[str, Any]

COLUMNS: Final[Mapping[Listing, Sequence[str]]] = {
    "departments": ("id", "title_zh", "title_en", "region", "region_parent", "line_parent"),
    "principals": ("id", "department", "roles", "status", "epoch"),
    "tokens": ("id", "principal", "expires_ns", "revoked"),
    "datasets": ("name", "department", "share_type", "revision", "subject_type"),
    "cases": ("id", "status", "title", "department", "departments", "member_count", "epoch"),
    "agreements": ("id", "status", "consumer", "dataset", "purpose", "epoch"),
    "policies": ("revision", "status", "submitted_by", "approved_by", "tests"),
}


_OF_KIND: Final = "of_kind"  # of a `schema` entry: the kind of entry whose form it tells


@dataclass(frozen=True, slots=True)
class Told:
    """What a command did: the id of what was made or changed, its events' names (none: all was so already), and the
    index of the last one's entry in the audit log.
    """

    about: str
    events: list[str]
    index: int | None


class Desk(Protocol):
    """What its caller may ask; every method raises the four families of `exchange.errors`, and a refusal is audited.

    Guarantees (`tests/conformance/test_desk.py`, on both): the same question gives the same answer, the same error
    code with the same facts, and the same entries of the audit log.
    """

    @property
    def zone(self) -> ZoneInfo:
        """The zone in which times are shown."""
        ...

    def me(self) -> Row:
        """Whose desk it is: id, department, roles."""
        ...

    def status(self) -> list[Row]:
        """Figures, counted in the logs themselves: `what`, `name`, `count`."""
        ...

    def execute(self, command: c.Command) -> Told:
        """Does a command; it is in a checkpoint on return. A department that comes without a seal key gets one that
        the exchange keeps for it.
        """
        ...

    def open_case(
        self, case: str, subject_type: str, title: str, ids: Sequence[str], departments: Sequence[str]
    ) -> Told:
        """Opens a case for these subjects, whose ids become tags here and go no further."""
        ...

    def change_members(self, case: str, ids: Sequence[str]) -> Told:
        """The members of a case become exactly these subjects."""
        ...

    def test_policy(self, bundle: Bundle) -> Mapping[str, bool]:
        """Runs a bundle's own tests on the site's engine, for whoever may submit one: they are somebody's programs."""
        ...

    def submit_policy(self, bundle: Bundle) -> Told:
        """Submits a bundle as a revision, with the results of its tests."""
        ...

    def listing(self, what: Listing) -> list[Row]:
        """What there is of a kind, with the columns of `COLUMNS`: of cases those that the caller's department may use,
        of tokens the caller's own. An auditor sees all of both, the sharing authority every token.
        """
        ...

    def dataset(self, name: str) -> Row:
        """A dataset: its columns, its contract's terms, its fields (`path`, `class`, `zh`, `en`, `tags`), and the names
        of the fields that a record has now (`record_fields`), for an adapter to fill; how many `partitions` it has (0
        before the first record); its schemas' ids on the wire by their fingerprints (`schema_ids`, the last one is the
        current); which account at the Kafka brokers may send its records (`intake`, null: none).
        """
        ...

    def contract(self, name: str) -> Row:
        """A dataset's contract as it was accepted, its schemas written out (`Contract.to_document`)."""
        ...

    def agreement(self, agreement: str) -> Row:
        """An agreement with its people, reason and terms."""
        ...

    def read(self, request: Request, start: Mapping[int, int], form: "Format") -> "Iterator[Release]":
        """See `Gateway.read`."""
        ...

    def lookup(self, request: Request, ids: Sequence[str], form: "Format") -> "Release":
        """See `Gateway.lookup`."""
        ...

    def explain(self, request: Request, language: "Language") -> tuple[Row, list[str]]:
        """The plan for a request, as a document and as sentences; releases nothing."""
        ...

    def acknowledge(self, acks: "Sequence[Ack]") -> list[int]:
        """See `exchange.access.acks.acknowledge`; what is not the caller's is a refusal in the audit log."""
        ...

    def mark(self, dataset: str, source: str) -> int:
        """The highest sequence taken from a source of events; 0 where none was."""
        ...

    def publish(
        self, adapter: "Adapter", dataset: str, on_batch: "Callable[[Published], None]", own_key: Path | None = None
    ) -> "Published":
        """See `Exchange.publish`."""
        ...

    def dead_letters(self, dataset: str) -> list[Row]:
        """The dataset's dead letters, for its own department."""
        ...

    def withheld(self, dataset: str) -> list[Row]:
        """The releases that left out records which could not be shown as agreed, for the department that owns them."""
        ...

    def who_saw(self, subject_type: str, ids: Sequence[str], *, as_written: bool = False) -> list[Row]:
        """For an auditor: every release and refusal that concerns these subjects, each with whether it is proved.
        `as_written`: an id with a wrong check digit, too, for records may have such.
        """
        ...

    def search(self, what: "What", sought: "Sought", after: int, most: int) -> list[Row]:
        """See `exchange.wiring.searching.search`."""
        ...

    def seal_index(self) -> int:
        """For an auditor: seals the index over both logs; how many segments that made (`exchange.wiring.sealed`)."""
        ...

    def detail(self, index: int) -> Row:
        """For an auditor: the detail that an entry names (`exchange.wiring.details`)."""
        ...

    def expire_details(self) -> Mapping[str, int]:
        """For an auditor: deletes the details whose period is over; how many of each class."""
        ...

    def checkpoint(self) -> bytes:
        """For an auditor: the published checkpoint, a signed note."""
        ...

    def entry(self, index: int) -> Row:
        """For an auditor: an entry, its bytes in hex."""
        ...

    def evidence(self, index: int) -> bytes:
        """For an auditor: the proof of an entry in the form of C2SP tlog-proof."""
        ...

    def evidence_bundle(
        self, subject_type: str, ids: Sequence[str], kept: Sequence[bytes], *, as_written: bool = False
    ) -> bytes:
        """For an auditor: who saw these subjects, with every proof and the way from these kept checkpoints, in one
        file (`exchange.evidence`).
        """
        ...

    def search_bundle(
        self,
        what: "What",
        sought: "Sought",
        kept: Sequence[bytes],
        *,
        complete: bool,
        on_entries: Callable[[int], None] = lambda _: None,
    ) -> bytes:
        """For an auditor: what a search finds, in the same way; see `exchange.wiring.searched.search_bundle`. Of an
        exchange elsewhere `on_entries` hears nothing.
        """
        ...


class LocalDesk:
    """The desk of one person on an exchange that this process owns. Any thread may use it."""

    def __init__(self, exchange: "Exchange", who: "Principal") -> None:
        self.exchange, self.who = exchange, who

    @property
    def zone(self) -> ZoneInfo:
        """See `Desk.zone`."""
        return self.exchange.settings.zone

    def me(self) -> Row:
        """See `Desk.me`."""
        return {"id": self.who.id, "department": self.who.department, "roles": sorted(self.who.roles)}

    def status(self) -> list[Row]:
        """See `Desk.status`."""
        from exchange.wiring.figures import figures

        return figures(self.exchange)

    def execute(self, command: c.Command) -> Told:
        """See `Desk.execute`."""
        if isinstance(command, c.AddDepartment) and not command.seal_key:
            command = self._sealed(command)
        if isinstance(command, c.ApprovePolicy):
            with self.exchange.offering(self.who, command.revision):
                return _told(self.exchange.control.execute(self.who, command))
        return _told(self.exchange.control.execute(self.who, command))

    def _sealed(self, command: c.AddDepartment) -> c.AddDepartment:
        """A key that the site keeps for a department; nobody but who may add departments leaves one there."""
        if "sharing_authority" not in self.who.roles:
            refusal = Refused("role_missing", where=command.id, roles="sharing_authority")
            self.exchange.refuse(self.who, "department add", refusal)
        key = self.exchange.delegated_seal_key(command.id)
        return c.AddDepartment(**{**asdict(command), "seal_key": key})

    def open_case(
        self, case: str, subject_type: str, title: str, ids: Sequence[str], departments: Sequence[str]
    ) -> Told:
        """See `Desk.open_case`."""
        members = self.exchange.tags(subject_type, ids)
        return self.execute(c.OpenCase(case, subject_type, title, members, tuple(departments)))

    def change_members(self, case: str, ids: Sequence[str]) -> Told:
        """See `Desk.change_members`."""
        known = self.exchange.control.model().case(case, self.who.department)
        return self.execute(c.ChangeCaseMembers(case, self.exchange.tags(known.subject_type, ids)))

    def test_policy(self, bundle: Bundle) -> Mapping[str, bool]:
        """See `Desk.test_policy`."""
        self._as_policy_maker("policy test")
        return self.exchange.tested(bundle)

    def submit_policy(self, bundle: Bundle) -> Told:
        """See `Desk.submit_policy`."""
        self._as_policy_maker("SubmitPolicy")
        results = self.exchange.tested(bundle)
        document = {"modules": dict(bundle.modules), "codes": dict(bundle.codes)}
        with self.exchange.offered(bundle):  # so that what one of the engines cannot compile is never submitted
            return self.execute(c.SubmitPolicy(document, dict(results)))

    def _as_policy_maker(self, action: str) -> None:
        if not self.who.roles & {"steward", "sharing_authority"}:
            self.exchange.refuse(self.who, action, Refused("role_missing", roles="steward / sharing_authority"))

    def listing(self, what: Listing) -> list[Row]:
        """See `Desk.listing`."""
        model = self.exchange.control.model()
        if what == "agreements":
            return [
                {"id": one.id, "status": one.status, "epoch": one.epoch}
                | {name: getattr(one.terms, name) for name in ("consumer", "dataset", "purpose")}
                for one in model.agreements.values()
            ]
        entries = [one for one in getattr(model, what).values() if self._may_see(what, one)]
        return [{column: _value(getattr(entry, column)) for column in COLUMNS[what]} for entry in entries]

    def _may_see(self, what: Listing, entry: Any) -> bool:  # noqa: ANN401  # an entry of that kind
        if what == "cases":
            return self.who.department in entry.departments or "auditor" in self.who.roles
        if what == "tokens":
            return entry.principal == self.who.id or bool(self.who.roles & {"auditor", "sharing_authority"})
        return True

    def holder_of(self, token: str) -> str:
        """The account of a token that still holds.

        Raises:
            Invalid: `unknown_token`. Refused: `wrong_state` for one that is revoked, audited.
        """
        known = self.exchange.control.model().tokens.get(token)
        if known is None:
            raise Invalid("unknown_token", where="token")
        if known.revoked:
            refusal = Refused("wrong_state", what="token", found="revoked", allowed="valid")
            self.exchange.refuse(self.who, "token rotate", refusal)
        return known.principal

    def dataset(self, name: str) -> Row:
        """See `Desk.dataset`."""
        dataset = self.exchange.control.model().dataset(name)
        contract = self.exchange.contract(dataset.name)
        fields = [
            {"path": path, "class": one.security_class, "zh": one.label_zh, "en": one.label_en, "tags": list(one.tags)}
            for path, one in contract.fields.items()
        ]
        told = {column: _value(getattr(dataset, column)) for column in COLUMNS["datasets"]}
        terms = ("title_zh", "title_en", "steward", "share_condition", "legal_basis", "update_cycle", "subject_path")
        record = [str(field["name"]) for field in contract.schemas[-1].document["fields"]]
        told = {**told, **{term: getattr(contract, term) for term in terms}}
        partitions = self.exchange.log.topics().get(name, 0)
        schema_ids = {one.fingerprint: one.schema_id for one in dataset.schemas}
        user = self.exchange.control.model().intakes.get(name)
        more = {"partitions": partitions, "schema_ids": schema_ids, "intake": user}
        return {**told, "fields": fields, "record_fields": record, **more}

    def contract(self, name: str) -> Row:
        """See `Desk.contract`."""
        return self.exchange.contract(name).to_document()

    def agreement(self, agreement: str) -> Row:
        """See `Desk.agreement`."""
        one = self.exchange.control.model().agreement(agreement)
        people = ("requested_by", "reviewed_by", "approved_by", "ended_by", "reason")
        told = {name: getattr(one, name) for name in ("id", "status", "epoch", *people)}
        return {**told, "terms": one.terms.to_document()}

    def read(self, request: Request, start: Mapping[int, int], form: "Format") -> "Iterator[Release]":
        """See `Desk.read`."""
        with self.exchange.lent_gateway() as gateway:
            yield from gateway.read(self.who, request, start, form)

    def batch(self, request: Request, partition: int, position: int, form: "Format", most: int) -> "Release | None":
        """See `Gateway.batch`."""
        with self.exchange.lent_gateway() as gateway:
            return gateway.batch(self.who, request, partition, position, form, most)

    def lookup(self, request: Request, ids: Sequence[str], form: "Format") -> "Release":
        """See `Desk.lookup`."""
        with self.exchange.lent_gateway() as gateway:
            return gateway.lookup(self.who, request, ids, form)

    def explain(self, request: Request, language: "Language") -> tuple[Row, list[str]]:
        """See `Desk.explain`."""
        from exchange.view.sentences import explain

        with self.exchange.lent_gateway() as gateway:
            plan = gateway.explain(self.who, request)
        contract = self.exchange.contract(request.dataset)
        return plan.to_document(), explain(plan, contract, language, self.zone)

    def acknowledge(self, acks: "Sequence[Ack]") -> list[int]:
        """See `Desk.acknowledge`."""
        from exchange.access.acks import acknowledge

        exchange = self.exchange
        try:
            return acknowledge(exchange.audit, self.who, exchange.actors, exchange.now_ns, acks)
        except Refused as refusal:
            exchange.refuse(self.who, "ack", refusal)

    def mark(self, dataset: str, source: str) -> int:
        """See `Desk.mark`."""
        return self.exchange.mark(self.who, dataset, source)

    def publish(
        self,
        adapter: "Adapter",
        dataset: str,
        on_batch: "Callable[[Published], None]",
        own_key: "Path | Seal | None" = None,
        on_fates: "Callable[[Fates], None] | None" = None,
    ) -> "Published":
        """See `Exchange.publish`, which takes more than every desk does."""
        return self.exchange.publish(self.who, adapter, dataset, on_batch, own_key, on_fates)

    def dead_letters(self, dataset: str) -> list[Row]:
        """See `Desk.dead_letters`."""
        return [letter for _, letter in self.exchange.dead_letters(self.who, dataset)]

    def withheld(self, dataset: str) -> list[Row]:
        """See `Desk.withheld`."""
        return list(self.exchange.withheld(self.who, dataset))

    def who_saw(self, subject_type: str, ids: Sequence[str], *, as_written: bool = False) -> list[Row]:
        """See `Desk.who_saw`."""
        from exchange.wiring.sealed import seal_what_is_due

        self._as_auditor("audit who-saw")
        seal_what_is_due(self.exchange)
        return [
            {"subject": tag, **asdict(sighting), "proved": proved}
            for tag in self.exchange.asked_tags(subject_type, ids, as_written=as_written)
            for sighting, proved in self.exchange.who_saw(self.who, bytes.fromhex(tag))
        ]

    def search(self, what: "What", sought: "Sought", after: int, most: int) -> list[Row]:
        """See `Desk.search`."""
        from exchange.wiring.searching import Span, search

        return search(self.exchange, self.who, what, sought, Span(after), most)

    def seal_index(self) -> int:
        """See `Desk.seal_index`."""
        from exchange.wiring.sealed import seal

        return seal(self.exchange, self.who)

    def detail(self, index: int) -> Row:
        """See `Desk.detail`."""
        from exchange.wiring.details import detail

        return detail(self.exchange, self.who, index)

    def expire_details(self) -> Mapping[str, int]:
        """See `Desk.expire_details`."""
        from exchange.wiring.details import expire

        return expire(self.exchange, self.who)

    def checkpoint(self) -> bytes:
        """See `Desk.checkpoint`."""
        self._as_auditor("audit checkpoint")
        return self.exchange.audit.checkpoint()

    def entry(self, index: int) -> Row:
        """See `Desk.entry`."""
        self._as_auditor("audit entry")
        kind, body = self.exchange.audit.entry(index)
        told = {_OF_KIND if name == "kind" else name: plain(value) for name, value in body.items()}
        return {"index": index, "kind": kind, **told}

    def evidence(self, index: int) -> bytes:
        """See `Desk.evidence`."""
        self._as_auditor("audit proof")
        return self.exchange.audit.evidence(index)

    def evidence_bundle(
        self, subject_type: str, ids: Sequence[str], kept: Sequence[bytes], *, as_written: bool = False
    ) -> bytes:
        """See `Desk.evidence_bundle`."""
        from exchange.wiring.evidence import bundle

        self._as_auditor("audit bundle")
        tags = self.exchange.asked_tags(subject_type, ids, as_written=as_written)
        return bundle(self.exchange, self.who, tags, kept)

    def search_bundle(
        self,
        what: "What",
        sought: "Sought",
        kept: Sequence[bytes],
        *,
        complete: bool,
        on_entries: Callable[[int], None] = lambda _: None,
    ) -> bytes:
        """See `Desk.search_bundle`."""
        from exchange.wiring.searched import search_bundle

        return search_bundle(self.exchange, self.who, what, sought, kept, complete=complete, on_entries=on_entries)

    def _as_auditor(self, action: str) -> None:
        if "auditor" not in self.who.roles:
            self.exchange.refuse(self.who, action, Refused("auditor_required"))


def _told(outcome: "Outcome") -> Told:
    index = outcome.receipt.index if outcome.receipt else None
    return Told(outcome.about, [event.name for event in outcome.events], index)


def _value(value: object) -> object:
    return sorted(value) if isinstance(value, frozenset) else list(value) if isinstance(value, tuple) else value


def plain(value: Any) -> Any:  # noqa: ANN401  # an Avro value
    """The value as JSON has it: bytes in hex."""
    if isinstance(value, bytes):
        return value.hex()
    if isinstance(value, list):
        return [plain(one) for one in value]
    return value
