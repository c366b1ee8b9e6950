"""The real servers that benchmarks of engines run on, started for the run, with their data on disk."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import pytest

from tests import services, services_postgres

# `pytest.skip` and `pytest.fail` of the finders of servers, who name what is missing.
NOT_HERE: Final = (pytest.skip.Exception, pytest.fail.Exception)


@contextmanager
def kafka() -> Iterator[services.Kafka]:
    """One broker, with its data on disk."""
    folder = Path("build/bench/kafka").resolve()
    os.environ["TEST_SERVICES_OWNER"] = str(os.getpid())
    found = services.own_kafka(folder)
    try:
        yield found
    finally:
        services.local("stop", folder)


@contextmanager
def database() -> Iterator[str]:
    """The address of a new, migrated control database on a PostgreSQL with fsync."""
    server = services_postgres.the_server()
    with server.database(server.template()) as url:
        yield url


def kafka_settings(found: services.Kafka, prefix: str) -> dict[str, Any]:
    """What a child needs to open a log there."""
    return {"url": found.url, "passwords": found.passwords, "prefix": prefix}


def site_settings(found: services.Kafka, url: str, prefix: str, secrets: Path) -> dict[str, str]:
    """The settings of a site whose engines are all on these servers; its passwords lie in this folder."""
    from sqlalchemy import make_url

    address = make_url(url)
    secrets.mkdir(parents=True, exist_ok=True)
    for name, value in (("postgres", address.password or ""), ("kafka", found.passwords.get("exchange", ""))):
        file = secrets / name
        file.touch(mode=0o600)
        file.write_text(value, "utf-8")
    return {
        "engines.control": address._replace(password=None).render_as_string(hide_password=False),
        "engines.state": "postgresql:",
        "engines.audit": "postgresql:",
        "engines.log": f"kafka+librdkafka:{found.url.removeprefix('kafka:')}/{prefix}",
        "postgresql.password": f"file:{secrets / 'postgres'}",
        "kafka.security.protocol": "SASL_PLAINTEXT" if found.passwords else "PLAINTEXT",
        "kafka.sasl.password": f"file:{secrets / 'kafka'}",
        "kafka.replication.factor": "1",
        "kafka.min.insync.replicas": "1",
    }
