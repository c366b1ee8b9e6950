"""`deploy/local/opa.sh` starts, shows and stops a server for one site."""

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from exchange.policy.opa_server import servers
from exchange.signing.keys import new_bundle_key
from tests.policy.engines import ROOT, bundle, opa_path
from tests.policy.opa_servers import TOKEN, BundleServer, configured, free_port

pytestmark = [pytest.mark.opa, pytest.mark.enable_socket, pytest.mark.processes]
SCRIPT = ROOT / "deploy" / "local" / "opa.sh"


def local(*words: str | Path) -> subprocess.CompletedProcess[str]:
    """Runs it."""
    return subprocess.run([SCRIPT, *words], capture_output=True, text=True, timeout=100, check=False)


@pytest.fixture(name="folder")
def _folder(tmp_path: Path) -> Iterator[Path]:
    if opa_path() != ROOT / ".tools" / "bin" / "opa":
        pytest.skip("the script starts the OPA that it built")
    yield tmp_path
    local("stop", tmp_path)


def test_a_server_for_one_site(folder: Path) -> None:
    """Started twice it is one server; it has what the site serves; stopped twice it is gone, and its number, too."""
    bundles = BundleServer(new_bundle_key(folder / "key"))
    try:
        made = bundle("plan := {}")
        bundles.keep(made)
        (folder / "opa.json").write_text(json.dumps(configured(bundles.url, bundles.key)))
        (folder / "bundle.token").write_text(TOKEN)
        place = f"127.0.0.1:{free_port()}"
        assert local("status", folder).returncode == 1
        first = local("start", folder, "--addr", place)
        assert first.returncode == 0, first.stderr
        number = (folder / "opa.pid").read_text()
        assert "has the site's policies" in local("start", folder).stdout
        assert (folder / "opa.pid").read_text() == number
        [server] = servers("opa+http", f"//{place}")
        assert server.lacks(made.revision, 5.0) == ""
        server.close()
        (folder / "other").mkdir()
        (folder / "other" / "opa.json").write_text("{}")
        taken = local("start", folder / "other", "--addr", place)
        assert (taken.returncode, "did not start" in taken.stderr) == (3, True)
        assert place in local("status", folder).stdout
        for _ in range(2):
            assert local("stop", folder).returncode == 0
        assert local("status", folder).returncode == 1
    finally:
        bundles.close()


def test_what_it_refuses(folder: Path) -> None:
    """Another address than loopback, a folder without a configuration, a word that it does not know."""
    assert local("start", folder).returncode == 3
    (folder / "opa.json").write_text("{}")
    for addr in ("0.0.0.0:8181", "10.0.0.1:1", "127.0.0.1.example:1", ":8181"):
        assert local("start", folder, "--addr", addr).returncode == 3
    for words in (["x"], ["start", folder, "--port"]):
        assert local(*words).returncode == 2
    (folder / "opa.pid").write_text("1")  # another's process by now
    assert local("stop", folder).returncode == 0
    assert Path("/proc/1").exists()
