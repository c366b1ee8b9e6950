"""One site is made for the session, with what pages show; most tests look at it, those that change it have a copy."""

import asyncio
import json
import shutil
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import pytest

from exchange.source import Place, Rejected, SourceBatch
from exchange.wiring.desk import LocalDesk
from tests.console.browsing import Town, opened, write
from tests.simulator import ADAPTER, AUTHORITY, CHECKER, CONSUMER, DATASET, MEMBERS, PROVIDER, Site, terms

DEPUTY: Final = "deputy.ny.renshe"
OPERATOR: Final = "operator.ny.shuju"
OWN_CASE: Final = "case-2"
HOSTILE: Final = "<script>alert(1)</script>"
FORMULA: Final = "=cmd|' /C calc'!A0"
KEEP: Final = {"kind": "keep"}


class Scripted:
    """A source whose values are given: what an adapter of somebody else's might send."""

    source: Final = "ny.renshe/scripted"
    notes: Sequence[str] = ()

    def batches(self, mark: int, limit: int) -> Iterator[SourceBatch]:
        """One batch, once: a good record with hostile values, and one refused from a file with a hostile name."""
        del limit
        if mark == 0:
            place = Place("<img src=x onerror=alert(1)>.csv", 7, FORMULA)
            value: Mapping[str, Any] = {
                "person_id": MEMBERS[0],
                "region_code": HOSTILE,
                "scheme": "RESIDENT",
                "status": "RECEIVING",
                "monthly_benefit_fen": 12_300,
                "last_paid_month": FORMULA,
                "employer_uscc": '"><b onmouseover="x">&amp;',
                "bank_account": "6222020000009876",
            }
            yield SourceBatch([1], [value], [place], [Rejected(2, place, "cell_id_damaged", {"<i>": HOSTILE})])


@pytest.fixture(scope="session")
def runner() -> Iterator[asyncio.Runner]:
    """The one event loop of these tests."""
    with asyncio.Runner() as made:
        yield made


@pytest.fixture(scope="session")
def furnished(made: Site, tmp_path_factory: pytest.TempPathFactory) -> Site:
    """The small exchange with two people more, a department's agreement with itself, a case of both, hostile values."""
    site = made.copy(tmp_path_factory.mktemp("pages") / "exchange")
    people = [
        {"id": DEPUTY, "department": "ny.renshe", "roles": ["steward"]},
        {"id": OPERATOR, "department": "ny.shuju", "roles": ["operator"]},
    ]
    more = site.folder / "more.json"
    more.write_text(json.dumps({"departments": [], "principals": people}), "utf-8")
    _must(site, "register", str(more), "--tokens", str(site.folder / "tokens"), who=AUTHORITY)
    own = {
        **terms(consumer="ny.renshe", purpose="own.review"),
        "fields": [
            {"path": path, "mask": mask}
            for path, mask in (
                *((path, KEEP) for path in ("person_id", "region_code", "monthly_benefit_fen", "employer_uscc")),
                ("last_paid_month", KEEP),
                ("bank_account", {"kind": "redact"}),
            )
        ],
    }
    elsewhere = terms(purpose="dibao.review", rows={"op": "prefix", "path": "region_code", "value": "99"})
    asked = (("agr-2", own, PROVIDER, DEPUTY), ("agr-3", elsewhere, CONSUMER, PROVIDER))
    for name, wanted, requester, reviewer in asked:
        file = write(site.folder / f"{name}.json", json.dumps(wanted))
        _must(site, "agreement", "request", str(file), who=requester)
        _must(site, "agreement", "review", name, "--endorse", "--note", "needed", who=reviewer)
        _must(site, "agreement", "approve", name, who=AUTHORITY)
    words = ["case", "open", OWN_CASE, "--title", HOSTILE, "--department", "ny.renshe"]
    _must(site, *words, who=CHECKER, stdin="\n".join(MEMBERS))
    _must(site, "read", DATASET, "--purpose", "dibao.initial_check", "--case", "case-1", who=CHECKER)
    with site.opened() as exchange:
        provider = exchange.control.model().principals[PROVIDER]
        LocalDesk(exchange, provider).publish(Scripted(), DATASET, lambda _: None)
    (site.root / "adapters").mkdir(exist_ok=True)
    shutil.copy(site.folder / ADAPTER, site.root / "adapters")
    return site


def _must(site: Site, *words: str, **more: Any) -> None:
    ran = site.run(*words, **more)
    assert ran.code == 0, ran.stderr


@pytest.fixture(scope="session")
def looked_at(furnished: Site, runner: asyncio.Runner, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Town]:
    """The exchange for tests that look; what they ask is in its audit log, nothing else of it changes."""
    with opened(furnished.copy(tmp_path_factory.mktemp("looked") / "exchange"), runner) as town:
        yield town


@pytest.fixture
def town(furnished: Site, runner: asyncio.Runner, tmp_path: Path) -> Iterator[Town]:
    """An exchange of this test's own."""
    with opened(furnished.copy(tmp_path / "exchange"), runner) as town:
        yield town
