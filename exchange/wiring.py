"""The composition root: settings → engines by URL → one exchange. Engines are named here and nowhere else.

Every command is a process of its own, so what only some of them need is imported where they need it.
"""

import hmac
import shutil
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NoReturn

from exchange.audit.embedded import EmbeddedAuditStore
from exchange.audit.entries import make
from exchange.audit.log import AuditLog, create
from exchange.audit.note import check_origin, open_checkpoint
from exchange.control.control import Control
from exchange.control.database import check_revision, open_engine, upgrade
from exchange.control.model import Dataset, Model, Principal
from exchange.control.store import SqlEventStore
from exchange.control.tokens import new_token
from exchange.errors import Invalid, Refused, Tampered, Unavailable
from exchange.log import RecordLog
from exchange.log.dead_letters import topic_of
from exchange.log.seals import CommitMarks, SealStore
from exchange.names import check
from exchange.plan import Plan, Question
from exchange.policy import Bundle, PolicyEngine
from exchange.publish import Published, PublishParts, PublishTarget, publish, recover, transactions
from exchange.settings import Settings, new_settings, read_settings, write_settings
from exchange.signing.keys import SigningKey, new_secret, new_signing_key, read_secret
from exchange.signing.merkle import leaf_hash
from exchange.signing.pseudonyms import Actors
from exchange.signing.tags import SubjectTagger
from exchange.site import FOLDERS, VKEY, ledger, owned, seal_key
from exchange.source import Adapter
from exchange.state import StateStore

if TYPE_CHECKING:
    from sqlalchemy import Engine

    from adapters.files.adapter import FilesAdapter
    from exchange.access import Gateway
    from exchange.audit.subjects import Sighting, SubjectIndex
    from exchange.contracts.contract import Contract
    from exchange.view.compiled import View

_FIRST_TOKEN_NS: Final = 365 * 86_400 * 1_000_000_000
_SECOND_NS: Final = 1_000_000_000
_PAGE: Final = 1_000


@dataclass(frozen=True, slots=True)
class MadeSite:
    """A new site: the first authority's token, shown this once, and the audit log's public key (vkey)."""

    root: Path
    origin: str
    log_key: str
    token: str


def make_site(
    root: Path,
    *,
    name: str,
    origin: str | None,
    department: str,
    principal: str,
    now_ns: Callable[[], int],
    random_bytes: Callable[[int], bytes],
) -> MadeSite:
    """Makes a site in a folder that is not there or empty. Nothing else makes an audit log.

    Raises:
        Invalid: `site_exists`, or a malformed name: then nothing was made.
    """
    from exchange.control.commands import AddDepartment, Bootstrap

    check("department", department, where="department")
    check("principal", principal, where="principal")
    settings = new_settings(root, {"name": name, "origin": origin or "exchange.invalid/" + random_bytes(8).hex()})
    check_origin(settings.text("origin"))
    if root.exists() and (not root.is_dir() or any(root.iterdir())):
        raise Invalid("site_exists", where=str(root))
    root.mkdir(parents=True, exist_ok=True)
    root = settings.root
    for folder in FOLDERS:
        (root / folder).mkdir(mode=0o700 if folder in {"data", "keys"} else 0o755)
    shutil.copytree(standing("policies"), root / "policies", dirs_exist_ok=True)
    for key in ("subject", "actor", "pseudonym"):
        new_secret(settings.secret_file(f"keys.{key}"), random_bytes)
    signer = new_signing_key(settings.secret_file("keys.audit"))
    seal = new_signing_key(seal_key(root, department))
    token, identity, digest = new_token(random_bytes)
    expires = now_ns() + _FIRST_TOKEN_NS
    place = AddDepartment(department, department, department, "000000", None, None, "extranet", seal.public.hex())
    with owned(root, "exchange init", now_ns()), ExitStack() as stack:
        database = _database(settings, stack)
        upgrade(database)
        log_key = create(_audit_store(settings, database), settings.text("origin"), signer, now_ns)
        (root / VKEY).write_text(log_key + "\n", "utf-8")
        audit = AuditLog(_audit_store(settings, database), signer, now_ns)
        stack.callback(audit.close)
        control = Control(SqlEventStore(database), audit, _actors(settings), now_ns)
        control.bootstrap(Bootstrap(place, principal, identity, digest, expires))
    # A crash before this line leaves a folder that is no site: without settings no program opens it.
    write_settings(settings)
    return MadeSite(root, settings.text("origin"), log_key, token)


@contextmanager
def open_exchange(
    root: Path,
    command: str,
    environment: Mapping[str, str],
    now_ns: Callable[[], int],
    random_bytes: Callable[[int], bytes],
) -> Iterator["Exchange"]:
    """The site's exchange for this process alone, recovered from whatever the last one left.

    Raises:
        Invalid: no site, wrong settings or keys. Unavailable: `site_in_use`, an engine is down.
        Tampered: a store is not what was written.
    """
    settings = read_settings(root, environment)
    with ExitStack() as stack:
        stack.enter_context(owned(settings.root, command, now_ns()))
        database = _database(settings, stack)
        check_revision(database)
        signer = SigningKey.load(settings.secret_file("keys.audit"))
        audit = AuditLog(_audit_store(settings, database), signer, now_ns)
        stack.callback(audit.close)
        exchange = Exchange(settings, database, audit, now_ns, random_bytes, stack)
        recover(exchange.publish_parts)
        yield exchange


class Exchange:
    """One site's parts, put together; each engine is opened when it is first needed."""

    def __init__(
        self,
        settings: Settings,
        database: "Engine",
        audit: AuditLog,
        now_ns: Callable[[], int],
        random_bytes: Callable[[int], bytes],
        stack: ExitStack,
    ) -> None:
        self.settings, self.audit = settings, audit
        self._database, self._now_ns, self._random, self._stack = database, now_ns, random_bytes, stack
        self._loaded: str | None = None
        self._deciding = threading.Lock()

    @cached_property
    def actors(self) -> Actors:
        """Names of people in the audit log."""
        return _actors(self.settings)

    @cached_property
    def tagger(self) -> SubjectTagger:
        """Makes subject tags."""
        return SubjectTagger(read_secret(self.settings.secret_file("keys.subject")))

    @cached_property
    def control(self) -> Control:
        """The control plane."""
        return Control(SqlEventStore(self._database), self.audit, self.actors, self._now_ns)

    @cached_property
    def log(self) -> RecordLog:
        """The record log, by the scheme of `engines.log`."""
        from exchange.log.sqlite import SqliteRecordLog

        log = SqliteRecordLog(self.settings.path(_behind(self.settings, "log", "sqlite")))
        self._stack.callback(log.close)
        return log

    @cached_property
    def state(self) -> StateStore:
        """The state, by the scheme of `engines.state`."""
        from exchange.state.sqlite import SqliteStateStore

        state = SqliteStateStore(self.settings.path(_behind(self.settings, "state", "sqlite")))
        self._stack.callback(state.close)
        return state

    @cached_property
    def engine(self) -> PolicyEngine:
        """The policy engine, by the scheme of `engines.policy`, with no bundle loaded."""
        scheme, path = self.settings.engine("policy")
        deadline_s = self.settings.number("policy.deadline_ms") / 1_000
        engine: PolicyEngine
        if scheme == "regorus":
            from exchange.policy.regorus import RegorusEngine

            engine = RegorusEngine(deadline_s)
        elif scheme == "opa":
            from exchange.policy.opa_binary import OpaBinaryEngine

            engine = OpaBinaryEngine(self.settings.path(path), deadline_s)
        else:
            raise Invalid("engine_unknown", where="engines.policy", url=f"{scheme}:{path}")
        self._stack.callback(engine.close)
        return engine

    @cached_property
    def publish_parts(self) -> PublishParts:
        """What the PUBLISH path is made of."""
        transaction = transactions(self._database)
        return PublishParts(
            log=self.log,
            seals=SealStore(transaction),
            marks=CommitMarks(transaction),
            transaction=transaction,
            audit=self.audit,
            tagger=self.tagger,
            now_ns=self._now_ns,
            batch_records=self.settings.number("publish.batch_records"),
        )

    @cached_property
    def gateway(self) -> "Gateway":
        """The ACCESS path, as one run of this process."""
        from exchange.access import Gateway, Parts
        from exchange.audit.runs import GatewayRuns

        runs = GatewayRuns(self.settings.path("data/gateway.json"), self.audit, self._now_ns)
        return Gateway(
            Parts(
                control=self.control,
                decide=self.decide,
                view=self.view,
                log=self.log,
                state=self.state,
                audit=self.audit,
                committed=self.publish_parts.marks.committed,
                members=self.control.members,
                start_run=runs.start,
                tagger=self.tagger,
                actors=self.actors,
                now_ns=self._now_ns,
                random_bytes=self._random,
                release_records=self.settings.number("access.release_records"),
                in_flight=self.settings.number("access.in_flight"),
                plan_ns=self.settings.number("access.plan_seconds") * _SECOND_NS,
            )
        )

    def decide(self, question: Question, model: Model) -> Plan:
        """The plan for a question whose facts are of this model, under the model's active policy revision.

        Without one, or with one that fails, it is a refusal. All its epochs are the model's: what has changed since
        ends the plan.
        """
        from exchange.policy.decide import decide

        with self._deciding:  # so that another thread's policy is not asked in its place
            self._load(model)
            plan = decide(self.engine, question, model.active_policy or "", model.epochs.get("policy", 0))
        if not plan.allowed:
            return plan
        # A revised contract may narrow what is shared, so it ends plans like a revoked agreement does.
        dataset = f"dataset/{plan.dataset}"
        return replace(plan, epochs={**plan.epochs, dataset: model.epochs.get(dataset, 0)})

    def _load(self, model: Model) -> None:
        """Makes the model's policy the engine's; one that this engine cannot run leaves it without any."""
        active = model.active_policy
        if active == self._loaded:
            return
        self.engine.load(None)
        self._loaded = None
        if active is not None:
            document = self.control.document(active)
            try:
                self.engine.load(Bundle(document["modules"], document["codes"]))
            except (Invalid, Unavailable):
                return
            self._loaded = active

    def view(self, plan: Plan, model: Model) -> "View":
        """A plan compiled for its dataset as it is in this model, with the schemas, keys and sets that it needs."""
        from exchange.view.compiled import compile_view
        from exchange.view.rows import needed_sets

        dataset = model.dataset(plan.dataset)
        schemas = {schema.fingerprint: schema for schema in self._contract(dataset).schemas}
        if not schemas.keys() >= {plan.schema, *(one.fingerprint for one in dataset.schemas)}:
            raise Tampered("document_damaged", digest=dataset.contract)
        scopes = {str(one.mask["scope"]) for one in plan.fields if one.mask["kind"] == "pseudonym"}
        return compile_view(
            plan,
            schemas[plan.schema],
            writers={one.schema_id: schemas[one.fingerprint] for one in dataset.schemas},
            keys={scope: self._scope_key(scope) for scope in scopes},
            sets={name: self.control.members(name) for name in needed_sets(plan.rows)},
        )

    def contract(self, dataset: str) -> "Contract":
        """The dataset's contract as it was accepted."""
        return self._contract(self.control.model().dataset(dataset))

    def _contract(self, dataset: Dataset) -> "Contract":
        from exchange.contracts.contract import Contract

        return Contract.from_document(self.control.document(dataset.contract))

    def files_adapter(self, config: Path, files: Sequence[Path]) -> "tuple[FilesAdapter, str]":
        """The files adapter that a TOML file describes, and the dataset that it feeds."""
        from adapters.files.adapter import FilesAdapter
        from adapters.files.config import load_config

        read = load_config(config)
        place = ledger(self.settings.root, check("source", read.source))
        place.parent.mkdir(mode=0o700, exist_ok=True)
        return FilesAdapter(read, files, place), read.dataset

    def publish(
        self, who: Principal, adapter: "Adapter", name: str, on_batch: "Callable[[Published], None]"
    ) -> Published:
        """Publishes a dataset as a system or steward of the department that owns it.

        Raises:
            Refused: `not_the_owner`, `role_required`, audited.
        """
        dataset = self.control.model().dataset(name)
        if who.department != dataset.department:
            self.refuse(who, "publish", Refused("not_the_owner", where=name, department=dataset.department), name)
        if not who.roles & {"department_system", "steward"}:
            self.refuse(who, "publish", Refused("role_required", where=name, roles="department_system, steward"), name)
        from exchange.contracts.check import Checker

        contract = self.contract(name)
        partitions = self.log.topics().get(name) or self.settings.number("publish.partitions")
        target = PublishTarget(
            name=name,
            department=dataset.department,
            checker=Checker(contract, contract.schemas[-1]),
            fingerprint=dataset.current.fingerprint,
            schema_id=dataset.current.schema_id,
            dead_schema_id=dataset.dead_schema_id,
            partitions=partitions,
            subject_type=dataset.subject_type,
            key=self._seal_key(dataset.department),
            delegate=True,
            actor=self.actors.name(who.id),
        )
        return publish(adapter, target, self.publish_parts, on_batch=on_batch)

    def dead_letters(self, who: Principal, name: str) -> Iterator[dict[str, Any]]:
        """The dataset's dead letters, for its own department."""
        dataset = self.control.model().dataset(name)
        if who.department != dataset.department:
            self.refuse(who, "dead_letters", Refused("not_the_owner", where=name, department=dataset.department), name)
        from exchange.avro.records import Codec
        from exchange.avro.schema import from_document
        from exchange.control.catalogue import DEAD_LETTER

        codec, topic, position = Codec(from_document(DEAD_LETTER)), topic_of(name), 0
        until = self.publish_parts.marks.committed(topic, 0)
        while position < until:
            stored = self.log.read(topic, 0, position, _PAGE).up_to(until)
            yield from (codec.decode(value) for value in stored.values)
            position = stored.next_position

    def refuse(self, who: Principal | None, action: str, refusal: Refused, dataset: str | None = None) -> NoReturn:
        """Writes the refusal of something that is no question into the audit log, then raises it."""
        entry = make(
            "refusal",
            self._random(16),
            self._now_ns(),
            reasons=[refusal.code],
            consumer=who.department if who else None,
            actor=self.actors.name(who.id) if who else None,
            action=action,
            dataset=dataset,
        )
        self.audit.append(entry)
        raise refusal

    @cached_property
    def subjects(self) -> "SubjectIndex":
        """The index that answers who saw a subject; brought up to date by whoever asks."""
        from exchange.audit.subjects import SubjectIndex

        index = SubjectIndex(self.settings.path("data/subjects.db"))
        self._stack.callback(index.close)
        return index

    def who_saw(self, who: Principal, tag: bytes) -> "list[tuple[Sighting, bool]]":
        """Every release and refusal that concerns a subject, each with whether its inclusion proof holds.

        The auditor's question is in a checkpoint before it is answered.
        """
        vkey = self.settings.path(VKEY).read_text("utf-8").strip()
        checkpoint = open_checkpoint(self.audit.checkpoint(), vkey)
        size, root = checkpoint.size, checkpoint.root
        self.subjects.follow(self.log.topics(), self._read_tags, self.audit)
        sightings = [one for one in self.subjects.who_saw(tag) if one.index < size]
        entry = make(
            "audit_query",
            self._random(16),
            self._now_ns(),
            actor=self.actors.name(who.id),
            department=who.department,
            query="who_saw",
            tags=[tag],
            size=size,
            results=len(sightings),
        )
        self.audit.append(entry)
        return [(one, self._proved(one.index, size, root)) for one in sightings]

    def _proved(self, index: int, size: int, root: bytes) -> bool:
        from exchange.audit.tiles import included

        return included(leaf_hash(self.audit.leaf(index)), index, size, self.audit.proof(index, size), root)

    def _read_tags(
        self, topic: str, partition: int, position: int, limit: int
    ) -> tuple[Sequence[bytes], Sequence[int], int]:
        stored = self.log.read(topic, partition, position, limit)
        return stored.tags, stored.positions, stored.next_position

    def tags(self, subject_type: str, ids: Sequence[str]) -> tuple[str, ...]:
        """The tags of these subjects, in hex; their ids go no further."""
        return tuple(sorted({tag.hex() for tag in self.tagger.tags(subject_type, ids)}))

    def delegated_seal_key(self, department: str) -> str:
        """The public key with which the exchange seals for a department; made when it is not there."""
        file = seal_key(self.settings.root, check("department", department))
        # A key that a crash left before its department was recorded is taken up again.
        key = SigningKey.load(file) if file.exists() else new_signing_key(file)
        return key.public.hex()

    def _seal_key(self, department: str) -> SigningKey:
        key = SigningKey.load(seal_key(self.settings.root, department))
        if key.public.hex() != self.control.model().departments[department].seal_key:
            raise Invalid(
                "seal_key_differs", where=str(seal_key(self.settings.root, department)), department=department
            )
        return key

    def _scope_key(self, scope: str) -> bytes:
        root = read_secret(self.settings.secret_file("keys.pseudonym"))
        return hmac.digest(root, b"pseudonym\0" + scope.encode(), "sha256")[:16]


def standing(name: str) -> Path:
    """A folder that the exchange ships: beside this package in a checkout, inside it in a wheel."""
    shipped = Path(__file__).parent / "standing" / name
    return shipped if shipped.is_dir() else Path(__file__).parent.parent / name


def _database(settings: Settings, stack: ExitStack) -> "Engine":
    database = open_engine("sqlite:///" + str(settings.path(_behind(settings, "control", "sqlite"))))
    stack.callback(database.dispose)
    return database


def _audit_store(settings: Settings, database: "Engine") -> EmbeddedAuditStore:
    return EmbeddedAuditStore(settings.path(_behind(settings, "audit", "file")), database)


def _actors(settings: Settings) -> Actors:
    return Actors(read_secret(settings.secret_file("keys.actor")))


def _behind(settings: Settings, engine: str, scheme: str) -> str:
    """What stands behind an engine's scheme; `Invalid("engine_unknown")` for a scheme that nothing serves."""
    found, rest = settings.engine(engine)
    if found != scheme:
        raise Invalid("engine_unknown", where=f"engines.{engine}", url=f"{found}:{rest}")
    return rest
