"""Where each command of the control plane stands in the API. The server makes its routes of this table, the command
line's `RemoteDesk` its requests; nothing here needs a web framework.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, Final, Literal

from exchange.control import commands as c

PREFIX: Final = "/v1"
LOG: Final = "/log"  # the prefix of the audit log's C2SP resources
_PLACE: Final = re.compile(r"\{(\w+)\}")


@dataclass(frozen=True, slots=True)
class Operation:
    """A command's method and path; names in the path are fields of the command, the others stand in the body."""

    method: Literal["POST", "PUT"]
    path: str
    command: type[c.Command]

    @property
    def places(self) -> tuple[str, ...]:
        """The command's fields that stand in the path."""
        return tuple(_PLACE.findall(self.path))

    @property
    def body(self) -> tuple[str, ...]:
        """The command's fields that stand in the body."""
        return tuple(one.name for one in fields(self.command) if one.name not in self.places)


OPERATIONS: Final = (
    Operation("POST", "/departments", c.AddDepartment),
    Operation("POST", "/principals", c.AddPrincipal),
    Operation("PUT", "/principals/{principal}/roles", c.ChangeRoles),
    Operation("POST", "/principals/{principal}/suspend", c.SuspendPrincipal),
    Operation("PUT", "/tokens/{token}", c.IssueToken),
    Operation("POST", "/tokens/{token}/revoke", c.RevokeToken),
    Operation("POST", "/datasets", c.SubmitContract),
    Operation("PUT", "/datasets/{dataset}/intake", c.OpenIntake),
    Operation("POST", "/datasets/{dataset}/intake/close", c.CloseIntake),
    Operation("POST", "/cases/{case}/close", c.CloseCase),
    Operation("POST", "/agreements", c.RequestAgreement),
    Operation("POST", "/agreements/{agreement}/review", c.ReviewAgreement),
    Operation("POST", "/agreements/{agreement}/approve", c.ApproveAgreement),
    Operation("POST", "/agreements/{agreement}/reject", c.RejectAgreement),
    Operation("POST", "/agreements/{agreement}/revoke", c.RevokeAgreement),
    Operation("POST", "/agreements/expire", c.ExpireAgreements),
    Operation("POST", "/policies/{revision}/approve", c.ApprovePolicy),
    Operation("POST", "/policies/withdraw", c.WithdrawPolicy),
)
# What a body may leave out.
DEFAULTS: Final[Mapping[str, Any]] = {
    "region_parent": None,
    "line_parent": None,
    "zone": "extranet",
    "seal_key": "",
}
_BY_COMMAND: Final = {one.command: one for one in OPERATIONS}


def operation_of(command: c.Command) -> Operation:
    """Where this command goes; `KeyError` for one that has no place in the API (`Bootstrap`, and those that hold what
    a caller cannot know: tags, test results).
    """
    return _BY_COMMAND[type(command)]
