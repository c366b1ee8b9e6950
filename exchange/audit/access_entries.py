"""What the access path writes down: its decisions, refusals and releases as audit entries."""

import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Final

from exchange.audit.details import SALT_BYTES, Detail
from exchange.audit.entries import Entry, embedded, entry_id, make
from exchange.errors import Invalid
from exchange.names import digest, digest_bytes
from exchange.plan import Plan, Question
from exchange.signing.pseudonyms import Actors

_LARGEST_TEXT: Final = 25_000  # a question, a plan and the tags asked for fit into one leaf


@dataclass(frozen=True)
class Access:
    """An answered question as its entries tell it; `decision` is the id of its decision entry."""

    question: Question
    plan: Plan
    decision: bytes
    tags: Sequence[bytes]
    actors: Actors

    @cached_property
    def agreement(self) -> tuple[str | None, int | None]:
        """The agreement (and its revision) that the plan rests on."""
        for reason in self.plan.reasons:
            if reason["code"] == "agreement":
                return reason["agreement"], reason["revision"]
        return None, None

    @property
    def counts(self) -> bool:
        """Whether that agreement lets its consumer know how many records were held back."""
        agreement, _ = self.agreement
        return any(one["id"] == agreement and one["counts"] for one in self.question.document["agreements"])

    def check_size(self) -> None:
        """Refuses a plan whose releases could not be written down, before anything is read.

        Raises:
            Invalid: `plan_too_large` where the list of fields does not fit into a leaf.
        """
        if self._fields() is None:
            raise Invalid("plan_too_large", where=self.plan.dataset, fields=len(self.plan.fields))

    def decision_entry(self, now_ns: int, random_bytes: Callable[[int], bytes]) -> Entry:
        """The decision: question and plan, principals by pseudonym, in full where they fit and else in a detail;
        digests always. Those are of what stands there: the digest of a name would let anybody try names.
        """
        allowed = self.plan.effect == "allow"
        documents = {"question": self._named(), "plan": self._renamed(self.plan.to_document())}
        texts = {name: embedded(document, _LARGEST_TEXT) for name, document in documents.items()}
        beside = {
            name: Detail.of("decision", now_ns, random_bytes(SALT_BYTES), {name: documents[name]})
            for name, text in texts.items()
            if text is None
        }
        digests = {"question": Question(documents["question"]).digest, "plan": digest(documents["plan"])}
        return make(
            "decision",
            self.decision,
            now_ns,
            tuple(beside.values()),
            **self._asked(),
            **texts,
            **{f"{name}_digest": beside[name].name if name in beside else one for name, one in digests.items()},
            policy_revision=self.plan.policy_revision or None,
            effect=self.plan.effect,
            reasons=list(self.plan.codes),
            agreement=self.agreement[0],
            schema=self.plan.schema or None,
            epochs=dict(self.actors.epochs(self.plan.epochs)) if allowed else None,
            expires_ns=self.plan.expires_ns if allowed else None,
            consumer=self._department,
            tags=list(self.tags),
        )

    def refusal_entry(self, identity: bytes, now_ns: int, reasons: Sequence[str], **spoiled: object) -> Entry:
        """The refusal of the question, or (`spoiled`: release, run, counter, attempt, range) of one of its releases.

        The question's digest is that of the decision's leaf; null where the question is a detail of the decision.
        """
        asked = self._named()
        return make(
            "refusal",
            identity,
            now_ns,
            **self._asked(),
            question_digest=Question(asked).digest if embedded(asked, _LARGEST_TEXT) else None,
            decision=self.decision,
            reasons=list(reasons),
            policy_revision=self.plan.policy_revision or None,
            agreement=self.agreement[0],
            consumer=self._department,
            tags=list(self.tags),
            **spoiled,
        )

    def release_entry(
        self, now_ns: int, payload: bytes, *, run: bytes, counter: int, attempt: int, **what: object
    ) -> Entry:
        """One release of `payload`; `what` gives the range or the answer, the counts, the view's schema, the format."""
        return make(
            "release",
            entry_id(run, self.agreement[0] or self.plan.dataset, counter, attempt),
            now_ns,
            **self._of_each_release,
            payload_digest=digest_bytes(payload),
            payload_bytes=len(payload),
            run=run,
            counter=counter,
            attempt=attempt,
            **what,
        )

    @cached_property
    def _of_each_release(self) -> Mapping[str, Any]:
        agreement, revision = self.agreement
        return {
            **self._asked(),
            "agreement": agreement,
            "agreement_revision": revision,
            "decision": self.decision,
            "policy_revision": self.plan.policy_revision,
            "epochs": dict(self.actors.epochs(self.plan.epochs)),
            "recipient": self._department,
            "schema": self.plan.schema,
            "fields": self._fields(),
            "expires_ns": self.plan.expires_ns,
        }

    def _fields(self) -> str | None:
        """What is shown, as a release says it; None when it is too much for a leaf."""
        return embedded([{"path": one.path, "mask": dict(one.mask)} for one in self.plan.fields])

    @property
    def _department(self) -> str:
        return str(self.question.document["principal"]["department"])

    def _asked(self) -> dict[str, Any]:
        document = self.question.document
        return {
            "dataset": document["dataset"]["name"],
            "actor": self.actors.name(document["principal"]["id"]),
            "purpose": document["purpose"],
            "case": document["case"]["id"] if document["case"] else None,
            "action": document["action"],
            "zone": document["zone"],
        }

    def _named(self) -> dict[str, Any]:
        document = self.question.document
        principal = {**document["principal"], "id": self.actors.name(document["principal"]["id"])}
        return {**document, "principal": principal}

    def _renamed(self, document: Mapping[str, Any]) -> dict[str, Any]:
        reasons = [
            {**reason, "principal": self.actors.name(reason["principal"])} if "principal" in reason else reason
            for reason in document["reasons"]
        ]
        epochs = {"epochs": dict(self.actors.epochs(document["epochs"]))} if "epochs" in document else {}
        return {**document, "reasons": reasons, **epochs}


def bitmap(offsets: Sequence[int], length: int) -> bytes | None:
    """The zlib of one bit for each of `length` positions, least significant bit first; None when no offset is given."""
    if not offsets:
        return None
    bits = bytearray((length + 7) // 8)
    for offset in offsets:
        bits[offset >> 3] |= 1 << (offset & 7)
    return zlib.compress(bytes(bits), 6)
