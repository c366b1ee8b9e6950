"""What is asked of the audit log of an open exchange, and what is written into it beside the three paths."""

import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any, NoReturn

from exchange.audit.details import SALT_BYTES, Detail
from exchange.audit.entries import make
from exchange.audit.log import AuditLog
from exchange.audit.note import open_checkpoint
from exchange.control.model import Principal
from exchange.errors import Invalid, Refused
from exchange.names import digest, has_wrong_check
from exchange.settings import Settings
from exchange.signing.merkle import leaf_hash
from exchange.site import VKEY
from exchange.wiring.engines import Engines

if TYPE_CHECKING:
    from sqlalchemy import Engine

    from exchange.audit.subjects import Sighting, SubjectIndex


class Auditing(Engines):
    """Engines, and the questions and refusals that their audit log answers and keeps."""

    def __init__(
        self,
        settings: Settings,
        database: "Engine",
        audit: AuditLog,
        now_ns: Callable[[], int],
        random_bytes: Callable[[int], bytes],
        stack: ExitStack,
    ) -> None:
        super().__init__(settings, database, audit, now_ns, random_bytes, stack)
        self._following = threading.Lock()
        self.sealing = threading.Lock()  # of the index, by one at a time

    def refuse(self, who: Principal | None, action: str, refusal: Refused, dataset: str | None = None) -> NoReturn:
        """Writes the refusal of something that is no question into the audit log, then raises it."""
        entry = make(
            "refusal",
            self.random_bytes(16),
            self.now_ns(),
            reasons=[refusal.code],
            consumer=who.department if who else None,
            actor=self.actors.name(who.id) if who else None,
            action=action,
            dataset=dataset,
        )
        self.audit.append(entry)
        raise refusal

    def who_saw(self, who: Principal, tag: bytes) -> "list[tuple[Sighting, bool]]":
        """Every release and refusal that concerns a subject, each with whether its inclusion proof holds.

        The auditor's question is in a checkpoint before it is answered. Anybody else is refused, and that is audited.
        """
        if "auditor" not in who.roles:
            self.refuse(who, "audit who-saw", Refused("auditor_required"))
        vkey = self.settings.path(VKEY).read_text("utf-8").strip()
        checkpoint = open_checkpoint(self.audit.checkpoint(), vkey)
        size, root = checkpoint.size, checkpoint.root
        sightings = [one for one in self.sightings(tag) if one.index < size]
        self.note_query(who, "who_saw", tags=[tag], size=size, results=len(sightings))
        return [(one, self._proved(one.index, size, root)) for one in sightings]

    def sightings(self, tag: bytes) -> "list[Sighting]":
        """What the index has of a subject, up to now; whoever tells it to somebody writes the question down."""
        return self.followed().who_saw(tag)

    def followed(self) -> "SubjectIndex":
        """The index over both logs, brought up to where they are."""
        self.room()  # it grows with them
        with self._following:
            self.subjects.follow(self.log.topics(), self.read_tags, self.audit)
        return self.subjects

    def note_query(
        self,
        who: Principal,
        query: str,
        *,
        parameters: Mapping[str, Any] | None = None,
        tags: Sequence[bytes] = (),
        size: int | None = None,
        results: int | None = None,
        told: bool = False,
    ) -> int:
        """Writes down that somebody asked something about records or accesses; in a checkpoint on return, so that it
        is there before the answer is. Gives the index of the entry.

        The parameters are kept in a detail. Where the asker gets them with the answer, to be compared with the log
        (`told`), they are not, and the entry has their plain digest.
        """
        now = self.now_ns()
        details = []
        if parameters and not told:
            details = [Detail.of("query", now, self.random_bytes(SALT_BYTES), {"parameters": parameters})]
        named = details[0].name if details else digest(parameters) if parameters else None
        entry = make(
            "audit_query",
            self.random_bytes(16),
            now,
            details,
            actor=self.actors.name(who.id),
            department=who.department,
            query=query,
            parameters_digest=named,
            tags=list(tags),
            size=size,
            results=results,
        )
        return self.audit.append(entry).index

    def _proved(self, index: int, size: int, root: bytes) -> bool:
        from exchange.audit.tiles import included

        return included(leaf_hash(self.audit.leaf(index)), index, size, self.audit.proof(index, size), root)

    def read_tags(
        self, topic: str, partition: int, position: int, limit: int
    ) -> tuple[Sequence[bytes], Sequence[int], int]:
        """Tags of records from a position on, their positions, and where to go on."""
        stored = self.log.read(topic, partition, position, limit)
        return stored.tags, stored.positions, stored.next_position

    def tags(self, subject_type: str, ids: Sequence[str]) -> tuple[str, ...]:
        """The tags of these subjects, in hex; their ids go no further."""
        return tuple(sorted({tag.hex() for tag in self.tagger.tags(subject_type, ids)}))

    def asked_tags(self, subject_type: str, ids: Sequence[str], *, as_written: bool) -> tuple[str, ...]:
        """The same for somebody who asks who saw them. A wrong check digit is a slip of the pen before it is a subject,
        and the answer would be that nobody saw it; records that have such an id are asked for `as_written`.

        Raises:
            Invalid: `subject_id_check_digit`, with the place among the ids and never the id.
        """
        wrong = (number for number, one in enumerate(ids, 1) if has_wrong_check(subject_type, one))
        if not as_written and (number := next(wrong, 0)):
            raise Invalid("subject_id_check_digit", number=number)
        return self.tags(subject_type, ids)
