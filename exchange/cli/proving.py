"""Of the demo's play: the auditor proves who saw somebody, and finds three attacks on copies of the log."""

from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Final

from exchange.cli.attacks import cut_off, flip_byte, leaves, rewrite
from exchange.cli.cast import AUDITOR
from exchange.cli.report import Attack, Proof
from exchange.cli.stage import Stage
from exchange.messages import text
from exchange.settings import read_settings
from exchange.signing.keys import SigningKey
from exchange.signing.merkle import leaf_hash
from exchange.site import VKEY

if TYPE_CHECKING:
    from adapters.sample.truth import Truth

_CUT: Final = 10  # entries that an attacker cuts off


def auditor(stage: Stage, truth: "Truth", kept: Path) -> tuple[list[str], Proof]:
    """Who saw this person: every release and refusal, each with its proof; then the whole log, offline."""
    spouse = truth.role("spouse").person_id
    told = stage.run(AUDITOR, "audit", "who-saw", stdin=spouse, lines=30)
    rows = stage.run(AUDITOR, "audit", "who-saw", "--json", stdin=spouse, quiet=True).json
    kinds = Counter(row["kind"] for row in rows)
    stage.check(text("demo_check_seen", stage.language), kinds["release"], 6)
    stage.check(text("demo_check_unproved", stage.language), [row["index"] for row in rows if not row["proved"]], [])
    neighbour = truth.role("neighbour").person_id
    shown = next(row["index"] for row in rows if row["kind"] == "release")
    rows = stage.run(AUDITOR, "audit", "who-saw", "--json", stdin=neighbour, quiet=True).json
    stage.check(text("demo_check_refused", stage.language), [row["kind"] for row in rows], ["refusal"])
    stage.run(None, "audit", "export", str(stage.log))
    verify = ["audit", "verify", str(stage.log), "--key", str(stage.root / "keys" / "audit.vkey")]
    stage.run(None, *verify, "--checkpoint", str(kept), site=False)
    stage.note("demo_proof")
    evidence = stage.run(AUDITOR, "audit", "proof", str(shown), lines=1)
    vkey = (stage.root / VKEY).read_text("utf-8").strip()
    leaf = leaf_hash(leaves(stage.log)[shown])
    return told.stdout.splitlines(), Proof.of(evidence.stdout, leaf, vkey)


def attacked(stage: Stage, folder: Path, kept: Path) -> list[Attack]:
    """Three attacks on copies: with the kept checkpoint each is named; without it a rewritten history would pass."""
    log, copies = stage.log, folder / "attacks"
    copies.mkdir()
    newest = folder / "checkpoint-newest"
    stage.run(AUDITOR, "audit", "checkpoint", "--out", str(newest), quiet=True)
    stage.run(None, "audit", "export", str(log), quiet=True)
    settings = read_settings(stage.root, {})
    key, origin = SigningKey.load(settings.secret_file("keys.audit")), settings.text("origin")
    copied = {
        ("demo_attack_flip", "entry_changed"): flip_byte(log, copies / "flipped"),
        ("demo_attack_cut", "log_cut_off"): cut_off(log, copies / "cut", origin, key, _CUT),
        ("demo_attack_rewrite", "history_rewritten"): rewrite(log, copies / "rewritten", origin, key),
    }
    vkey = str(stage.root / "keys" / "audit.vkey")
    found: list[Attack] = []
    for (what, code), copy in copied.items():
        stage.note(what)
        words = ["audit", "verify", str(copy), "--key", vkey]
        checkpoints = ["--checkpoint", str(kept), "--checkpoint", str(newest)]
        verdict = stage.run(None, *words, *checkpoints, ends=4, site=False)
        how = "demo_check_own" if code == "entry_changed" else "demo_check_found"
        stage.check(text(how, stage.language), verdict.stdout.splitlines()[1].partition(":")[0], code)
        found.append(Attack(text(what, stage.language), verdict.stdout.splitlines()))
    stage.note("demo_without_checkpoint")
    passed = stage.run(None, "audit", "verify", str(copies / "rewritten"), "--key", vkey, site=False)
    return [*found, Attack(text("demo_without_checkpoint", stage.language), passed.stdout.splitlines())]
