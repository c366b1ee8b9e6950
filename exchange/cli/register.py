"""Departments, principals, tokens, datasets and cases: the register that permissions rest on."""

import argparse
import secrets
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from exchange.cli.opening import actor_of, opened
from exchange.cli.options import Commands, Group, Run, command
from exchange.cli.terminal import Terminal, new_file, read_json
from exchange.control import commands as c
from exchange.control.tokens import new_token
from exchange.errors import Invalid, Refused
from exchange.messages import Language

if TYPE_CHECKING:
    from exchange.control.control import Outcome
    from exchange.control.model import Principal
    from exchange.wiring import Exchange

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
        with opened(terminal, parsed) as exchange:
            done(terminal, exchange.control.execute(actor_of(exchange, terminal, parsed), make(parsed)))

    return run


def done(terminal: Terminal, *outcomes: "Outcome") -> None:
    """Says which events commands made, and where each command's last one stands in the audit log."""
    rows = [
        {
            "about": outcome.about,
            "events": [event.name for event in outcome.events],
            "index": outcome.receipt.index if outcome.receipt else None,
        }
        for outcome in outcomes
    ]
    terminal.table(rows, ["about", "events", "index"])


def _list(what: str, columns: list[str]) -> Run:
    def run(terminal: Terminal, parsed: argparse.Namespace) -> None:
        with opened(terminal, parsed) as exchange:
            actor_of(exchange, terminal, parsed)
            entries = getattr(exchange.control.model(), what).values()
            rows = [{column: _value(getattr(entry, column)) for column in columns} for entry in entries]
            terminal.table(rows, columns)

    return run


def _value(value: object) -> object:
    return sorted(value) if isinstance(value, frozenset) else list(value) if isinstance(value, tuple) else value


def _add_department(terminal: Terminal, parsed: argparse.Namespace) -> None:
    with opened(terminal, parsed) as exchange:
        actor = actor_of(exchange, terminal, parsed)
        places = (parsed.zh, parsed.en, parsed.region, parsed.region_parent, parsed.line_parent, parsed.zone)
        key = parsed.seal_key or _delegated(exchange, actor, parsed.id)
        done(terminal, exchange.control.execute(actor, c.AddDepartment(parsed.id, *places, key)))


def _delegated(exchange: "Exchange", actor: "Principal", department: str) -> str:
    """A key that the site keeps for a department; nobody but who may add departments leaves one there."""
    if "sharing_authority" not in actor.roles:
        exchange.refuse(actor, "department add", Refused("role_missing", where=department, roles="sharing_authority"))
    return exchange.delegated_seal_key(department)


def _register(terminal: Terminal, parsed: argparse.Namespace) -> None:
    """Everything in the file that the site does not have yet; what it has stays as it is."""
    document = read_json(parsed.file)
    departments = _entries(document, "departments", parsed.file.name, _DEPARTMENT)
    principals = _entries(document, "principals", parsed.file.name, _PRINCIPAL)
    expires = _expiry(terminal, parsed.days)
    with opened(terminal, parsed) as exchange:
        actor = actor_of(exchange, terminal, parsed)
        added = list(enrol(exchange, actor, departments, principals, expires, parsed.tokens))
    terminal.show({"added": added}, added)


def enrol(
    exchange: "Exchange",
    actor: "Principal",
    departments: Sequence[Mapping[str, Any]],
    principals: Sequence[Mapping[str, Any]],
    expires_ns: int,
    tokens: Path | None,
) -> Iterator[str]:
    """Adds the departments and people that the site does not have yet, and says each one's id when it is there; people
    get a token that ends at `expires_ns`, in `tokens`/ID.token, where that folder is given.
    """
    model = exchange.control.model()
    for entry in departments:
        if entry["id"] not in model.departments:
            key = entry.get("seal_key") or _delegated(exchange, actor, entry["id"])
            places = {"region_parent": None, "line_parent": None, "zone": "extranet", **entry, "seal_key": key}
            exchange.control.execute(actor, c.AddDepartment(**places))
            yield entry["id"]
    for entry in principals:
        if entry["id"] not in model.principals:
            exchange.control.execute(actor, c.AddPrincipal(**entry))
            # A crash here leaves an account without a token: `token issue` gives it one.
            if tokens is not None:
                tokens.mkdir(mode=0o700, parents=True, exist_ok=True)
                _issue(exchange, actor, entry["id"], expires_ns, tokens / f"{entry['id']}.token")
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
    with opened(terminal, parsed) as exchange:
        command = c.AddPrincipal(parsed.id, parsed.department, tuple(parsed.role))
        done(terminal, exchange.control.execute(actor_of(exchange, terminal, parsed), command))


def _issue_token(terminal: Terminal, parsed: argparse.Namespace) -> None:
    """The token's text goes once to stdout, or into a new file that only its owner can read."""
    expires = _expiry(terminal, parsed.days)
    with opened(terminal, parsed) as exchange:
        actor = actor_of(exchange, terminal, parsed)
        identity, text = _issue(exchange, actor, parsed.principal, expires, parsed.out)
    if parsed.out is None:
        terminal.show({"id": identity, "token": text}, [text])
    else:
        terminal.show({"id": identity, "file": str(parsed.out)}, [identity])


def _expiry(terminal: Terminal, days: int) -> int:
    if not 1 <= days <= 3_650:
        raise Invalid("command_line", where="--days", detail="1 … 3650")
    return terminal.now_ns() + days * _DAY_NS


def _issue(exchange: "Exchange", actor: "Principal", who: str, expires: int, file: Path | None) -> tuple[str, str]:
    """A new token's id and text; the text is in its file before the token is worth anything."""
    text, identity, digest = new_token(secrets.token_bytes)
    with new_file(file) as stream:
        if stream is not None:
            stream.write(text + "\n")
            stream.flush()
        # A crash here leaves a file with a token that nobody knows.
        exchange.control.execute(actor, c.IssueToken(who, identity, digest, expires))
    return identity, text


def _submit_contract(terminal: Terminal, parsed: argparse.Namespace) -> None:
    from exchange.contracts.contract import load

    contracts = [load(folder) for folder in parsed.folder]
    with opened(terminal, parsed) as exchange:
        actor = actor_of(exchange, terminal, parsed)
        done(terminal, *(exchange.control.execute(actor, c.SubmitContract(one.to_document())) for one in contracts))


def _withheld(terminal: Terminal, parsed: argparse.Namespace) -> None:
    with opened(terminal, parsed) as exchange:
        rows = list(exchange.withheld(actor_of(exchange, terminal, parsed), parsed.name))
        shown = [{**row, "time": terminal.time(row["time_ns"], exchange.settings.zone)} for row in rows]
    terminal.table(shown, ["index", "time", "agreement", "partition", "lo", "hi", "withheld", "schema"])


def _show_dataset(terminal: Terminal, parsed: argparse.Namespace) -> None:
    with opened(terminal, parsed) as exchange:
        actor_of(exchange, terminal, parsed)
        dataset = exchange.control.model().dataset(parsed.name)
        contract = exchange.contract(dataset.name)
        rows = [
            {
                "path": path,
                "class": terms.security_class,
                "zh": terms.label_zh,
                "en": terms.label_en,
                "tags": list(terms.tags),
            }
            for path, terms in contract.fields.items()
        ]
        terminal.table(rows, ["path", "class", "zh", "en", "tags"])


def _open_case(terminal: Terminal, parsed: argparse.Namespace) -> None:
    ids = terminal.ids(parsed.ids_file)
    with opened(terminal, parsed) as exchange:
        actor = actor_of(exchange, terminal, parsed)
        members = exchange.tags(parsed.subject_type, ids)
        command = c.OpenCase(parsed.id, parsed.subject_type, parsed.title, members, tuple(parsed.department))
        done(terminal, exchange.control.execute(actor, command))


def _change_members(terminal: Terminal, parsed: argparse.Namespace) -> None:
    ids = terminal.ids(parsed.ids_file)
    with opened(terminal, parsed) as exchange:
        actor = actor_of(exchange, terminal, parsed)
        case = exchange.control.model().case(parsed.id, actor.department)
        members = exchange.tags(case.subject_type, ids)
        done(terminal, exchange.control.execute(actor, c.ChangeCaseMembers(parsed.id, members)))
