"""Rules of exchange.toml."""

from pathlib import Path

import pytest

from exchange.errors import Invalid, Unavailable
from exchange.settings import SETTINGS, examine_settings, read_settings, secret
from exchange.site import owned

MINIMAL = 'format = 1\norigin = "exchange.example/ny"\n'


def _site(root: Path, text: str = MINIMAL) -> Path:
    (root / "exchange.toml").write_text(text, "utf-8")
    return root


def test_a_setting_comes_from_default_file_or_variable_in_this_order(tmp_path: Path) -> None:
    """The environment overrides the file, the file overrides the default, and each origin is known."""
    site = _site(tmp_path, MINIMAL + "[policy]\ndeadline_ms = 200\n")
    settings = read_settings(site, {"EXCHANGE_NAME": "宁远"})
    assert (settings.number("policy.deadline_ms"), settings.text("name")) == (200, "宁远")
    assert settings.number("access.in_flight") == 8
    assert (settings.origins["policy.deadline_ms"], settings.origins["name"]) == ("exchange.toml", "EXCHANGE_NAME")


@pytest.mark.parametrize(
    ("text", "code", "told"),
    [
        (MINIMAL + 'orign = "x"\n', "setting_unknown", "origin"),
        (MINIMAL + "[policy]\ndedline_ms = 1\n", "setting_unknown", "policy.deadline_ms"),
        (MINIMAL + "[policy]\ndeadline_ms = 0\n", "setting_wrong", "1 …"),
        (MINIMAL + "[policy]\ndeadline_ms = true\n", "setting_wrong", "1 …"),
        (MINIMAL + "name = 7\n", "setting_wrong", "text"),
        (MINIMAL + 'time_zone = "Mars/Base"\n', "setting_wrong", "Asia/Shanghai"),
        (MINIMAL + '[engines]\nlog = "data/x.db"\n', "setting_wrong", "SCHEME"),
        (MINIMAL + '[audit]\npublic = "everything"\n', "setting_wrong", "hashes / nothing"),
        (MINIMAL + '[keys]\nsubject = "0123456789abcdef"\n', "secret_in_plain", ""),
        ('origin = "a"\n', "setting_missing", "format"),
        ("", "setting_missing", "format"),
        ("format = 0\norigin = 'a'\n", "setting_wrong", "1 …"),
        ("format = 2\norigin = 'a'\n", "site_format", "found=2, needed=1"),
        ("format = ", "settings_unparsable", ""),
        ("a = " + "[" * 5000, "settings_unparsable", ""),
        ("#" * (1 << 21), "settings_unparsable", ""),
    ],
)
def test_a_wrong_file_says_what_is_wrong(tmp_path: Path, text: str, code: str, told: str) -> None:
    """Each wrong file gives one error that names the key, or the nearest one."""
    with pytest.raises(Invalid, match=code) as caught:
        read_settings(_site(tmp_path, text), {})
    assert told in str(caught.value)


def test_everything_that_is_wrong_is_found_at_once(tmp_path: Path) -> None:
    """What is right is taken, defaults stand in for the rest, and each fault is told once."""
    text = 'format = 7\nnam = "x"\n[policy]\ndeadline_ms = 0\n[access]\nin_flight = 3\n'
    settings, faults = examine_settings(_site(tmp_path, text), {"EXCHANGE_NAMES": "x", "EXCHANGE_TIME_ZONE": "UTC"})
    told = [(fault.code, fault.facts.get("name", "format")) for fault in faults]
    assert sorted(told) == [
        ("setting_missing", "origin"),
        ("setting_unknown", "EXCHANGE_NAMES"),
        ("setting_unknown", "nam"),
        ("setting_wrong", "policy.deadline_ms"),
        ("site_format", "format"),
    ]
    assert (settings.number("access.in_flight"), settings.number("policy.deadline_ms")) == (3, 100)
    assert settings.text("time_zone") == "UTC"
    settings, [fault] = examine_settings(tmp_path / "none", {})
    assert (fault.code, settings.text("engines.log")) == ("no_site", "sqlite:data/records.db")


def test_a_secret_written_down_is_not_repeated(tmp_path: Path) -> None:
    """The error about a secret in plain text does not hold it."""
    with pytest.raises(Invalid) as caught:
        read_settings(_site(tmp_path, MINIMAL + '[keys]\nactor = "hunter2hunter2"\n'), {})
    assert "hunter2" not in str(caught.value)


def test_a_folder_without_settings_is_no_site(tmp_path: Path) -> None:
    """No exchange.toml, no site; nothing is made."""
    with pytest.raises(Invalid, match="no_site"):
        read_settings(tmp_path, {})
    assert list(tmp_path.iterdir()) == []


def test_a_variable_that_nearly_overrides_is_an_error(tmp_path: Path) -> None:
    """A slip in a variable's name is told; variables of other programs are left alone."""
    with pytest.raises(Invalid, match="EXCHANGE_POLICY_DEADLINE_MS"):
        read_settings(_site(tmp_path), {"EXCHANGE_POLICY_DEADLINE": "5"})
    assert read_settings(_site(tmp_path), {"EXCHANGE_SERVICE_HOST": "10.0.0.1"}).number("format") == 1


def test_secrets_come_from_a_file_or_a_variable(tmp_path: Path) -> None:
    """`file:` and `env:` are read; a bare value, a missing file and an unset variable are refused."""
    (tmp_path / "token").write_text("abc\n")
    assert secret("file:token", tmp_path, {}) == "abc"
    assert secret("env:T", tmp_path, {"T": "abc"}) == "abc"
    for reference, code in (
        ("abc", "secret_in_plain"),
        ("file:none", "secret_unreadable"),
        ("env:T", "secret_unreadable"),
    ):
        with pytest.raises(Invalid, match=code):
            secret(reference, tmp_path, {})


def test_a_key_that_must_be_a_file_is_not_taken_from_a_variable(tmp_path: Path) -> None:
    """A signing key kept in a variable is refused where a file is needed."""
    settings = read_settings(_site(tmp_path), {"EXCHANGE_KEYS_AUDIT": "env:KEY"})
    with pytest.raises(Invalid, match="secret_not_in_file"):
        settings.secret_file("keys.audit")


def test_one_process_owns_a_site(tmp_path: Path) -> None:
    """A second owner is Unavailable and is told who holds it; afterwards the site is free."""
    (tmp_path / "data").mkdir()
    with owned(tmp_path, "exchange publish", 1):
        with pytest.raises(Unavailable, match="site_in_use") as caught, owned(tmp_path, "exchange read", 2):
            pass
        assert "exchange publish" in str(caught.value)
    with owned(tmp_path, "exchange read", 3):
        pass


def test_every_setting_explains_itself() -> None:
    """Each setting has a help text and a variable of its own."""
    assert all(setting.help for setting in SETTINGS)
    assert len({setting.variable for setting in SETTINGS}) == len(SETTINGS)
