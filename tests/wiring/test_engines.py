"""Engines by the scheme of their setting."""

from contextlib import ExitStack
from pathlib import Path

import pytest

from exchange.errors import Invalid, Unavailable
from exchange.log.server import place
from exchange.settings import new_settings, read_settings
from exchange.wiring.engines import audit_store_of, database_of, server_of
from tests.control.failing import fails
from tests.wiring.conftest import make

URL = "postgresql://exchange@db.example/exchange"


def test_an_audit_log_in_rows_needs_its_database(tmp_path: Path) -> None:
    """Its outbox commits with the events, so both are in one database."""
    settings = new_settings(tmp_path, {"origin": "o", "engines.audit": "postgresql:"})
    with ExitStack() as stack, fails(Invalid, "audit_without_control", "engines.audit"):
        audit_store_of(settings, database_of(settings, stack))


def test_the_state_stands_with_the_control_database_or_alone(tmp_path: Path) -> None:
    """`postgresql:` alone is the control database's server; the password is the secret's."""
    (tmp_path / "password").write_text("top-secret\n")
    plain = {"origin": "o", "engines.control": URL, "postgresql.password": "file:password"}
    for given, found in (("postgresql:", URL), (URL + "2", URL + "2")):
        settings = new_settings(tmp_path, {**plain, "engines.state": given})
        assert server_of(settings, "state") == (found, "top-secret")
    with ExitStack() as stack:
        assert place(database_of(settings, stack)) == "postgresql://exchange:***@db.example/exchange"


@pytest.mark.parametrize(
    "url",
    ["postgresql://a:top-secret@h/d", "postgresql://h/d?password=top-secret", "postgresql://h/d?a=b&sslpassword=x"],
)
def test_no_password_stands_in_an_address(tmp_path: Path, url: str) -> None:
    """Neither in the file nor in a variable."""
    with fails(Invalid, "secret_in_plain"):
        new_settings(tmp_path, {"engines.control": url})
    make(tmp_path / "site")
    with fails(Invalid, "secret_in_plain", "EXCHANGE_ENGINES_STATE"):
        read_settings(tmp_path / "site", {"EXCHANGE_ENGINES_STATE": url})


def test_a_server_that_is_not_there_leaves_no_folder(tmp_path: Path) -> None:
    """`init` asks the server first."""
    given = {"engines.control": f"postgresql:///exchange?host={tmp_path}", "engines.audit": "postgresql:"}
    with fails(Unavailable, "control_database_unavailable"):
        make(tmp_path / "site", given=given)
    assert not (tmp_path / "site").exists()
