"""Revokes under load through two gateways and one sequencer: real processes on Kafka and PostgreSQL.

`play` makes a small exchange, starts two `exchange serve` and one `exchange sequence`, lets consumers look up and read
through both gateways without a pause while agreements are made, approved and revoked through either, publishes through
both meanwhile, and has the exported log judged by `revokes`.
"""

import json
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any

from tests import services, simulator
from tests.api.serving import Served, served
from tests.simulator import AUTHORITY, CHECKER, DATASET, MEMBERS, OTHERS, PROVIDER, SYSTEM, Site
from tests.test_simulator_postgres import settings_for
from tests.torture.client import Asked, Client, released
from tests.torture.revokes import Got, Granted, Told, judge
from tests.torture.servers.stack import free_port
from tests.torture.servers.town import OpaServer

CONSUMERS = 12  # at the least: one for every twenty revokes, for a question names all that its consumer ever had
GOVERNORS = 6
READERS = 8
SOURCES = ("ny.renshe/first", "ny.renshe/second", "ny.renshe/both")
_CASE = "case-of-all"
_SEEN_S = 20.0  # how long a governor waits for both gateways to release before it revokes
_BATCH = 5


@dataclass
class Town:
    """The exchange: its first folder, the second gateway's, both served; the tokens of its people."""

    site: Site
    gateways: list[Served]
    tokens: dict[str, str]
    consumers: list[str]

    def client(self) -> Client:
        """A client for one thread."""
        return Client([one.port for one in self.gateways], self.tokens)


@contextmanager
def town(folder: Path, settings: dict[str, str], count: int = CONSUMERS, opa: bool = False) -> Iterator[Town]:
    """Two gateways and a sequencer on the servers that the settings name, each a process of its own; `opa`: and an OPA
    server, which both ask.
    """
    (folder / "first").mkdir()
    site = simulator.build(folder / "first", **settings)
    consumers = [f"ny.d{number:03}" for number in range(count)]
    _register(site, consumers)
    other = Site(folder / "second")
    other.folder.mkdir()
    _must(site.run("init", str(other.root), "--gateway-of", str(site.root)))
    tokens = {file.stem: file.read_text("utf-8").strip() for file in (site.folder / "tokens").glob("*.token")}
    with ExitStack() as stack:
        stack.enter_context(sequencing(site))
        more: dict[str, object] = {"policy_deadline_ms": 20_000}
        port = free_port()
        if opa:
            more["engines_policy"] = f"opa+http://127.0.0.1:{port}"
        gateways = [stack.enter_context(served(one, audit_sequencer="never", **more)) for one in (site, other)]
        if opa:
            stack.enter_context(_opa_server(site, gateways[0].port, folder / "opa", port))
        yield Town(site, gateways, tokens, consumers)


@contextmanager
def sequencing(site: Site) -> "Iterator[subprocess.Popen[str]]":
    """`exchange sequence` of the site, once it has said what it does."""
    process = subprocess.Popen(
        [sys.executable, "-m", "exchange", "sequence"],
        env=site.environment(None),
        stdin=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stderr is not None
    try:
        line = process.stderr.readline()
        assert line.startswith("sequencer of "), line
        yield process
    finally:
        if process.poll() is None:
            process.kill()
        process.wait()
        process.stderr.close()


@contextmanager
def _opa_server(site: Site, gateway: int, folder: Path, port: int) -> Iterator[None]:
    """An OPA server that has the policies, by the gateway at a port."""
    words = ("policy", "opa-config", str(folder), "--url", f"http://127.0.0.1:{gateway}")
    _must(site.run(*words, more={"EXCHANGE_ENGINES_POLICY": f"opa+http://127.0.0.1:{port}"}))
    server = OpaServer(services.opa(), folder, port)
    try:
        server.start()
        yield
    finally:
        server.kill()


def _must(ran: simulator.Ran) -> None:
    if ran.code:
        raise AssertionError(ran.stderr)


def _register(site: Site, names: list[str]) -> None:
    """The consumers, each with a steward who asks and a system that reads."""
    departments = [{"id": one, "title_zh": one, "title_en": one, "region": "431126"} for one in names]
    roles = {"steward": "steward", "reader": "department_system"}
    principals = [
        {"id": f"{who}.{one}", "department": one, "roles": [role]} for one in names for who, role in roles.items()
    ]
    file = site.folder / "consumers.json"
    file.write_text(json.dumps({"departments": departments, "principals": principals}), "utf-8")
    _must(site.run("register", str(file), "--tokens", str(site.folder / "tokens"), who=AUTHORITY))


def terms(of: str) -> dict[str, Any]:
    """What a consumer asks for."""
    now, day = time.time_ns(), simulator.DAY_NS
    plain = {**simulator.terms(consumer=of), "not_before_ns": now - day, "expires_ns": now + 30 * day}
    return {name: value for name, value in plain.items() if name not in {"from", "until"}}


@dataclass
class Play:
    """Who does what until so many agreements were revoked; what all were told."""

    town: Town
    revokes: int
    seed: str
    on_revoke: Callable[[], object]
    until: float
    told: Told = field(default_factory=Told)
    faults: list[BaseException] = field(default_factory=list)
    over: threading.Event = field(default_factory=threading.Event)
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _left: int = 0
    _seen: dict[tuple[str, int], int] = field(default_factory=dict)

    def run(self) -> None:
        """Plays; raises what went wrong in any thread."""
        self._left = self.revokes
        client = self.town.client()
        client.done(0, CHECKER, "POST", "/v1/cases", {
            "id": _CASE, "title": "synthetic", "ids": list(MEMBERS),
            "departments": self.town.consumers,
        })  # fmt: skip
        client.close()
        governors = [self._thread(self._govern, number) for number in range(GOVERNORS)]
        others = [self._thread(self._consume, number) for number in range(READERS)]
        others += [self._thread(self._publish, number) for number in range(4)]
        for thread in governors:
            thread.join()
        self.over.set()
        for thread in others:
            thread.join()
        for fault in self.faults:
            raise fault

    def _thread(self, work: Callable[[int, Random, Client], None], number: int) -> threading.Thread:
        def guarded() -> None:
            client = self.town.client()
            try:
                work(number, Random(f"{self.seed}.{work.__name__}.{number}"), client)
            except BaseException as fault:  # noqa: BLE001 - whatever it is, the test shows it
                self.faults.append(fault)
                self.over.set()
            finally:
                client.close()

        thread = threading.Thread(target=guarded)
        thread.start()
        return thread

    def _govern(self, number: int, random: Random, client: Client) -> None:
        """Makes an agreement by three people, lets both gateways release under it, revokes it; again."""
        mine = self.town.consumers[number::GOVERNORS]
        while not self.over.is_set():
            with self._lock:
                if self._left <= 0 or time.monotonic() > self.until:
                    return
                self._left -= 1
            # At any time all but one of its consumers have an agreement.
            of = random.choice(mine)
            standing = [one for one in self.told.granted if one.consumer == of and not one.revoked]
            one = standing[0] if standing else self._granted(of, random, client)
            self._await_releases(of)
            self._revoke(one, random, client)
            self._granted(random.choice(mine) if random.random() < 0.2 else of, random, client)
            self.on_revoke()

    def _granted(self, of: str, random: Random, client: Client) -> Granted:
        for one in self.told.granted:
            if one.consumer == of and not one.revoked:
                return one

        def gateway() -> int:
            return random.randrange(2)

        while (
            asked := client.ask(gateway(), f"steward.{of}", "POST", "/v1/agreements", {"terms": terms(of)})
        ).status == 503:
            pass  # what may be there now nobody endorses
        name = str(asked.json["about"])
        endorsed = {"verdict": "endorse", "note": "needed"}
        self._command(client, gateway(), PROVIDER, name, "review", "endorsed", endorsed)
        made = Granted(of, name, time.monotonic())
        self.told.granted.append(made)
        self._command(client, gateway(), AUTHORITY, name, "approve", "active")
        made.approved = time.monotonic()
        return made

    def _await_releases(self, of: str) -> None:
        """Until each gateway has released something more to this consumer."""
        before, until = dict(self._seen), time.monotonic() + _SEEN_S
        while not self.over.is_set() and time.monotonic() < until:
            if all(self._seen.get((of, one), 0) > before.get((of, one), 0) for one in range(2)):
                return
            time.sleep(0.002)

    def _revoke(self, one: Granted, random: Random, client: Client) -> None:
        one.through = random.randrange(2)
        one.revoking = time.monotonic()
        index = self._command(client, one.through, PROVIDER, one.agreement, "revoke", "revoked", {"reason": "over"})
        one.revoked, one.index = time.monotonic(), index

    def _command(
        self, client: Client, gateway: int, who: str, agreement: str, action: str, becomes: str, body: object = None
    ) -> int:
        """Does it; the index of its entry. An answer of 503 says that it may have been done: then it is looked at, and
        the index is -1.
        """
        target = f"/v1/agreements/{agreement}"
        while (answer := client.ask(gateway, who, "POST", f"{target}/{action}", body)).status == 503:
            if client.done(gateway, who, "GET", target)["status"] == becomes:
                return -1
        if answer.status != 200:
            raise AssertionError(f"{action} of {agreement}: {answer.status} {answer.body!r}")
        return int(answer.json["index"])

    def _consume(self, _number: int, random: Random, client: Client) -> None:
        """Asks for every consumer in turn, through either gateway, without a pause."""
        while not self.over.is_set():
            of, gateway = random.choice(self.town.consumers), random.randrange(2)
            who, asked = f"reader.{of}", {"purpose": simulator.PURPOSE, "case": _CASE}
            if random.random() < 0.8:
                target, body = f"/v1/datasets/{DATASET}/lookup", {**asked, "ids": [random.choice(MEMBERS)]}
                answer = client.ask(gateway, who, "POST", target, body)
            else:
                target = f"/v1/datasets/{DATASET}/records?purpose={asked['purpose']}&case={_CASE}&limit=3"
                answer = client.ask(gateway, who, "GET", target)
            self._note(of, gateway, answer)

    def _note(self, of: str, gateway: int, answer: Asked) -> None:
        entry = released(answer) if answer.status == 200 else (-1, "", 0)
        got = Got(of, gateway, answer.sent, answer.answered, answer.status, answer.code, *entry)
        with self._lock:
            self.told.got.append(got)
            if answer.status == 200:
                self._seen[of, gateway] = self._seen.get((of, gateway), 0) + 1

    def _publish(self, number: int, random: Random, client: Client) -> None:
        """Two publish a source each, through a gateway each; two the same records of a third one, through both."""
        source, gateway = SOURCES[min(number, 2)], number % 2
        last = 0
        while not self.over.is_set():
            lines = [json.dumps(record(source, last + one)) for one in range(1, _BATCH + 1)]
            target = f"/v1/datasets/{DATASET}/records?source={source}&first={last + 1}"
            answer = client.ask(gateway, SYSTEM, "POST", target, "\n".join(lines).encode(), "application/x-ndjson")
            if answer.status == 200:
                last += _BATCH
                with self._lock:
                    self.told.published[source] = max(last, self.told.published.get(source, 0))
            elif answer.status != 503:  # which says: send the same again
                raise AssertionError(answer.body)
            self.over.wait(random.uniform(0.05, 0.2))


def record(source: str, sequence: int) -> dict[str, Any]:
    """A record of the dataset, of one of the persons; its amount names it."""
    return {
        "person_id": (*MEMBERS, *OTHERS)[sequence % 5],
        "region_code": "431126",
        "scheme": "RESIDENT",
        "status": "RECEIVING",
        "monthly_benefit_fen": 1_000_000 * (1 + SOURCES.index(source)) + sequence,
        "last_paid_month": "2026-10",
        "employer_uscc": None,
        "bank_account": "6222020000001234567",
    }


def on_servers(postgres: str, folder: Path) -> dict[str, str]:
    """Settings of a site with everything on servers."""
    kafka, prefix = services.kafka(), "g" + uuid.uuid4().hex[:12]
    found = {
        **settings_for(postgres, folder),
        "engines_log": f"kafka+librdkafka:{kafka.url.removeprefix('kafka:')}/{prefix}",
        "kafka_security.protocol": "PLAINTEXT",
        "kafka_replication.factor": "1",
        "kafka_min.insync.replicas": "1",
    }
    if kafka.passwords:
        password = folder / "kafka.password"
        password.write_text(kafka.passwords["exchange"], "utf-8")
        found |= {"kafka_security.protocol": "SASL_PLAINTEXT", "kafka_sasl.password": f"file:{password}"}
    return found


def play(
    folder: Path,
    settings: dict[str, str],
    revokes: int,
    seed: str,
    on_revoke: Callable[[], object] = lambda: None,
    seconds: float = 0.0,
    opa: bool = False,
) -> dict[str, Any]:
    """One run, of so many revokes or (unless 0) for so long; its figures, when all held. `opa`: by an OPA server."""
    with town(folder, settings, max(CONSUMERS, revokes // 20), opa) as it:
        begun = time.monotonic()
        playing = Play(it, revokes, seed, on_revoke, begun + seconds if seconds else float("inf"))
        playing.run()
        seconds = time.monotonic() - begun
        _all_once(it, playing.told)
        ended = [one.ended() for one in it.gateways]
    assert ended == [0, 0]
    log = folder / "log"
    _must(it.site.run("audit", "export", str(log)))
    figures = judge(log, playing.told)
    ran = it.site.run("audit", "verify", str(log), "--key", str(it.site.root / "keys" / "audit.vkey"))
    assert ran.code == 0, ran.stdout
    return {**figures, "seconds": round(seconds, 1), "answers_per_s": round(len(playing.told.got) / seconds, 1)}


def _all_once(it: Town, told: Told) -> None:
    """Through either gateway each acknowledged record of a member is readable, once."""
    client = it.client()
    for gateway in range(2):
        amounts: list[int] = []
        position = 0
        while True:
            target = f"/v1/datasets/{DATASET}/records?purpose={simulator.PURPOSE}&case={simulator.CASE}"
            answer = client.ask(gateway, CHECKER, "GET", f"{target}&position={position}")
            if answer.status == 204:
                break
            assert answer.status == 200, answer.body
            position = int(answer.headers["exchange-next-position"])
            amounts += [json.loads(line)["monthly_benefit_fen"] for line in answer.body.splitlines()]
        for source, last in told.published.items():
            of_source = {sequence for sequence in range(1, last + 1) if sequence % 5 < len(MEMBERS)}
            expected = {record(source, sequence)["monthly_benefit_fen"] for sequence in of_source}
            first = 1_000_000 * (1 + SOURCES.index(source))
            found = [one for one in amounts if first < one < first + 1_000_000]
            assert len(found) == len(set(found)), f"{source}: a record is readable twice through gateway {gateway}"
            missing = expected - set(found)
            assert not missing, f"{source}: acknowledged, and not readable through gateway {gateway}: {missing}"
    client.close()
