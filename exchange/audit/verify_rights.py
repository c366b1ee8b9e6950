"""Rules of the offline verifier for rights: what a release rests on must have been so at its place in the log.

Part of `verify`, and like it written without the code that it judges. A release rests on a decision before it that
allowed exactly this; on an agreement that was approved, in its period, and gave these fields for this purpose; on the
policy revision that was active; and on the newest epoch of everything that ended or narrowed a right.
"""

import hashlib
import json
import sqlite3
from collections.abc import Callable, Mapping
from typing import Any, Final

Report = Callable[[str, int, str], None]

_OPEN_GROUNDS: Final = frozenset({"unconditional", "public", "break_glass"})
_STATUS: Final = {
    **{f"agreement.{name}/1": name for name in ("requested", "endorsed", "returned", "rejected", "revoked", "expired")},
    "agreement.approved/1": "approved",
}
_BEFORE_APPROVAL: Final = (None, "endorsed", "approved")
_SAME: Final = (  # fields of a release that its decision has, by the same name
    *("agreement", "dataset", "purpose", "policy_revision", "expires_ns", "schema"),
)
_WHERE_TOLD: Final = ("case", "zone", "actor")  # where the release says it
_MORE: Final = ("action", "effect", "consumer", "question_digest")
_KEPT: Final = 20_000
_DUMPED: Final = 2_000


class MustRestartError(Exception):
    """A resumed verification met what only a whole one can judge."""


class Decisions:
    """Decisions by id: the newest in memory, older ones in a temporary file."""

    def __init__(self, *, resumed: bool = False) -> None:
        self._recent: dict[bytes, dict[str, Any]] = {}
        self._older: sqlite3.Connection | None = None
        self._resumed = resumed

    def put(self, identity: bytes, facts: dict[str, Any]) -> None:
        """Keeps a decision."""
        self._recent[identity] = facts
        if len(self._recent) >= _KEPT:
            self._spill()

    def get(self, identity: bytes) -> dict[str, Any] | None:
        """The decision of this id; `MustRestartError` where a resumed run cannot know."""
        found = self._recent.get(identity)
        if found is None and self._older is not None:
            row = self._older.execute("SELECT facts FROM decision WHERE id = ?", (identity,)).fetchone()
            found = json.loads(row[0]) if row else None
        if found is None and self._resumed:
            raise MustRestartError
        return found

    def _spill(self) -> None:
        if self._older is None:
            self._older = sqlite3.connect("", check_same_thread=False)  # a private file that goes with the connection
            self._older.execute("CREATE TABLE decision (id BLOB PRIMARY KEY, facts TEXT NOT NULL) WITHOUT ROWID")
        half = list(self._recent)[: _KEPT // 2]
        rows = [(identity, json.dumps(self._recent.pop(identity))) for identity in half]
        self._older.executemany("INSERT OR REPLACE INTO decision VALUES (?, ?)", rows)

    def dump(self) -> dict[str, Any]:
        """The newest decisions, for a resumed run."""
        return {identity.hex(): self._recent[identity] for identity in list(self._recent)[-_DUMPED:]}

    def load(self, dumped: Mapping[str, Any]) -> None:
        """What `dump` gave."""
        self._recent = {bytes.fromhex(identity): facts for identity, facts in dumped.items()}

    def close(self) -> None:
        """Gives back the temporary file."""
        if self._older is not None:
            self._older.close()


class Rights:
    """What is permitted, as the entries so far say. Memory grows with agreements, epochs and people, not with reads."""

    def __init__(self, report: Report, *, resumed: bool = False) -> None:
        self._report = report
        self.blind = False  # entries could not be read: a missing ground proves nothing
        self._epochs: dict[str, int] = {}
        self._versions: dict[str, int] = {}
        self._agreements: dict[str, dict[str, Any]] = {}
        self._policy: str | None = None
        self._submitters: dict[str, str | None] = {}
        self._decisions = Decisions(resumed=resumed)
        self.unchecked: dict[str, int] = {}
        # Older versions gave digests of real names, which do not stand in the log: up to the first that is not one.
        self._by_what_stands = False

    def dump(self) -> dict[str, Any]:
        """All that later entries are judged by."""
        return {
            "epochs": self._epochs,
            "versions": self._versions,
            "agreements": self._agreements,
            "policy": self._policy,
            "submitters": self._submitters,
            "decisions": self._decisions.dump(),
            "unchecked": self.unchecked,
            "by_what_stands": self._by_what_stands,
        }

    def load(self, dumped: Mapping[str, Any]) -> None:
        """What `dump` gave."""
        self._epochs, self._versions = dict(dumped["epochs"]), dict(dumped["versions"])
        self._agreements, self._policy = dict(dumped["agreements"]), dumped["policy"]
        self._submitters, self.unchecked = dict(dumped["submitters"]), dict(dumped["unchecked"])
        self._by_what_stands = bool(dumped["by_what_stands"])
        self._decisions.load(dumped["decisions"])

    def close(self) -> None:
        """Gives back what was taken."""
        self._decisions.close()

    def raised(self, body: Mapping[str, Any]) -> None:
        """The epochs that an entry raises."""
        for name, value in (body.get("raises") or {}).items():
            self._epochs[name] = max(value, self._epochs.get(name, value))

    def control(self, index: int, body: Mapping[str, Any]) -> None:
        """An event of the control plane."""
        self.raised(body)
        aggregate, version, event = body["aggregate"], body["version"], body["type"]
        expected = self._versions.get(aggregate, 0) + 1
        if version != expected and not self.blind:
            self._report("control_gap", index, f"{aggregate}: version {version}, not {expected}")
        self._versions[aggregate] = version
        data = self._data(index, body)
        if event in _STATUS:
            self._agreement(index, aggregate.removeprefix("agreement/"), _STATUS[event], body, data)
        elif event == "policy.submitted/1":
            self._submitters[str(data.get("revision"))] = body["actor"]
        elif event == "policy.activated/1" and "revision" in data:
            self._activate(index, data["revision"], body["actor"])
        elif event == "policy.withdrawn/1":
            self._policy = None

    def policy_revision(self, index: int, body: Mapping[str, Any]) -> None:
        """A step in the life of a policy."""
        self.raised(body)
        if body["event"] == "activated":
            self._activate(index, body["revision"], body["actor"])
        elif body["event"] == "withdrawn":
            self._policy = None

    def decision(self, index: int, body: Mapping[str, Any]) -> None:
        """What the policy said; the question and the plan that stand in it are those of its digests."""
        facts = {name: body[name] for name in (*_SAME, *_WHERE_TOLD, *_MORE)}
        facts |= {"reasons": list(body["reasons"]), "epochs": body["epochs"], "plan": body["plan_digest"]}
        question, plan = body["question"], body["plan"]
        asked, planned = (json.loads(text) if text else None for text in (question, plan))
        if asked is not None:
            facts["action"] = asked.get("action")
        facts["fields"] = _canonical(planned.get("fields")) if planned is not None else None
        if asked is None or planned is None:
            self._count("plans_too_large")
        differing = [
            name
            for name, document in (("question_digest", _without(asked)), ("plan_digest", planned))
            if document is not None and body[name] != _digest(document)
        ]
        if not differing:
            self._by_what_stands = self._by_what_stands or None not in (asked, planned)
        elif self._by_what_stands:
            self._report("decision_not_its_digest", index, ", ".join(differing))
        else:
            self._count("plan_digests")
        self._decisions.put(body["id"], facts)

    def refusal(self, index: int, body: Mapping[str, Any]) -> None:
        """A refusal answers the question of its decision."""
        if body.get("decision") is None:
            return
        found = self._decisions.get(body["decision"])
        if found is None:
            self._missing(index)
        elif body["question_digest"] != _in_the_log(found["question_digest"]):
            self._report("decision_differs", index, "question_digest")

    def release(self, index: int, body: Mapping[str, Any]) -> None:
        """A release: each ground that it rests on."""
        self._epochs_of(index, body)
        if body["time_ns"] >= body["expires_ns"]:
            self._report("release_expired", index, "its plan had expired")
        if body["policy_revision"] != self._policy and not self.blind:
            self._report("policy_not_active", index, f"active was {self._policy or '-'}")
        self._decided(index, body)
        if body["agreement"] is not None:
            self._agreed(index, body)

    def _epochs_of(self, index: int, body: Mapping[str, Any]) -> None:
        rests_on = body["epochs"]
        for name, value in rests_on.items():
            if self._epochs.get(name) != value:
                known = self._epochs.get(name, "-")
                self._report("release_behind", index, f"it rests on {name} = {value}, the log has {known}")
        grounds = {"policy": "policy", "agreement": f"agreement/{body['agreement']}", "case": f"case/{body['case']}"}
        grounds |= {"actor": f"principal/{body['actor']}", "dataset": f"dataset/{body['dataset']}"}
        for field, name in grounds.items():
            if name in self._epochs and name not in rests_on and body.get(field, True) is not None:
                self._report("epoch_unnamed", index, f"it does not say on which {name} it rests")

    def _decided(self, index: int, body: Mapping[str, Any]) -> None:
        if body["decision"] is None:
            self._report("decision_missing", index, "it names none")
            return
        found = self._decisions.get(body["decision"])
        if found is None:
            self._missing(index)
            return
        if found["effect"] != "allow":
            self._report("decision_denied", index, ", ".join(found["reasons"])[:200])
            return
        differing = [name for name in _SAME if body[name] != found[name]]
        differing += [name for name in _WHERE_TOLD if body[name] is not None and body[name] != found[name]]
        if found["consumer"] != body["recipient"]:
            differing.append("recipient")
        if found["action"] not in (None, body["action"]):
            differing.append("action")
        if found["epochs"] is not None and found["epochs"] != body["epochs"]:
            differing.append("epochs")
        if None not in (found["fields"], body["fields"]) and found["fields"] != body["fields"]:
            differing.append("fields")
        if differing:
            self._report("decision_differs", index, ", ".join(differing))
        if body["agreement"] is None and not _OPEN_GROUNDS & set(found["reasons"]):
            self._report("agreement_missing", index, "the decision names no other ground")

    def _missing(self, index: int) -> None:
        if not self.blind:
            self._report("decision_missing", index, "no decision before it has this id")

    def _agreed(self, index: int, body: Mapping[str, Any]) -> None:
        known = self._agreements.get(body["agreement"], {})
        if known.get("status") != "approved":
            if not self.blind:
                state = known.get("status", "unknown")
                self._report("agreement_not_in_force", index, f"{body['agreement']} is {state}")
            return
        if body["agreement_revision"] not in (None, known["version"]):
            self._report("agreement_not_in_force", index, f"{body['agreement']} has another revision")
        terms = known["terms"]
        if terms is None:
            self._count("terms_not_in_the_log")
            return
        outside = [
            name
            for name, inside in (
                ("recipient", terms["consumer"] == body["recipient"]),
                ("dataset", terms["dataset"] == body["dataset"]),
                ("purpose", terms["purpose"] == body["purpose"]),
                ("action", body["action"] in terms["actions"]),
                ("case", not terms["case_bound"] or body["case"] is not None),
                ("period", terms["not_before_ns"] <= body["time_ns"] < terms["expires_ns"]),
                ("fields", self._fields_inside(known, body["fields"])),
            )
            if not inside
        ]
        if outside:
            self._report("outside_agreement", index, f"{body['agreement']}: {', '.join(outside)}")

    @staticmethod
    def _fields_inside(known: dict[str, Any], fields: str | None) -> bool:
        if fields is None or known.get("passed") == fields:
            return True
        agreed = {one["path"] for one in known["terms"]["fields"]}
        inside = all(
            one["path"] in agreed or any(one["path"].startswith(f"{path}.") for path in agreed)
            for one in json.loads(fields)
        )
        if inside:
            known["passed"] = fields  # the next release most often shows the same
        return inside

    def _agreement(self, index: int, name: str, status: str, body: Mapping[str, Any], data: Mapping[str, Any]) -> None:
        known = self._agreements.get(name, {"status": None, "people": {}})
        people = dict(known["people"])
        if status == "approved":
            if known["status"] not in _BEFORE_APPROVAL and not self.blind:
                self._report("approval_out_of_order", index, f"{name} was {known['status']}")
            if body["actor"] is not None and body["actor"] in people.values():
                self._report("approval_same_person", index, f"{name}: the same person asked, reviewed or approved")
        elif status == "endorsed" and body["actor"] is not None and body["actor"] == people.get("requested"):
            self._report("approval_same_person", index, f"{name}: the same person asked and reviewed")
        if status in ("requested", "endorsed"):
            people[status] = body["actor"]
        terms = data.get("terms") if status == "approved" else None
        self._agreements[name] = {"status": status, "people": people, "version": body["version"], "terms": terms}

    def _activate(self, index: int, revision: str, actor: str | None) -> None:
        if actor is not None and self._submitters.get(revision) == actor:
            self._report("approval_same_person", index, "the same person submitted and activated the policy")
        self._policy = revision

    def _data(self, index: int, body: Mapping[str, Any]) -> Mapping[str, Any]:
        if body["data"] is None:
            self._count("events_too_large")
            return {}
        data = json.loads(body["data"])
        if not isinstance(data, dict):
            self._report("entry_undecodable", index, "the data of an event is no object")
            return {}
        return data

    def _count(self, what: str) -> None:
        self.unchecked[what] = self.unchecked.get(what, 0) + 1


def _in_the_log(digest: str) -> str | None:
    """The digest of a question that stands in its decision; None where it is a detail beside the log."""
    return None if digest.startswith("detail:") else digest


def _without(question: Mapping[str, Any] | None) -> dict[str, Any] | None:
    """The question without what differs each time that it is asked."""
    if question is None:
        return None
    return {name: value for name, value in question.items() if name not in ("id", "now_ns")}


def _digest(document: object) -> str:
    """`sha256:` and the hash of the canonical JSON (RFC 8785, of whole numbers and texts)."""
    return "sha256:" + hashlib.sha256((_canonical(document) or "").encode()).hexdigest()


def _canonical(value: object) -> str | None:
    if value is None:
        return None
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
