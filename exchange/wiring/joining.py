"""Another gateway of an exchange: a folder of its own on the same servers, with the keys that a gateway needs."""

from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from exchange.control.database import check_revision
from exchange.errors import Invalid, Unavailable
from exchange.settings import SETTINGS, Settings, new_settings, read_settings, write_settings
from exchange.signing.keys import read_key, write_key
from exchange.site import BUNDLE_KEY, BUNDLE_TOKEN, FOLDERS, VKEY
from exchange.wiring.engines import audit_store_of, check_shared, database_of, log_key

_SECRETS: Final = ("keys.subject", "keys.actor", "keys.pseudonym")
_PASSWORDS: Final = ("postgresql.password", "kafka.sasl.password", "policy.opa.token")
# Of one machine, not of the exchange: where it listens, and as whom.
_OWN: Final = frozenset({"http.host", "http.port", "http.certificate", "http.certificate_key"})
_PATHS: Final = frozenset({"engines.policy", "kafka.ssl.ca.location", "policy.opa.ca", "clock.file"})


@dataclass(frozen=True, slots=True)
class MadeGateway:
    """A new gateway of the exchange whose log has this origin; `standby`: it may take the sequencer's place."""

    root: Path
    origin: str
    standby: bool


def make_gateway(
    root: Path, site: Path, environment: Mapping[str, str], *, standby: bool, given: Mapping[str, str] | None = None
) -> MadeGateway:
    """Makes a gateway in a folder that is not there or empty, with the settings that are in force at `site`, except
    where that listens; `given` are those that differ. The site may be in use meanwhile.

    The key that signs the audit log goes along only to a `standby`; without it a gateway follows the sequencer, and
    whoever takes its folder cannot sign a history.

    Raises:
        Invalid: `engine_not_shared`: an engine is a file that one process owns; `origin_differs`: the servers hold
            another log; no site, `site_exists`, a malformed setting, an unreadable key.
        Unavailable: a server is not there. Whatever is raised, nothing was made.
    """
    of = read_settings(site, environment)
    check_shared(of, "control", "audit", "log")
    settings = new_settings(root, {**dict(_taken(of)), **_sequencing(standby), **(given or {})})
    check_shared(settings, "control", "audit", "log")
    if root.exists() and (not root.is_dir() or any(root.iterdir())):
        raise Invalid("site_exists", where=str(root))
    _check_log(of)
    keys = [(read_key(file), copy) for file, copy in _keys(of, settings, standby=standby)]
    root.mkdir(parents=True, exist_ok=True)
    for folder in FOLDERS:
        (root / folder).mkdir(mode=0o700 if folder in {"data", "keys"} else 0o755)
    for content, copy in keys:
        copy.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        write_key(copy, content)
    (root / VKEY).write_text(log_key(of) + "\n", "utf-8")
    # A crash before this line leaves a folder that is no site: without settings no program opens it.
    write_settings(settings)
    return MadeGateway(settings.root, settings.text("origin"), standby)


def _taken(of: Settings) -> Iterator[tuple[str, str]]:
    """The site's settings that are not defaults, wherever they come from; a file outside `keys` stays where it is."""
    for name in (setting.name for setting in SETTINGS):
        if of.origins.get(name, "default") == "default" or name in _OWN:
            continue
        value = of.text(name)
        scheme, _, rest = value.partition(":")
        if name in _PATHS and (of.root / (rest or value)).is_file():
            value = f"{scheme}:{of.path(rest)}" if rest else str(of.path(value))
        yield name, value


def _sequencing(standby: bool) -> dict[str, str]:  # noqa: FBT001 - made of it
    return {"audit.sequencer": "auto" if standby else "never"}


def _keys(of: Settings, settings: Settings, *, standby: bool) -> Iterator[tuple[Path, Path]]:
    """Each key file of the site that the new folder needs, and where it goes: the same place, in the new folder."""
    for name in (*_SECRETS, *(["keys.audit"] if standby else [])):
        yield of.secret_file(name), settings.secret_file(name)
    for name in _PASSWORDS:
        if of.text(name).startswith("file:") and of.secret_file(name).is_file():  # one that is not needed is not there
            copy = settings.secret_file(name) if settings.text(name) == of.text(name) else of.secret_file(name)
            if copy != of.secret_file(name):
                yield of.secret_file(name), copy
    own = (of.root / place for place in (BUNDLE_KEY, BUNDLE_TOKEN))  # so that OPA may pull from any gateway
    for file in (*sorted((of.root / "keys").glob("seal-*.key")), *(one for one in own if one.is_file())):
        yield file, settings.root / "keys" / file.name


def _check_log(of: Settings) -> None:
    """That the servers are there and hold this exchange, before there is a folder that a failure would leave behind."""
    with ExitStack() as stack:
        database = database_of(of, stack)
        check_revision(database)
        head = audit_store_of(of, database).head()
        if head is None:
            raise Unavailable("audit_missing")
        if head.origin != of.text("origin"):
            raise Invalid("origin_differs", where=of.origins["origin"], log=head.origin)
