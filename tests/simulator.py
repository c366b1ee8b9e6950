r"""A whole small exchange in a folder, for every test that plays a path: made once a session, copied for each test.

    def test_it(site: Site) -> None:
        ran = site.run("read", DATASET, *ASKED, who=CHECKER)
        assert ran.code == 0 and len(ran.records) == 2

What is in it: the sharing authority (`ny.shuju`), a provider (`ny.renshe`: a steward, a system), a consumer
(`ny.minzheng`: a steward, the checker), an auditor's department (`ny.shenji`); the policy that the exchange ships,
active; the dataset `hrss.pension_account` with five records and one dead letter, published from `pension.csv` beside
the site; the agreement `agr-1` (read and look up, case-bound) and the case `case-1` with two of the five persons.
All of it through the command line, in this process; the persons are made up.

(This module is loaded before any test, so it imports the exchange late.)

`site` (a copy of one's own) and `made` (the one that is copied: look, do not touch) are fixtures, known to all tests.
"""

import io
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final
from unittest import mock

import pytest

if TYPE_CHECKING:
    from exchange.wiring import Exchange

DATASET: Final = "hrss.pension_account"
PURPOSE: Final = "dibao.initial_check"
CASE: Final = "case-1"
AGREEMENT: Final = "agr-1"
ASKED: Final = ("--purpose", PURPOSE, "--case", CASE)

AUTHORITY: Final = "authority.ny.shuju"
PROVIDER: Final = "steward.ny.renshe"
SYSTEM: Final = "svc.ny.renshe"
CONSUMER: Final = "steward.ny.minzheng"
CHECKER: Final = "checker.ny.minzheng"
AUDITOR: Final = "auditor.ny.shenji"

MEMBERS: Final = ("11010519491231002X", "440524188001010014")
NEIGHBOUR: Final = "431126199001010013"
OTHERS: Final = (NEIGHBOUR, "431126198502020028", "432924197503030035")
DAMAGED: Final = "4.31E+17"  # what a spreadsheet makes of an id: it becomes the dead letter
PERSONS: Final = (*MEMBERS, *OTHERS)
BANK: Final = "6222020000001234"

ADAPTER: Final = "pension.toml"
FILE: Final = "pension.csv"
HEADER: Final = "社会保障号码,经办机构区划,险种,参保状态,月待遇（元）,最近发放月,单位统一社会信用代码,银行账号"
TITLE: Final = "合成数据 SYNTHETIC: no person is real"
DAY_NS: Final = 86_400 * 1_000_000_000


@dataclass(frozen=True)
class Ran:
    """What one command left: its exit code and the bytes of its two streams."""

    code: int
    out: bytes
    err: bytes

    @property
    def stdout(self) -> str:
        """Standard output as text."""
        return self.out.decode()

    @property
    def stderr(self) -> str:
        """Standard error as text."""
        return self.err.decode()

    @cached_property
    def json(self) -> Any:
        """The answer of a command that ran with `--json`."""
        return json.loads(self.out)

    @cached_property
    def records(self) -> list[dict[str, Any]]:
        """The records that it wrote as JSON lines."""
        return [json.loads(line) for line in self.out.splitlines()]

    @cached_property
    def error(self) -> dict[str, Any]:
        """The error of a command that ran with `--json`."""
        found: dict[str, Any] = json.loads(self.err.splitlines()[-1])
        return found

    @property
    def error_code(self) -> str:
        """The stable code of the error that ended it, in either form; empty where there is none."""
        last = self.stderr.splitlines()
        if last and last[-1].startswith("{"):
            return str(self.error.get("code", ""))
        return next((line.partition(":")[0] for line in last if not line.startswith(" ")), "") if self.code else ""


@dataclass(frozen=True)
class Site:
    """A site in `folder/site`, the tokens of its people in `folder/tokens`, the department's file beside them."""

    folder: Path

    @property
    def root(self) -> Path:
        """The site's folder."""
        return self.folder / "site"

    @property
    def data(self) -> Path:
        """What the exchange itself writes."""
        return self.root / "data"

    def token(self, who: str) -> str:
        """Where the token of somebody is, as `--token` wants it."""
        return f"file:{self.folder / 'tokens' / who}.token"

    def environment(self, who: str | None, more: Mapping[str, str] | None = None) -> dict[str, str]:
        """The environment in which somebody works on this site."""
        plain = {name: value for name, value in os.environ.items() if not name.startswith(("EXCHANGE_", "LC_"))}
        own = {"EXCHANGE_SITE": str(self.root), **({"EXCHANGE_TOKEN": self.token(who)} if who else {})}
        return {**plain, "LANG": "C.UTF-8", **own, **(more or {})}

    def run(
        self,
        *words: str,
        who: str | None = None,
        stdin: str | bytes = b"",
        more: Mapping[str, str] | None = None,
        later_ns: int = 0,
    ) -> Ran:
        """Runs `exchange WORDS` in this process, as it would run in its own; `later_ns` moves its clock on."""
        return run(words, self.environment(who, more), stdin, later_ns)

    def process(
        self, *words: str, who: str | None = None, stdin: str = "", more: Mapping[str, str] | None = None
    ) -> Ran:
        """Runs `exchange WORDS` as a process of its own (mark such tests `processes`)."""
        done = subprocess.run(
            [sys.executable, "-m", "exchange", *words],
            input=stdin.encode(),
            capture_output=True,
            env=self.environment(who, more),
            cwd=self.folder,
            check=False,
            timeout=60,
        )
        return Ran(done.returncode, done.stdout, done.stderr)

    @contextmanager
    def opened(self, environment: Mapping[str, str] | None = None) -> Iterator["Exchange"]:
        """The site's parts, for what no command does."""
        from exchange.wiring import open_exchange

        with open_exchange(self.root, "test", environment or {}, time.time_ns, os.urandom) as exchange:
            yield exchange

    def entries(self, kind: str | None = None) -> list[tuple[int, str, Mapping[str, Any]]]:
        """The audit log's entries: index, kind, body; all, or those of one kind."""
        with self.opened() as exchange:
            found = list(exchange.audit.entries(0, exchange.audit.size))
        return [entry for entry in found if kind in {None, entry[1]}]

    def rows(self, rows: Sequence[str], name: str = FILE) -> Path:
        """A file of the provider's system with these rows below its title and header."""
        file = self.folder / name
        file.write_text("\n".join([TITLE, HEADER, *rows, ""]), "utf-8-sig")
        return file

    def publish(self, *files: Path, who: str = SYSTEM) -> Ran:
        """Publishes files of the provider; without any, the one the site was made with."""
        return self.run("publish", str(self.folder / ADAPTER), *map(str, files or [self.folder / FILE]), who=who)

    def read(self, *words: str, who: str = CHECKER) -> Ran:
        """The checker's read under the agreement, for the case."""
        return self.run("read", DATASET, *ASKED, *words, who=who)

    def copy(self, to: Path) -> "Site":
        """This site once more, in another folder that is not there yet."""
        shutil.copytree(self.folder, to)
        return Site(to)


def row(person: str, fen: int, status: str = "领取待遇") -> str:
    """One row of the provider's file."""
    return f"{person},431126,城乡居民,{status},{fen // 100}.{fen % 100:02},2026-10,,{BANK}"


def run(words: Sequence[str], environment: Mapping[str, str], stdin: str | bytes = b"", later_ns: int = 0) -> Ran:
    """Runs `exchange WORDS` in this process: streams and environment are its own, the clock may be moved on."""
    from exchange.cli import main as entry

    if not hasattr(entry.parser, "cache_info"):
        # The whole command line takes argparse longer to make than most commands run; a process makes it once, too.
        entry.parser = cache(entry.parser)
    given = stdin.encode() if isinstance(stdin, str) else stdin
    out, err = io.BytesIO(), io.BytesIO()
    streams = [io.TextIOWrapper(io.BytesIO(given), "utf-8"), io.TextIOWrapper(out), io.TextIOWrapper(err)]
    with (
        mock.patch.dict(os.environ, environment, clear=True),
        mock.patch.multiple(sys, stdin=streams[0], stdout=streams[1], stderr=streams[2]),
    ):
        try:
            code = entry.main(words, lambda: time.time_ns() + later_ns)
        except SystemExit as end:  # `--help` and `--version` end so
            code = int(end.code or 0)
        for stream in streams[1:]:
            stream.flush()
    return Ran(code, out.getvalue(), err.getvalue())


def terms(**changes: Any) -> dict[str, Any]:
    """The terms of the agreement, some of them changed."""
    fields: dict[str, dict[str, Any]] = {
        name: {"kind": "keep"} for name in ("person_id", "status", "monthly_benefit_fen")
    }
    fields["bank_account"] = {"kind": "partial", "first": 0, "last": 4}
    return {
        "consumer": "ny.minzheng",
        "dataset": DATASET,
        "purpose": PURPOSE,
        "legal_basis": "社会救助法 第四十一条",
        "actions": ["read", "lookup"],
        "fields": [{"path": path, "mask": mask} for path, mask in fields.items()],
        "rows": {"op": "all"},
        "case_bound": True,
        "zone": "extranet",
        "counts": False,
        "from": time.strftime("%Y-%m-%d", time.localtime(time.time() - 2 * 86_400)),
        "until": time.strftime("%Y-%m-%d", time.localtime(time.time() + 180 * 86_400)),
        "purge_by": None,
        **changes,
    }


def build(folder: Path, **engines: str) -> Site:
    """Makes the small exchange in an empty folder, step by step, each of which must succeed.

    `engines` are settings that it begins with, `_` for the dot: `engines_audit="postgresql:"`.
    """
    from exchange.wiring import standing

    site = Site(folder)
    _founded(site, set_words(engines))
    contract = site.root / "schemas" / "ny.renshe" / DATASET
    shutil.copytree(standing("schemas") / "ny.renshe" / DATASET, contract)
    _must(site.run("dataset", "submit", str(contract), who=PROVIDER))
    shutil.copy(Path(__file__).parent.parent / "adapters" / "sample" / "configs" / ADAPTER, folder)
    rows = [row(person, 10_000 * number) for number, person in enumerate(PERSONS, 1)]
    site.rows([*rows, row(DAMAGED, 1)])
    _must(site.publish())
    (folder / "terms.json").write_text(json.dumps(terms()), "utf-8")
    _must(site.run("agreement", "request", str(folder / "terms.json"), who=CONSUMER))
    _must(site.run("agreement", "review", AGREEMENT, "--endorse", "--note", "needed", who=PROVIDER))
    _must(site.run("agreement", "approve", AGREEMENT, who=AUTHORITY))
    _must(site.run("case", "open", CASE, "--title", "synthetic", who=CHECKER, stdin="\n".join(MEMBERS)))
    return site


def set_words(settings: Mapping[str, str]) -> list[str]:
    """`--set NAME=VALUE` for each setting, its name with `_` for the dot."""
    return [word for name, value in settings.items() for word in ("--set", f"{name.replace('_', '.', 1)}={value}")]


def _founded(site: Site, settings: Sequence[str]) -> None:
    """The site with its people and its policy."""
    (site.folder / "tokens").mkdir(mode=0o700)
    first = str(site.folder / "tokens" / f"{AUTHORITY}.token")
    words = ["--department", "ny.shuju", "--principal", AUTHORITY, "--token-out", first]
    _must(site.run("init", str(site.root), *words, *settings))
    register = site.folder / "register.json"
    register.write_text(json.dumps(_register(), ensure_ascii=False), "utf-8")
    _must(site.run("register", str(register), "--tokens", str(site.folder / "tokens"), who=AUTHORITY))
    submitted = _must(site.run("policy", "submit", "--json", who=CONSUMER))
    _must(site.run("policy", "approve", submitted.json[0]["about"], who=AUTHORITY))


def _register() -> dict[str, Any]:
    names = {"ny.renshe": "人社局", "ny.minzheng": "民政局", "ny.shenji": "审计局"}
    people = {
        PROVIDER: ("ny.renshe", "steward"),
        SYSTEM: ("ny.renshe", "department_system"),
        CONSUMER: ("ny.minzheng", "steward"),
        CHECKER: ("ny.minzheng", "department_system"),
        AUDITOR: ("ny.shenji", "auditor"),
    }
    departments = [{"id": id_, "title_zh": zh, "title_en": id_, "region": "431126"} for id_, zh in names.items()]
    return {
        "departments": departments,
        "principals": [{"id": who, "department": where, "roles": [role]} for who, (where, role) in people.items()],
    }


def _must(ran: Ran) -> Ran:
    if ran.code:
        raise AssertionError(ran.stderr)
    return ran


@pytest.fixture(scope="session")
def made(tmp_path_factory: pytest.TempPathFactory) -> Site:
    """The small exchange that every test's own is copied from."""
    return build(tmp_path_factory.mktemp("made"))


@pytest.fixture
def site(made: Site, tmp_path: Path) -> Site:
    """A small exchange of this test's own."""
    return made.copy(tmp_path / "exchange")
