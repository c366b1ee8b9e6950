"""A PostgreSQL server's address, settings and failures: what is said of them, without one."""

import sys

import psycopg
import pytest
from psycopg import errors as pg
from sqlalchemy import exc
from sqlalchemy.exc import DBAPIError, OperationalError

from exchange.errors import Invalid
from exchange.log.server import check_durable, open_server, place, server_fault
from tests.control.failing import fails

URL = "postgresql://exchange@db.example:5433/exchange"


@pytest.mark.parametrize("url", ["", "postgresql:", "postgresql://host", "mysql://a/b", "postgresql://a:x/b", "//:@"])
def test_what_is_no_address(url: str) -> None:
    """An error that names the form, and never repeats the text: it may hold a password."""
    with fails(Invalid, "postgresql_url"):
        open_server(url)


def test_a_password_is_never_shown() -> None:
    """The place of a server is its address without the password."""
    engine = open_server(URL, "top-secret")
    assert place(engine) == "postgresql://exchange:***@db.example:5433/exchange"
    assert "top-secret" not in repr(engine.url)
    engine.dispose()


def test_without_its_driver(monkeypatch: pytest.MonkeyPatch) -> None:
    """The error names the extra to install."""
    monkeypatch.setitem(sys.modules, "psycopg", None)
    with fails(Invalid, "postgresql_missing"):
        open_server(URL)


@pytest.mark.parametrize("found", [("off", "on", "UTF8"), ("on", "off", "UTF8"), ("on", "on", "SQL_ASCII")])
def test_a_server_that_may_lose_commits_is_refused(found: tuple[str, str, str]) -> None:
    """What it acknowledges must be on disk, and text must come back as it was."""
    check_durable("on", "on", "UTF8")
    with fails(Invalid, "postgresql_not_durable"):
        check_durable(*found)


@pytest.mark.parametrize(
    ("error", "passes"),
    [
        (pg.AdminShutdown("stopped"), True),
        (pg.DiskFull("no space"), True),
        (pg.LockNotAvailable("busy"), True),
        (pg.ReadOnlySqlTransaction("standby"), True),
        (pg.DeadlockDetected("deadlock"), True),
        (pg.InsufficientPrivilege("grant"), True),
        (pg.InvalidCatalogName("no such database"), True),
        (psycopg.OperationalError("connection refused"), True),
        (psycopg.InterfaceError("closed"), True),
        (pg.DataCorrupted("invalid page"), False),
        (pg.UndefinedFile("a table's file"), False),
        (pg.UndefinedTable("no such table"), False),
        (pg.UniqueViolation("twice"), False),
        (pg.InternalError_("?"), False),
    ],
)
def test_failures_by_what_the_caller_must_do(error: psycopg.Error, passes: bool) -> None:
    """Down, busy, full or not allowed passes; pages and tables that are not what was made never do."""
    wrapped = DBAPIError.instance("SELECT 1", {}, error, psycopg.Error, dialect=open_server(URL).dialect)
    assert isinstance(wrapped, DBAPIError)
    assert server_fault(wrapped)[0] is passes


def test_what_is_told_of_a_failure() -> None:
    """Of a connection what libpq says, of a statement only its SQLSTATE: a statement's values are nobody's business."""
    refused = OperationalError(None, None, psycopg.OperationalError("connection failed:\nConnection refused"))
    assert server_fault(refused) == (True, "connection failed: Connection refused")
    full = OperationalError("INSERT", ("secret",), pg.DiskFull("could not extend file: secret"))
    assert server_fault(full) == (True, "53100 DiskFull")
    assert server_fault(exc.TimeoutError("no free connection")) == (True, "TimeoutError")
