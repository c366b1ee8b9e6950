"""Whose key seals: the department's own, or the one that the site keeps for it and nobody else leaves there."""

from pathlib import Path

import pytest

from exchange.control import commands as c
from exchange.errors import Invalid
from exchange.signing.keys import SigningKey, new_signing_key
from tests.simulator import ADAPTER, AUTHORITY, CONSUMER, SYSTEM, Site, row

NEW = "432524197901010028"


def _publish(site: Site, key: Path) -> "tuple[int, str]":
    files = site.rows([row(NEW, 12_300)], name="more.csv")
    ran = site.run("publish", str(site.folder / ADAPTER), str(files), "--seal-key", str(key), who=SYSTEM)
    return ran.code, ran.error_code if ran.code else ""


def test_a_department_seals_with_its_own_key(site: Site) -> None:
    """With its own key file the seal does not say that the exchange signed as a delegate; without it, it does."""
    own = site.folder / "own.key"
    (site.root / "keys" / "seal-ny.renshe.key").rename(own)
    assert _publish(site, own) == (0, "")
    delegated = [body["delegate"] for _, _, body in site.entries("record_commit")]
    assert delegated[0] is True
    assert delegated[-1] is False


def test_another_key_does_not_seal(site: Site) -> None:
    """A key that the department is not recorded with publishes nothing."""
    before = len(site.entries("record_commit"))
    new_signing_key(site.folder / "other.key")
    assert _publish(site, site.folder / "other.key") == (2, "seal_key_differs")
    assert len(site.entries("record_commit")) == before


def test_who_may_not_add_a_department_leaves_no_key(site: Site) -> None:
    """The refusal comes before a key is made, and is audited."""
    words = ("department", "add", "ny.new", "--zh", "新", "--en", "New", "--region", "431126")
    ran = site.run(*words, who=CONSUMER)
    assert (ran.code, ran.error_code) == (1, "role_missing")
    assert not (site.root / "keys" / "seal-ny.new.key").exists()
    assert site.entries("refusal")[-1][2]["reasons"] == ["role_missing"]
    assert site.run(*words, who=AUTHORITY).code == 0
    assert (site.root / "keys" / "seal-ny.new.key").exists()


def test_every_gateway_makes_the_same_key_for_a_department(site: Site) -> None:
    """A folder that lacks the key of a department which was added through another folder makes it anew; it makes none
    for a department that is recorded with a key of its own.
    """
    key = site.root / "keys" / "seal-ny.new.key"
    words = ("department", "add", "ny.new", "--zh", "新", "--en", "New", "--region", "431126")
    assert site.run(*words, who=AUTHORITY).code == 0
    made = SigningKey.load(key).public
    key.unlink()
    with site.opened() as exchange:
        assert exchange._sealing("ny.new", None).public == made
        assert SigningKey.load(key).public == made
        own = new_signing_key(site.folder / "own.key").public.hex()
        place = ("ny.own", "own", "own", "431126", None, None, "extranet", own)
        exchange.control.execute(exchange.control.model().principal(AUTHORITY), c.AddDepartment(*place))
        with pytest.raises(Invalid, match="key_unreadable"):
            exchange._sealing("ny.own", None)
