"""One suite for both desks (`exchange.wiring.desk`): on the exchange itself, and over HTTP.

The same steps are played on two copies of one site, once at each desk; each has its own rule below, every step is then
compared: answer or error with its facts, and the entries that all of them left in the audit log.
"""

import json
import re
import shutil
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import asdict, dataclass, field
from datetime import date
from functools import cache
from pathlib import Path
from typing import Any, Protocol

import uvicorn

from adapters.files.adapter import FilesAdapter
from adapters.files.config import load_config
from exchange.access import Release
from exchange.access.acks import Ack, Outcome
from exchange.api.app import create_app
from exchange.api.operations import OPERATIONS
from exchange.cli.remote import RemoteDesk
from exchange.cli.wire import Wire
from exchange.control import commands as c
from exchange.control.questions import Request
from exchange.errors import ExchangeError
from exchange.policy import Bundle
from exchange.policy.bundle import load_bundle
from exchange.publish import Published
from exchange.signing.keys import new_signing_key
from exchange.source import Place, Rejected, SourceBatch
from exchange.view.formats import FORMATS as FORMS
from exchange.wiring.desk import COLUMNS, Desk, Listing, LocalDesk, Told
from exchange.wiring.searching import WHATS, Sought, What
from tests.simulator import (
    ADAPTER,
    AGREEMENT,
    AUDITOR,
    AUTHORITY,
    CASE,
    CHECKER,
    CONSUMER,
    DATASET,
    MEMBERS,
    NEIGHBOUR,
    PERSONS,
    PROVIDER,
    PURPOSE,
    SYSTEM,
    Site,
    row,
    terms,
)

DAY_NS = 86_400 * 1_000_000_000
NOW_NS = time.time_ns()
LATER_NS = NOW_NS + 90 * DAY_NS
_TIME = re.compile(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d")
FOUND = Sought("checker.ny.minzheng", "ny.minzheng", DATASET, CASE, PURPOSE, "person_id", 1, NOW_NS + DAY_NS)
READ = Request("read", DATASET, PURPOSE, CASE, None)
LOOKUP = Request("lookup", DATASET, PURPOSE, CASE, None)
WRONG = Request("read", DATASET, "supervise", CASE, None)


class Engine(Protocol):
    """Gives the desk of somebody by his token."""

    def __call__(self, token: str) -> Desk: ...


@contextmanager
def local(site: Site) -> Iterator[Engine]:
    """Desks in this process."""
    with site.opened() as exchange:
        yield lambda token: LocalDesk(exchange, exchange.control.model().principal_for(token, time.time_ns()))


@contextmanager
def remote(site: Site) -> Iterator[Engine]:
    """Desks through the Unix socket of a server."""
    place = str(site.folder / "s")
    with site.opened() as exchange:
        exchange.opened_all()
        app = create_app(exchange, time.time_ns, lambda _: None)
        server = uvicorn.Server(uvicorn.Config(app, uds=place, log_config=None, ws="none"))
        thread = threading.Thread(target=server.run)
        thread.start()
        try:
            while not server.started:
                assert thread.is_alive()
                time.sleep(0.002)
            with ExitStack() as stack:
                yield lambda token: RemoteDesk(stack.enter_context(closing(Wire(f"unix:{place}", token, "en"))))
        finally:
            server.should_exit = True
            thread.join()


@dataclass(frozen=True)
class Events:
    """An adapter over a list: values by sequence, a `Rejected` for what it could not read."""

    records: Mapping[int, Any]
    source: str = "ny.renshe/list"
    notes: Sequence[str] = ()

    def batches(self, mark: int, limit: int) -> Iterator[SourceBatch]:
        """In batches of two."""
        assert limit >= 2
        left = [sequence for sequence in sorted(self.records) if sequence > mark]
        while left:
            part, left = left[:2], left[2:]
            good = [one for one in part if not isinstance(self.records[one], Rejected)]
            places = [Place("list", one) for one in good]
            bad = [self.records[one] for one in part if one not in good]
            yield SourceBatch(good, [self.records[one] for one in good], places, bad)


def record(person: str = NEIGHBOUR, **changes: Any) -> dict[str, Any]:
    """A record of the dataset."""
    some = {"region_code": "431126", "scheme": "RESIDENT", "status": "ENDED", "monthly_benefit_fen": 5}
    none = dict.fromkeys(("last_paid_month", "employer_uscc", "bank_account"))
    return {"person_id": person, **some, **none, **changes}


@dataclass(frozen=True)
class Step:
    """What somebody asks, and the error code that he must get; empty: an answer."""

    method: str
    who: str
    ask: Callable[[Any, Site], Any]
    code: str = ""


def _do(who: str, command: c.Command, code: str = "") -> Step:
    return Step("execute", who, lambda desk, _: desk.execute(command), code)


def _files(site: Site, *files: Path) -> FilesAdapter:
    return FilesAdapter(load_config(site.folder / ADAPTER), files, site.data / "ledgers" / "ny.renshe--pension.db")


def _published(adapter: Callable[[Site], Any], own: str = "") -> Callable[[Any, Site], Any]:
    def ask(desk: Desk, site: Site) -> Any:
        told: list[Published] = []
        key = site.folder / own if own else None
        return [desk.publish(adapter(site), DATASET, told.append, key), *told]

    return ask


def _more(site: Site) -> Any:
    return _files(site, site.rows([row(NEIGHBOUR, 77), row("4.31E+17", 1), row(PERSONS[0], 55)], "more.csv"))


def _list(records: Mapping[int, Any], source: str = "ny.renshe/list") -> Callable[[Site], Any]:
    return lambda _: Events(records, source)


def _broken(site: Site) -> Any:
    return _files(site, site.folder / "nowhere.csv")


REJECTED = Rejected(4, Place("x.csv", 9, "列"), "cell_id_damaged", {"person_id": "9.99A+99"})
LISTED = {
    1: record(),
    2: record(status="?"),
    4: REJECTED,
    5: record(region_code="\ud800"),
    6: record(person=" "),
    7: record(monthly_benefit_fen=2**63),
    9: record(last_paid_month="龘"),
}
SMALL = Bundle(
    {
        "plan.rego": "package exchange\n\nimport rego.v1\n\ndefault plan := {}\n",
        "plan_test.rego": "package exchange.plan_test\n\nimport rego.v1\n\ntest_no if false\n\ntest_yes if true\n",
    },
    {},
)
WRONG_KINDS = {1: record(region_code=date(2026, 1, 1)), 2: record(monthly_benefit_fen=1.5), 3: record()}
CONTRACT = json.loads(json.dumps({"format": "exchange.contract/1"}))


def _query_of(desk: Desk) -> int:
    """The index of the first query in the log that has parameters."""
    rows = desk.search("queries", Sought(), -1, 500)
    return next(int(row["index"]) for row in rows if row["parameters_digest"])


def _department(name: str, seal_key: str = "") -> c.AddDepartment:
    return c.AddDepartment(name, "县", "County", "431126", None, None, "extranet", seal_key)


def _terms(**changes: Any) -> dict[str, Any]:
    given = terms(**changes)
    for word in ("from", "until"):
        del given[word]
    return {**given, "not_before_ns": NOW_NS - DAY_NS, "expires_ns": LATER_NS}


def _listed(what: Listing) -> Callable[[Any, Site], Any]:
    return lambda desk, _: desk.listing(what)


def _searched(what: What) -> Callable[[Any, Site], Any]:
    return lambda desk, _: desk.search(what, Sought(), -1, 500)


def _read(form: str) -> Callable[[Any, Site], Any]:
    return lambda desk, _: list(desk.read(READ, {}, form))


def _acknowledged(desk: Desk, outcome: Outcome, **what: Any) -> Any:
    release = desk.lookup(LOOKUP, MEMBERS, "jsonl")
    return desk.acknowledge([Ack(release.index, outcome, **what)])


def _revision(site: Site) -> str:
    return load_bundle(site.root / "policies").revision


STEPS = (
    Step("me", CHECKER, lambda desk, _: desk.me()),
    Step("zone", CHECKER, lambda desk, _: desk.zone.key),
    *(Step("listing", AUDITOR, _listed(what)) for what in COLUMNS),
    Step("dataset", CHECKER, lambda desk, _: desk.dataset(DATASET)),
    Step("dataset", CHECKER, lambda desk, _: desk.dataset("x.unknown"), "unknown_dataset"),
    Step("contract", CHECKER, lambda desk, _: desk.contract(DATASET)),
    Step("contract", CHECKER, lambda desk, _: desk.contract("x.unknown"), "unknown_dataset"),
    Step("agreement", CHECKER, lambda desk, _: desk.agreement(AGREEMENT)),
    Step("agreement", CHECKER, lambda desk, _: desk.agreement("agr-7"), "unknown_agreement"),
    # Publishing.
    Step("mark", SYSTEM, lambda desk, _: desk.mark(DATASET, "ny.renshe/pension")),
    Step("mark", SYSTEM, lambda desk, _: desk.mark(DATASET, "ny.renshe/none")),
    Step("mark", SYSTEM, lambda desk, _: desk.mark(DATASET, "No Source"), "name_malformed"),
    Step("mark", SYSTEM, lambda desk, _: desk.mark(DATASET, "ny.minzheng/x"), "source_not_own"),
    Step("mark", CHECKER, lambda desk, _: desk.mark(DATASET, "ny.renshe/pension"), "not_the_owner"),
    Step("publish", SYSTEM, _published(_more)),
    Step("publish", PROVIDER, _published(_more)),
    Step("publish", SYSTEM, _published(_list(LISTED))),
    Step("publish", SYSTEM, _published(_list(LISTED))),
    Step("publish", SYSTEM, _published(_list({}, "ny.renshe/empty"))),
    Step("publish", SYSTEM, _published(_list({2: record(), 1: record()}, "ny.minzheng/x")), "source_not_own"),
    Step("publish", SYSTEM, _published(_list({1: record()}, "No Source")), "name_malformed"),
    Step("publish", SYSTEM, _published(_broken), "source_unreadable"),
    Step("publish", SYSTEM, _published(_list(LISTED, "ny.renshe/sealed"), "own.key")),
    Step("publish", SYSTEM, _published(_list(LISTED, "ny.renshe/sealed"), "own.key")),
    Step("publish", SYSTEM, _published(_list(WRONG_KINDS, "ny.renshe/kinds"), "own.key")),
    Step("publish", SYSTEM, _published(_list(LISTED, "ny.renshe/other"), "other.key"), "seal_key_differs"),
    Step("publish", SYSTEM, _published(_list({}, "ny.renshe/other"), "other.key"), "seal_key_differs"),
    Step("publish", SYSTEM, _published(_list({}, "ny.renshe/other"), "no.key"), "key_unreadable"),
    Step("publish", CHECKER, _published(_list(LISTED)), "not_the_owner"),
    Step("publish", CHECKER, _published(_list(LISTED), "own.key"), "not_the_owner"),
    Step("publish", AUTHORITY, _published(_list({})), "not_the_owner"),
    Step("dead_letters", PROVIDER, lambda desk, _: desk.dead_letters(DATASET)),
    Step("dead_letters", CHECKER, lambda desk, _: desk.dead_letters(DATASET), "not_the_owner"),
    Step("withheld", PROVIDER, lambda desk, _: desk.withheld(DATASET)),
    Step("withheld", CHECKER, lambda desk, _: desk.withheld(DATASET), "not_the_owner"),
    # Reading.
    *(Step("read", CHECKER, _read(form)) for form in FORMS if form != "arrow"),
    Step("read", CHECKER, lambda desk, _: list(desk.read(READ, {0: 3}, "jsonl"))),
    Step("read", CHECKER, lambda desk, _: list(desk.read(READ, {0: 10_000}, "jsonl")), "position_unknown"),
    Step("read", CHECKER, lambda desk, _: list(desk.read(READ, {7: 1}, "jsonl")), "position_unknown"),
    Step("read", CHECKER, lambda desk, _: list(desk.read(WRONG, {}, "jsonl")), "question_refused"),
    Step("read", SYSTEM, lambda desk, _: list(desk.read(READ, {}, "jsonl")), "question_refused"),
    Step("lookup", CHECKER, lambda desk, _: desk.lookup(LOOKUP, MEMBERS, "jsonl")),
    Step("lookup", CHECKER, lambda desk, _: desk.lookup(LOOKUP, [NEIGHBOUR], "jsonl"), "question_refused"),
    Step("lookup", CHECKER, lambda desk, _: desk.lookup(LOOKUP, [" "], "jsonl"), "subject_id_unusable"),
    Step("lookup", SYSTEM, lambda desk, _: desk.lookup(LOOKUP, [*MEMBERS], "jsonl"), "question_refused"),
    Step("acknowledge", CHECKER, lambda desk, _: _acknowledged(desk, "received")),
    Step("acknowledge", CHECKER, lambda desk, _: _acknowledged(desk, "purged", records=77), "ack_differs"),
    Step("acknowledge", CHECKER, lambda desk, _: desk.acknowledge([Ack(0)]), "ack_not_own"),
    Step("acknowledge", CHECKER, lambda desk, _: desk.acknowledge([Ack(10_000)]), "audit_entry_unknown"),
    Step("explain", CHECKER, lambda desk, _: desk.explain(READ, "zh")),
    Step("explain", CHECKER, lambda desk, _: desk.explain(WRONG, "en")),
    Step(
        "explain",
        CHECKER,
        lambda desk, _: desk.explain(Request("read", "x.y", PURPOSE, None, None), "en"),
        "unknown_dataset",
    ),
    # The control plane.
    _do(AUTHORITY, _department("ny.yibao")),
    _do(AUTHORITY, _department("ny.yibao"), "already_exists"),
    _do(AUTHORITY, _department("ny.own", "ab" * 32)),
    _do(CHECKER, _department("ny.other"), "role_missing"),
    _do(AUTHORITY, c.AddPrincipal("svc.ny.yibao", "ny.yibao", ("steward",))),
    _do(AUTHORITY, c.AddPrincipal("svc.x", "ny.none", ("steward",)), "unknown_department"),
    _do(AUTHORITY, c.ChangeRoles("svc.ny.yibao", ("department_system",))),
    _do(AUTHORITY, c.ChangeRoles("nobody.else", ("department_system",)), "unknown_principal"),
    _do(AUTHORITY, c.IssueToken("svc.ny.yibao", "0123456789abcdef", "sha256:" + "ab" * 32, LATER_NS)),
    _do(CHECKER, c.IssueToken("svc.ny.yibao", "0123456789abcdee", "sha256:" + "ab" * 32, LATER_NS), "role_missing"),
    _do(AUTHORITY, c.RevokeToken("0123456789abcdef")),
    _do(AUTHORITY, c.RevokeToken("none"), "unknown_token"),
    _do(AUTHORITY, c.SuspendPrincipal("svc.ny.yibao", "离任 left")),
    _do(PROVIDER, c.SuspendPrincipal("svc.ny.yibao", "x"), "role_missing"),
    _do(PROVIDER, c.SubmitContract(CONTRACT), "contract_key_missing"),
    _do(CONSUMER, c.RequestAgreement(_terms())),
    _do(CONSUMER, c.RequestAgreement(_terms(purpose="none")), "unknown_purpose"),
    _do(PROVIDER, c.ReviewAgreement("agr-2", "endorse", "needed")),
    _do(PROVIDER, c.ReviewAgreement("agr-2", "endorse", "needed"), "wrong_state"),
    _do(AUTHORITY, c.RejectAgreement("agr-2", "no basis")),
    _do(CONSUMER, c.RequestAgreement(_terms())),
    _do(PROVIDER, c.ReviewAgreement("agr-3", "endorse", "needed")),
    _do(CONSUMER, c.ApproveAgreement("agr-3"), "role_missing"),
    _do(AUTHORITY, c.ApproveAgreement("agr-3")),
    _do(PROVIDER, c.RevokeAgreement("agr-3", "over")),
    _do(AUTHORITY, c.ExpireAgreements()),
    Step("open_case", CHECKER, lambda desk, _: desk.open_case("case-9", "person", "题 title", MEMBERS, [])),
    Step("open_case", CHECKER, lambda desk, _: desk.open_case("case-9", "person", "t", MEMBERS, []), "already_exists"),
    Step(
        "open_case",
        CHECKER,
        lambda desk, _: desk.open_case("case-8", "person", NEIGHBOUR, MEMBERS, []),
        "text_holds_id",
    ),
    Step("change_members", CHECKER, lambda desk, _: desk.change_members("case-9", [NEIGHBOUR])),
    Step("change_members", PROVIDER, lambda desk, _: desk.change_members("case-9", [NEIGHBOUR]), "unknown_case"),
    _do(PROVIDER, c.OpenIntake(DATASET, "User:renshe")),
    _do(CHECKER, c.OpenIntake(DATASET, "User:minzheng"), "role_missing"),
    _do(PROVIDER, c.CloseIntake(DATASET)),
    _do(CONSUMER, c.CloseCase("case-9", "decided")),
    _do(CONSUMER, c.CloseCase("case-0", "decided"), "unknown_case"),
    _do(CHECKER, c.WithdrawPolicy("drill"), "role_missing"),
    _do(AUTHORITY, c.WithdrawPolicy("drill")),
    Step("read", CHECKER, lambda desk, _: list(desk.read(READ, {}, "jsonl")), "question_refused"),
    Step("test_policy", CONSUMER, lambda desk, _: dict(desk.test_policy(SMALL))),
    Step("submit_policy", CONSUMER, lambda desk, _: desk.submit_policy(SMALL), "policy_tests_failed"),
    Step("submit_policy", CHECKER, lambda desk, _: desk.submit_policy(SMALL), "role_missing"),
    Step("submit_policy", CONSUMER, lambda desk, site: desk.submit_policy(load_bundle(site.root / "policies"))),
    Step("execute", CONSUMER, lambda desk, site: desk.execute(c.ApprovePolicy(_revision(site))), "same_person"),
    Step("execute", AUTHORITY, lambda desk, site: desk.execute(c.ApprovePolicy(_revision(site)))),
    Step("read", CHECKER, lambda desk, _: list(desk.read(READ, {}, "jsonl"))),
    # Auditing.
    Step("who_saw", AUDITOR, lambda desk, _: desk.who_saw("person", [MEMBERS[0], NEIGHBOUR], as_written=True)),
    Step("who_saw", AUDITOR, lambda desk, _: desk.who_saw("person", [MEMBERS[0], NEIGHBOUR]), "subject_id_check_digit"),
    Step("who_saw", CHECKER, lambda desk, _: desk.who_saw("person", [MEMBERS[0]]), "auditor_required"),
    *(Step("search", AUDITOR, _searched(what)) for what in WHATS),
    Step("search", AUDITOR, lambda desk, _: desk.search("releases", FOUND, 40, 2)),
    Step("search", CHECKER, lambda desk, _: desk.search("unconfirmed", Sought(department="ny.minzheng"), -1, 9)),
    Step("search", CHECKER, lambda desk, _: desk.search("unconfirmed", Sought(), -1, 9), "auditor_required"),
    Step("search", AUDITOR, lambda desk, _: desk.search("keys", Sought(from_ns=2, until_ns=1), -1, 9), "search_range"),
    Step("seal_index", AUDITOR, lambda desk, _: desk.seal_index()),
    Step("seal_index", CHECKER, lambda desk, _: desk.seal_index(), "auditor_required"),
    Step("checkpoint", AUDITOR, lambda desk, _: desk.checkpoint().splitlines()[:2]),
    Step("checkpoint", CHECKER, lambda desk, _: desk.checkpoint(), "auditor_required"),
    Step("entry", AUDITOR, lambda desk, _: desk.entry(0)),
    Step("entry", AUDITOR, lambda desk, _: desk.entry(10_000), "audit_entry_unknown"),
    Step("entry", CHECKER, lambda desk, _: desk.entry(0), "auditor_required"),
    Step("evidence", AUDITOR, lambda desk, _: desk.evidence(0)[:40]),
    Step("evidence", AUDITOR, lambda desk, _: desk.evidence(10_000), "audit_entry_unknown"),
    Step("detail", AUDITOR, lambda desk, _: desk.detail(_query_of(desk))["content"]),
    Step("detail", AUDITOR, lambda desk, _: desk.detail(0), "detail_none"),
    Step("detail", AUDITOR, lambda desk, _: desk.detail(10_000), "audit_entry_unknown"),
    Step("detail", CHECKER, lambda desk, _: desk.detail(0), "auditor_required"),
    Step("expire_details", AUDITOR, lambda desk, _: desk.expire_details()),
    Step("expire_details", CHECKER, lambda desk, _: desk.expire_details(), "auditor_required"),
    Step("evidence", CHECKER, lambda desk, _: desk.evidence(0), "auditor_required"),
    Step("evidence_bundle", AUDITOR, lambda desk, _: desk.evidence_bundle("person", [MEMBERS[0]], [])[:4]),
    Step(
        "evidence_bundle",
        AUDITOR,
        lambda desk, _: desk.evidence_bundle("person", [MEMBERS[0]], [b"x"]),
        "audit_note_invalid",
    ),
    Step(
        "evidence_bundle", CHECKER, lambda desk, _: desk.evidence_bundle("person", [MEMBERS[0]], []), "auditor_required"
    ),
    Step("search_bundle", AUDITOR, lambda desk, _: desk.search_bundle("releases", FOUND, [], complete=True)[:4]),
    Step(
        "search_bundle",
        CHECKER,
        lambda desk, _: desk.search_bundle("keys", Sought(), [], complete=False),
        "auditor_required",
    ),
    Step("status", CHECKER, lambda desk, _: desk.status()),
)
# Endings of what differs between any two sites; an Avro file has a random sync marker.
_OF_ONE_SITE = ("_ns", "_at", "proved", "payload_digest", "parameters_digest")
# What no input of a signed-in person makes fail.
NEVER_REFUSED = {"me", "zone", "listing", "status", "test_policy"}


@dataclass
class Play:
    """What came of every step, and the entries that the steps left."""

    told: list[Any] = field(default_factory=list)
    entries: list[Any] = field(default_factory=list)


def _played(site: Site, engine: Any) -> Play:
    play = Play()
    before = len(site.entries())
    shutil.copy(site.root / "keys" / "seal-ny.renshe.key", site.folder / "own.key")
    new_signing_key(site.folder / "other.key")
    with engine(site) as sign_in:
        desk = cache(lambda who: sign_in((site.folder / "tokens" / f"{who}.token").read_text().strip()))
        for step in STEPS:
            try:
                play.told.append(_told(step.ask(desk(step.who), site)))
            except ExchangeError as error:
                where = error.where.replace(str(site.folder), "FOLDER")
                facts = {name: str(value) for name, value in error.facts.items()}
                play.told.append((type(error).__name__, error.code, where, facts))
    play.entries = [(kind, _constant(body)) for _, kind, body in site.entries()[before:]]
    return play


def _told(answer: Any) -> Any:
    """An answer without what differs between any two sites: times, and keys, which are made at random."""
    if isinstance(answer, Release):
        told = {name: getattr(answer, name) for name in Release.__slots__ if name != "checkpoint"}
        if answer.head.startswith(b"Obj"):  # the plan's digest is over its times, and the sync marker over it
            head, sync = re.sub(b"sha256:[0-9a-f]{64}", b"", answer.head), answer.head[-16:]
            told |= {"head": head[:-16], "payload": answer.payload.replace(sync, b"")}
        return _told(told)
    if isinstance(answer, str):
        return _TIME.sub("", answer)
    if isinstance(answer, Told | Published):
        return asdict(answer)
    if isinstance(answer, list | tuple):
        return [_told(one) for one in answer]
    if isinstance(answer, dict):
        return {name: _told(one) for name, one in answer.items() if not name.endswith(_OF_ONE_SITE)}
    return answer


def _constant(body: Mapping[str, Any]) -> dict[str, Any]:
    kept = (
        "action",
        "reasons",
        "event",
        "query",
        "results",
        "source",
        "first_sequence",
        "last_sequence",
        "rejected",
        "delegate",
    )
    return {
        name: body[name] for name in (*kept, "dataset", "consumer", "count", "released", "lo", "hi") if name in body
    }


def test_every_method_is_asked_with_success_and_refusal() -> None:
    """And every command that the API has is done once."""
    methods = {name for name in vars(Desk) if not name.startswith("_")}
    assert {step.method for step in STEPS if not step.code} == methods
    assert {step.method for step in STEPS if step.code} == methods - NEVER_REFUSED
    done: list[c.Command] = []

    class Noting:
        def execute(self, command: c.Command) -> None:
            done.append(command)

    for step in STEPS:
        if step.method == "execute" and "site" not in step.ask.__code__.co_varnames:
            step.ask(Noting(), None)  # type: ignore[arg-type]
    assert {*map(type, done), c.ApprovePolicy} == {one.command for one in OPERATIONS}


def test_both_desks_say_the_same_and_leave_the_same_entries(made: Site, tmp_path: Path) -> None:
    """The answer that there must be, or the error, with the same facts, field for field; then the audit log's entries,
    kind for kind in the same order, each about the same.
    """
    at_local, at_remote = _played(made.copy(tmp_path / "l"), local), _played(made.copy(tmp_path / "r"), remote)
    for number, step in enumerate(STEPS):
        told = at_local.told[number]
        assert (number, step.method, told[1] if isinstance(told, tuple) else "") == (number, step.method, step.code)
        assert (number, step.method, at_remote.told[number]) == (number, step.method, told)
    assert len(at_local.entries) > 40
    assert at_remote.entries == at_local.entries
