"""A PostgreSQL server for tests, and a database of its own for each test that asks for one.

    def test_it(postgres: str) -> None:  # its address: a migrated, empty control database

The server is chosen as `services` says: EXCHANGE_TEST_POSTGRES (an address whose user may make databases), else a
container of this run where Docker answers, else `deploy/local/postgres.sh`, which is left running. Where there is none
a test is skipped by name, or fails when REQUIRE lists `postgres`.
"""

import fcntl
import hashlib
import itertools
import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Final

import pytest

from tests import services

ROOT: Final = Path(__file__).resolve().parent.parent
SCRIPT: Final = ROOT / "deploy" / "local" / "postgres.sh"
IMAGE: Final = "postgres:18"
_OLD_S: Final = 3_600  # a test's database that a killed run left behind
_numbers = itertools.count(1)


@dataclass(frozen=True)
class Server:
    """A server on which the address's user may make databases."""

    url: str

    def execute(self, *statements: str, database: str | None = None) -> list[tuple[Any, ...]]:
        """Runs statements, each in its own transaction; the rows of the last one."""
        import psycopg

        rows: list[tuple[Any, ...]] = []
        with psycopg.connect(self.url if database is None else self.of(database), autocommit=True) as connection:
            for statement in statements:
                cursor = connection.execute(statement.encode())
                rows = list(cursor.fetchall()) if cursor.description else []
        return rows

    def of(self, database: str) -> str:
        """The address of another database on the same server."""
        from sqlalchemy import make_url

        return make_url(self.url).set(database=database).render_as_string(hide_password=False)

    @contextmanager
    def database(self, template: str = "template0") -> Iterator[str]:
        """The address of a new database, dropped at the end, whoever is still connected."""
        name = f"ex_t_{int(time.time())}_{os.getpid()}_{next(_numbers)}"
        self.execute(f"CREATE DATABASE {name} TEMPLATE {template}")
        try:
            yield self.of(name)
        finally:
            self.execute(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")

    def template(self) -> str:
        """The name of a database in which the migrations have run; made when it is not there."""
        from exchange.control.database import MIGRATIONS, open_engine, upgrade

        sources = b"".join(file.read_bytes() for file in sorted(MIGRATIONS.rglob("*.py")))
        name = f"ex_template_{hashlib.sha256(sources).hexdigest()[:16]}"
        with _locked("template"):
            if not self.execute(f"SELECT 1 FROM pg_database WHERE datname = '{name}'"):
                self._drop_old()
                self.execute(f"DROP DATABASE IF EXISTS {name}_draft WITH (FORCE)", f"CREATE DATABASE {name}_draft")
                engine = open_engine(self.of(f"{name}_draft"))
                upgrade(engine)
                engine.dispose()
                self.execute(f"ALTER DATABASE {name}_draft RENAME TO {name}")
        return name

    def _drop_old(self) -> None:
        for (name,) in self.execute("SELECT datname FROM pg_database WHERE datname LIKE 'ex\\_t\\_%'"):
            if int(str(name).split("_")[2]) < time.time() - _OLD_S:
                self.execute(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")


@contextmanager
def _locked(name: str) -> Iterator[None]:
    """One worker at a time, on this machine."""
    with (Path(tempfile.gettempdir()) / f"exchange-test-postgres-{os.getuid()}-{name}.lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def local_server(home: Path | None = None) -> Server:
    """The server of `deploy/local/postgres.sh`, started when it does not run; in `home` one of its own.

    A PostgreSQL that is not there is installed only where it is required.
    """
    required = services.required("postgres")
    own = {"EXCHANGE_POSTGRES_HOME": str(home)} if home else {}
    environment = {**os.environ, "EXCHANGE_POSTGRES_INSTALL": "yes" if required else "no", **own}
    for word in ("start", "url"):
        try:
            done = subprocess.run(
                [SCRIPT, word], capture_output=True, text=True, env=environment, check=False, timeout=110
            )
        except subprocess.TimeoutExpired:
            services.unavailable("postgres", f"{SCRIPT.name} {word} did not end")
        if done.returncode:
            services.unavailable("postgres", done.stderr.strip())
    return Server(done.stdout.strip())


def container() -> tuple[Any, Callable[[], str]]:
    """A server in Docker, with durable commits."""
    from testcontainers.community.postgres import PostgresContainer

    made = PostgresContainer(IMAGE, username="exchange", password="test", dbname="postgres", driver=None)
    made.with_command(["postgres", "-c", "max_connections=200"])
    return made, made.get_connection_url


@cache
def the_server() -> Server:
    """The one server of this run."""
    return services.choice("postgres", Server, lambda: Server(services.in_docker("postgres", container)), local_server)


@pytest.fixture(scope="session")
def postgres_server() -> Server:
    """The one server of this run."""
    return the_server()


@cache
def _schemas() -> tuple[ExitStack, str]:
    """This process's database of schemas, and what drops it at the end."""
    stack = ExitStack()
    return stack, stack.enter_context(the_server().database())


def schema_of(folder: Path) -> str:
    """The address of a schema that belongs to this folder: empty at first, the same whenever it is asked again."""
    from sqlalchemy import make_url

    _, url = _schemas()
    name = f"s_{hashlib.sha256(str(folder).encode()).hexdigest()[:16]}"
    Server(url).execute(f"CREATE SCHEMA IF NOT EXISTS {name}")
    return make_url(url).update_query_dict({"options": f"-c search_path={name}"}).render_as_string(hide_password=False)


def pytest_unconfigure() -> None:
    """Drops what this process made."""
    if _schemas.cache_info().currsize:
        _schemas()[0].close()


@pytest.fixture(scope="session")
def postgres_template(postgres_server: Server) -> str:
    """The name of the migrated database that each test's is copied from."""
    return postgres_server.template()


@dataclass(frozen=True)
class OwnServer(Server):
    """A local server that one test may kill."""

    home: Path

    def kill(self) -> None:
        """SIGKILL of the server's first process; the others end when they notice."""
        os.kill(int((self.home / "data" / "postmaster.pid").read_text().split()[0]), signal.SIGKILL)

    def start(self) -> None:
        """Starts it again: it recovers what it had acknowledged."""
        self._run("start")

    def stop(self) -> None:
        """Stops it."""
        self._run("stop")

    def end(self) -> None:
        """Stops it and removes all it had."""
        self.stop()
        shutil.rmtree(self.home)

    def _run(self, word: str) -> None:
        environment = {**os.environ, "EXCHANGE_POSTGRES_HOME": str(self.home)}
        done = subprocess.run([SCRIPT, word], env=environment, check=False, capture_output=True, text=True, timeout=100)
        assert done.returncode == 0, done.stderr


@pytest.fixture(scope="session")
def own_postgres() -> Iterator[OwnServer]:
    """A server of this process's own, with fsync; always the local one."""
    home = Path(tempfile.gettempdir()) / f"ex-pg-own-{os.getpid()}"
    server = OwnServer(local_server(home).url, home)
    yield server
    server.end()


@pytest.fixture
def postgres(postgres_server: Server, postgres_template: str) -> Iterator[str]:
    """The address of a migrated, empty control database of this test's own."""
    with postgres_server.database(postgres_template) as url:
        yield url
