"""The policy decision point: one question in, one complete plan out."""

from collections.abc import Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, Protocol

from exchange.names import digest


@dataclass(frozen=True, slots=True)
class Bundle:
    """What a policy revision consists of: Rego modules by path, and the code tables that they read as `data.codes`."""

    modules: Mapping[str, str]
    codes: Mapping[str, Any]

    @property
    def revision(self) -> str:
        """The name of this content: its digest."""
        return digest({"codes": self.codes, "modules": self.modules})


class PolicyEngine(Protocol):
    """Evaluates the active policy bundle's `data.exchange.plan` on a question.

    Guarantees (`tests/conformance/test_policy_engine.py`, on every engine):

    - The same question under the same bundle gives the same document, byte for byte in canonical JSON.
    - No bundle loaded, an undefined result, an evaluation error, a result that is no object, an evaluation past the
      deadline: each is a `Refused` (`policy_undefined`, `policy_error`, `policy_unavailable`), never an empty document.
    - A policy that runs away costs its own question a refusal; the next question is answered as ever, and no other
      thread of this process stands still meanwhile.
    - `load` is all or nothing: a bundle that is not offered and does not compile leaves the former one in place and
      raises `Invalid`, or (an engine on servers) its questions are refused until the servers have it.
    - Within the block of `offering`, `load` of that bundle succeeds and the next question is answered by it, on every
      server that the engine has; so a new policy becomes the active one only there. Until then and beside it, questions
      are answered by the bundle that is loaded.
    - It may be used from any thread.
    """

    def load(self, bundle: Bundle | None) -> None:
        """Makes this the bundle that questions are asked of; None takes the policy away."""
        ...

    def offering(self, bundle: Bundle, patience_s: float) -> AbstractContextManager[None]:
        """Sees to it that questions can be asked of this bundle, for as long as the block lasts.

        Raises:
            Invalid: it does not compile.
            Unavailable: the engine is not to be had; `policy_not_spread` with the name of a server that has not got it
                after `patience_s` seconds.
        """
        ...

    def evaluate(self, question: bytes) -> Mapping[str, Any]:
        """The document that the policy gives for a question in canonical JSON."""
        ...

    def test(self, bundle: Bundle) -> Mapping[str, bool]:
        """Runs the rules named `test_…` of a bundle, each by its full name: whether it held."""
        ...

    def close(self) -> None:
        """Ends the engine's process, or its connections."""
        ...
