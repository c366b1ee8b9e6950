"""Making a site: `exchange init`, and nothing else, makes an audit log."""

import shutil
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from exchange.audit.log import AuditLog, create
from exchange.audit.note import check_origin
from exchange.control.control import Control
from exchange.control.database import upgrade
from exchange.control.store import SqlEventStore
from exchange.control.tokens import new_token
from exchange.errors import Invalid
from exchange.log.server import is_server, place
from exchange.names import check
from exchange.settings import SAMPLE, Settings, new_settings, write_settings
from exchange.signing.keys import new_secret, new_signing_key
from exchange.site import FOLDERS, VKEY, owned, seal_key
from exchange.wiring.engines import actors_of, audit_store_of, database_of

_PACKAGE: Final = Path(__file__).parent.parent
_FIRST_TOKEN_NS: Final = 365 * 86_400 * 1_000_000_000


@dataclass(frozen=True, slots=True)
class MadeSite:
    """A new site: the first authority's token, shown this once, and the audit log's public key (vkey)."""

    root: Path
    origin: str
    log_key: str
    token: str


def make_site(
    root: Path,
    *,
    name: str,
    origin: str | None,
    department: str,
    principal: str,
    now_ns: Callable[[], int],
    random_bytes: Callable[[int], bytes],
    sample: bool = False,
    titles: tuple[str, str] | None = None,
    given: Mapping[str, str] | None = None,
) -> MadeSite:
    """Makes a site in a folder that is not there or empty. Nothing else makes an audit log.

    `given` are further settings by name, such as the engines.
    `titles` are what people call the authority's department, in Chinese and English; without them its id is.
    A `sample` is one for ever: its origin begins with `sample.` and stands in every checkpoint; no other's does.

    Raises:
        Invalid: `site_exists`, `origin_of_sample`, or a malformed name or setting: then nothing was made.
        Invalid, Unavailable: a server that is not there, or holds an exchange already: then no folder was made.
    """
    from exchange.control.commands import AddDepartment, Bootstrap

    check("department", department, where="department")
    check("principal", principal, where="principal")
    origin = origin or f"{SAMPLE if sample else ''}exchange.invalid/{random_bytes(8).hex()}"
    settings = new_settings(root, {**(given or {}), "name": name, "origin": check_origin(origin)})
    if settings.is_sample != sample:
        raise Invalid("origin_of_sample", where="origin", prefix=SAMPLE)
    if root.exists() and (not root.is_dir() or any(root.iterdir())):
        raise Invalid("site_exists", where=str(root))
    _prepare_server(settings)
    root.mkdir(parents=True, exist_ok=True)
    root = settings.root
    for folder in FOLDERS:
        (root / folder).mkdir(mode=0o700 if folder in {"data", "keys"} else 0o755)
    shutil.copytree(standing("policies"), root / "policies", dirs_exist_ok=True)
    for key in ("subject", "actor", "pseudonym"):
        new_secret(settings.secret_file(f"keys.{key}"), random_bytes)
    signer = new_signing_key(settings.secret_file("keys.audit"))
    seal = new_signing_key(seal_key(root, department))
    token, identity, digest = new_token(random_bytes)
    expires = now_ns() + _FIRST_TOKEN_NS
    place = AddDepartment(
        department, *(titles or (department, department)), "000000", None, None, "extranet", seal.public.hex()
    )
    with owned(root, "exchange init", now_ns()), ExitStack() as stack:
        database = database_of(settings, stack)
        upgrade(database)
        log_key = create(audit_store_of(settings, database), settings.text("origin"), signer, now_ns)
        (root / VKEY).write_text(log_key + "\n", "utf-8")
        audit = AuditLog(audit_store_of(settings, database), signer, now_ns)
        stack.callback(audit.close)
        control = Control(SqlEventStore(database), audit, actors_of(settings), now_ns)
        control.bootstrap(Bootstrap(place, principal, identity, digest, expires))
    # A crash before this line leaves a folder that is no site: without settings no program opens it.
    write_settings(settings)
    return MadeSite(root, settings.text("origin"), log_key, token)


def _prepare_server(settings: Settings) -> None:
    """Makes the tables on a server first, before there is a folder that a failure would leave behind."""
    with ExitStack() as stack:
        database = database_of(settings, stack)
        if is_server(database):
            upgrade(database)
            if audit_store_of(settings, database).head() is not None:
                raise Invalid("audit_exists", where=place(database))


def standing(name: str) -> Path:
    """A folder that the exchange ships: beside this package in a checkout, inside it in a wheel."""
    shipped = _PACKAGE / "standing" / name
    return shipped if shipped.is_dir() else _PACKAGE.parent / name
