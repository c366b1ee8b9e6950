"""The settings of a site: `exchange.toml`, each key overridden by `EXCHANGE_…`, read here and nowhere else.

A key that is not listed in `SETTINGS` is an error that names the nearest one. Secrets never stand in the file: they
are named as `file:PATH` (relative to the site) or `env:NAME`.
"""

import json
import os
import re
import tomllib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Any, Final, Literal
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from exchange.errors import Invalid
from exchange.names import nearest

FORMAT: Final = 1
FILE: Final = "exchange.toml"
SAMPLE: Final = "sample."  # so begins the origin of a sample site, and no other's
_LARGEST: Final = 1 << 20
# Not settings of a site: which site, whose token; and what only our own tests read.
_OTHER_VARIABLES: Final = frozenset({"EXCHANGE_SITE", "EXCHANGE_TOKEN", "EXCHANGE_LEDGERS", "EXCHANGE_LANG"})
_OF_TESTS: Final = "EXCHANGE_TEST_"
# A password in an engine's address, before its host or as an option.
_PASSWORD: Final = re.compile(r"://[^/?@]*:[^/?@]*@|[?&](?:ssl)?password=")


@dataclass(frozen=True, slots=True)
class Setting:
    """One key of `exchange.toml`; `kind` int has bounds, `secret` takes only `file:` or `env:`, text what it may choose
    from.
    """

    name: str
    kind: Literal["text", "int", "secret", "engine"]
    default: str | int | None
    help: str
    least: int = 0
    most: int = 0
    choices: tuple[str, ...] = ()

    @property
    def variable(self) -> str:
        """The environment variable that overrides it."""
        return "EXCHANGE_" + self.name.replace(".", "_").upper()


SETTINGS: Final = (
    Setting("format", "int", None, "format number of the site folder", 1, FORMAT),
    Setting("name", "text", "", "what people call this exchange"),
    Setting("origin", "text", None, "name of the audit log (C2SP origin); never changes"),
    Setting("time_zone", "text", "Asia/Shanghai", "zone in which times are shown"),
    Setting(
        "engines.control",
        "engine",
        "sqlite:data/control.db",
        "event store, audit outbox, documents: sqlite:FILE or postgresql://USER@HOST:PORT/DATABASE",
    ),
    Setting("engines.log", "engine", "sqlite:data/records.db", "record log: sqlite:FILE or kafka://HOST:PORT,…/PREFIX"),
    Setting(
        "engines.state",
        "engine",
        "sqlite:data/state.db",
        "latest record per subject: sqlite:FILE, postgresql://… or postgresql: (the control database)",
    ),
    Setting(
        "engines.audit",
        "engine",
        "file:data/audit",
        "the audit log's tiles and checkpoints: file:FOLDER or postgresql: (rows of the control database)",
    ),
    Setting(
        "engines.policy",
        "engine",
        "regorus:",
        "policy engine: regorus:, opa:PATH of an OPA binary, or OPA servers: opa+https://HOST:PORT,… (opa+http: here)",
    ),
    Setting("kafka.security.protocol", "text", "SASL_SSL", "SASL_SSL; on this machine also SASL_PLAINTEXT, PLAINTEXT"),
    Setting("kafka.sasl.mechanism", "text", "SCRAM-SHA-512", "SCRAM-SHA-512, SCRAM-SHA-256 or PLAIN"),
    Setting("kafka.sasl.username", "text", "exchange", "the exchange's own account at the brokers"),
    Setting("kafka.sasl.password", "secret", "file:keys/kafka.password", "that account's password"),
    Setting("kafka.ssl.ca.location", "text", "", "file of the brokers' certificate authority (PEM); else the system's"),
    Setting("kafka.replication.factor", "int", 3, "brokers that keep each record of a new topic", 1, 9),
    Setting("kafka.min.insync.replicas", "int", 2, "of these, how many must have it before it counts", 1, 9),
    Setting("kafka.control.readers", "text", "", "who may read the mirrored control events: User:NAME User:NAME …"),
    Setting(
        "audit.sequencer",
        "text",
        "auto",
        "auto: this process may become the audit log's sequencer; never: it follows one in another process",
        choices=("auto", "never"),
    ),
    Setting("postgresql.password", "secret", "", "password of the PostgreSQL servers: file: or env:; empty: none"),
    Setting(
        "clock.file",
        "text",
        "",
        "file with the time, nanoseconds since 1970, read in the place of the system's clock; for drills",
    ),
    Setting(
        "policy.deadline_ms", "int", 100, "a question whose policy computes longer than this is refused", 1, 60_000
    ),
    Setting("policy.opa.network_ms", "int", 500, "what an OPA server's answer may take beside that", 1, 60_000),
    Setting("policy.opa.spread_seconds", "int", 10, "how long an approval waits for every OPA server", 0, 600),
    Setting("policy.opa.ca", "text", "", "file of the OPA servers' certificate authority (PEM); else well-known ones"),
    Setting("policy.opa.token", "secret", "", "bearer token for the OPA servers: file: or env:; empty: none"),
    Setting("access.release_records", "int", 10_000, "records in one release at the most", 1, 10_000),
    Setting("access.in_flight", "int", 8, "releases a reader keeps waiting for their checkpoint", 1, 64),
    Setting("access.plan_seconds", "int", 60, "how long a plan may be used again", 0, 60),
    Setting(
        "audit.public",
        "text",
        "hashes",
        "what of /log/ is for anybody: hashes (checkpoint and tiles, no entries) or nothing",
        choices=("hashes", "nothing"),
    ),
    Setting(
        "audit.witnesses", "text", "", "who cosigns the audit log's checkpoints: URL KEY URL KEY … (C2SP tlog-witness)"
    ),
    Setting("audit.witness_seconds", "int", 60, "pause between two requests to each of them", 1, 86_400),
    Setting("audit.details.decision_days", "int", 1_095, "how long a decision's detail is kept", 184, 36_500),
    Setting("audit.details.query_days", "int", 1_095, "how long the parameters of a query are kept", 184, 36_500),
    Setting("publish.batch_records", "int", 10_000, "records sealed and appended together at the most", 1, 10_000),
    Setting("publish.partitions", "int", 1, "partitions of a new topic", 1, 1_000),
    Setting("publish.request_records", "int", 100_000, "records in one request at the most", 1, 10_000_000),
    Setting("http.host", "text", "127.0.0.1", "address that `exchange serve` listens on"),
    Setting("http.port", "int", 8431, "its port; 0: any that is free", 0, 65_535),
    Setting("http.certificate", "text", "", "file of its TLS certificate chain (PEM); needed beyond this machine"),
    Setting("http.certificate_key", "text", "", "file of the certificate's key (PEM)"),
    Setting("http.threads", "int", 64, "requests worked on at once at the most", 1, 1_000),
    Setting("http.connections", "int", 2_000, "connections at once; more are told to come later", 1, 100_000),
    Setting("http.head_seconds", "int", 10, "how long the head of a request may take to arrive", 1, 600),
    Setting("http.body_mb", "int", 64, "size of a body of records at the most", 1, 4_096),
    Setting("http.body_seconds", "int", 60, "how long a request may take to arrive", 1, 3_600),
    Setting("http.slow_seconds", "int", 20, "a client that takes next to nothing for so long is cut off", 1, 3_600),
    Setting("http.stop_seconds", "int", 20, "how long requests in flight may take to end at a stop", 0, 600),
    Setting("storage.reserve_mb", "int", 512, "MiB of the data's disk that are kept free; 0: none", 0, 1 << 30),
    Setting("keys.subject", "secret", "file:keys/subject.key", "K_subject: makes subject tags"),
    Setting("keys.actor", "secret", "file:keys/actor.key", "makes actors' pseudonyms in the audit log"),
    Setting("keys.pseudonym", "secret", "file:keys/pseudonym.key", "root of the pseudonym masks' scope keys"),
    Setting("keys.audit", "secret", "file:keys/audit.key", "signs the audit log's checkpoints (Ed25519)"),
)
_BY_NAME: Final = {setting.name: setting for setting in SETTINGS}


@dataclass(frozen=True, slots=True)
class Settings:
    """The settings of one site; `root` is its folder, absolute."""

    root: Path
    values: Mapping[str, str | int]
    origins: Mapping[str, str]

    def text(self, name: str) -> str:
        """The value of a setting that is no number."""
        return str(self.values[name])

    def number(self, name: str) -> int:
        """The value of a setting that is a number."""
        return int(self.values[name])

    def engine(self, name: str) -> tuple[str, str]:
        """An engine's scheme and what stands behind it."""
        scheme, _, rest = self.text(f"engines.{name}").partition(":")
        return scheme, rest

    def path(self, relative: str) -> Path:
        """A path of the site; an absolute one stays as it is."""
        return self.root / relative

    @property
    def zone(self) -> ZoneInfo:
        """The zone in which times are shown."""
        return ZoneInfo(self.text("time_zone"))

    @property
    def is_sample(self) -> bool:
        """Whether this is a sample site: by its origin, which every checkpoint of its log signs, and by nothing else,
        so that no edit makes a real one of it.
        """
        return of_sample(self.text("origin"))

    def secret(self, name: str) -> str:
        """The text of a secret that may be a file's or a variable's; empty where the setting is empty."""
        reference = self.text(name)
        return secret(reference, self.root) if reference else ""

    def secret_file(self, name: str) -> Path:
        """The file that holds a secret; `Invalid("secret_not_in_file")` where the setting names a variable."""
        scheme, _, rest = self.text(name).partition(":")
        if scheme != "file":
            raise Invalid("secret_not_in_file", where=name)
        return self.path(rest)


def of_sample(origin: str) -> bool:
    """Whether an audit log's name says that all in its site is made up."""
    return origin.casefold().startswith(SAMPLE)


def read_settings(root: Path, environment: Mapping[str, str] = os.environ) -> Settings:
    """The settings of the site at `root`.

    Raises:
        Invalid: no site there, a file that is no TOML, an unknown or missing key, a value of the wrong kind.
    """
    settings, faults = examine_settings(root, environment)
    for fault in faults:
        raise fault
    return settings


def examine_settings(root: Path, environment: Mapping[str, str] = os.environ) -> tuple[Settings, list[Invalid]]:
    """The settings as far as they can be read, defaults in the place of the rest, and everything that is wrong."""
    file = root / FILE
    values: dict[str, str | int] = {s.name: s.default for s in SETTINGS if s.default is not None}
    origins, faults = dict.fromkeys(values, "default"), []
    try:
        found = [(name, value, str(file), FILE) for name, value in _flat(_load(file))]
    except Invalid as fault:
        found, faults = [], [fault]
    unreadable = bool(faults)
    variables = ((variable, environment[variable]) for variable in sorted(environment))
    for name, value, where, origin in [*found, *_overrides(variables, faults)]:
        try:
            values[name], origins[name] = _checked(name, value, where=where), origin
        except Invalid as fault:
            faults.append(fault)
    if not unreadable:
        given = {name for name, *_ in found}
        missing = [setting.name for setting in SETTINGS if setting.name not in {*values, *given}]
        faults += [Invalid("setting_missing", where=str(file), name=name) for name in missing]
    return Settings(root.resolve(), {"format": FORMAT, "origin": "", **values}, origins), faults


def new_settings(root: Path, given: Mapping[str, str]) -> Settings:
    """The settings that a new site begins with: these, and the defaults."""
    values: dict[str, str | int] = {s.name: s.default for s in SETTINGS if s.default is not None}
    values["format"] = FORMAT
    for name, value in given.items():
        values[name] = _checked(name, value, where=FILE)
    return Settings(root.resolve(), values, dict.fromkeys(given, FILE))


def write_settings(settings: Settings) -> None:
    """Writes `exchange.toml` with what is not a default; the rest follows as comments, to be found when needed."""
    written = {"format", "name", "origin", *settings.origins}
    own = [
        f"{s.name} = {json.dumps(settings.values[s.name], ensure_ascii=False)}" for s in SETTINGS if s.name in written
    ]
    rest = [f"# {s.name} = {json.dumps(s.default)}  # {s.help}" for s in SETTINGS if s.name not in written]
    mark = ["# sample = true, by the origin above: all data of this site are made up, and it never becomes a real one"]
    lines = [*own, *(mark if settings.is_sample else []), "", *rest, ""]
    (settings.root / FILE).write_text("\n".join(lines), "utf-8")


def secret(reference: str, root: Path, environment: Mapping[str, str] = os.environ) -> str:
    """The text that `file:PATH` or `env:NAME` names. The value itself is never accepted."""
    scheme, _, rest = reference.partition(":")
    if scheme == "env" and rest in environment:
        return environment[rest].strip()
    if scheme == "file":
        try:
            return (root / rest).read_text("utf-8").strip()
        except (OSError, UnicodeDecodeError) as error:
            raise Invalid("secret_unreadable", where=f"file:{rest}", detail=type(error).__name__) from None
    if scheme == "env":
        raise Invalid("secret_unreadable", where=f"env:{rest}", detail="not set")
    raise Invalid("secret_in_plain")


def _load(file: Path) -> Mapping[str, Any]:
    try:
        if file.stat().st_size > _LARGEST:
            raise Invalid("settings_unparsable", where=str(file), detail="larger than 1 MiB")
        return tomllib.loads(file.read_text("utf-8"))
    except (FileNotFoundError, NotADirectoryError):
        raise Invalid("no_site", where=str(file.parent)) from None
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError, RecursionError) as error:
        raise Invalid("settings_unparsable", where=str(file), detail=str(error)) from None


def _flat(document: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, object]]:
    for key, value in document.items():
        name = f"{prefix}{key}"
        if isinstance(value, dict) and any(known.startswith(f"{name}.") for known in _BY_NAME):
            yield from _flat(value, f"{name}.")
        else:
            yield name, value


def _overrides(variables: Iterable[tuple[str, str]], faults: list[Invalid]) -> Iterator[tuple[str, object, str, str]]:
    """Variables that override a setting. One that nearly does is a slip of the pen, and an error."""
    known = {setting.variable: setting.name for setting in SETTINGS}
    for variable, value in variables:
        if variable in known:
            yield known[variable], value, variable, variable
        elif (
            variable.startswith("EXCHANGE_") and not variable.startswith(_OF_TESTS) and variable not in _OTHER_VARIABLES
        ):
            near = get_close_matches(variable, known, n=1, cutoff=0.85)
            if near:
                faults.append(Invalid("setting_unknown", where="environment", name=variable, nearest=near[0]))


def _checked(name: str, value: object, *, where: str) -> str | int:
    setting = _BY_NAME.get(name)
    if setting is None:
        raise Invalid("setting_unknown", where=where, name=name, nearest=nearest(name, _BY_NAME))
    if setting.kind == "int":
        return _number(setting, value, where)
    if not isinstance(value, str) or not value.isprintable():
        raise Invalid("setting_wrong", where=where, name=name, expected="text")
    if setting.kind == "secret" and value != setting.default and value.partition(":")[0] not in {"file", "env"}:
        raise Invalid("secret_in_plain", where=where)
    if setting.kind == "engine" and _PASSWORD.search(value):
        raise Invalid("secret_in_plain", where=where)
    if setting.kind == "engine" and ":" not in value:
        raise Invalid("setting_wrong", where=where, name=name, expected="SCHEME:WHERE")
    if setting.choices and value not in setting.choices:
        raise Invalid("setting_wrong", where=where, name=name, expected=" / ".join(setting.choices))
    if name == "time_zone":
        _check_zone(value, where)
    return value


def _number(setting: Setting, value: object, where: str) -> int:
    try:
        number = int(value) if isinstance(value, str) else value
    except ValueError:
        number = None
    if setting.name == "format" and type(number) is int and number > FORMAT:
        raise Invalid("site_format", where=where, found=number, needed=FORMAT)
    if not isinstance(number, int) or isinstance(number, bool) or not setting.least <= number <= setting.most:
        raise Invalid("setting_wrong", where=where, name=setting.name, expected=f"{setting.least} … {setting.most}")
    return number


def _check_zone(value: str, where: str) -> None:
    try:
        ZoneInfo(value)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise Invalid("setting_wrong", where=where, name="time_zone", expected="Asia/Shanghai, UTC, …") from None
