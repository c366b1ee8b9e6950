"""Steps 1 to 3 of the access path: the question, its plan, the decision; whoever is refused learns it here."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from exchange.access.parts import Parts
from exchange.audit.access_entries import Access
from exchange.audit.entries import make
from exchange.control.model import Model, Principal
from exchange.control.questions import Request, facts, with_lookup
from exchange.errors import Refused
from exchange.names import digest
from exchange.plan import Plan, Question
from exchange.plan.question import BY_TAG
from exchange.view.compiled import View

_KEPT: Final = 32  # plans and views; beyond it all are forgotten and made again when needed
_NOT_OF_THE_VIEW: Final = frozenset({"reasons", "expires_ns", "policy_revision", "epochs"})


@dataclass(frozen=True, slots=True)
class Decided:
    """A question that was allowed at `since_ns`, its decision's entry durable."""

    access: Access
    view: View
    since_ns: int

    def holds(self, model: Model, now_ns: int, plan_ns: int) -> bool:
        """Whether it may be used again: young enough, not expired, and every epoch it rests on is that of now."""
        plan = self.access.plan
        # A clock that went back makes no plan young again.
        young = 0 <= now_ns - self.since_ns < plan_ns and now_ns < plan.expires_ns
        return young and all(model.epochs.get(name) == epoch for name, epoch in plan.epochs.items())


class Decisions:
    """The decisions of one gateway. Plans are kept under their question's digest, without id and clock."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self._kept: dict[str, Decided] = {}
        self._views: dict[str, View] = {}

    def made(
        self, who: Principal, request: Request, tags: Sequence[bytes] | None = None, model: Model | None = None
    ) -> Decided:
        """The decision on a request, kept or new; `tags` are the subjects of a look-up. The caller gives the `model`
        where he has asked for it just now.

        Raises:
            Refused: `question_refused`, `principal_changed`, `principal_suspended`; the refusal is in a checkpoint.
            Invalid: `plan_too_large`; what `facts` and `compile_view` raise.
            Unavailable: `disk_reserve`: nothing was written.
        """
        parts = self._parts
        model = model or parts.control.model()
        question = self._question(model, who, request, tags)  # 1
        now = int(question.document["now_ns"])
        kept = self._kept.get(question.digest)
        if kept is not None and kept.holds(model, now, parts.plan_ns):
            return kept
        plan = parts.decide(question, model)  # 2, under the model that the facts were taken from
        access = Access(question, plan, parts.random_bytes(16), tags or (), parts.actors)
        if not plan.allowed:
            self._refuse(access, now)
        parts.audit.submit(
            [access.decision_entry(now, parts.random_bytes)], soon=False
        )  # 3; its release follows, in the same commit
        # A crash here leaves a decision without a release in the log; nothing was read.
        access.check_size()
        decided = Decided(access, self._view(plan, model), now)
        if tags is None:
            self._keep(question.digest, decided)
        return decided

    def explained(self, who: Principal, request: Request) -> Plan:
        """The plan for a request, allowed or not, its decision in a checkpoint; of a look-up, for no subject."""
        parts = self._parts
        model = parts.control.model()
        question = self._question(model, who, request, () if request.action in BY_TAG else None)
        plan = parts.decide(question, model)
        access = Access(question, plan, parts.random_bytes(16), (), parts.actors)
        parts.audit.append(access.decision_entry(parts.now_ns(), parts.random_bytes))
        return plan

    def _question(self, model: Model, who: Principal, request: Request, tags: Sequence[bytes] | None) -> Question:
        """Step 1: every fact of one model."""
        parts = self._parts
        identity, now = "q-" + parts.random_bytes(16).hex(), parts.now_ns()
        document = facts(model, who, request, id=identity, now_ns=now)
        self._check_account(model, who, request, now)
        parts.room()  # before the first entry of a decision, and again before each release: all of them pass here
        if tags is not None:
            case = document["case"]
            document = with_lookup(document, tags, parts.members(case["members"]) if case and tags else None)
        return Question.from_document(document)

    def _check_account(self, model: Model, who: Principal, request: Request, now: int) -> None:
        """Refuses an account that is not what it was when its token was checked: suspended, with other roles, or with
        a token of it revoked, which may have been the one. Whose right it still is authenticates again.
        """
        current = model.principal(who.id)
        if current == who and current.status == "active":
            return
        refusal = Refused("principal_changed" if current.status == "active" else "principal_suspended")
        entry = make(
            "refusal",
            self._parts.random_bytes(16),
            now,
            reasons=[refusal.code],
            dataset=request.dataset,
            consumer=who.department,
            actor=self._parts.actors.name(who.id),
            purpose=request.purpose,
            action=request.action,
        )
        self._parts.audit.append(entry)
        raise refusal

    def _refuse(self, access: Access, now: int) -> None:
        """Writes decision and refusal, in a checkpoint before anybody is told."""
        audit, plan = self._parts.audit, access.plan
        refusal = access.refusal_entry(self._parts.random_bytes(16), now, plan.codes)
        audit.submit([access.decision_entry(now, self._parts.random_bytes), refusal])
        audit.wait(refusal.id)
        raise Refused("question_refused", where=plan.dataset, purpose=plan.purpose, reasons=", ".join(plan.codes))

    def _keep(self, question: str, decided: Decided) -> None:
        if len(self._kept) >= _KEPT:
            self._kept.clear()
        self._kept[question] = decided

    def _view(self, plan: Plan, model: Model) -> View:
        """The compiled plan. One that differs in time, ground or revision alone has the same view, so that a long
        read goes on in the file that it began; `exchange.plan` in its schema then names the first of these plans.
        """
        document = {key: value for key, value in plan.to_document().items() if key not in _NOT_OF_THE_VIEW}
        key = digest({"plan": document, "contract": model.dataset(plan.dataset).contract})
        if key not in self._views:
            if len(self._views) >= _KEPT:
                self._views.clear()
            self._views[key] = self._parts.view(plan, model)
        return self._views[key]
