"""Rules for intakes: which account at the Kafka brokers may send the records of a dataset."""

import re
from typing import Final

from exchange.control import commands
from exchange.control.decision import Decision, malformed, need_department, need_role, text
from exchange.control.events import NewEvent
from exchange.control.model import Model, Principal

# As the brokers write a principal. `User:*` would be everybody.
_USER: Final = re.compile(r"User:(?!\*)[!-~]([ -~]{0,198}[!-~])?", re.ASCII)


def open_intake(command: commands.OpenIntake, actor: Principal, model: Model, _now_ns: int) -> Decision:
    """By a steward of the dataset's department."""
    need_role(actor, "steward")
    dataset = model.dataset(command.dataset)
    need_department(actor, dataset.department)
    user = text(command.user, where="user")
    if not _USER.fullmatch(user):
        raise malformed("user", "User:NAME")
    if model.intakes.get(dataset.name) == user:
        return Decision([], dataset.name)
    opened = NewEvent(f"intake/{dataset.name}", "intake.opened/1", {"dataset": dataset.name, "user": user})
    return Decision([opened], dataset.name, rests_on=frozenset({f"dataset/{dataset.name}"}))


def close_intake(command: commands.CloseIntake, actor: Principal, model: Model, _now_ns: int) -> Decision:
    """By a steward of the dataset's department, or the sharing authority."""
    need_role(actor, "steward", "sharing_authority")
    dataset = model.dataset(command.dataset)
    if "sharing_authority" not in actor.roles:
        need_department(actor, dataset.department)
    if dataset.name not in model.intakes:
        return Decision([], dataset.name)
    closed = NewEvent(f"intake/{dataset.name}", "intake.closed/1", {"dataset": dataset.name})
    return Decision([closed], dataset.name, rests_on=frozenset({f"dataset/{dataset.name}"}))
