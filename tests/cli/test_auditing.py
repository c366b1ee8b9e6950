"""`audit …`: who saw whom, entries and proofs, checkpoints, and the offline verification with its exit codes."""

import shutil
from pathlib import Path

import pytest

from exchange.audit import note, tiles
from exchange.signing.merkle import leaf_hash
from tests import simulator
from tests.simulator import ASKED, AUDITOR, CHECKER, DATASET, MEMBERS, NEIGHBOUR, OTHERS, PROVIDER, Site


def _verify(site: Site, *words: str) -> simulator.Ran:
    """With nothing but the folder and the key: no site, no token."""
    key = str(site.root / "keys" / "audit.vkey")
    return simulator.run(["audit", "verify", str(site.data / "audit"), "--key", key, *words], {"LANG": "C"})


def test_who_saw_names_every_release_and_refusal_with_its_proof(site: Site) -> None:
    """Of a member: the release with fields, purpose, case and policy revision; of a neighbour: the refusal alone."""
    site.read()
    site.run("lookup", DATASET, *ASKED, who=CHECKER, stdin=NEIGHBOUR)
    rows = site.run("audit", "who-saw", "--json", who=AUDITOR, stdin=MEMBERS[0]).json
    assert [(one["kind"], one["recipient"], one["purpose"], one["proved"]) for one in rows] == [
        ("release", "ny.minzheng", "dibao.initial_check", True)
    ]
    assert {one["path"] for one in rows[0]["fields"]} == {"person_id", "status", "monthly_benefit_fen", "bank_account"}
    assert rows[0]["policy_revision"].startswith("sha256:")
    written = ("audit", "who-saw", "--as-written")  # its check digit is wrong: nobody has this number
    rows = site.run(*written, "--json", who=AUDITOR, stdin=NEIGHBOUR).json
    assert [(one["kind"], one["reasons"], one["proved"]) for one in rows] == [("refusal", ["not_in_case"], True)]
    told = site.run(*written, who=AUDITOR, stdin=NEIGHBOUR).stdout.splitlines()
    assert told[0].startswith(f"{rows[0]['index']}  ")
    assert told[0].endswith(f"refusal  {DATASET} → ny.minzheng, purpose dibao.initial_check, case case-1")
    assert told[1].strip() == "refused: not_in_case"
    assert told[2].strip() == f"policy {rows[0]['policy_revision']}; inclusion proof holds"
    assert site.run(*written, "--json", who=AUDITOR, stdin=OTHERS[1]).json == []


def test_every_question_of_an_auditor_is_an_entry_too(site: Site) -> None:
    """Who asked about whom is in the log, by tag and pseudonym, before the answer."""
    site.run("audit", "who-saw", who=AUDITOR, stdin="\n".join(MEMBERS))
    queries = [body for _, _, body in site.entries("audit_query")]
    assert [(one["query"], len(one["tags"])) for one in queries] == [("who_saw", 1)] * 2


def test_only_an_auditor_asks(site: Site) -> None:
    """Everybody else is refused, and that is an entry; what needs ids asks for them first."""
    for words in (["who-saw"], ["checkpoint"], ["entry", "0"], ["proof", "0"]):
        ran = site.run("audit", *words, who=PROVIDER, stdin=MEMBERS[0])
        assert (ran.code, ran.error_code, ran.out) == (1, "auditor_required", b"")
    told = [body["action"] for _, _, body in site.entries("refusal")]
    assert told == ["audit who-saw", "audit checkpoint", "audit entry", "audit proof"]


def test_an_entry_is_shown_and_proved(site: Site) -> None:
    """`audit entry` decodes it, `audit proof` gives a C2SP tlog-proof that its own checkpoint confirms."""
    site.read()
    index = site.entries("release")[0][0]
    entry = site.run("audit", "entry", str(index), "--json", who=AUDITOR).json
    assert (entry["index"], entry["kind"], entry["released"]) == (index, "release", 2)
    assert f"index: {index}" in site.run("audit", "entry", str(index), who=AUDITOR).stdout
    text = site.run("audit", "proof", str(index), who=AUDITOR).stdout
    head, _, signed = text.partition("\n\n")
    assert head.splitlines()[0] == "c2sp.org/tlog-proof@v1"
    vkey = (site.root / "keys" / "audit.vkey").read_text("utf-8").strip()
    checkpoint = note.open_checkpoint(signed.encode(), vkey)
    with site.opened() as exchange:
        leaf, path = exchange.audit.leaf(index), exchange.audit.proof(index, checkpoint.size)
    assert tiles.included(leaf_hash(leaf), index, checkpoint.size, path, checkpoint.root)


@pytest.mark.parametrize("index", ["-1", "9999", "99999999999999999999"])
def test_an_entry_that_is_not_there_is_said(site: Site, index: str) -> None:
    """Below the first, behind the last, beyond any number."""
    for words in ("entry", "proof"):
        ran = site.run("audit", words, "--", index, who=AUDITOR)
        assert ran.code == 2, ran
        assert ran.error_code


def test_a_log_is_verified_without_its_site(site: Site) -> None:
    """With folder and key alone, and against a kept checkpoint; without one it is said what would pass."""
    kept = site.folder / "kept"
    assert site.run("audit", "checkpoint", "--out", str(kept), who=AUDITOR).code == 0
    assert kept.read_text("utf-8") == site.run("audit", "checkpoint", who=AUDITOR).stdout
    site.read()
    ran = _verify(site, "--json", "--checkpoint", str(kept))
    assert (ran.code, ran.json["ok"], ran.json["findings"]) == (0, True, [])
    assert "no kept checkpoint" not in _verify(site, "--checkpoint", str(kept)).stdout
    assert "no kept checkpoint" in _verify(site).stdout
    assert site.run("audit", "verify").code == 0


def test_a_checkpoint_goes_where_it_can_be_written(site: Site) -> None:
    """A folder that is not there is said, and is nobody's fault but the caller's."""
    ran = site.run("audit", "checkpoint", "--out", str(site.folder / "no" / "kept"), who=AUDITOR)
    assert (ran.code, ran.error_code) == (2, "file_unwritable")


def test_a_changed_log_ends_with_4_and_names_the_place(site: Site) -> None:
    """One bit of an entry, a cut-off tile, a checkpoint of another history."""
    kept = site.folder / "kept"
    site.run("audit", "checkpoint", "--out", str(kept), who=AUDITOR)
    whole = site.folder / "whole"
    shutil.copytree(site.data / "audit", whole)
    bundle = max((site.data / "audit" / "tile" / "entries" / "000.p").iterdir(), key=lambda one: int(one.name))
    data = bytearray(bundle.read_bytes())
    data[len(data) // 2] ^= 1
    bundle.write_bytes(data)
    ran = _verify(site, "--json", "--checkpoint", str(kept))
    assert (ran.code, ran.json["findings"][0]["code"]) == (4, "entry_changed")
    assert "does NOT hold" in _verify(site).stdout
    bundle.write_bytes(data[:-1])
    assert _verify(site).code == 4
    shutil.rmtree(site.data / "audit")
    shutil.copytree(whole, site.data / "audit")
    assert _verify(site).code == 0
    (site.data / "audit" / "checkpoint").write_text("nothing\n", "utf-8")
    assert _verify(site).code == 4


def test_what_the_verifier_is_given_wrong_is_invalid(site: Site, tmp_path: Path) -> None:
    """A key that is none, a checkpoint or key file that cannot be read: 2, and nothing is said about the log."""
    for words in (["--key", "nothing"], ["--checkpoint", str(tmp_path / "no")], ["--checkpoint", str(tmp_path)]):
        ran = _verify(site, *words)
        assert (ran.code, ran.out) == (2, b""), words
    (tmp_path / "key").write_bytes(b"\xff")
    assert _verify(site, "--key", str(tmp_path / "key")).error_code == "file_unreadable"
    nowhere = simulator.run(
        ["audit", "verify", str(site.data / "audit")], {"LANG": "C", "EXCHANGE_SITE": str(tmp_path)}
    )
    assert (nowhere.code, nowhere.error_code) == (2, "file_unreadable")
    (tmp_path / "empty").write_bytes(b"")
    assert _verify(site, "--checkpoint", str(tmp_path / "empty")).code == 4
