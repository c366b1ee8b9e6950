"""What the access path writes down: its decisions, refusals and releases as audit entries."""

import hashlib
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from exchange.audit.entries import Entry
from exchange.names import canonical, digest_bytes
from exchange.plan import Plan, Question
from exchange.signing.pseudonyms import Actors

_LARGEST_TEXT: Final = 24_000  # two of them and the rest stay below a leaf's 65,535 bytes


@dataclass(frozen=True, slots=True)
class Access:
    """An answered question as its entries tell it; `decision` is the id of its decision entry."""

    question: Question
    plan: Plan
    decision: bytes
    tags: Sequence[bytes]
    actors: Actors

    @property
    def _common(self) -> dict[str, Any]:
        document = self.question.document
        return {
            "dataset": document["dataset"]["name"],
            "actor": self.actors.name(document["principal"]["id"]),
            "on_behalf_of": None,
            "purpose": document["purpose"],
            "case": document["case"]["id"] if document["case"] else None,
            "action": document["action"],
            "zone": document["zone"],
        }

    @property
    def agreement(self) -> tuple[str | None, int | None]:
        """The agreement (and its revision) that the plan rests on."""
        for reason in self.plan.reasons:
            if reason["code"] == "agreement":
                return reason["agreement"], reason["revision"]
        return None, None

    def decision_entry(self, now_ns: int) -> Entry:
        """The decision: question and plan in full where they fit, principals by pseudonym, digests always."""
        allowed = self.plan.effect == "allow"
        body = {
            **self._common,
            "id": self.decision,
            "time_ns": now_ns,
            "question": self._text(self._named(self.question.document)),
            "question_digest": self.question.digest,
            "plan": self._text(self._renamed(self.plan.to_document())),
            "plan_digest": self.plan.digest,
            "policy_revision": self.plan.policy_revision or None,
            "engine": None,
            "effect": self.plan.effect,
            "reasons": codes(self.plan),
            "agreement": self.agreement[0],
            "schema": self.plan.schema or None,
            "epochs": dict(self.actors.epochs(self.plan.epochs)) if allowed else None,
            "expires_ns": self.plan.expires_ns if allowed else None,
            "consumer": self.question.document["principal"]["department"],
            "tags": list(self.tags),
        }
        return Entry("decision", self.decision, body)

    def refusal_entry(self, entry_id: bytes, now_ns: int, reasons: Sequence[str], **spoiled: Any) -> Entry:  # noqa: ANN401  # values of Avro fields
        """The refusal of the question, or (`spoiled`: release, run, counter, attempt, range) of one of its releases."""
        body = {
            **self._common,
            "id": entry_id,
            "time_ns": now_ns,
            "question_digest": self.question.digest,
            "decision": self.decision,
            "reasons": list(reasons),
            "policy_revision": self.plan.policy_revision or None,
            "agreement": self.agreement[0],
            "consumer": self.question.document["principal"]["department"],
            "tags": list(self.tags),
            **dict.fromkeys(("topic", "partition", "lo", "hi", "run", "counter", "attempt", "release")),
            **spoiled,
        }
        return Entry("refusal", entry_id, body)

    def release_entry(self, now_ns: int, payload: bytes, **what: Any) -> Entry:  # noqa: ANN401  # values of Avro fields
        """One release of `payload`; `what` gives run, counter, attempt, range or answer, counts, view schema, format.

        The id is made from what is released to whom in which run and attempt, so the same release told twice is one.
        """
        agreement, revision = self.agreement
        epochs = dict(self.actors.epochs(self.plan.epochs))
        body: dict[str, Any] = {
            **self._common,
            "time_ns": now_ns,
            "agreement": agreement,
            "agreement_revision": revision,
            "decision": self.decision,
            "policy_revision": self.plan.policy_revision,
            "epochs": epochs,
            "recipient": self.question.document["principal"]["department"],
            "schema": self.plan.schema,
            "fields": self._text([{"path": one.path, "mask": dict(one.mask)} for one in self.plan.fields]),
            "field_bitmap": None,
            "masks": None,
            "payload_digest": digest_bytes(payload),
            "payload_bytes": len(payload),
            "payload_key": None,
            "expires_ns": self.plan.expires_ns,
            **dict.fromkeys(("topic", "partition", "lo", "hi", "excluded")),
            "tags": [],
            "partitions": [],
            "positions": [],
            **what,
        }
        identity = [
            body["run"].hex(),
            agreement,
            body["topic"],
            body["partition"],
            body["lo"],
            body["counter"],
            body["attempt"],
        ]
        entry_id = hashlib.sha256(canonical(identity)).digest()[:16]
        return Entry("release", entry_id, {"id": entry_id, **body}, rests_on=epochs)

    def _named(self, document: Mapping[str, Any]) -> dict[str, Any]:
        principal = {**document["principal"], "id": self.actors.name(document["principal"]["id"])}
        return {**document, "principal": principal}

    def _renamed(self, document: Mapping[str, Any]) -> dict[str, Any]:
        if "epochs" not in document:
            return dict(document)
        return {**document, "epochs": dict(self.actors.epochs(document["epochs"]))}

    def _text(self, document: object) -> str | None:
        data = canonical(document)
        return data.decode("utf-8") if len(data) <= _LARGEST_TEXT else None


def codes(plan: Plan) -> list[str]:
    """The plan's reason codes, in its order."""
    return [str(reason["code"]) for reason in plan.reasons]


def bitmap(offsets: Sequence[int], length: int) -> bytes | None:
    """zlib of one bit for each of `length` positions, least significant bit first; None when no offset is set."""
    if not offsets:
        return None
    bits = bytearray((length + 7) // 8)
    for offset in offsets:
        bits[offset >> 3] |= 1 << (offset & 7)
    return zlib.compress(bytes(bits), 6)
