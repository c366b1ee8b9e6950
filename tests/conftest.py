"""What every test may use, and the check that no error code goes untested.

Each error that our own code raises during the run is noted by its code. When the whole suite ran and passed, a code
of the catalogue that no test has triggered fails the run. (Errors seen only in child processes do not count.)
"""

import json
import os
import sys
from pathlib import Path
from typing import Any

import pytest

from exchange import errors, messages

pytest_plugins = ("tests.simulator",)  # the fixtures `site` and `made`

ROOT = Path(__file__).resolve().parent.parent
_TRIGGERED: set[str] = set()
QUICK = "not torture and not demo"  # what `make test` runs first: all but a few tests


def _note_codes() -> None:
    plain = errors.ExchangeError.__init__

    def noting(self: errors.ExchangeError, code: str, *, where: str = "", **facts: object) -> None:
        plain(self, code, where=where, **facts)
        raiser = Path(sys._getframe(1).f_code.co_filename)
        if raiser.is_relative_to(ROOT / "exchange") or raiser.is_relative_to(ROOT / "adapters"):
            _TRIGGERED.add(code)

    errors.ExchangeError.__init__ = noting  # type: ignore[method-assign]  # only this run watches what is raised


def pytest_configure(config: pytest.Config) -> None:
    """Begins to watch what is raised."""
    _note_codes()
    if not hasattr(config, "workerinput"):
        config.stash[_SEEN] = set()


_SEEN = pytest.StashKey[set[str]]()


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Fails a whole and green run that left an error code untriggered."""
    output = getattr(session.config, "workeroutput", None)
    if output is not None:
        output["triggered"] = json.dumps(sorted(_TRIGGERED))
        return
    triggered = session.config.stash[_SEEN] | _TRIGGERED
    whole = (
        session.config.option.markexpr in {"", QUICK}
        and session.config.args_source.name != "ARGS"
        and not session.config.option.keyword
    )
    missing = sorted(set(messages.error_codes()) - triggered)
    if whole and missing and session.exitstatus == pytest.ExitCode.OK:
        sys.stderr.write(f"\nno test triggers these error codes: {', '.join(missing)}\n")
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any) -> None:
    """Under xdist, takes over what a worker has seen."""
    node.config.stash[_SEEN] |= set(json.loads(getattr(node, "workeroutput", {}).get("triggered", "[]")))


@pytest.fixture(autouse=True)
def _no_settings_from_outside(monkeypatch: pytest.MonkeyPatch) -> None:
    """A test sees none of the settings of the person who runs it."""
    for name in list(os.environ):
        if name.startswith("EXCHANGE_") and name != "EXCHANGE_TEST_OPA":
            monkeypatch.delenv(name)
