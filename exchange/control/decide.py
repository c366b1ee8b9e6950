"""What a command comes to: pure, from the actor, the model and the time alone. One rule for each command."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, Final

from exchange.control import agreements, cases, catalogue, commands, intakes, people, policies
from exchange.control.decision import Decision, acting, bounded
from exchange.control.model import Model, Principal

_RULES: Final[Mapping[type[Any], Callable[[Any, Principal, Model, int], Decision]]] = {
    commands.AddDepartment: people.add_department,
    commands.AddPrincipal: people.add_principal,
    commands.ChangeRoles: people.change_roles,
    commands.SuspendPrincipal: people.suspend_principal,
    commands.IssueToken: people.issue_token,
    commands.RevokeToken: people.revoke_token,
    commands.SubmitContract: catalogue.submit,
    commands.OpenIntake: intakes.open_intake,
    commands.CloseIntake: intakes.close_intake,
    commands.OpenCase: cases.open_case,
    commands.ChangeCaseMembers: cases.change_members,
    commands.CloseCase: cases.close_case,
    commands.RequestAgreement: agreements.request,
    commands.ReviewAgreement: agreements.review,
    commands.ApproveAgreement: agreements.approve,
    commands.RejectAgreement: agreements.reject,
    commands.RevokeAgreement: agreements.revoke,
    commands.ExpireAgreements: agreements.expire,
    commands.SubmitPolicy: policies.submit,
    commands.ApprovePolicy: policies.approve,
    commands.WithdrawPolicy: policies.withdraw,
}


def decide(command: commands.Command, actor: Principal | None, model: Model, now_ns: int) -> Decision:
    """The events of a command, or why there are none.

    `actor` is None for `Bootstrap` alone, which an empty store alone takes. What the decision read is in `rests_on`:
    an append that expects those versions cannot go through beside a change of the actor's rights or of the grounds.

    Raises:
        Invalid: the command is malformed or names what does not exist.
        Refused: the rules say no.
    """
    if actor is None:
        # Nobody may act as nobody: any other command in this place is a mistake of the program, not of a person.
        if not isinstance(command, commands.Bootstrap):
            raise TypeError("a command needs an actor")
        return people.bootstrap(command, model, now_ns)
    found = acting(model, actor)
    decision = _RULES[type(command)](command, found, model, now_ns)
    events = [bounded(event) for event in decision.events]
    return replace(decision, events=events, rests_on=decision.rests_on | {f"principal/{found.id}"})
