"""One site's exchange: its three paths over its engines, and what its people ask besides."""

import hmac
import itertools
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from exchange.audit.log import AuditLog
from exchange.control.database import check_revision
from exchange.control.model import Dataset, Model, Principal
from exchange.errors import Invalid, Refused, Tampered
from exchange.log.dead_letters import topic_of
from exchange.log.server import SCHEME
from exchange.names import check
from exchange.plan import Plan
from exchange.publish import Fates, Published, PublishTarget, publish, recover
from exchange.settings import Settings, read_settings
from exchange.signing.keys import SigningKey, new_signing_key, public_of, read_secret
from exchange.signing.seals import Seal
from exchange.site import owned, seal_key
from exchange.source import Adapter
from exchange.wiring.clock import clock_of
from exchange.wiring.deciding import Deciding
from exchange.wiring.engines import audit_log_of, database_of

if TYPE_CHECKING:
    from sqlalchemy import Engine

    from exchange.access import Gateway
    from exchange.audit.runs import Ends
    from exchange.contracts.contract import Contract
    from exchange.view.compiled import View
    from exchange.wiring.mirror import ControlMirror
    from exchange.wiring.witnessing import Witnessing

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


class Exchange(Deciding):
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
        self._keys = threading.Lock()
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
            self._ends.keep_up(self.audit.size_seen)

    @cached_property
    def gateway(self) -> "Gateway":
        """The ACCESS path, for a process that reads with one thread only."""
        return self._gateway(next(self._gateways))

    @cached_property
    def mirror(self) -> "ControlMirror | None":
        """The mirror of the control events, where the record log is on Kafka; nothing is mirrored before it runs."""
        from exchange.wiring.mirror import mirror_of

        return mirror_of(self.log, self.control, self.database, self.settings)

    @cached_property
    def witnessing(self) -> "Witnessing | None":
        """The witnesses of the audit log, where the site has any; they are not asked before it runs."""
        from exchange.wiring.witnessing import witnessing_of

        return witnessing_of(self.settings, self.audit, self.now_ns)

    def _gateway(self, number: int) -> "Gateway":
        """The ACCESS path; each has runs of its own in the audit log, by its name."""
        from exchange.access import Gateway, Parts
        from exchange.audit.runs import GATEWAY, GatewayRuns

        first = self._gateway_name(GATEWAY)
        name = first if number == 1 else f"{first}-{number}"
        hint = self.settings.path("data/gateway.json" if number == 1 else f"data/gateway-{number}.json")
        runs = GatewayRuns(hint, self.audit, self.now_ns, name, self._ends)
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
        from exchange.audit.runs import Ends

        key = read_secret(self.settings.secret_file("keys.actor"))
        ends = Ends(self.audit, self.settings.path("data/runs.json"), key)
        self._stack.callback(ends.close)
        return ends

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
        self.load_policy()
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
