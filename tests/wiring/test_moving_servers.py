"""A site moved from files to Kafka and PostgreSQL and back: everything is compared, positions first."""

import itertools
import json
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from unittest import mock

import pytest
from confluent_kafka.admin import AdminClient, AlterConfigOpType, ConfigEntry, ConfigResource, ResourceType
from sqlalchemy import insert, make_url

from exchange.audit.subjects import Sighting
from exchange.audit.tables import EPOCHS
from exchange.audit.verify import verify
from exchange.control import commands as c
from exchange.control.database import open_engine, revisions, upgrade
from exchange.control.tokens import new_token
from exchange.errors import Invalid, Unavailable
from exchange.settings import read_settings
from exchange.site import VKEY
from exchange.wiring import archive
from exchange.wiring.backup import take
from exchange.wiring.contents import _rows, lines_of
from exchange.wiring.engines import record_log_of
from exchange.wiring.examining_stores import examine_site
from exchange.wiring.moving_in import NOTE
from tests import services
from tests.access.test_paths import amounts, of_members
from tests.access.town import (
    AUTHORITY,
    DATASET,
    ENVIRONMENT,
    MEMBERS,
    READ,
    READER,
    START_NS,
    Clock,
    KeptEngine,
    Town,
    copied,
    opened,
)
from tests.control.failing import fails
from tests.log.test_kafka import ENGINES, client
from tests.services_postgres import Server
from tests.wiring.test_kafka import settings as kafka_settings
from tests.wiring.test_moving import bring, export, stores_of

pytestmark = [pytest.mark.kafka, pytest.mark.postgres]
DAY = 86_400 * 1_000_000_000


@dataclass(frozen=True)
class Servers:
    """Where a site may be moved to: settings by name."""

    given: dict[str, str]
    environment: dict[str, str]


@pytest.fixture
def servers(postgres_server: Server, folder: Path) -> Iterator[Servers]:
    """An empty database and a Kafka prefix of this test's own, for each client of Kafka."""
    with postgres_server.database() as url:
        yield of(url, ENGINES[0], folder)


def of(url: str, scheme: str, folder: Path) -> Servers:
    """The settings that name this database and a new prefix."""
    kafka, prefix = services.kafka(), "m" + uuid.uuid4().hex[:12]
    address = make_url(url)
    (folder / "pg.password").write_text(address.password or "", "utf-8")
    plain = address._replace(password=None).render_as_string(hide_password=False)
    named = kafka_settings(kafka, scheme, prefix, folder)
    names = {
        "EXCHANGE_ENGINES_LOG": "engines.log",
        "EXCHANGE_KAFKA_SECURITY_PROTOCOL": "kafka.security.protocol",
        "EXCHANGE_KAFKA_REPLICATION_FACTOR": "kafka.replication.factor",
        "EXCHANGE_KAFKA_MIN_INSYNC_REPLICAS": "kafka.min.insync.replicas",
        "EXCHANGE_KAFKA_SASL_PASSWORD": "kafka.sasl.password",
    }
    given = {name: named[variable] for variable, name in names.items() if variable in named}
    given |= {
        "engines.control": plain,
        "engines.state": "postgresql:",
        "engines.audit": "postgresql:",
        "postgresql.password": f"file:{folder}/pg.password",
    }
    return Servers(given, dict(ENVIRONMENT))


def positions(root: Path) -> dict[int, list[int]]:
    """Of each partition of the dataset."""
    with ExitStack() as stack:
        log = record_log_of(read_settings(root, {}))
        stack.callback(log.close)
        return {part: list(log.read(DATASET, part, 0, 10_000).positions) for part in range(log.topics()[DATASET])}


@pytest.mark.parametrize("scheme", ENGINES)
def test_to_servers_and_back(
    made_town: Path, folder: Path, engine: KeptEngine, postgres_server: Server, scheme: str
) -> None:
    """Byte for byte the same stores at each step; between the steps the site is used, and Kafka's gaps come home."""
    first = folder / "first"
    copied(made_town, first)
    with opened(first, engine) as town:
        gateway = town.gateway()
        halves = list(itertools.islice(gateway.read(town.reader, READ, {}, "jsonl"), 1))
        held = {halves[0].partition or 0: halves[0].next_position or 0}
        token, name, digest = new_token(town.random.randbytes)
        town.do(AUTHORITY, c.IssueToken(READER, name, digest, town.clock.ns + 9 * DAY))
        seen = seen_by(town)
    export(first, folder / "1")
    with postgres_server.database() as url:
        servers = of(url, scheme, folder)
        bring(folder / "1", folder / "second", servers.given)
        assert positions(folder / "second") == positions(first)
        export(folder / "second", folder / "2")
        assert stores_of(folder / "2") == stores_of(folder / "1")
        with opened(folder / "second", engine, Clock(START_NS + 2 * DAY)) as town:
            assert seen_by(town) == seen
            assert town.exchange.control.model().principal_for(token, town.clock.ns).id == READER
            releases = town.read()
            assert sorted(amounts(*releases)) == of_members(*range(1, 25))
            rest = town.read(start=held)
            assert sorted([*amounts(*rest), *amounts(*halves)]) == of_members(*range(1, 25))
            town.publish(23, 10)  # the first two are not new
            town.publish(33, 4)
            assert sorted(amounts(*town.read())) == of_members(*range(1, 37))
            seen = seen_by(town)
        export(folder / "second", folder / "3")
        bring(folder / "3", folder / "third")
        found = positions(folder / "third")
        assert found == positions(folder / "second")
        assert any(part != list(range(len(part))) for part in found.values())  # there were gaps
    export(folder / "third", folder / "4")
    assert stores_of(folder / "4") == stores_of(folder / "3")
    with opened(folder / "third", engine, Clock(START_NS + 3 * DAY)) as town:
        assert seen_by(town) == seen
        assert town.exchange.control.model().principal_for(token, town.clock.ns).id == READER
        town.publish(35, 4)
        assert sorted(amounts(*town.read())) == of_members(*range(1, 39))
        town.publish(39, 2)
    now = positions(folder / "third")
    assert all(now[part][: len(found[part])] == found[part] for part in found)
    audit = folder / "third" / "data" / "audit"
    notes = [read_checkpoint(folder / name) for name in "1234"]
    assert not verify(audit, (folder / "third" / VKEY).read_text("utf-8").strip(), notes).findings
    with postgres_server.database() as url:  # a log with gaps, to Kafka
        servers = of(url, scheme, folder)
        export(folder / "third", folder / "5")
        bring(folder / "5", folder / "fourth", servers.given)
        assert positions(folder / "fourth") == now
        export(folder / "fourth", folder / "6")
        assert stores_of(folder / "6") == stores_of(folder / "5")
        with opened(folder / "fourth", engine, Clock(START_NS + 4 * DAY)) as town:
            town.publish(41, 5)
            assert sorted(amounts(*town.read())) == of_members(*range(1, 46))


def seen_by(town: Town) -> dict[str, list[Sighting]]:
    """Who saw each of the members, by the index that is made again from both logs."""
    exchange = town.exchange
    exchange.audit.settle()
    exchange.subjects.follow(exchange.log.topics(), exchange.read_tags, exchange.audit)
    found = {one: list(exchange.subjects.who_saw(exchange.tagger.tag("person", one))) for one in MEMBERS}
    assert any(found.values())
    return found


def read_checkpoint(file: Path) -> bytes:
    """The checkpoint of an export."""
    with file.open("rb") as stream:
        for member in archive.read_members(stream):
            data = b"".join(member.portions())
            if member.name == "audit/checkpoint":
                return data
    raise AssertionError(file)


_CHILD = """
import json, os, sys, time
from pathlib import Path
from exchange.wiring.moving_in import bring_in
file, root, given = sys.argv[1:]
print("begun", flush=True)
bring_in(Path(file), Path(root), given=json.loads(given), keys=None, now_ns=time.time_ns, random_bytes=os.urandom,
         progress=lambda _: None)
"""


@pytest.mark.timeout(280)
def test_a_killed_import_goes_on(made_town: Path, folder: Path, engine: KeptEngine, postgres_server: Server) -> None:
    """SIGKILL at many moments, the same command again each time: at the end the same stores, and publishing goes on."""
    with opened(copied(made_town, folder / "site"), engine) as town:
        for first in range(25, 425, 40):
            town.publish(first, 40)
    export(folder / "site", folder / "file")
    with postgres_server.database() as url:
        servers = of(url, ENGINES[1], folder)
        command = [sys.executable, "-c", _CHILD, str(folder / "file"), str(folder / "new"), json.dumps(servers.given)]
        killed = 0
        for tenths in (9, 12, 15, 18, 21, 25):
            child = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
            time.sleep(tenths / 10)
            child.send_signal(signal.SIGKILL)
            _, said = child.communicate(timeout=60)
            if child.returncode == 0:
                break
            assert child.returncode == -signal.SIGKILL, said
            killed += 1
            if (folder / "new").exists():  # killed between its last step and its end: all is there
                break
        assert killed
        if not (folder / "new").exists():
            bring(folder / "file", folder / "new", servers.given)
            assert not (folder / "new" / NOTE).exists()
        export(folder / "new", folder / "again")
        assert stores_of(folder / "again") == stores_of(folder / "file")
        with opened(folder / "new", engine, Clock(START_NS + 2 * DAY)) as town:
            town.publish(420, 10)
            assert len(amounts(*town.read())) == len(of_members(*range(1, 430)))


def test_servers_that_hold_something_are_refused(made_town: Path, folder: Path, postgres_server: Server) -> None:
    """A prefix with topics, a database with a site; nothing is changed there, and the site on them is as it was."""
    export(copied(made_town, folder / "site"), folder / "file")
    with postgres_server.database() as url, postgres_server.database() as other:
        servers, elsewhere = of(url, ENGINES[0], folder), of(other, ENGINES[0], folder)
        bring(folder / "file", folder / "first", servers.given)
        export(folder / "first", folder / "before")
        for taken in ("engines.log", "engines.control"):
            with fails(Invalid, "import_not_empty"):
                bring(folder / "file", folder / "new", {**elsewhere.given, taken: servers.given[taken]})
            assert not (folder / ".new.importing").exists()
        export(folder / "first", folder / "after")
        assert stores_of(folder / "after") == stores_of(folder / "before")


def test_a_gateway_elsewhere_stops_an_export(
    made_town: Path, folder: Path, engine: KeptEngine, postgres_server: Server
) -> None:
    """Another folder whose settings name the same servers, and which has the log's sequencer."""
    export(copied(made_town, folder / "site"), folder / "file")
    with postgres_server.database() as url:
        servers = of(url, ENGINES[0], folder)
        bring(folder / "file", folder / "first", servers.given)
        copied(folder / "first", folder / "second")
        with (
            opened(folder / "first", engine, Clock(START_NS + 2 * DAY)),
            fails(Unavailable, "export_in_use"),
        ):
            export(folder / "second", folder / "again")


def found(root: Path) -> dict[str, list[str]]:
    """The doctor's findings that are about the stores: the state, or the code of what is wrong."""
    said: dict[str, list[str]] = {}
    with mock.patch("exchange.policy.regorus.RegorusEngine.test", return_value={"test_it": True}):
        for one in examine_site(root, {}, Clock(START_NS + 2 * DAY), lambda: True):
            if one.check in STORES:
                said.setdefault(one.check, []).append(one.error.code if one.error else one.state)
    return said


STORES = {"engines.control", "engines.log", "engines.state", "commit_marks", "audit_log", "seal_key", "policies"}
ALTERED = "retention.ms"


@pytest.mark.parametrize("scheme", ENGINES)
def test_the_doctor_looks_at_the_servers(made_town: Path, folder: Path, postgres_server: Server, scheme: str) -> None:
    """All well; then a topic that would lose records, records that are gone, another revision, servers that are not
    there: each told, and the others looked at all the same. A backup says what to do instead.
    """
    export(copied(made_town, folder / "site"), folder / "file")
    with postgres_server.database() as url:
        servers = of(url, scheme, folder)
        root = folder / "new"
        bring(folder / "file", root, servers.given)
        well = found(root)
        assert well.keys() == STORES
        assert {state for states in well.values() for state in states} <= {"ok", "unused"}
        with (folder / "backup").open("wb") as out, fails(Invalid, "backup_servers", "engines.control"):
            take(root, out, folder, {}, START_NS, keys=True, compress=False, progress=lambda _: None)
        admin = AdminClient(client(services.kafka()))
        topic = f"{servers.given['engines.log'].rpartition('/')[2]}.log.{DATASET}"
        entry = ConfigEntry(ALTERED, "1000", incremental_operation=AlterConfigOpType.SET)
        resource = ConfigResource(ResourceType.TOPIC, topic, incremental_configs=[entry])
        for done in admin.incremental_alter_configs([resource]).values():
            done.result(30)
        until = time.monotonic() + 20
        while "kafka_topic_settings" not in found(root)["engines.log"] and time.monotonic() < until:
            time.sleep(0.2)  # another broker hears of it later
        assert found(root) == {**well, "engines.log": ["kafka_topic_settings"]}
        database = str(make_url(url).database)
        postgres_server.execute("UPDATE alembic_version SET version_num = '0003_publish'", database=database)
        assert found(root)["engines.control"] == ["control_database_revision"]
        back = f"UPDATE alembic_version SET version_num = '{revisions()[-1]}'"
        postgres_server.execute(back, database=database)
        for gone in admin.delete_topics([topic]).values():
            gone.result(30)
        until = time.monotonic() + 20
        while found(root)["commit_marks"] == ["ok"] and time.monotonic() < until:
            time.sleep(0.2)
        assert found(root)["commit_marks"] == ["log_behind_commits"]
    assert found(root)["engines.control"] == ["control_database_unavailable"]


def test_rows_are_in_the_order_of_their_bytes_on_every_server(postgres_server: Server) -> None:
    """Whatever language the database sorts by: else the same site would give other members."""
    name = f"ex_t_{int(time.time())}_{uuid.uuid4().hex[:8]}"
    postgres_server.execute(f"CREATE DATABASE {name} TEMPLATE template0 LOCALE_PROVIDER icu ICU_LOCALE 'en-US'")
    database = open_engine(postgres_server.of(name))
    try:
        upgrade(database)
        names = ["case/b", "Case/a", "_", "case-a", "户籍", "a", "B"]
        with database.begin() as connection:
            connection.execute(insert(EPOCHS), [{"name": one, "value": 1} for one in names])
        found = [row[0] for part in _rows(database, EPOCHS) for row in lines_of(part, "")]
        assert found == sorted(names, key=str.encode)
    finally:
        database.dispose()
        postgres_server.execute(f"DROP DATABASE {name} WITH (FORCE)")
