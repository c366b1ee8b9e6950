"""What an operator wants to know of a site that does not work, or may not: one finding for each thing, none in the way
of another. Nothing is changed, no token is needed, and another process may hold the site.

Here is what needs no store: settings, folders, keys, clock, disk, port, encodings. `exchange.wiring.examining_stores`
has the rest.
"""

import locale
import platform
import socket
import stat
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, suppress
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Final, Literal

from exchange import __version__
from exchange.audit.note import open_checkpoint, vkey
from exchange.control.model import Model
from exchange.errors import ExchangeError, Invalid, Unavailable
from exchange.settings import Settings, examine_settings
from exchange.signing.keys import SigningKey, read_secret
from exchange.site import FOLDERS, VKEY, check_room, free_bytes, holder
from exchange.wiring.clock import clock_of

State = Literal["ok", "wrong", "unused"]
_SECRETS: Final = ("keys.subject", "keys.actor", "keys.pseudonym")
_PRIVATE: Final = frozenset({"data", "keys"})
_YEARS: Final = (1_735_689_600, 4_102_444_800)  # 2025 to 2100, in seconds
_PATIENCE_S: Final = 120  # a file on another machine's disk may be so much ahead
_SECOND_NS: Final = 1_000_000_000
_RARE: Final = "㐀龥𠀀合成"  # of names in registers: the second and fourth are not in GB2312


@dataclass(frozen=True, slots=True)
class Finding:
    """One line: what was looked at (`text.doctor_title_<check>`; `about` which one of several), how it is, and the
    sentence that says so (`text.doctor_<said>` with `facts`). What is wrong has its error, whose sentences say what
    and what to do.
    """

    check: str
    about: str
    state: State
    said: str = ""
    facts: Mapping[str, object] = field(default_factory=dict)
    error: ExchangeError | None = None


def ok(check: str, said: str, **facts: object) -> Finding:
    """All is well, with what was seen."""
    return Finding(*_named(check), "ok", said, facts)


def unused(check: str, said: str, **facts: object) -> Finding:
    """The site does without."""
    return Finding(*_named(check), "unused", said, facts)


def wrong(check: str, error: ExchangeError) -> Finding:
    """What must be mended."""
    return Finding(*_named(check), "wrong", error=error)


def _named(check: str) -> tuple[str, str]:
    """`seal_key ny.minzheng`: the check, and which one of several."""
    name, _, about = check.partition(" ")
    return name, about


@dataclass(frozen=True)
class Examined:
    """The site that is looked at: its settings as far as they can be read, and what was wrong with them."""

    root: Path
    environment: Mapping[str, str]
    now_ns: Callable[[], int]
    goes_on: Callable[[], bool]
    models: list[Model] = field(default_factory=list)  # none before it was read

    @cached_property
    def read(self) -> tuple[Settings, list[Invalid]]:
        """Settings and their faults."""
        return examine_settings(self.root, self.environment)

    @property
    def settings(self) -> Settings:
        """The settings; defaults in the place of what cannot be read."""
        return self.read[0]

    def time_ns(self) -> int:
        """The time by the site's clock; `Unavailable("clock_unreadable")`."""
        return clock_of(self.settings, self.now_ns)()

    @property
    def is_site(self) -> bool:
        """Whether there is a site at all."""
        return not any(fault.code == "no_site" for fault in self.read[1])


Check = Callable[[Examined], Iterator[Finding]]


def examine(examined: Examined, checks: Mapping[str, Check]) -> Iterator[Finding]:
    """Every check's findings; one that fails is a finding itself, and the next one goes on.

    What stands in the way of several is told once, as the first one's fault.
    """
    told: dict[tuple[str, str], str] = {}
    for name, check in checks.items():
        for one in _findings(examined, name, check):
            cause = (one.error.code, one.error.where) if one.error is not None else ("", "")
            if one.error is None or told.setdefault(cause, one.check) == one.check:
                yield one
            else:
                yield unused(name, "needs", other=told[cause])


def _findings(examined: Examined, name: str, check: Check) -> Iterator[Finding]:
    try:
        yield from check(examined)
    except ExchangeError as error:
        yield wrong(name, error)
    except OSError as error:
        where = Path(str(error.filename or name)).name
        yield wrong(name, Unavailable("system", where=where, detail=error.strerror or type(error).__name__))
    except Exception as error:  # noqa: BLE001 - whatever a broken site does to a check, the others are worth having
        yield wrong(name, Unavailable("check_failed", where=name, detail=type(error).__name__))


def program(_: Examined) -> Iterator[Finding]:
    """Which program this is, on what."""
    yield ok("program", "program", version=__version__, python=platform.python_version(), system=platform.platform())


def encodings(
    _: Examined, of_locale: str | None = None, of_files: str | None = None, errors: str | None = None
) -> Iterator[Finding]:
    """What text goes through: the locale's encoding, file names', and the one that old exports are in."""
    for check, found, needed in (
        ("encoding_of_locale", of_locale or locale.getencoding(), "UTF-8"),
        ("encoding_of_names", of_files or sys.getfilesystemencoding(), "UTF-8"),
    ):
        if found.replace("-", "").lower() == "utf8":
            yield ok(check, "encoding", found=found)
        else:
            yield wrong(check, Invalid("encoding_wrong", where=check, found=found, needed=needed))
    known = _RARE.encode("gb18030", errors or "strict").decode("gb18030") == _RARE
    yield (
        ok("encoding_of_exports", "encoding", found="GB18030")
        if known
        else wrong("encoding_of_exports", Invalid("encoding_wrong", where="GB18030", found="-", needed="GB18030"))
    )


def settings(examined: Examined) -> Iterator[Finding]:
    """Readable, each key known, each value of its kind."""
    found, faults = examined.read
    for fault in faults:
        yield wrong("settings", fault)
    if not faults:
        given = sum(1 for origin in found.origins.values() if origin != "default")
        yield ok("settings", "settings", given=given, known=len(found.values))


def lock(examined: Examined) -> Iterator[Finding]:
    """Who has the site just now."""
    held = holder(examined.root)
    yield ok("lock", "lock_free") if held is None else ok("lock", "lock_held", **held)


def folders(examined: Examined) -> Iterator[Finding]:
    """There, and what is private for their owner alone."""
    for name in FOLDERS:
        path = examined.root / name
        check = f"folder {name}"
        mode = "700" if name in _PRIVATE else "755"
        if not path.is_dir():
            yield wrong(check, Invalid("folder_missing", where=str(path), command=f"mkdir -m {mode} {path}"))
        elif name in _PRIVATE and path.stat().st_mode & 0o077:
            found = f"{stat.S_IMODE(path.stat().st_mode):o}"
            error = Invalid("folder_open_to_others", where=str(path), found=found, command=f"chmod 700 {path}")
            yield wrong(check, error)
        else:
            yield ok(check, "folder", mode=f"{stat.S_IMODE(path.stat().st_mode):o}")


def owners(examined: Examined) -> Iterator[Finding]:
    """Each file of the site's own belongs to its folder's owner: what root left behind, nobody else can write."""
    odd: list[tuple[Path, int, int]] = []
    for pattern in ("data", "data/*", "data/audit", "data/audit/*", "data/ledgers/*", "keys", "keys/*"):
        for path in sorted(examined.root.glob(pattern)):
            with suppress(FileNotFoundError):  # gone since its folder was listed
                found, needed = path.lstat().st_uid, path.parent.stat().st_uid
                odd += [(path, found, needed)] if found != needed else []
    if odd:
        path, found, needed = odd[0]
        command = f"chown -h --reference={path.parent} {path}"
        raise Invalid("files_of_another", where=str(path), count=len(odd), found=found, needed=needed, command=command)
    yield ok("owners", "owners")


def keys(examined: Examined) -> Iterator[Finding]:
    """Each secret readable, private and of its length."""
    for name in _SECRETS:
        try:
            file = examined.settings.secret_file(name)
            read_secret(file)
        except ExchangeError as error:
            yield wrong(name, error)
        else:
            yield ok(name, "key", file=file.name)


def audit_key(examined: Examined) -> Iterator[Finding]:
    """The log's key, its public half for auditors, and the checkpoint that it has signed: all of one key."""
    if examined.settings.text("audit.sequencer") == "never":
        yield unused("keys.audit", "audit_key_elsewhere", file=VKEY)
        return
    key = SigningKey.load(examined.settings.secret_file("keys.audit"))
    shown = examined.settings.path(VKEY).read_text("utf-8").strip()
    origin = examined.settings.text("origin")
    if vkey(origin, key.public) != shown:
        raise Invalid("key_not_the_logs", where=VKEY, origin=origin)
    yield ok("keys.audit", "audit_key", origin=origin)


def checkpoint(examined: Examined) -> Iterator[Finding]:
    """The published one, its signature by the public key that auditors have."""
    scheme, folder = examined.settings.engine("audit")
    if scheme != "file":
        yield unused("checkpoint", "checkpoint_rows")
        return
    file = examined.settings.path(folder) / "checkpoint"
    if not file.is_file():
        raise Unavailable("audit_missing", where=str(file))
    shown = examined.settings.path(VKEY).read_text("utf-8").strip()
    found = open_checkpoint(file.read_bytes(), shown)
    yield ok("checkpoint", "checkpoint", size=found.size)


def clock(examined: Examined) -> Iterator[Finding]:
    """A year that can be, and not before what was written here already."""
    now_s = examined.time_ns() // _SECOND_NS
    if not _YEARS[0] <= now_s < _YEARS[1]:
        raise Invalid("clock_wrong", where="clock", detail=f"{now_s} s since 1970")
    newest = max(_written(examined), default=0.0)
    if newest > now_s + _PATIENCE_S:
        raise Invalid("clock_wrong", where="clock", detail=f"{int(newest - now_s)} s behind a file of data")
    yield ok("clock", "clock")


def clock_file(examined: Examined) -> Iterator[Finding]:
    """The file that is read in the place of the system's clock, where there is one: it tells the same time."""
    name = examined.settings.text("clock.file")
    if not name:
        yield unused("clock_file", "clock_of_system")
        return
    ahead_s = (examined.time_ns() - examined.now_ns()) // _SECOND_NS
    if abs(ahead_s) > _PATIENCE_S:
        raise Invalid("clock_wrong", where=name, detail=f"{ahead_s:+} s from the system's clock, by clock.file")
    yield ok("clock_file", "clock_file", where=name)


def _written(examined: Examined) -> Iterator[float]:
    """When the files of data were written last."""
    for path in (*examined.root.glob("data/*"), *examined.root.glob("data/audit/checkpoint")):
        with suppress(FileNotFoundError):  # gone since its folder was listed
            yield path.stat().st_mtime


def disk(examined: Examined, free: Callable[[Path], int] = free_bytes) -> Iterator[Finding]:
    """More free than the reserve."""
    folder, reserve = examined.root / "data", examined.settings.number("storage.reserve_mb")
    left = free(folder) >> 20
    if not reserve:
        yield unused("disk_reserve", "disk_none", free=left)
        return
    check_room(folder, reserve << 20, free)
    yield ok("disk_reserve", "disk", free=left, reserve=reserve)


def port(examined: Examined) -> Iterator[Finding]:
    """The address of `exchange serve`: answered by it where it runs (it may have been started at another one), else
    free to be taken.
    """
    values: Mapping[str, Any] = examined.settings.values
    host, number = values.get("http.host"), values.get("http.port")
    if host is None or not number:  # 0 takes any that is free
        yield unused("port", "port_none")
        return
    held = holder(examined.root)
    serving = held is not None and "serve" in str(held["command"])
    where = f"{host}:{number}"
    try:
        family = socket.getaddrinfo(str(host), int(number), type=socket.SOCK_STREAM)[0][0]
        with closing(socket.socket(family, socket.SOCK_STREAM)) as probe:
            if serving:
                probe.settimeout(2.0)
                probe.connect((str(host), int(number)))
            else:
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                probe.bind((str(host), int(number)))
    except ConnectionRefusedError:
        yield unused("port", "port_elsewhere", where=where)
        return
    except OSError as error:
        raise Unavailable("port_unusable", where=where, detail=error.strerror or str(error)[:100]) from None
    yield ok("port", "port_served" if serving else "port_free", where=where)
