"""What the pages ask of an exchange beyond what every desk does: histories, previews, the audit log's own pages.

Whatever shows something of records or of accesses is an entry of the audit log before it is shown: a release where
records are, else a query of the person's own. Catalogue, agreements and events of the control plane hold nothing of
any subject; what is shown of them has no entry.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from exchange.control.questions import Request
from exchange.errors import Invalid, Refused
from exchange.log.dead_letters import topic_of
from exchange.names import check
from exchange.site import LEDGERS
from exchange.wiring.desk import LocalDesk, Row
from exchange.wiring.preview import Own, Place, SideBySide, others, own_column

if TYPE_CHECKING:
    from exchange.control.events import Event
    from exchange.control.model import Dataset, Principal
    from exchange.errors import ExchangeError
    from exchange.messages import Language
    from exchange.publish import Published
    from exchange.wiring.exchange import Exchange
    from exchange.wiring.searching import Found, Sought, Span, What
    from exchange.wiring.verification import Verifications

OWN_REVIEW: Final = "own.review"
OPEN_USE: Final = "open.use"
MOST_RECORDS: Final = 20
_LATEST: Final = 200
_REVISIONS: Final = 10_000  # of the policy, that entries link to
_OF_AUTHORITY: Final = ("department.", "principal.", "token.")
_DAY_NS: Final = 86_400 * 1_000_000_000
_CYCLES: Final[Mapping[str, int]] = {"realtime": 1, "day": 1, "week": 7, "ten_days": 10, "month": 31, "season": 92}


@dataclass(frozen=True, slots=True)
class Proof:
    """An entry's inclusion under a checkpoint that was opened with the log's public key."""

    index: int
    size: int
    leaf: bytes
    hashes: Sequence[bytes]
    root: bytes
    origin: str


@dataclass(frozen=True, slots=True)
class Freshness:
    """When a dataset was last published to, how many positions are committed, whether that is within its cycle."""

    records: int
    last_ns: int | None
    in_time: bool | None


class ReadingRoom(LocalDesk):
    """The desk of one person who reads pages. Any thread may use it."""

    def __init__(self, exchange: "Exchange", who: "Principal", verifications: "Verifications") -> None:
        super().__init__(exchange, who)
        self._verifications = verifications

    def has(self, *roles: str) -> bool:
        """Whether the person has one of these roles."""
        return bool(self.who.roles & set(roles))

    def need(self, action: str, *roles: str) -> None:
        """Refuses who has none of these roles; that is audited."""
        if not self.has(*roles):
            self.exchange.refuse(self.who, action, Refused("role_missing", where=action, roles=" / ".join(roles)))

    def missing(self) -> "list[tuple[str, ExchangeError]]":
        """What keeps the exchange from publishing and releasing now."""
        from exchange.wiring.readiness import missing

        return list(missing(self.exchange))

    def latest(self) -> "list[Event]":
        """The newest control events that the person may see, newest first."""
        return [event for event in reversed(self.exchange.control.latest(_LATEST)) if self._concerns(event)]

    def _concerns(self, event: "Event") -> bool:
        """Accounts and tokens are the authority's matter, a case that of the departments that may use it."""
        if event.name.startswith(_OF_AUTHORITY):
            return self.has("sharing_authority", "auditor")
        case = self.exchange.control.model().cases.get(event.aggregate.removeprefix("case/"))
        return case is None or self.who.department in case.departments

    def history(self, agreement: str) -> "Sequence[Event]":
        """The life of an agreement."""
        known = self.exchange.control.model().agreement(agreement)
        return self.exchange.control.history(f"agreement/{known.id}")

    def waiting(self) -> list[Row]:
        """The requests that wait for this person: for a review, or for an approval."""
        model = self.exchange.control.model()
        found = []
        for one in model.agreements.values():
            owner = model.datasets[one.terms.dataset].department
            review = one.status == "requested" and self.has("steward") and owner == self.who.department
            approve = one.status == "endorsed" and self.has("sharing_authority")
            involved = self.who.id in {one.requested_by, one.reviewed_by}
            if (review or approve) and not involved:
                found.append({"id": one.id, "for": "review" if review else "approve", "dataset": one.terms.dataset})
        return found

    def uses(self, dataset: str) -> list[Row]:
        """Every agreement for a dataset, in force or not."""
        return [one for one in self.listing("agreements") if one["dataset"] == dataset]

    def freshness(self, name: str, update_cycle: str) -> Freshness:
        """How new a dataset's records are, from the log's own marks and the last record's time."""
        from datetime import datetime

        last: int | None = None
        records = 0
        for partition in range(self.exchange.log.topics().get(name, 0)):
            until = self.exchange.publish_parts.marks.committed(name, partition)
            records += until
            if until:
                told = self.exchange.log.headers(name, partition, until - 1)["time"]
                last = max(last or 0, int(datetime.fromisoformat(told).timestamp()) * 1_000_000_000)
        if last is None:
            return Freshness(records, None, None)
        due = last + (_CYCLES.get(update_cycle, 366) + 1) * _DAY_NS
        return Freshness(records, last, self.exchange.now_ns() <= due)

    def dead_letter_count(self, name: str) -> int:
        """How many of a dataset's records could not be published, by the mark of their topic."""
        return self.exchange.publish_parts.marks.committed(topic_of(name), 0)

    def cases(self) -> list[Row]:
        """The open cases that the person's department may use."""
        cases = self.exchange.control.model().cases.values()
        return [
            {"id": one.id, "title": one.title, "subject_type": one.subject_type, "members": one.member_count}
            for one in cases
            if one.status == "open" and self.who.department in one.departments
        ]

    def side_by_side(self, name: str, case: str | None, place: Place, language: "Language") -> SideBySide:
        """The own department's records as it and every consumer see them.

        Raises:
            Refused: `not_the_owner`, `role_missing`, audited.
            Invalid: `unknown_dataset`, `unknown_case`, `position_unknown`.
        """
        dataset = self._own(name, "side by side")
        model = self.exchange.control.model()
        case = model.case(case, self.who.department).id if case else None
        purpose = OWN_REVIEW if dataset.share_type == "conditional" else OPEN_USE
        request = Request("read", dataset.name, purpose, case)
        own, release = own_column(self.exchange, self.who, request, place, MOST_RECORDS, language)
        count = len(own.column.rows or ())
        parameters = {"dataset": name, "case": case, "partition": place.partition, "position": place.position}
        self.exchange.note_query(self.who, "preview", parameters=parameters, results=count)
        # A crash here: the own release and a query whose answer nobody got.
        seen = [own.column]
        if release is not None:
            seen += others(self.exchange, model, own.column, release, case, MOST_RECORDS, language)
        return SideBySide(seen, list(dataset.fields), own.index, own.more, max(count - MOST_RECORDS, 0))

    def records(self, request: Request, place: Place, language: "Language") -> Own:
        """One release for the person, with its plan in sentences; a refusal is in the column, and audited."""
        if request.case:
            known = self.exchange.control.model().cases.get(request.case)
            if known is None or self.who.department not in known.departments:
                raise Invalid("unknown_case", name=request.case[:60], nearest="-")
        own, _ = own_column(self.exchange, self.who, request, place, MOST_RECORDS, language)
        return own

    def dead_letters(self, dataset: str) -> list[Row]:
        """See `Desk.dead_letters`; its steward's look at them is a query of the audit log."""
        self._own(dataset, "dead_letters")
        found = super().dead_letters(dataset)
        self.exchange.note_query(self.who, "dead_letters", parameters={"dataset": dataset}, results=len(found))
        return found

    def configurations(self, dataset: str) -> list[str]:
        """The names of the site's adapter configurations for a dataset: files of its folder `adapters`, no others."""
        from adapters.files.config import load_config

        found = []
        for file in sorted(self.exchange.settings.path("adapters").glob("*.toml")):
            try:
                if load_config(file).dataset == dataset:
                    found.append(file.name)
            except Invalid:
                continue  # a file that is no configuration is whose made it to mend, not the reader's of this page
        return found

    def replay(self, dataset: str, configuration: str, files: Sequence[Path]) -> "tuple[Published, Sequence[str]]":
        """Publishes corrected files through an adapter of the site; what was sent before changes nothing.

        Raises:
            Refused: `not_the_owner`, `role_missing`, audited.
            Invalid: `adapter_unknown`, and whatever the adapter finds in a file.
        """
        from exchange.wiring.sources import files_adapter

        self._own(dataset, "publish")
        if configuration not in self.configurations(dataset):
            raise Invalid("adapter_unknown", where=dataset)
        settings = self.exchange.settings
        adapter, _ = files_adapter(settings.path("adapters") / configuration, files, settings.path(LEDGERS), self)
        published = self.publish(adapter, dataset, lambda _: None)
        return published, adapter.notes

    def sent(self, source: str) -> int:
        """The highest sequence taken from a source of the own department's."""
        return self.exchange.log.mark(check("source", source))

    def who_saw_tag(self, tag: str) -> list[Row]:
        """As `who_saw`, for a subject that was asked about before and is known by its tag."""
        from dataclasses import asdict

        found = self.exchange.who_saw(self.who, bytes.fromhex(check("tag", tag)))
        return [{"subject": tag, **asdict(sighting), "proved": proved} for sighting, proved in found]

    def tag(self, subject_type: str, one_id: str, *, as_written: bool) -> str:
        """The tag of a subject, for an auditor; the id goes no further. As `Auditing.asked_tags`."""
        self._as_auditor("audit who-saw")
        (tag,) = self.exchange.asked_tags(subject_type, [one_id], as_written=as_written)
        return tag

    def proof(self, index: int) -> Proof:
        """The inclusion of an entry under the checkpoint of now: hashes alone, for an auditor who has asked for it."""
        from exchange.audit.note import open_checkpoint
        from exchange.signing.merkle import leaf_hash

        self._as_auditor("audit proof")
        signed = open_checkpoint(self.exchange.audit.checkpoint(), self.log_key())
        leaf = leaf_hash(self.exchange.audit.leaf(index))
        hashes = self.exchange.audit.proof(index, signed.size)
        return Proof(index, signed.size, leaf, hashes, signed.root, signed.origin)

    def log_page(self, before: int | None, count: int) -> list[Row]:
        """The audit log's entries before an index (or the last ones), newest first."""
        self._as_auditor("audit log")
        size = self.exchange.audit.size
        stop = size if before is None else max(min(before, size), 0)
        results = min(count, stop)
        self.exchange.note_query(self.who, "audit_log", parameters={"before": stop}, size=size, results=results)
        rows = [
            {"index": index, "kind": kind, "time_ns": body.get("time_ns"), "about": _about(body)}
            for index, kind, body in self.exchange.audit.entries(max(stop - count, 0), stop)
        ]
        return rows[::-1]

    def entry(self, index: int) -> Row:
        """See `Desk.entry`; looking at one is a query of the audit log."""
        found = super().entry(index)
        self.exchange.note_query(self.who, "audit_entry", parameters={"index": index}, results=1)
        return found

    def evidence(self, index: int) -> bytes:
        """See `Desk.evidence`; taking one away is a query of the audit log."""
        found = super().evidence(index)
        self.exchange.note_query(self.who, "audit_proof", parameters={"index": index}, results=1)
        return found

    def search_page(self, what: "What", sought: "Sought", span: "Span", most: int) -> "Found":
        """See `exchange.wiring.searching.page`."""
        from exchange.wiring.searching import page

        return page(self.exchange, self.who, what, sought, span, most)

    def search_all(self, what: "What", sought: "Sought", size: int | None) -> Iterator[Row]:
        """See `exchange.wiring.searching.every`."""
        from exchange.wiring.searching import every

        return every(self.exchange, self.who, what, sought, size)

    def need_search(self, what: "What", department: str | None) -> None:
        """Refuses, as the search itself would, who may not ask this."""
        from exchange.wiring.searching import Sought, check_may

        check_may(self.exchange, self.who, what, Sought(department=department))

    def bundle_of(self, tag: str, kept: Sequence[bytes]) -> bytes:
        """As `evidence_bundle`, for a subject that was asked about before and is known by its tag."""
        from exchange.wiring.evidence import bundle

        self._as_auditor("audit bundle")
        return bundle(self.exchange, self.who, [check("tag", tag)], kept)

    def mark_of_log(self) -> tuple[int, str]:
        """The published checkpoint's size and root, for an auditor."""
        _, size, root = self.checkpoint().decode().split("\n")[:3]
        return int(size), root

    def revisions(self) -> Mapping[str, int]:
        """Where the log tells first of each policy revision, for an auditor: its index by the revision."""
        from exchange.audit.subjects import Wanted

        self._as_auditor("audit policy")
        found = self.exchange.followed().find(Wanted(kinds=("policy_revision",)), -1, _REVISIONS)
        return {str(facts["revision"]): index for index, facts in reversed(found.items())}

    def place(self, entry_id: str | None) -> int | None:
        """For an auditor: the index of the entry that has this id (in hex); None where there is none."""
        self._as_auditor("audit entry")
        return self.exchange.audit.place(bytes.fromhex(entry_id)) if entry_id else None

    def log_key(self) -> str:
        """The audit log's public key, as an auditor keeps it; no secret."""
        from exchange.site import VKEY

        return self.exchange.settings.path(VKEY).read_text("utf-8").strip()

    def verification(self) -> Row | None:
        """For an auditor: the last verification, or the one that runs."""
        self._as_auditor("audit verify")
        return self._verifications.last()

    def verify(self) -> None:
        """For an auditor: begins a verification of the whole log, and waits a little for its end."""
        self._as_auditor("audit verify")
        self.exchange.note_query(self.who, "verify", size=self.exchange.audit.size)
        self._verifications.begin()

    def _own(self, name: str, action: str) -> "Dataset":
        """The dataset, for a steward of its department; anybody else is refused, and that is audited."""
        dataset = self.exchange.owned_by(self.who, name, action)
        self.need(action, "steward")
        return dataset


def _about(body: Mapping[str, Any]) -> str:
    """What an entry is about, in a word: names only, never a subject."""
    for name in ("dataset", "agreement", "query", "topic", "event", "name", "revision"):
        if body.get(name):
            return str(body[name])
    return ", ".join(body.get("reasons", ()))
