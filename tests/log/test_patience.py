"""Statements on a PostgreSQL server that hangs end; long ones on one that lives do not."""

import pytest
from sqlalchemy import text

from exchange.control.database import open_engine, translated
from exchange.errors import Unavailable
from exchange.log.patience import PatientConnection
from tests.services_postgres import OwnServer
from tests.torture.servers.victims import Database

pytestmark = [pytest.mark.postgres, pytest.mark.enable_socket]


def test_a_server_that_hangs_is_not_waited_for(own_postgres: OwnServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """All its processes stopped, what was asked ends in `Unavailable`; with them the next one is answered again."""
    monkeypatch.setattr(PatientConnection, "quiet_s", 0.2)
    engine = open_engine(f"{own_postgres.url}{'&' if '?' in own_postgres.url else '?'}connect_timeout=2")
    server = Database(own_postgres)
    try:
        with engine.connect() as connection:
            assert connection.execute(text("SELECT 1")).scalar() == 1
            server.pause()
            try:
                with pytest.raises(Unavailable) as told, translated(engine):
                    connection.execute(text("SELECT 2"))
                assert told.value.code == "control_database_unavailable"
            finally:
                server.proceed()
        with translated(engine), engine.connect() as connection:
            assert connection.execute(text("SELECT 3")).scalar() == 3
    finally:
        engine.dispose()


def test_a_long_statement_is_waited_for(own_postgres: OwnServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """A server that lets others in is only busy."""
    monkeypatch.setattr(PatientConnection, "quiet_s", 0.2)
    engine = open_engine(own_postgres.url)
    try:
        with engine.connect() as connection:
            assert connection.execute(text("SELECT 1 FROM pg_sleep(1.5)")).scalar() == 1
    finally:
        engine.dispose()
