"""One site's exchange: its three paths over its engines, and what its people ask besides."""

import hmac
import itertools
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NoReturn

from exchange.audit.entries import make
from exchange.audit.log import AuditLog
from exchange.audit.note import open_checkpoint
from exchange.control import policies
from exchange.control.database import check_revision
from exchange.control.model import Dataset, Model, Principal
from exchange.errors import Invalid, Refused, Tampered, Unavailable
from exchange.log.dead_letters import topic_of
from exchange.log.server import SCHEME
from exchange.names import check, digest
from exchange.plan import Plan, Question
from exchange.policy import Bundle
from exchange.publish import Fates, Published, PublishTarget, publish, recover
from exchange.settings import Settings, read_settings
from exchange.signing.keys import BundleKey, SigningKey, new_signing_key, public_of, read_secret
from exchange.signing.merkle import leaf_hash
from exchange.signing.seals import Seal
from exchange.site import BUNDLE_KEY, BUNDLE_TOKEN, VKEY, owned, seal_key
from exchange.source import Adapter
from exchange.wiring.clock import clock_of
from exchange.wiring.engines import Engines, audit_log_of, database_of

if TYPE_CHECKING:
    from sqlalchemy import Engine

    from exchange.access import Gateway
    from exchange.audit.runs import Ends
    from exchange.audit.subjects import Sighting, SubjectIndex
    from exchange.contracts.contract import Contract
    from exchange.policy.opa_bundle import Archive
    from exchange.view.compiled import View
    from exchange.wiring.mirror import ControlMirror

_SECOND_NS: Final = 1_000_000_000
_SEAL_NS: Final = 300 * _SECOND_NS  # by how much the clock of who sealed elsewhere may differ
_PAGE: Final = 1_000
_CONTRACTS: Final = 256  # kept in memory; beyond it all are forgotten and read again when needed


@contextmanager
def open_exchange(
    root: Path,
    command: str,
    environment: Mapping[str, str],
    now_ns: Callable[[], int],
    random_bytes: Callable[[int], bytes],
) -> Iterator["Exchange"]:
    """The site's exchange for this process alone, recovered from whatever the last one left. Its clock is `now_ns`, or
    what its settings name in the place of that (`exchange.wiring.clock`).

    Raises:
        Invalid: no site, wrong settings or keys; `origin_differs`: the settings are another log's.
        Unavailable: `site_in_use`, `clock_unreadable`, an engine is down.
        Tampered: a store is not what was written.
    """
    settings = read_settings(root, environment)
    now_ns = clock_of(settings, now_ns)
    with ExitStack() as stack:
        announce = stack.enter_context(owned(settings.root, command, now_ns()))
        database = database_of(settings, stack)
        check_revision(database)
        audit = audit_log_of(settings, database, now_ns)
        stack.callback(audit.close)
        exchange = Exchange(settings, database, audit, now_ns, random_bytes, stack)
        exchange.announce = announce
        recover(exchange.publish_parts)
        yield exchange


class Exchange(Engines):
    """One site's parts, put together."""

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
        self.announce: Callable[[str], None] = lambda _socket: None
        self._loaded: str | None = None
        self._deciding, self._asked = threading.Condition(), 0
        self._testing, self._following, self._keys = threading.Lock(), threading.Lock(), threading.Lock()
        self.sealing = threading.Lock()
        self._packing = threading.Lock()
        self._packed: tuple[list[str], Archive] | None = None
        self._free: list[Gateway] = []
        self._contracts: dict[str, Contract] = {}
        self._gateways = itertools.count(1)
        self._partitions: dict[str, int] = {}

    @contextmanager
    def lent_gateway(self) -> Iterator["Gateway"]:
        """A gateway for this thread alone, until the end of the block; as many are made as are in use at once."""
        try:
            gateway = self._free.pop()
        except IndexError:
            gateway = self._gateway(next(self._gateways))
        try:
            yield gateway
        finally:
            self._free.append(gateway)

    @cached_property
    def gateway(self) -> "Gateway":
        """The ACCESS path, for a process that reads with one thread only."""
        return self._gateway(next(self._gateways))

    @cached_property
    def mirror(self) -> "ControlMirror | None":
        """The mirror of the control events, where the record log is on Kafka; nothing is mirrored before it runs."""
        from exchange.wiring.mirror import mirror_of

        return mirror_of(self.log, self.control, self._database, self.settings)

    def _gateway(self, number: int) -> "Gateway":
        """The ACCESS path; each has runs of its own in the audit log, by its name."""
        from exchange.access import Gateway, Parts
        from exchange.audit.runs import GATEWAY, GatewayRuns

        first = self._gateway_name(GATEWAY)
        name = first if number == 1 else f"{first}-{number}"
        hint = self.settings.path("data/gateway.json" if number == 1 else f"data/gateway-{number}.json")
        runs = GatewayRuns(hint, self.audit, self.now_ns, name, None if number == 1 else self._ends)
        return Gateway(
            Parts(
                control=self.control,
                decide=self.decide,
                view=self.view,
                log=self.log,
                state=self.state,
                audit=self.audit,
                committed=self.publish_parts.marks.ends,
                partitions=self.partitions,
                members=self.control.members,
                start_run=runs.start,
                tagger=self.tagger,
                actors=self.actors,
                now_ns=self.now_ns,
                random_bytes=self.random_bytes,
                release_records=self.settings.number("access.release_records"),
                in_flight=self.settings.number("access.in_flight"),
                plan_ns=self.settings.number("access.plan_seconds") * _SECOND_NS,
                room=self.room,
            )
        )

    @cached_property
    def _ends(self) -> "Ends":
        """Of the gateways beside the first, which looks for its own last run from its hint on."""
        from exchange.audit.runs import Ends

        return Ends(self.audit)

    def _gateway_name(self, plain: str) -> str:
        """The name of this site's gateways in the log: one that other folders with the same log do not have."""
        if self.settings.engine("audit")[0] != SCHEME:
            return plain
        file, folder = self.settings.path("data/gateway.id"), str(self.settings.path("data").stat().st_ino)
        try:
            name, made_in = [*file.read_text("ascii").split(), folder][:2]
        except (OSError, ValueError):
            name, made_in = "", ""
        if made_in != folder:  # none yet; or a copied folder, which would go on with the runs of another gateway
            name, draft = self.random_bytes(4).hex(), file.with_suffix(".new")
            draft.write_text(f"{name} {folder}", "ascii")
            draft.replace(file)
        return f"{plain}-{name}"

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

    def opened_all(self) -> None:
        """Opens every engine now: whoever serves many threads has none of them opened twice, and learns of a broken
        one at the start.
        """
        opened = (
            self.control,
            self.log,
            self.state,
            self.engine,
            self.publish_parts,
            self.subjects,
            self.tagger,
            self._ends,
        )
        with self._deciding:
            self._load(self.control.model())
        del opened

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

    def partitions(self, topic: str, ends: Mapping[int, int] | None = None) -> int:
        """How many partitions a dataset's topic has; 0 where there is none. The brokers are asked only where a record
        is committed (`ends`, see `CommitMarks.ends`) in one that is not known here yet.
        """
        ends = self.publish_parts.marks.ends(topic) if ends is None else ends
        known = self._partitions.get(topic, 0)
        if known <= max(ends, default=0):
            known = self._partitions[topic] = self.log.topics().get(topic, 0)
        return known

    def contract(self, dataset: str) -> "Contract":
        """The dataset's contract as it was accepted."""
        return self._contract(self.control.model().dataset(dataset))

    def _contract(self, dataset: Dataset) -> "Contract":
        from exchange.contracts.contract import Contract

        known = self._contracts.get(dataset.contract)
        if known is None:
            if len(self._contracts) >= _CONTRACTS:
                self._contracts.clear()
            known = Contract.from_document(self.control.document(dataset.contract))
            self._contracts[dataset.contract] = known  # a digest stands for the same contract for ever
        return known

    def mark(self, who: Principal, name: str, source: str) -> int:
        """The highest sequence taken from a source of events, for the department that owns the dataset."""
        self._own_source(who, self.owned_by(who, name, "mark"), "mark", source)
        return self.log.mark(source)

    def publish(
        self,
        who: Principal,
        adapter: "Adapter",
        name: str,
        on_batch: "Callable[[Published], None]",
        own_key: Path | Seal | None = None,
        on_fates: "Callable[[Fates], None] | None" = None,
    ) -> Published:
        """Publishes a dataset as a system or steward of the department that owns it.

        `own_key` is the file of the department's own seal key, or a seal that it made with it over all that the adapter
        gives, in one batch; without one the exchange signs as its delegate. For the callbacks see
        `exchange.publish.publish`.

        Raises:
            Refused: `not_the_owner`, `role_missing`, audited.
            Invalid: `seal_key_differs`: not the key that the department is recorded with; `seal_differs`.
        """
        dataset = self.for_publisher(who, name)
        self._own_source(who, dataset, "publish", adapter.source)
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
            key=self._sealing(dataset.department, own_key),
            delegate=own_key is None,
            actor=self.actors.name(who.id),
        )
        return publish(adapter, target, self.publish_parts, on_batch=on_batch, on_fates=on_fates)

    def for_publisher(self, who: Principal, name: str) -> Dataset:
        """The dataset, for a system or steward of the department that owns it; anybody else is refused, audited."""
        dataset = self.owned_by(who, name, "publish")
        if not who.roles & {"department_system", "steward"}:
            self.refuse(who, "publish", Refused("role_missing", where=name, roles="department_system / steward"), name)
        return dataset

    def dead_letters(self, who: Principal, name: str, position: int = 0) -> Iterator[tuple[int, dict[str, Any]]]:
        """The dataset's dead letters from a position on, each with the position after it, for its own department."""
        self.owned_by(who, name, "dead_letters")
        from exchange.avro.records import Codec
        from exchange.avro.schema import from_document
        from exchange.control.catalogue import DEAD_LETTER

        codec, topic = Codec(from_document(DEAD_LETTER)), topic_of(name)
        until = self.publish_parts.marks.committed(topic, 0)
        while position < until:
            stored = self.log.read(topic, 0, position, _PAGE).up_to(until)
            for at, value in zip(stored.positions, stored.values, strict=True):
                yield at + 1, codec.decode(value)
            position = stored.next_position

    def withheld(self, who: Principal, name: str, start: int = 0) -> Iterator[dict[str, Any]]:
        """The releases of a dataset that left out records which could not be read as the agreement's schema, or had no
        result under a mask: for the department that published them, to mend them. Which ones they are stands among the
        excluded positions of each release's entry. `start` is the index of the first entry that is looked at.
        """
        self.owned_by(who, name, "withheld")
        told = ("time_ns", "agreement", "partition", "lo", "hi", "withheld", "schema")
        for index, kind, body in self.audit.entries(start, self.audit.size):
            if kind == "release" and body["dataset"] == name and body["withheld"]:
                yield {"index": index, **{key: body[key] for key in told}}

    def _own_source(self, who: Principal, dataset: Dataset, action: str, source: str) -> None:
        """A source is of the department that its name begins with: nobody else moves its mark."""
        if check("source", source).partition("/")[0] != dataset.department:
            refusal = Refused("source_not_own", where=source, department=dataset.department)
            self.refuse(who, action, refusal, dataset.name)

    def owned_by(self, who: Principal, name: str, action: str) -> Dataset:
        """The dataset, for its own department; anybody else is refused, and that is audited."""
        dataset = self.control.model().dataset(name)
        if who.department != dataset.department:
            self.refuse(who, action, Refused("not_the_owner", where=name, department=dataset.department), name)
        return dataset

    def refuse(self, who: Principal | None, action: str, refusal: Refused, dataset: str | None = None) -> NoReturn:
        """Writes the refusal of something that is no question into the audit log, then raises it."""
        entry = make(
            "refusal",
            self.random_bytes(16),
            self.now_ns(),
            reasons=[refusal.code],
            consumer=who.department if who else None,
            actor=self.actors.name(who.id) if who else None,
            action=action,
            dataset=dataset,
        )
        self.audit.append(entry)
        raise refusal

    def who_saw(self, who: Principal, tag: bytes) -> "list[tuple[Sighting, bool]]":
        """Every release and refusal that concerns a subject, each with whether its inclusion proof holds.

        The auditor's question is in a checkpoint before it is answered. Anybody else is refused, and that is audited.
        """
        if "auditor" not in who.roles:
            self.refuse(who, "audit who-saw", Refused("auditor_required"))
        vkey = self.settings.path(VKEY).read_text("utf-8").strip()
        checkpoint = open_checkpoint(self.audit.checkpoint(), vkey)
        size, root = checkpoint.size, checkpoint.root
        sightings = [one for one in self.sightings(tag) if one.index < size]
        self.note_query(who, "who_saw", tags=[tag], size=size, results=len(sightings))
        return [(one, self._proved(one.index, size, root)) for one in sightings]

    def sightings(self, tag: bytes) -> "list[Sighting]":
        """What the index has of a subject, up to now; whoever tells it to somebody writes the question down."""
        return self.followed().who_saw(tag)

    def followed(self) -> "SubjectIndex":
        """The index over both logs, brought up to where they are."""
        self.room()  # it grows with them
        with self._following:
            self.subjects.follow(self.log.topics(), self.read_tags, self.audit)
        return self.subjects

    def note_query(
        self,
        who: Principal,
        query: str,
        *,
        parameters: Mapping[str, Any] | None = None,
        tags: Sequence[bytes] = (),
        size: int | None = None,
        results: int | None = None,
    ) -> int:
        """Writes down that somebody asked something about records or accesses; in a checkpoint on return, so that it
        is there before the answer is. Gives the index of the entry.
        """
        entry = make(
            "audit_query",
            self.random_bytes(16),
            self.now_ns(),
            actor=self.actors.name(who.id),
            department=who.department,
            query=query,
            parameters_digest=digest(parameters) if parameters else None,
            tags=list(tags),
            size=size,
            results=results,
        )
        return self.audit.append(entry).index

    def _proved(self, index: int, size: int, root: bytes) -> bool:
        from exchange.audit.tiles import included

        return included(leaf_hash(self.audit.leaf(index)), index, size, self.audit.proof(index, size), root)

    def read_tags(
        self, topic: str, partition: int, position: int, limit: int
    ) -> tuple[Sequence[bytes], Sequence[int], int]:
        """Tags of records from a position on, their positions, and where to go on."""
        stored = self.log.read(topic, partition, position, limit)
        return stored.tags, stored.positions, stored.next_position

    def tags(self, subject_type: str, ids: Sequence[str]) -> tuple[str, ...]:
        """The tags of these subjects, in hex; their ids go no further."""
        return tuple(sorted({tag.hex() for tag in self.tagger.tags(subject_type, ids)}))

    def delegated_seal_key(self, department: str) -> str:
        """The public key with which the exchange seals for a department; made when it is not there."""
        return self._delegated(check("department", department), None).public.hex()

    def _delegated(self, department: str, recorded: str | None) -> SigningKey:
        """The key in its file; where there is none, one made of the department's name and a secret that all gateways
        of this exchange have: whichever of them a department was added through, the others have its key as well.
        """
        file = seal_key(self.settings.root, department)
        with self._keys:  # of two who add one department at once, both get the same key
            if not file.exists():
                root = read_secret(self.settings.secret_file("keys.pseudonym"))
                seed = hmac.digest(root, b"seal\0" + department.encode(), "sha256")
                if recorded in {None, public_of(seed).hex()}:
                    # A key that a crash leaves before its department is recorded is taken up again.
                    return new_signing_key(file, seed)
            return SigningKey.load(file)

    def _sealing(self, department: str, own_key: Path | Seal | None) -> SigningKey | Seal:
        """What a batch of the department is sealed with, or was: by the key that the department is recorded with."""
        recorded = self.control.model().departments[department].seal_key
        if own_key is None:
            key: SigningKey | Seal = self._delegated(department, recorded)
        else:
            key = SigningKey.load(own_key) if isinstance(own_key, Path) else own_key
        if key.public.hex() != recorded:
            where = "" if isinstance(own_key, Seal) else str(own_key or seal_key(self.settings.root, department))
            raise Invalid("seal_key_differs", where=where, department=department)
        if isinstance(key, Seal) and abs(key.time_ns - self.now_ns()) > _SEAL_NS:
            raise Invalid("seal_differs", where=key.dataset, detail="time")
        return key

    def _scope_key(self, scope: str) -> bytes:
        root = read_secret(self.settings.secret_file("keys.pseudonym"))
        return hmac.digest(root, b"pseudonym\0" + scope.encode(), "sha256")[:16]
