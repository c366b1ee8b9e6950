"""Details of audit entries on a whole site: what they hold, until when, and what is left when they are gone."""

import json
from typing import Final

import pytest
from sqlalchemy import select

from exchange.audit.tables import DETAILS
from exchange.errors import Invalid, Refused, Tampered
from exchange.settings import secret
from exchange.wiring.desk import LocalDesk
from exchange.wiring.details import detail, expire
from exchange.wiring.exchange import Exchange
from exchange.wiring.searching import Sought
from tests.simulator import AUDITOR, CHECKER, Site

DAY_NS: Final = 86_400_000_000_000


def _desk(exchange: Exchange, site: Site, who: str) -> LocalDesk:
    token = secret(site.token(who), site.root)
    return LocalDesk(exchange, exchange.control.model().principal_for(token, exchange.now_ns()))


def test_a_querys_parameters_are_kept_until_their_period_is_over(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """The log names them by a hash that says nothing; nothing goes a moment too early; that it went is in the log, and
    what an auditor asked is then nobody's to know.
    """
    with site.opened() as exchange:
        desk = _desk(exchange, site, AUDITOR)
        desk.search("refusals", Sought(case="DB-9"), -1, 9)
        index = exchange.audit.size - 1
        _, body = exchange.audit.entry(index)
        found = desk.detail(index)
        assert found["content"] == {
            "parameters": {"after": -1, "case": "DB-9", "kinds": ["refusal"], "unconfirmed": False}
        }
        assert (found["class"], found["deleted"]) == ("query", [])
        assert found["until_ns"] == body["time_ns"] + 1_095 * DAY_NS
        assert b"DB-9" not in exchange.audit.leaf(index)
        with exchange.database.connect() as connection:
            stored = connection.execute(
                select(DETAILS.c.body).where(DETAILS.c.name == body["parameters_digest"])
            ).scalar()
        now = exchange.now_ns()
        assert desk.expire_details() == {"decision": 0, "query": 0}
        monkeypatch.setattr(exchange, "now_ns", lambda: found["until_ns"])
        assert desk.expire_details()["query"] == 0  # what is kept until a moment is there at that moment
        assert expire(exchange)["query"] == 0
        monkeypatch.setattr(exchange, "now_ns", lambda: found["until_ns"] + 1)
        size = exchange.audit.size
        assert expire(exchange) == {"decision": 0, "query": 1}
        kind, told = exchange.audit.entry(size + 1)  # behind the schema of its kind
        assert (kind, told["class"], told["count"], told["actor"]) == ("detail_expiry", "query", 1, None)
        gone = desk.detail(index)
        assert (gone["content"], gone["deleted"]) == ({}, ["parameters"])
        monkeypatch.setattr(exchange, "now_ns", lambda: now)
        with pytest.raises(Tampered, match="detail_missing"):
            desk.detail(index)
    assert stored
    assert all(stored not in file.read_bytes() for file in (site.root / "data").iterdir() if file.is_file())


def test_only_an_auditor_sees_or_deletes_them(site: Site) -> None:
    """Anybody else is refused, and that is audited; an entry without one says so; one that was changed is no answer."""
    with site.opened() as exchange:
        desk, other = _desk(exchange, site, AUDITOR), _desk(exchange, site, CHECKER)
        desk.search("keys", Sought(), -1, 9)
        index = exchange.audit.size - 1
        for refused in (lambda: detail(exchange, other.who, index), lambda: expire(exchange, other.who)):
            with pytest.raises(Refused, match="auditor_required"):
                refused()
            assert exchange.audit.entry(exchange.audit.size - 1)[0] == "refusal"
        with pytest.raises(Invalid, match="detail_none"):
            desk.detail(0)
        with exchange.database.begin() as connection:
            connection.execute(DETAILS.update().values(body=b"x"))
        with pytest.raises(Tampered, match="detail_damaged"):
            desk.detail(index)


def test_they_are_asked_for_by_command(site: Site) -> None:
    """`audit detail` shows what an entry's detail holds and until when; `audit expire` says what it deleted."""
    assert site.run("audit", "keys", "--case", "c-1", "--json", who=AUDITOR).code == 0
    rows = json.loads(site.run("audit", "queries", "--json", who=AUDITOR).out)
    shown = site.run("audit", "detail", str(rows[-1]["index"]), who=AUDITOR)
    assert shown.code == 0
    out = shown.out.decode()
    assert '"case": "c-1"' in out
    assert "kept until" in out
    assert site.run("audit", "detail", "0", who=AUDITOR).code == 2
    done = site.run("audit", "expire", who=AUDITOR)
    assert (done.code, b"query 0" in done.out) == (0, True)
