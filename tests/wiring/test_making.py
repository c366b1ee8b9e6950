"""`exchange init`: what a new site is, and what it never does."""

import os
import shutil
import stat
from pathlib import Path
from typing import Any

import pytest

from exchange.audit.verify import verify
from exchange.errors import Invalid
from exchange.settings import read_settings
from exchange.wiring import MadeSite, open_exchange, standing
from tests.access.town import DAY, START_NS, Clock
from tests.wiring.conftest import make


def mode(path: Path) -> int:
    """Its permission bits."""
    return stat.S_IMODE(path.stat().st_mode)


def test_a_new_site_has_its_folders_and_rights(bare: MadeSite) -> None:
    """Data and keys are their owner's alone, every key file 0600; the public key is there for auditors."""
    root = bare.root
    assert {path.name for path in root.iterdir()} == {
        *("exchange.toml", "schemas", "policies", "adapters", "data", "keys"),
    }
    assert (mode(root / "data"), mode(root / "keys")) == (0o700, 0o700)
    secret = [path for path in (root / "keys").iterdir() if path.suffix == ".key"]
    assert {path.name for path in secret} == {
        *("subject.key", "actor.key", "pseudonym.key", "audit.key", "seal-ny.shuju.key"),
    }
    assert {mode(path) for path in secret} == {0o600}
    assert (root / "keys" / "audit.vkey").read_text("utf-8").strip() == bare.log_key
    assert verify(root / "data" / "audit", bare.log_key).ok


def test_a_new_site_has_settings_and_the_standing_policies(bare: MadeSite) -> None:
    """Its settings can be read; the policies are inputs and not in force yet."""
    assert read_settings(bare.root, {}).text("origin") == "exchange.invalid/test" == bare.origin
    shipped = {path.name: path.read_bytes() for path in standing("policies").iterdir() if path.is_file()}
    assert {path.name: path.read_bytes() for path in (bare.root / "policies").iterdir()} == shipped


def test_the_first_token_is_the_first_authoritys(bare: MadeSite, folder: Path) -> None:
    """It authenticates for a year; the token's text stands nowhere in the site."""
    root = Path(shutil.copytree(bare.root, folder / "site"))
    with open_exchange(root, "test", {}, Clock(START_NS + DAY), os.urandom) as exchange:
        model = exchange.control.model()
        assert model.principal_for(bare.token, START_NS + DAY).roles == {"sharing_authority"}
        assert model.active_policy is None
    held = b"".join(path.read_bytes() for path in root.rglob("*") if path.is_file())
    assert bare.token.encode() not in held


def test_secrets_are_of_the_site_alone(bare: MadeSite, folder: Path) -> None:
    """Two sites share no key, and without a name for it a log gets one of its own."""
    other = make(folder / "other", origin="")
    for key in (bare.root / "keys").iterdir():
        assert key.read_bytes() != (other.root / "keys" / key.name).read_bytes()
    assert other.origin.startswith("exchange.invalid/")
    assert other.origin != bare.origin


def test_a_site_is_made_once(bare: MadeSite, folder: Path) -> None:
    """A folder that holds anything, or a file in its place, is left as it is."""
    (folder / "file").write_text("x", "utf-8")
    for place in (folder, folder / "file"):
        with pytest.raises(Invalid) as caught:
            make(place)
        assert caught.value.code == "site_exists"
    assert [path.name for path in folder.iterdir()] == ["file"]
    with pytest.raises(Invalid) as caught:
        make(bare.root)
    assert caught.value.code == "site_exists"
    (folder / "empty").mkdir()
    assert make(folder / "empty").root == (folder / "empty").resolve()


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"department": "../../x"}, "name_malformed"),
        ({"department": "NY"}, "name_malformed"),
        ({"principal": "li"}, "name_malformed"),
        ({"origin": "with space"}, "audit_key_malformed"),
        ({"origin": "with+plus"}, "audit_key_malformed"),
        ({"origin": "sample.exchange.invalid/x"}, "origin_of_sample"),
        ({"origin": "Sample."}, "origin_of_sample"),
        ({"origin": "exchange.invalid/x", "sample": True}, "origin_of_sample"),
        ({"name": "a\nb"}, "setting_wrong"),
    ],
)
def test_a_wrong_word_makes_nothing(folder: Path, changes: dict[str, Any], code: str) -> None:
    """Everything is checked before the first file: so the corrected command can be given again."""
    with pytest.raises(Invalid) as caught:
        make(folder / "site", **changes)
    assert caught.value.code == code
    assert list(folder.iterdir()) == []


def test_a_sample_is_one_for_ever(folder: Path) -> None:
    """Its origin says so in every checkpoint; settings that name another are of no site, so no edit makes it real."""
    made = make(folder / "site", sample=True, origin="")
    settings = read_settings(made.root, {})
    assert made.origin.startswith("sample.exchange.invalid/")
    assert settings.is_sample
    assert "# sample = true" in (made.root / "exchange.toml").read_text("utf-8")
    with open_exchange(made.root, "test", {}, Clock(START_NS + DAY), os.urandom) as exchange:
        assert exchange.audit.checkpoint().decode().startswith(made.origin)
    file = made.root / "exchange.toml"
    file.write_text(file.read_text("utf-8").replace("sample.exchange", "exchange"), "utf-8")
    for environment in ({}, {"EXCHANGE_ORIGIN": made.origin.removeprefix("sample.")}):
        with (
            pytest.raises(Invalid) as caught,
            open_exchange(made.root, "test", environment, Clock(START_NS + DAY), os.urandom),
        ):
            pytest.fail("it was opened")
        assert caught.value.code == "origin_differs"
        assert caught.value.facts["log"] == made.origin


def test_a_real_site_does_not_become_a_sample(bare: MadeSite, folder: Path) -> None:
    """Nor the other way about: what was published as real is not called made up afterwards."""
    root = Path(shutil.copytree(bare.root, folder / "site"))
    assert not read_settings(root, {}).is_sample
    with (
        pytest.raises(Invalid) as caught,
        open_exchange(root, "test", {"EXCHANGE_ORIGIN": "sample.x"}, Clock(START_NS + DAY), os.urandom),
    ):
        pytest.fail("it was opened")
    assert (caught.value.code, caught.value.where) == ("origin_differs", "EXCHANGE_ORIGIN")


def test_a_half_made_site_is_none(bare: MadeSite, folder: Path) -> None:
    """The settings come last: what a crash leaves is opened by no program."""
    root = Path(shutil.copytree(bare.root, folder / "site"))
    (root / "exchange.toml").unlink()
    with (
        pytest.raises(Invalid) as caught,
        open_exchange(root, "test", {}, Clock(START_NS + DAY), os.urandom),
    ):
        pytest.fail("it was opened")
    assert caught.value.code == "no_site"
