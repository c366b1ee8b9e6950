"""The published log of several gateways over one PostgreSQL: none shows an older log than another."""

from pathlib import Path

import pytest

from exchange.audit.note import open_checkpoint
from exchange.audit.verify import verify
from exchange.site import VKEY
from tests import simulator
from tests.api.calling import Api, calling
from tests.audit.building import control
from tests.simulator import AUDITOR, CHECKER, Site
from tests.test_simulator_postgres import settings_for

pytestmark = pytest.mark.postgres


def _checkpoint(api: Api) -> bytes:
    answer = api.get("/log/checkpoint")
    assert answer.status == 200
    return answer.body


def test_gateways_show_one_log(postgres: str, tmp_path: Path) -> None:
    """After each entry, appended by either: both show the same checkpoint at once, and every tile under it; a tile
    beyond is nowhere. What both served together passes the verifier; each gateway noted its auditor's reading.
    """
    (tmp_path / "one").mkdir()
    site = simulator.build(tmp_path / "one", **settings_for(postgres, tmp_path))
    other = Site(site.copy(tmp_path / "two").folder)
    vkey = (site.root / VKEY).read_text("utf-8").strip()
    with calling(site) as one, calling(other) as two:
        for number in range(12):
            writer = (one, two)[number % 2]
            writer.exchange.audit.append(control(90_000 + number))
            shown = [_checkpoint(api) for api in (two, one)]
            assert shown[0] == shown[1]
            size = open_checkpoint(shown[0], vkey).size
            for api in (one, two):
                assert api.get(f"/log/tile/0/000.p/{size}").status == 200
                assert api.get(f"/log/tile/0/000.p/{size + 1}").said == (404, "audit_tile_unknown")
        for api in (one, two):
            assert api.get(f"/log/tile/entries/000.p/{size}", AUDITOR).status == 200
            assert api.get(f"/log/tile/entries/000.p/{size}", CHECKER).status == 403
        exported, served = tmp_path / "exported", tmp_path / "served"
        assert site.process("audit", "export", str(exported)).code == 0
        names = [str(file.relative_to(exported)) for file in exported.rglob("*") if file.is_file()]
        for number, name in enumerate(names):
            answer = (one, two)[number % 2].get(f"/log/{name}", AUDITOR)
            assert answer.body == (exported / name).read_bytes(), name
            (served / name).parent.mkdir(parents=True, exist_ok=True)
            (served / name).write_bytes(answer.body)
        queries = [
            body.get("query") for _, kind, body in one.exchange.audit.entries(0, 1 << 60) if kind == "audit_query"
        ]
        assert queries.count("log_entries") == 2
    verdict = verify(served, vkey, rules=False)  # its entries are only numbers
    assert verdict.ok, verdict.findings
