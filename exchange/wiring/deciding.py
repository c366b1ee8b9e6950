"""The policy of an open exchange: asked for plans, tested, offered to its engine, packed for OPA servers."""

import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from dataclasses import replace
from typing import TYPE_CHECKING

from exchange.audit.log import AuditLog
from exchange.control import policies
from exchange.control.model import Model, Principal
from exchange.errors import Invalid, Refused, Unavailable
from exchange.plan import Plan, Question
from exchange.policy import Bundle
from exchange.settings import Settings
from exchange.signing.keys import BundleKey, read_secret
from exchange.site import BUNDLE_KEY, BUNDLE_TOKEN
from exchange.wiring.auditing import Auditing

if TYPE_CHECKING:
    from sqlalchemy import Engine

    from exchange.policy.opa_bundle import Archive


class Deciding(Auditing):
    """Engines, their audit log, and the policy engine with the revision that is active."""

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
        self._loaded: str | None = None
        self._deciding, self._asked = threading.Condition(), 0
        self._testing, self._packing = threading.Lock(), threading.Lock()
        self._packed: tuple[list[str], Archive] | None = None

    def decide(self, question: Question, model: Model) -> Plan:
        """The plan for a question whose facts are of this model, under the model's active policy revision.

        Without one, or with one that fails, it is a refusal. All its epochs are the model's: what has changed since
        ends the plan.
        """
        from exchange.policy.decide import decide

        with self._asking(model):
            plan = decide(self.engine, question, model.active_policy or "", model.epochs.get("policy", 0))
        if not plan.allowed:
            return plan
        # A revised contract may narrow what is shared, so it ends plans like a revoked agreement does.
        dataset = f"dataset/{plan.dataset}"
        return replace(plan, epochs={**plan.epochs, dataset: model.epochs.get(dataset, 0)})

    @contextmanager
    def _asking(self, model: Model) -> Iterator[None]:
        """The engine has the model's policy while the block lasts; threads with the same policy ask at once, and none
        is asked in the place of another's.
        """
        with self._deciding:
            while self._asked and self._loaded != model.active_policy:
                self._deciding.wait()
            self._load(model)
            self._asked += 1
        try:
            yield
        finally:
            with self._deciding:
                self._asked -= 1
                self._deciding.notify_all()

    def _load(self, model: Model) -> None:
        """Makes the model's policy the engine's; one that this engine cannot run leaves it without any."""
        active = model.active_policy
        if active == self._loaded:
            return
        self.engine.load(None)
        self._loaded = None
        if active is not None:
            try:
                self.engine.load(self._bundle(active))
            except (Invalid, Unavailable):
                return
            self._loaded = active

    def tested(self, bundle: Bundle) -> Mapping[str, bool]:
        """The results of a bundle's own tests, on this site's engine."""
        with self._testing:  # one at a time; meanwhile decisions go on, for tests run in a process of their own
            return self.engine.test(bundle)

    def check_policy(self) -> None:
        """Asks the engine a question that is none.

        Raises:
            Unavailable: `policy_not_ready`: no revision is active, or the engine cannot load it.
            Refused: `policy_unavailable`: no engine is there, or none that has the revision.
        """
        with self._asking(self.control.model()):
            if self._loaded is None:
                raise Unavailable("policy_not_ready")
            try:
                self.engine.evaluate(b"{}")
            except Refused as refused:
                if refused.code == "policy_unavailable":
                    raise

    def offering(self, who: Principal, revision: str) -> AbstractContextManager[None]:
        """The engine can be asked by a submitted revision while the block lasts, in which it becomes the active one: so
        there is no moment in which questions are refused for want of it. Nothing is tried for who may not approve it.

        Raises:
            Unavailable: `policy_not_spread`, naming the server that has not got it.
        """
        policy = self.control.model().policies.get(revision)
        may = policies.may_approve(who, policy)
        return self.offered(self._bundle(revision)) if may else nullcontext()

    def offered(self, bundle: Bundle) -> AbstractContextManager[None]:
        """The same for any bundle."""
        return self.engine.offering(bundle, self.settings.number("policy.opa.spread_seconds"))

    def _bundle(self, revision: str) -> Bundle:
        document = self.control.document(revision)
        return Bundle(document["modules"], document["codes"])

    def opa_bundle(self) -> "tuple[bytes, Archive] | None":
        """What OPA servers pull, and the token that they must show for it; None where the site has none of them.

        It holds the active revision, the one before it, the newest of those that wait for approval and what is offered.
        """
        from exchange.policy.opa_bundle import archive

        key, token = self.settings.path(BUNDLE_KEY), self.settings.path(BUNDLE_TOKEN)
        if not key.is_file() or not token.is_file():
            return None
        with self._packing:
            held = self.shelf.held()
            wanted = sorted({*policies.spread(self.control.model()), *held})
            if self._packed is None or self._packed[0] != wanted:
                bundles = [held.get(one) or self._bundle(one) for one in wanted]
                self._packed = wanted, archive(bundles, BundleKey.load(key))
            return read_secret(token), self._packed[1]

    def load_policy(self) -> None:
        """Gives the engine the active revision now, not with the first question."""
        with self._deciding:
            self._load(self.control.model())
