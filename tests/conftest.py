"""What every test may use, how the tests are kept fast, and the check that no error code goes untested.

Each error that our own code raises during the run is noted by its code. When both parts of `make test` ran and passed,
a code of the catalogue that no test has triggered fails the second one. (Errors of child processes do not count.)
"""

import gc
import json
import os
import shutil
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from exchange import errors, messages
from tests import profiles, services

pytest_plugins = ("tests.simulator", "tests.services_postgres")  # fixtures that all tests know

ROOT = Path(__file__).resolve().parent.parent
_TRIGGERED: set[str] = set()
MEMORY = Path("/dev/shm")  # only where there is one
ROOM = 2 * 1024**3
# What `make test` runs first: the embedded part.
QUICK = "not torture and not demo and not opa and not whole and not postgres and not kafka"
SECOND = "torture or demo or opa or whole or postgres or kafka"
_ROOMS = (
    *("auditors_files", "auditors_input", "backup", "commands", "database", "doctor", "evidence", "sample"),
    *("search_bundles", "searching", "servers", "trying"),
)
# They serve, render, draft or copy whole sites: of the second part, so that the first stays a matter of seconds.
_WHOLE = (
    "api/",
    "console/",
    "adapters/draft/",
    "conformance/test_desk.py",
    "conformance/test_policy_engine.py",
    "access/test_acks.py",
    "access/test_between.py",
    "audit/test_export.py",
    "audit/test_following.py",
    "audit/test_runs.py",
    "audit/test_verify_modes.py",
    *(f"evidence/test_{name}.py" for name in ("check", "complete", "forged_answers", "searched")),
    "policy/test_opa_server.py",
    "policy/test_processes.py",
    *(
        f"wiring/test_{name}.py"
        for name in ("clock", "intake", "mirror", "moving", "opening", "rebuild", "reserve", "sealed")
    ),
    *(f"cli/test_{name}.py" for name in _ROOMS),
)
# A minute or so each, with few tests: they begin first.
_LONG = (
    "torture/test_servers.py",
    "torture/test_gateways.py",
    "cli/test_demo",
    "deploy/",
    "manual/",
    "wiring/test_intake",
)
_KEPT = "exchange/triggered"  # the codes that the first part saw, for the second
SERVERS = ("kafka", "opa", "postgres")  # as the markers are called


def _note_codes() -> None:
    plain = errors.ExchangeError.__init__

    def noting(self: errors.ExchangeError, code: str, *, where: str = "", **facts: object) -> None:
        plain(self, code, where=where, **facts)
        raiser = Path(sys._getframe(1).f_code.co_filename)
        if raiser.is_relative_to(ROOT / "exchange") or raiser.is_relative_to(ROOT / "adapters"):
            _TRIGGERED.add(code)

    errors.ExchangeError.__init__ = noting  # type: ignore[method-assign]  # only this run watches what is raised


def pytest_configure(config: pytest.Config) -> None:
    """Begins to watch what is raised; folders of tests go into memory where there is much of it.

    Nothing is lost by it: what a disk keeps after a crash is the matter of the torture tests, by strace and SIGKILL.
    `--basetemp=FOLDER` puts them elsewhere, and keeps them.
    """
    _note_codes()
    profiles.load()
    # Compiled files are kept, whatever the caller's environment says: without them every process of the exchange that a
    # test starts compiles it anew, which takes longer than most tests.
    sys.dont_write_bytecode = False
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
    if hasattr(config, "workerinput"):
        return
    config.stash[_SEEN] = set()
    config.add_cleanup(services.begin_run())
    if config.option.basetemp is None and _has_room(MEMORY):
        folder = Path(tempfile.mkdtemp(prefix="ex-", dir=MEMORY))  # short: the path of a socket has 107 bytes at most
        config.option.basetemp = str(folder)
        config.add_cleanup(lambda: shutil.rmtree(folder, ignore_errors=True))


def _has_room(folder: Path) -> bool:
    return os.access(folder, os.W_OK) and shutil.disk_usage(folder).free > ROOM


_SEEN = pytest.StashKey[set[str]]()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """A test that runs on a server is marked so, whether it says so or takes the engine as a parameter; what is of the
    second part by its place is marked, too. The longest files go first, so that none of them is left for the end.
    """
    for item in items:
        if item.path.relative_to(ROOT / "tests").as_posix().startswith(_WHOLE):
            item.add_marker("whole")
        parameters = getattr(item, "callspec", None)
        engines = set(parameters.id.split("-")) if parameters is not None else set()
        for server in engines & set(SERVERS):
            item.add_marker(server)
        if "kafka+librdkafka" in engines:
            item.add_marker("kafka")
        item.user_properties += [("server", name) for name in SERVERS if item.get_closest_marker(name)]
        if item.get_closest_marker("kafka"):
            item.add_marker("enable_socket")
            item.add_marker(pytest.mark.filterwarnings("ignore::ResourceWarning"))
    items.sort(key=lambda item: not item.path.relative_to(ROOT / "tests").as_posix().startswith(_LONG))


def pytest_collection_finish() -> None:
    """What was collected stays to the end: the collector of garbage need not look at it again and again."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 20, 20)


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Fails whole and green runs of both parts that left an error code untriggered."""
    output = getattr(session.config, "workeroutput", None)
    if output is not None:
        output["triggered"] = json.dumps(sorted(_TRIGGERED))
        return
    triggered = session.config.stash[_SEEN] | _TRIGGERED
    part = session.config.option.markexpr
    whole = session.config.args_source.name != "ARGS" and not session.config.option.keyword
    if not whole or session.exitstatus != pytest.ExitCode.OK or session.config.cache is None:
        return
    if part == QUICK:
        session.config.cache.set(_KEPT, sorted(triggered))
        return
    triggered |= set(session.config.cache.get(_KEPT, [])) if part == SECOND else set()
    missing = sorted(set(messages.error_codes()) - triggered)
    if part in {"", SECOND} and missing:
        sys.stderr.write(f"\nno test triggers these error codes: {', '.join(missing)}\n")
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """Says of each server how many tests ran on it, and how many did not."""
    for engine in SERVERS:
        counts = {
            outcome: sum(
                ("server", engine) in map(tuple, getattr(one, "user_properties", ()))
                for one in terminalreporter.stats.get(outcome, ())
            )
            for outcome in ("passed", "failed", "error", "skipped")
        }
        if any(counts.values()):
            told = ", ".join(f"{count} {outcome}" for outcome, count in counts.items() if count)
            terminalreporter.write_line(f"on {engine}: {told}")


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any) -> None:
    """Under xdist, takes over what a worker has seen."""
    node.config.stash[_SEEN] |= set(json.loads(getattr(node, "workeroutput", {}).get("triggered", "[]")))


@pytest.fixture(autouse=True)
def _sockets_of_kafka_python(request: pytest.FixtureRequest) -> Iterator[None]:
    """Sockets that kafka-python left open when it failed to connect go before another test is blamed for them."""
    yield
    if request.node.get_closest_marker("kafka"):
        gc.collect()


@pytest.fixture(autouse=True)
def _no_settings_from_outside(monkeypatch: pytest.MonkeyPatch) -> None:
    """A test sees none of the settings of the person who runs it."""
    for name in list(os.environ):
        if name.startswith("EXCHANGE_") and not name.startswith("EXCHANGE_TEST_"):
            monkeypatch.delenv(name)
