"""The control database: an engine with the right durability, its migrations, and its errors in our families."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from sqlalchemy import Engine, create_engine, event, text
from sqlalchemy.exc import DBAPIError, SQLAlchemyError
from sqlalchemy.pool import QueuePool

from exchange.errors import Invalid, Tampered, Unavailable
from exchange.log.database import shortened
from exchange.log.server import is_server, open_server, place, server_fault

_UPGRADE: Final = 0x45585550  # "EXUP", the key of the lock that an upgrade holds on a server
MIGRATIONS: Final = Path(__file__).with_name("migrations")
# SQLite's primary result codes for "not now": anything else from a prepared statement means a broken file.
_PASSING: Final = {"BUSY", "LOCKED", "IOERR", "FULL", "CANTOPEN", "READONLY", "NOMEM", "PERM", "INTERRUPT"}


def open_engine(url: str, password: str = "") -> Engine:
    """An engine for the control database at `url` (`sqlite:////path`, or as `open_server` takes it).

    On SQLite: WAL, synchronous FULL, foreign keys, 5 s of patience for a lock. A transaction takes the write lock with
    its first INSERT, UPDATE or DELETE; a SELECT before that sees the newest commit, as READ COMMITTED does elsewhere.
    So read what a decision rests on after the first write, or check it in that write.
    """
    if not url.startswith("sqlite"):
        return open_server(url, password)
    engine = create_engine(url, connect_args={"isolation_level": "IMMEDIATE", "timeout": 5.0})
    event.listen(engine, "connect", _prepare)
    return engine


def _prepare(connection: Any, _record: object) -> None:  # noqa: ANN401 - SQLAlchemy gives the driver's connection
    for pragma in ("busy_timeout=5000", "journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON"):
        connection.execute(f"PRAGMA {pragma}").close()


def upgrade(engine: Engine, to: str = "head") -> None:
    """Brings the database to a revision, by default the newest, all or nothing; makes it when it is empty."""
    from alembic import command
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS).replace("%", "%%"))
    with translated(engine), engine.connect() as connection:
        if engine.dialect.name == "sqlite":
            connection.exec_driver_sql("BEGIN IMMEDIATE")  # its driver begins nothing before CREATE TABLE
        else:
            # Two programs that start at once: the second one finds what the first has made.
            connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({_UPGRADE})")
        config.attributes["connection"] = connection
        command.upgrade(config, to)
        connection.commit()


def revisions() -> list[str]:
    """Every revision that this code knows, oldest first, without importing Alembic: the migrations' names."""
    return sorted(file.stem for file in (MIGRATIONS / "versions").glob("[0-9]*.py"))


def head_revision() -> str:
    """The revision that this code needs."""
    return revisions()[-1]


def check_revision(engine: Engine) -> None:
    """Refuses a database that is not there, or of another revision than this code's.

    Raises:
        Unavailable: `control_database_revision` (older; found "-": it was never made); as `found_revision`.
        Invalid, Tampered: as `found_revision`.
    """
    found, needed = found_revision(engine), head_revision()
    if found != needed:
        raise Unavailable("control_database_revision", where=engine.url.database or "", found=found, needed=needed)


def found_revision(engine: Engine) -> str:
    """The database's revision, one of `revisions`; "-" when nothing was made in it yet.

    Raises:
        Unavailable: `control_database_missing`.
        Invalid: `control_database_newer`: a later version of this program was here.
        Tampered: `control_database_damaged`.
    """
    path = engine.url.database if engine.dialect.name == "sqlite" else place(engine)
    if engine.dialect.name == "sqlite" and not (path and Path(path).is_file()):
        raise Unavailable("control_database_missing", where=path or "")
    if engine.dialect.name == "sqlite" and path and _untouched(engine) and shortened(Path(path)):
        raise Tampered("control_database_damaged", where=path, detail="shorter than its header says")
    with translated(engine), engine.connect() as connection:
        made = engine.dialect.has_table(connection, "alembic_version")
        found = connection.execute(text("SELECT version_num FROM alembic_version")).scalars().all() if made else []
    known = revisions()
    if len(found) > 1 or not set(found) <= set(known):
        raise Invalid("control_database_newer", where=path or "", found=", ".join(found)[:100], needed=known[-1])
    return found[0] if found else "-"


def _untouched(engine: Engine) -> bool:
    """Whether this process has not opened the file through the engine yet. Later it must not open it beside SQLite: to
    close any descriptor of it drops the process's locks on it (POSIX), and the next process that opens and closes the
    database then takes itself for the last one and removes the WAL from under our feet.
    """
    pool = engine.pool
    return isinstance(pool, QueuePool) and pool.checkedin() + pool.checkedout() == 0


@contextmanager
def translated(engine: Engine) -> Iterator[None]:
    """Turns the driver's errors into `Unavailable` (busy, full, not reachable) or `Tampered` (a broken file)."""
    try:
        yield
    except SQLAlchemyError as error:
        if is_server(engine):
            passing, name = server_fault(error)
        elif isinstance(error, DBAPIError):
            name = getattr(error.orig, "sqlite_errorname", "") or type(error.orig).__name__
            passing = name.removeprefix("SQLITE_").split("_")[0] in _PASSING
        else:
            raise
        code = "control_database_unavailable" if passing else "control_database_damaged"
        raise (Unavailable if passing else Tampered)(code, where=place(engine), detail=name) from None
