"""`audit bundle`, `verify` of a bundle, `trust-sheet`, `lesson`; `exchange-verify.pyz` on every Python that is here."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from exchange.evidence.forms import fingerprint
from exchange.wiring.checker import NAME, checker
from tests import simulator
from tests.simulator import AUDITOR, CHECKER, DATASET, MEMBERS, NEIGHBOUR, PROVIDER, Site

PYTHONS = ("3.8", "3.9", "3.10", "3.11", "3.12", "3.13")


def _bundle(site: Site, *words: str) -> Path:
    out = site.folder / "bundle.zip"
    ran = site.run("audit", "bundle", str(out), *words, who=AUDITOR, stdin=MEMBERS[0])
    assert ran.code == 0, ran.stderr
    return out


def _kept(site: Site, name: str = "kept") -> Path:
    kept = site.folder / name
    assert site.run("audit", "checkpoint", "--out", str(kept), who=AUDITOR).code == 0
    return kept


def _verify(*words: object, more: dict[str, str] | None = None) -> simulator.Ran:
    return simulator.run(["audit", "verify", *map(str, words)], {"LANG": "C", **(more or {})})


def test_an_answer_is_carried_away_and_judged_elsewhere(site: Site) -> None:
    """With reads, look-ups and refusals in it, with no site and no token: nothing is found."""
    kept = _kept(site)
    site.read()
    site.run("lookup", DATASET, *simulator.ASKED, who=CHECKER, stdin=NEIGHBOUR)
    site.run("lookup", DATASET, *simulator.ASKED, who=CHECKER, stdin=MEMBERS[0])
    bundle = _bundle(site, "--checkpoint", str(kept))
    made = site.run("audit", "bundle", str(site.folder / "again.zip"), who=AUDITOR, stdin=MEMBERS[0])
    again = _verify(site.folder / "again.zip", "--json").json
    assert again["key_fingerprint"] in made.stdout
    assert again["checkpoint_fingerprint"] in made.stdout
    for one in simulator.PERSONS:
        assert one.encode() not in bundle.read_bytes()
    page = site.folder / "report.html"
    key = site.root / "keys" / "audit.vkey"
    ran = _verify(bundle, "--key", key, "--checkpoint", kept, "--report", page, "--json")
    assert (ran.code, ran.json["findings"], len(ran.json["answer"])) == (0, [], 2)
    assert ran.json["proved"]["history"] == 1
    assert ran.json["checkpoint_fingerprint"] in page.read_text("utf-8")
    told = _verify(bundle).stdout
    assert "nothing wrong was found" in told
    assert "the key was taken from the bundle itself" in told
    assert "完好" in _verify(bundle, more={"LANG": "zh_CN.UTF-8"}).stdout


def test_the_log_itself_recorded_question_and_answer(site: Site) -> None:
    """The auditor's question is an entry before anything is handed over, and its digest is that of the answer."""
    before = len(site.entries())
    site.read()
    bundle = _bundle(site)
    asked = [body for index, _, body in site.entries("audit_query") if index >= before]
    assert [(one["query"], one["results"], len(one["tags"])) for one in asked] == [("who_saw", 1, 1)]
    assert _verify(bundle, "--json").json["question"]["tags"] == [asked[0]["tags"][0].hex()]


def test_a_bundle_about_nobody_who_was_seen(site: Site) -> None:
    """An empty answer is an answer."""
    ran = _verify(_bundle(site), "--json")
    assert (ran.code, ran.json["answer"]) == (0, [])


def test_a_changed_bundle_ends_with_4(site: Site) -> None:
    """As the log does; what cannot be read at all too."""
    bundle = _bundle(site)
    data = bytearray(bundle.read_bytes())
    data[len(data) // 3] ^= 1
    bundle.write_bytes(data)
    assert _verify(bundle).code == 4
    bundle.write_bytes(b"")
    assert (_verify(bundle).code, _verify(bundle).out.startswith(b"The evidence does NOT hold")) == (4, True)


def test_only_an_auditor_takes_evidence(site: Site) -> None:
    """Everybody else is refused, and that is an entry; a checkpoint of another log ends it."""
    out = str(site.folder / "x.zip")
    ran = site.run("audit", "bundle", out, who=PROVIDER, stdin=MEMBERS[0])
    assert (ran.code, ran.error_code) == (1, "auditor_required")
    assert [body["action"] for _, _, body in site.entries("refusal")] == ["audit bundle"]
    (site.folder / "other").write_bytes(b"x\n")
    ran = site.run("audit", "bundle", out, "--checkpoint", str(site.folder / "other"), who=AUDITOR, stdin=MEMBERS[0])
    assert (ran.code, ran.error_code) == (4, "audit_note_invalid")
    assert not Path(out).exists()


def test_a_trust_sheet_shows_what_a_bundle_is_compared_with(site: Site) -> None:
    """Key and checkpoint with the fingerprints that the checker shows; both languages; to print, one page alone."""
    page = site.folder / "sheet.html"
    ran = site.run("audit", "trust-sheet", "--html", str(page), who=AUDITOR)
    kept = _kept(site).read_text("utf-8")
    key = (site.root / "keys" / "audit.vkey").read_text("utf-8").strip()
    text = kept.partition("\n\n")[0] + "\n"
    for told in (ran.stdout, page.read_text("utf-8")):
        assert fingerprint(key.encode()) in told
        assert fingerprint(text.encode()) in told
        assert "信任凭单" in told
        assert "Trust sheet" in told
    assert kept in ran.stdout.replace("\n\n签", "\n签") or kept.strip() in ran.stdout
    assert "<script" not in page.read_text("utf-8")
    rows = site.run("audit", "trust-sheet", "--json", who=AUDITOR).json
    assert rows["note"] == kept
    assert site.run("audit", "trust-sheet", who=PROVIDER).error_code == "auditor_required"


def test_the_lesson_needs_no_site(tmp_path: Path) -> None:
    """Its files are the same every time; a place where nothing can be written is said."""
    for name in ("a", "b"):
        assert simulator.run(["audit", "lesson", str(tmp_path / name)], {"LANG": "C"}).code == 0
    names = sorted(one.name for one in (tmp_path / "a").iterdir())
    assert names == [*(f"bundle-{n}.zip" for n in range(1, 8)), NAME, "kept-checkpoint", "vkey"]
    for name in names:
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()
    (tmp_path / "file").write_bytes(b"")
    ran = simulator.run(["audit", "lesson", str(tmp_path / "file")], {"LANG": "C"})
    assert (ran.code, ran.error_code) == (2, "file_unwritable")


def _python(version: str) -> str:
    """The interpreter of this version that is here, if any."""
    if sys.version_info[:2] == tuple(map(int, version.split("."))):
        return sys.executable
    found = sorted((Path.home() / ".pyenv" / "versions").glob(f"{version}.*/bin/python"))
    if not found:
        pytest.skip(f"no Python {version} here")
    return str(found[-1])


@pytest.mark.whole
@pytest.mark.parametrize("version", PYTHONS)
def test_the_checker_on_every_python(version: str, tmp_path: Path) -> None:
    """Alone in a folder, isolated and without site packages: the lesson's verdicts, a report, and no other file."""
    simulator.run(["audit", "lesson", str(tmp_path)], {"LANG": "C"})
    before = {one.name for one in tmp_path.iterdir()}
    python = [_python(version), "-I", "-S", "-B", NAME]

    def run(*words: str) -> subprocess.CompletedProcess[bytes]:
        return subprocess.run([*python, *words], cwd=tmp_path, capture_output=True, check=False, env={"LANG": "C"})

    for number, code in enumerate((4, 0, 4, 4, 4, 4, 4), 1):
        ran = run(f"bundle-{number}.zip", "--key", "vkey", "--checkpoint", "kept-checkpoint", "--json", "--report", "r")
        assert ran.returncode == code, ran.stderr
        assert json.loads(ran.stdout)["ok"] is (code == 0)
    ran = run("bundle-2.zip")
    assert (ran.returncode, "证据完好".encode() in ran.stdout) == (0, True)
    assert (run("bundle-9.zip").returncode, run().returncode) == (4, 2)
    assert run("bundle-2.zip", "--checkpoint", "no").returncode == 2
    assert run("bundle-2.zip", "--report", "no/where").returncode == 2
    made = {one.name for one in tmp_path.iterdir()} - before
    assert made == {"r", "bundle-2.zip.report.html", "bundle-9.zip.report.html"}


@pytest.mark.whole
@pytest.mark.parametrize("page", ["cp1252", "cp936", "ascii"])
def test_the_checker_on_a_console_of_another_code_page(page: str, tmp_path: Path) -> None:
    """As offices have them: help, verdict and errors are written, Chinese and all, and nothing ends in a traceback."""
    simulator.run(["audit", "lesson", str(tmp_path)], {"LANG": "C"})
    for words, code in (
        (["--help"], 0),
        (["bundle-1.zip"], 4),
        (["bundle-2.zip", "--checkpoint", "无此文件"], 2),
        ([], 2),
    ):
        ran = subprocess.run(
            [sys.executable, NAME, *words],
            cwd=tmp_path,
            capture_output=True,
            check=False,
            env={"PYTHONIOENCODING": page, "LANG": "C.UTF-8"},
        )
        assert (ran.returncode, b"Traceback" in ran.stderr) == (code, False), ran.stderr
        assert (ran.stdout + ran.stderr).decode("utf-8")


def test_the_checker_is_the_same_every_time() -> None:
    """Its digest can be told; it holds the room and nothing else."""
    assert checker() == checker()
