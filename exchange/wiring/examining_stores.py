"""What an operator wants to know of a site's stores, and of the files beside them: see `exchange.wiring.examining`.

They are read as they are, by connections that change nothing, whoever holds the site.
"""

import sqlite3
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Any, Final

from sqlalchemy import create_engine

from exchange.audit.note import open_checkpoint
from exchange.audit.subjects import FORMAT as SUBJECTS_FORMAT
from exchange.control.database import head_revision, revisions
from exchange.control.model import Model
from exchange.control.projections import fold
from exchange.control.store import SqlEventStore
from exchange.errors import ExchangeError, Invalid, Tampered, Unavailable
from exchange.log.database import Kind, looking, pages_whole, shortened
from exchange.log.database import examine as examine_file
from exchange.policy import PolicyEngine
from exchange.signing.keys import SigningKey
from exchange.site import VKEY, seal_key
from exchange.wiring import examining
from exchange.wiring import examining_servers as servers
from exchange.wiring.engines import KAFKA, OPA, behind, opa_servers
from exchange.wiring.examining import Check, Examined, Finding, ok, unused, wrong
from exchange.wiring.examining_servers import on_server
from exchange.wiring.making import standing

_PAGE: Final = 1_000
_NO_REVISION: Final = "sha256:" + "0" * 64
_SECOND_NS: Final = 1_000_000_000


def control_database(examined: Examined) -> Iterator[Finding]:
    """There, whole, and of this program's revision."""
    if on_server(examined, "control"):
        yield from servers.control_database(examined)
        return
    path = examined.settings.path(behind(examined.settings, "control", "sqlite"))
    with _control(examined) as connection:
        made = connection.execute("SELECT count(*) FROM sqlite_master WHERE name = 'alembic_version'").fetchone()[0]
        found = [row[0] for row in connection.execute("SELECT version_num FROM alembic_version")] if made else []
        needed = head_revision()
        if len(found) > 1 or not set(found) <= set(revisions()):
            raise Invalid("control_database_newer", where=str(path), found=", ".join(found)[:100], needed=needed)
        if found != [needed]:
            raise Unavailable(
                "control_database_revision", where=str(path), found=found[0] if found else "-", needed=needed
            )
        whole = pages_whole(connection, examined.goes_on)
    yield ok("engines.control", "database" if whole else "database_in_part", where=path.name, format=needed)


def record_log(examined: Examined) -> Iterator[Finding]:
    """Whole, where there is one; on Kafka every topic is kept as it must be."""
    from exchange.log.sqlite import KIND

    if examined.settings.engine("log")[0] in KAFKA:
        yield from servers.record_log(examined)
        return
    yield from _store("engines.log", _log_file(examined), KIND, examined)


def commit_marks(examined: Examined) -> Iterator[Finding]:
    """Every commit mark is covered by records."""
    from exchange.log.sqlite import KIND

    with _control(examined) as control:  # first: marks that were read before the log's ends cannot be ahead of them
        rows = control.execute("SELECT topic, partition, hi FROM committed").fetchall()
    marks = {f"{topic}/{partition}": hi for topic, partition, hi in rows}
    kafka = examined.settings.engine("log")[0] in KAFKA
    ends: Mapping[str, int] = servers.ends(examined, [row[:2] for row in rows]) if kafka and rows else {}
    path = None if kafka else _log_file(examined)
    try:
        if path is not None and path.is_file():
            with looking(path) as log:
                ends = dict(log.execute("SELECT topic || '/' || number, stop FROM part"))
    except sqlite3.Error as error:
        raise KIND.damaged(str(path), type(error).__name__) from None
    for where, committed in marks.items():
        if ends.get(where, 0) < committed:
            raise Tampered("log_behind_commits", where=where, end=ends.get(where, 0), committed=committed)
    yield ok("commit_marks", "commit_marks", count=len(marks))


def _log_file(examined: Examined) -> Path:
    return examined.settings.path(behind(examined.settings, "log", "sqlite"))


def state(examined: Examined) -> Iterator[Finding]:
    """Whole, where there is one; a server answers."""
    from exchange.state.sqlite import KIND

    if on_server(examined, "state"):
        yield from servers.state(examined)
        return
    path = examined.settings.path(behind(examined.settings, "state", "sqlite"))
    yield from _store("engines.state", path, KIND, examined)


def subject_index(examined: Examined) -> Iterator[Finding]:
    """Whole and of this program's format, where there is one."""
    path = examined.settings.path("data/subjects.db")
    if not path.is_file():
        yield unused("subject_index", "not_made", where=path.name)
        return
    try:
        with looking(path) as connection:
            (found,) = connection.execute("PRAGMA user_version").fetchone()
            if found > SUBJECTS_FORMAT:
                raise Invalid("subject_index_format", where=str(path), found=found, needed=SUBJECTS_FORMAT)
            whole = pages_whole(connection, examined.goes_on)
    except sqlite3.Error as error:
        raise Tampered("subject_index_damaged", where=str(path), detail=type(error).__name__) from None
    yield ok("subject_index", "database" if whole else "database_in_part", where=path.name, format=SUBJECTS_FORMAT)


def _store(check: str, path: Path, kind: Kind, examined: Examined) -> Iterator[Finding]:
    if not path.is_file():
        yield unused(check, "not_made", where=path.name)
        return
    whole = examine_file(path, kind, examined.goes_on)
    yield ok(check, "database" if whole else "database_in_part", where=path.name, format=kind.format_number)


def audit_log(examined: Examined) -> Iterator[Finding]:
    """The published checkpoint is the lock row's or an earlier one, and the clock is after the last commit."""
    scheme, folder = examined.settings.engine("audit")
    verifier = examined.settings.path(VKEY).read_text("utf-8").strip()
    if scheme == "file":
        note = (examined.settings.path(folder) / "checkpoint").read_bytes()
    else:
        note = servers.published(examined)
    published = open_checkpoint(note, verifier)
    with _control(examined) as connection:  # after the published one was read: so it is not behind it
        row = connection.execute("SELECT checkpoint, committed_ns FROM audit_lock").fetchone()
    if row is None:
        raise Unavailable("audit_missing")
    committed = open_checkpoint(row[0], verifier)
    if published.size > committed.size or (published.size == committed.size and published != committed):
        raise Tampered("audit_log_damaged", where="checkpoint", detail="published, but never committed here")
    yield ok("audit_log", "audit_log", size=committed.size)
    behind_s = (row[1] - examined.time_ns()) // _SECOND_NS
    if behind_s >= 0:
        error = Invalid("clock_wrong", where="audit log", detail=f"{behind_s} s behind its last commit")
        yield wrong("audit_clock", error)
    else:
        yield ok("audit_clock", "clock")


def policy_engine(examined: Examined) -> Iterator[Finding]:
    """It starts, compiles the policy that the exchange ships, and every test of that holds; OPA servers are
    asked for the active policy instead.
    """
    from exchange.policy.bundle import load_bundle

    scheme, place = examined.settings.engine("policy")
    if scheme == "regorus":
        from exchange.policy.regorus import RegorusEngine

        engine: PolicyEngine = RegorusEngine(10.0)
    elif scheme == "opa":
        from exchange.policy.opa_binary import OpaBinaryEngine

        engine = OpaBinaryEngine(examined.settings.path(place), 10.0)
    elif scheme in OPA:
        yield from _opa_servers(examined)
        return
    else:
        raise Invalid("engine_unknown", where="engines.policy", url=f"{scheme}:{place}")
    with closing(engine):
        results = engine.test(load_bundle(standing("policies")))
    failed = sorted(name for name, held in results.items() if not held)
    if failed or not results:
        raise Tampered("policy_engine_wrong", where="engines.policy", tests=", ".join(failed)[:200] or "-")
    yield ok("engines.policy", "policy_engine", name=scheme, tests=len(results))


def _opa_servers(examined: Examined) -> Iterator[Finding]:
    """Each answers, and has the active revision."""
    active = _model(examined).active_policy
    network_s = examined.settings.number("policy.opa.network_ms") / 1_000
    for server in opa_servers(examined.settings):
        check = f"engines.policy {server.where}"
        with closing(server):
            lacking = server.lacks(active or _NO_REVISION, network_s)
        if active is None and lacking == "stale":
            yield ok(check, "opa_server_idle")
        elif lacking:
            yield wrong(check, server.not_ready(active or "-", lacking))
        else:
            yield ok(check, "opa_server", revision=active)


def seal_keys(examined: Examined) -> Iterator[Finding]:
    """Of each department that the exchange seals for: there, and the one that it is recorded with."""
    with _control(examined) as connection:
        delegated = {row[0] for row in connection.execute("SELECT DISTINCT department FROM seals WHERE delegate")}
    for name, department in sorted(_model(examined).departments.items()):
        file, check = seal_key(examined.root, name), f"seal_key {name}"
        try:
            if file.exists() or name in delegated:
                if SigningKey.load(file).public.hex() != department.seal_key:
                    raise Invalid("seal_key_differs", where=str(file), department=name)
                yield ok(check, "key", file=file.name)
            else:
                yield unused(check, "seal_key_own")
        except ExchangeError as error:
            yield wrong(check, error)


def policies(examined: Examined) -> Iterator[Finding]:
    """The files beside the active revision: they count only once they are submitted."""
    from exchange.policy.bundle import load_bundle

    folder = examined.root / "policies"
    revision = load_bundle(folder).revision
    active = _model(examined).active_policy
    if active is None:
        yield ok("policies", "policies_none_active", command=f"exchange policy submit {folder}")
    elif revision == active:
        yield ok("policies", "policies_active", revision=revision)
    else:
        yield ok("policies", "policies_differ", revision=active, command=f"exchange policy submit {folder}")


def schemas(examined: Examined) -> Iterator[Finding]:
    """Each contract's folder beside what was accepted of it."""
    from exchange.contracts.contract import load

    files = sorted((examined.root / "schemas").rglob("contract.yaml"))
    contracts = []
    for file in files:
        try:
            contracts.append((file.parent, load(file.parent)))
        except ExchangeError as error:
            yield wrong(f"schemas {file.parent.name}", error)
    datasets = _model(examined).datasets if contracts else {}
    for folder, contract in contracts:
        check, command = f"schemas {folder.name}", f"exchange dataset submit {folder}"
        known = datasets.get(contract.dataset)
        if known is None:
            yield ok(check, "contract_not_submitted", command=command)
        elif known.contract == contract.digest:
            yield ok(check, "contract_accepted", revision=known.revision)
        else:
            yield ok(check, "contract_differs", revision=known.revision, command=command)
    if not files:
        yield unused("schemas", "no_contracts")


@contextmanager
def _control(examined: Examined) -> Iterator[Any]:
    """The control database, to look at: SQLite's connection, or a server's with the same `execute`."""
    if on_server(examined, "control"):
        with servers.looking_at(examined) as server:
            yield server
        return
    path = examined.settings.path(behind(examined.settings, "control", "sqlite"))
    if not path.is_file():
        raise Unavailable("control_database_missing", where=str(path))
    if shortened(path):
        raise Tampered("control_database_damaged", where=str(path), detail="shorter than its header says")
    try:
        with looking(path) as connection:
            yield connection
    except sqlite3.Error as error:
        name = getattr(error, "sqlite_errorname", type(error).__name__)
        raise Tampered("control_database_damaged", where=str(path), detail=name) from None


def _model(examined: Examined) -> Model:
    """What is so by the events, as the control plane itself folds them; once for all checks."""
    if examined.models:
        return examined.models[0]
    if on_server(examined, "control"):
        with servers.event_store(examined) as store:
            model = _folded(store)
    else:
        path = examined.settings.path(behind(examined.settings, "control", "sqlite"))
        with _control(examined) as connection:
            store = SqlEventStore(create_engine(f"sqlite:///{path}", creator=lambda: connection))
            model = _folded(store)
            with suppress(sqlite3.Error):
                store.close()
    examined.models.append(model)
    return model


def _folded(store: SqlEventStore) -> Model:
    model = Model()
    while events := store.read(model.position, _PAGE):
        model = fold(model, events)
    return model


CHECKS: Final[Mapping[str, Check]] = {
    "program": examining.program,
    "encodings": examining.encodings,
    "settings": examining.settings,
}
SITE_CHECKS: Final[dict[str, Check]] = {
    "lock": examining.lock,
    "folders": examining.folders,
    "owners": examining.owners,
    "keys": examining.keys,
    "keys.audit": examining.audit_key,
    "checkpoint": examining.checkpoint,
    "clock_file": examining.clock_file,
    "clock": examining.clock,
    "disk_reserve": examining.disk,
    "port": examining.port,
    "engines.control": control_database,
    "engines.log": record_log,
    "commit_marks": commit_marks,
    "engines.state": state,
    "audit_log": audit_log,
    "subject_index": subject_index,
    "engines.policy": policy_engine,
    "seal_key": seal_keys,
    "policies": policies,
    "schemas": schemas,
}


def examine_site(
    root: Path, environment: Mapping[str, str], now_ns: Callable[[], int], goes_on: Callable[[], bool]
) -> Iterator[Finding]:
    """Every finding, in an order that reads well. `goes_on` says whether a long look at a file is still worth it."""
    examined = Examined(root.absolute(), environment, now_ns, goes_on)
    yield from examining.examine(examined, CHECKS)
    if examined.is_site:
        yield from examining.examine(examined, SITE_CHECKS)
