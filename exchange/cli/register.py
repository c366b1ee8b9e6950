"""Departments, principals, tokens, datasets and cases: the register that permissions rest on."""

import argparse
import secrets
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from exchange.cli.opening import desk_of
from exchange.cli.options import Commands, Group, Run, command
from exchange.cli.terminal import Terminal, new_file, read_json
from exchange.control import commands as c
from exchange.control.tokens import new_token
from exchange.errors import Invalid
from exchange.messages import Language

if TYPE_CHECKING:
    from exchange.wiring.desk import Desk, Listing, Told

_DAY_NS = 86_400 * 1_000_000_000


def mount(commands: Commands, common: argparse.ArgumentParser, language: Language) -> None:
    """Adds `register`, `department`, `principal`, `token`, `dataset`, `case`."""
    register = command(commands, "register", _register, common, language)
    register.add_argument("file", type=Path, metavar="REGISTER.json")
    register.add_argument("--tokens", type=Path, metavar="DIR")
    register.add_argument("--days", type=int, default=90)
    _departments(Group(commands, "department", common, language))
    _principals(Group(commands, "principal", common, language))
    _tokens(Group(commands, "token", common, language))
    _datasets(Group(commands, "dataset", common, language))
    _cases(Group(commands, "case", common, language))


def _departments(group: Group) -> None:
    add = group.command("add", _add_department)
    add.add_argument("id")
    for option, needed in (
        ("zh", True),
        ("en", True),
        ("region", True),
        ("region-parent", False),
        ("line-parent", False),
    ):
        add.add_argument(f"--{option}", required=needed)
    add.add_argument("--zone", choices=["public", "extranet", "department"], default="extranet")
    add.add_argument("--seal-key", metavar="HEX")
    group.command(
        "list", _list("departments", ["id", "title_zh", "title_en", "region", "region_parent", "line_parent"])
    )


def _principals(group: Group) -> None:
    add = group.command("add", _add_principal)
    add.add_argument("id")
    add.add_argument("--department", required=True)
    add.add_argument("--role", action="append", required=True)
    roles = group.command("roles", _execute(lambda p: c.ChangeRoles(p.id, tuple(p.role))))
    roles.add_argument("id")
    roles.add_argument("--role", action="append", required=True)
    suspend = group.command("suspend", _execute(lambda p: c.SuspendPrincipal(p.id, p.reason)))
    suspend.add_argument("id")
    suspend.add_argument("--reason", required=True)
    group.command("list", _list("principals", ["id", "department", "roles", "status", "epoch"]))


def _tokens(group: Group) -> None:
    issue = group.command("issue", _issue_token)
    issue.add_argument("principal")
    issue.add_argument("--days", type=int, default=90)
    issue.add_argument("--out", metavar="FILE", type=Path)
    revoke = group.command("revoke", _execute(lambda p: c.RevokeToken(p.id)))
    revoke.add_argument("id")
    group.command("list", _list("tokens", ["id", "principal", "expires_ns", "revoked"]))


def _datasets(group: Group) -> None:
    submit = group.command("submit", _submit_contract)
    submit.add_argument("folder", type=Path, nargs="+")
    group.command("list", _list("datasets", ["name", "department", "share_type", "revision", "subject_type"]))
    show = group.command("show", _show_dataset)
    show.add_argument("name")
    group.command("withheld", _withheld).add_argument("name")


def _cases(group: Group) -> None:
    opening = group.command("open", _open_case)
    opening.add_argument("id")
    opening.add_argument("--title", required=True)
    opening.add_argument("--subject-type", default="person")
    opening.add_argument("--department", action="append", default=[])
    opening.add_argument("--ids-file", metavar="FILE")
    members = group.command("members", _change_members)
    members.add_argument("id")
    members.add_argument("--ids-file", metavar="FILE")
    close = group.command("close", _execute(lambda p: c.CloseCase(p.id, p.reason)))
    close.add_argument("id")
    close.add_argument("--reason", required=True)
    group.command(
        "list", _list("cases", ["id", "status", "title", "department", "departments", "member_count", "epoch"])
    )


def _execute(make: Callable[[argparse.Namespace], c.Command]) -> Run:
    def run(terminal: Terminal, parsed: argparse.Namespace) -> None:
        with desk_of(terminal, parsed) as desk:
            done(terminal, desk.execute(make(parsed)))

    return run


def done(terminal: Terminal, *outcomes: "Told") -> None:
    """Says which events commands made, and where each command's last one stands in the audit log."""
    terminal.table([asdict(outcome) for outcome in outcomes], ["about", "events", "index"])


def _list(what: "Listing", columns: list[str]) -> Run:
    def run(terminal: Terminal, parsed: argparse.Namespace) -> None:
        with desk_of(terminal, parsed) as desk:
            terminal.table(desk.listing(what), columns)

    return run


def _add_department(terminal: Terminal, parsed: argparse.Namespace) -> None:
    with desk_of(terminal, parsed) as desk:
        places = (parsed.zh, parsed.en, parsed.region, parsed.region_parent, parsed.line_parent, parsed.zone)
        done(terminal, desk.execute(c.AddDepartment(parsed.id, *places, parsed.seal_key or "")))


def _register(terminal: Terminal, parsed: argparse.Namespace) -> None:
    """Everything in the file that the site does not have yet; what it has stays as it is."""
    document = read_json(parsed.file)
    departments = _entries(document, "departments", parsed.file.name, _DEPARTMENT)
    principals = _entries(document, "principals", parsed.file.name, _PRINCIPAL)
    expires = _expiry(terminal, parsed.days)
    with desk_of(terminal, parsed) as desk:
        added = list(enrol(desk, departments, principals, expires, parsed.tokens))
    terminal.show({"added": added}, added)


def enrol(
    desk: "Desk",
    departments: Sequence[Mapping[str, Any]],
    principals: Sequence[Mapping[str, Any]],
    expires_ns: int,
    tokens: Path | None,
) -> Iterator[str]:
    """Adds the departments and people that the site does not have yet, and says each one's id when it is there; people
    get a token that ends at `expires_ns`, in `tokens`/ID.token, where that folder is given.
    """
    known = {one["id"] for one in (*desk.listing("departments"), *desk.listing("principals"))}
    for entry in departments:
        if entry["id"] not in known:
            places = {"region_parent": None, "line_parent": None, "zone": "extranet", "seal_key": "", **entry}
            desk.execute(c.AddDepartment(**places))
            yield entry["id"]
    for entry in principals:
        if entry["id"] not in known:
            desk.execute(c.AddPrincipal(**entry))
            # A crash here leaves an account without a token: `token issue` gives it one.
            if tokens is not None:
                tokens.mkdir(mode=0o700, parents=True, exist_ok=True)
                _issue(desk, entry["id"], expires_ns, tokens / f"{entry['id']}.token")
            yield entry["id"]


_DEPARTMENT = ({"id", "title_zh", "title_en", "region"}, {"region_parent", "line_parent", "zone", "seal_key"})
_PRINCIPAL = ({"id", "department", "roles"}, set[str]())


def _entries(document: Any, key: str, where: str, form: tuple[set[str], set[str]]) -> list[dict[str, Any]]:  # noqa: ANN401  # JSON
    """The list under `key`, each entry with its required keys and no unknown one."""
    entries = (
        document.get(key, []) if isinstance(document, dict) and set(document) <= {"departments", "principals"} else None
    )
    if not isinstance(entries, list):
        raise Invalid("file_unparsable", where=where, detail="departments, principals: lists")
    required, allowed = form
    for index, entry in enumerate(entries):
        keys = set(entry) if isinstance(entry, dict) and isinstance(entry.get("id"), str) else set()
        if not required <= keys <= required | allowed:
            raise Invalid("file_unparsable", where=f"{where}: {key}[{index}]", detail=", ".join(sorted(required)))
    return entries


def _add_principal(terminal: Terminal, parsed: argparse.Namespace) -> None:
    with desk_of(terminal, parsed) as desk:
        done(terminal, desk.execute(c.AddPrincipal(parsed.id, parsed.department, tuple(parsed.role))))


def _issue_token(terminal: Terminal, parsed: argparse.Namespace) -> None:
    """The token's text goes once to stdout, or into a new file that only its owner can read."""
    expires = _expiry(terminal, parsed.days)
    with desk_of(terminal, parsed) as desk:
        identity, text = _issue(desk, parsed.principal, expires, parsed.out)
    if parsed.out is None:
        terminal.show({"id": identity, "token": text}, [text])
    else:
        terminal.show({"id": identity, "file": str(parsed.out)}, [identity])


def _expiry(terminal: Terminal, days: int) -> int:
    if not 1 <= days <= 3_650:
        raise Invalid("command_line", where="--days", detail="1 … 3650")
    return terminal.now_ns() + days * _DAY_NS


def _issue(desk: "Desk", who: str, expires: int, file: Path | None) -> tuple[str, str]:
    """A new token's id and text; the text is in its file before the token is worth anything."""
    text, identity, digest = new_token(secrets.token_bytes)
    with new_file(file) as stream:
        if stream is not None:
            stream.write(text + "\n")
            stream.flush()
        # A crash here leaves a file with a token that nobody knows.
        desk.execute(c.IssueToken(who, identity, digest, expires))
    return identity, text


def _submit_contract(terminal: Terminal, parsed: argparse.Namespace) -> None:
    from exchange.contracts.contract import load

    contracts = [load(folder) for folder in parsed.folder]
    with desk_of(terminal, parsed) as desk:
        done(terminal, *(desk.execute(c.SubmitContract(one.to_document())) for one in contracts))


def _withheld(terminal: Terminal, parsed: argparse.Namespace) -> None:
    with desk_of(terminal, parsed) as desk:
        rows = [{**row, "time": terminal.time(row["time_ns"], desk.zone)} for row in desk.withheld(parsed.name)]
    terminal.table(rows, ["index", "time", "agreement", "partition", "lo", "hi", "withheld", "schema"])


def _show_dataset(terminal: Terminal, parsed: argparse.Namespace) -> None:
    with desk_of(terminal, parsed) as desk:
        terminal.table(desk.dataset(parsed.name)["fields"], ["path", "class", "zh", "en", "tags"])


def _open_case(terminal: Terminal, parsed: argparse.Namespace) -> None:
    ids = terminal.ids(parsed.ids_file)
    with desk_of(terminal, parsed) as desk:
        done(terminal, desk.open_case(parsed.id, parsed.subject_type, parsed.title, ids, tuple(parsed.department)))


def _change_members(terminal: Terminal, parsed: argparse.Namespace) -> None:
    ids = terminal.ids(parsed.ids_file)
    with desk_of(terminal, parsed) as desk:
        done(terminal, desk.change_members(parsed.id, ids))
