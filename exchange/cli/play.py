"""The main job, played from end to end: `exchange demo`, `make demo`.

Five departments and the ministry publish, the township clerk and the county checker get exactly what their agreements
allow, an auditor proves who saw what and finds three attacks. Every step is a process of its own with its own token;
every figure is asked of the exchange and compared with the generator's own truth.
"""

import json
import os
import shutil
import sys
import time
from collections import Counter
from collections.abc import Mapping
from contextlib import nullcontext
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final

from exchange.cli.cast import (
    AUDITOR,
    AUTHORITY,
    CASE,
    CHECKER,
    CLERK,
    OFFICE,
    PUBLISHERS,
    agreements_of_c1,
    own_review,
    register,
    reviewer,
)
from exchange.cli.proving import attacked, auditor
from exchange.cli.report import Report, written
from exchange.cli.served import serving
from exchange.cli.stage import Failed, Stage
from exchange.cli.three_views import VIEWED, checker, clerk, provider
from exchange.messages import Language, text
from exchange.settings import read_settings
from exchange.wiring import standing
from exchange.wiring.counting import counted, described

if TYPE_CHECKING:
    from adapters.sample.truth import Truth

SCENES: Final = 11
_EMBEDDED: Final[Mapping[str, str]] = MappingProxyType({})


def play(
    folder: Path,
    language: Language,
    seed: int,
    scale: float,
    given: Mapping[str, str] = _EMBEDDED,
    *,
    leaves_site: bool = True,
    served: bool = False,
) -> int:
    """Plays it in an empty folder and leaves a site, tokens, the exported log and copies of it, `report.html` and
    `figures.json` there. `given` are settings that the site begins with, such as its engines.

    `figures.json` has the figures of the exchange and of its engines, and a digest of every view; the same county on
    other engines gives the same, both being `served` or neither: then one process, `exchange serve`, answers all
    others. Without `leaves_site` the caller takes the engines away, and only what needs no site is told to be tried.

    Returns:
        0 when every check held, else 1 with what did not.
    """
    stage = Stage(folder / "site", folder / "tokens", folder / "audit-log", language, SCENES)
    try:
        truth, engines = _prepared(stage, folder, seed, scale, given)
        with serving(stage, folder, keep=leaves_site) if served else nullcontext():
            report = _played(stage, folder, (seed, scale, truth.persons, truth.households), engines, truth)
    except Failed as failure:
        print(f"\n✗ {failure}", file=sys.stderr)
        return 1
    file = folder / "report.html"
    file.write_text(written(report), "utf-8")
    figures = {"engines": report.engines, "figures": report.figures, "asked": report.asked, "views": stage.views}
    (folder / "figures.json").write_text(json.dumps(figures, ensure_ascii=False, indent=1) + "\n", "utf-8")
    _end(stage, file, leaves_site=leaves_site)
    return 0


def _prepared(
    stage: Stage, folder: Path, seed: int, scale: float, given: Mapping[str, str]
) -> tuple["Truth", dict[str, str]]:
    """The departments' files with the generator's truth, and the site's engines, each as the report names it."""
    from adapters.sample.truth import Truth

    stage.scene("demo_generate", seed=seed, scale=scale)
    source = folder / "departments"
    generate(source, seed, scale)
    truth = Truth.load(source / "truth.json")
    stage.note("demo_synthetic", persons=truth.persons, households=truth.households)
    stage.scene("demo_site")
    return truth, _made(stage, given)


def _played(
    stage: Stage, folder: Path, county: tuple[int, float, int, int], engines: dict[str, str], truth: "Truth"
) -> Report:
    _found(stage, folder)
    stage.scene("demo_contracts")
    _contracts(stage)
    stage.scene("demo_publish")
    published = _publish(stage, folder / "departments", truth)
    stage.scene("demo_agreements")
    agreements = _agree(stage, folder)
    stage.scene("demo_clerk")
    views = [clerk(stage, truth)]
    kept = folder / "checkpoint-kept-by-the-auditor"
    stage.run(AUDITOR, "audit", "checkpoint", "--out", str(kept))
    stage.scene("demo_checker")
    views.append(checker(stage, truth))
    views.insert(0, provider(stage, views))
    stage.scene("demo_revoke")
    _revoke(stage, agreements)
    stage.scene("demo_auditor")
    seen, proof = auditor(stage, truth, kept)
    stage.scene("demo_attacks")
    attacks = attacked(stage, folder, kept)
    stage.scene("demo_figures")
    figures = _figures(stage, published)
    asked = _asked(stage, figures)
    labels = stage.run(AUDITOR, "dataset", "show", VIEWED, "--json", quiet=True).json
    named = {one["path"]: one[stage.language] for one in labels}
    return Report(
        stage.language, county, engines, figures, asked, VIEWED, named, views, seen, proof, attacks, stage.checks
    )


def generate(folder: Path, seed: int, scale: float) -> None:
    """The files of six departments' systems, in a process of their own: they know nothing of the exchange."""
    import subprocess

    words = ["--out", str(folder), "--seed", str(seed), "--scale", str(scale), "--as-of", time.strftime("%Y-%m-%d")]
    done = subprocess.run(
        [sys.executable, "-P", "-m", "adapters.sample", *words], check=False, capture_output=True, text=True
    )
    if done.returncode:
        raise Failed(done.stderr)


def _made(stage: Stage, given: Mapping[str, str]) -> dict[str, str]:
    """The site, and its engines."""
    stage.tokens.mkdir(mode=0o700)
    words = ["--name", "宁远县数据共享交换（合成数据）", "--department", OFFICE, "--principal", AUTHORITY]
    words += [word for name, value in given.items() for word in ("--set", f"{name}={value}")]
    token = str(stage.tokens / f"{AUTHORITY}.token")
    stage.run(None, "init", str(stage.root), *words, "--token-out", token, site=False)
    engines = described(read_settings(stage.root, {}))
    for name, engine in engines.items():
        stage.note(f"demo_engine_{name}", engine=engine)
    return engines


def _found(stage: Stage, folder: Path) -> None:
    """The departments and their people, and the policy: submitted by one person, approved by another."""
    people = folder / "register.json"
    people.write_text(json.dumps(register(), ensure_ascii=False, indent=1), "utf-8")
    stage.run(AUTHORITY, "register", str(people), "--tokens", str(stage.tokens), quiet=True)
    revision = stage.run("steward.ny.minzheng", "policy", "submit", "--json", quiet=True).json[0]["about"]
    stage.run(AUTHORITY, "policy", "approve", revision, quiet=True)
    active = [
        one for one in stage.run(AUTHORITY, "policy", "list", "--json", quiet=True).json if one["status"] == "active"
    ]
    stage.check(text("demo_check_policy", stage.language), [one["revision"] for one in active], [revision])


def _contracts(stage: Stage) -> None:
    for dataset, department in PUBLISHERS.items():
        folder = stage.root / "schemas" / department / dataset
        shutil.copytree(standing("schemas") / department / dataset, folder)
        stage.run(f"steward.{department}", "dataset", "submit", str(folder), quiet=True)
    names = [one["name"] for one in stage.run(AUTHORITY, "dataset", "list", "--json", quiet=True).json]
    stage.check(text("demo_check_datasets", stage.language), sorted(names), sorted(PUBLISHERS))


def _publish(stage: Stage, source: Path, truth: "Truth") -> dict[str, Counter[str]]:
    """Every file by its own department, each figure against the generator's truth; then one of them once more."""
    published: dict[str, Counter[str]] = {}
    for name, file in truth.files.items():
        who = f"svc.{PUBLISHERS[file.dataset]}"
        words = ["publish", str(source / file.config), str(source / name), "--json"]
        answer = stage.run(who, *words, quiet=True).json
        good, bad = file.good, sum(file.rejected.values())
        found, expected = _counted(stage, answer["taken"], answer["dead_letters"]), _counted(stage, good, bad)
        stage.check(f"{name} → {file.dataset}", found, expected)
        published.setdefault(file.dataset, Counter()).update(records=good, dead=bad)
    name, file = "pension.csv", truth.files["pension.csv"]
    publisher, words = f"svc.{PUBLISHERS[file.dataset]}", [str(source / file.config), str(source / name)]
    again = stage.run(publisher, "publish", *words, "--json", quiet=True)
    stage.check(text("demo_check_again", stage.language), again.json["taken"] + again.json["dead_letters"], 0)
    letters = stage.run(publisher, "dead-letters", file.dataset, "--json", quiet=True).json
    codes = Counter(one["code"] for one in letters if one["file"] == name)
    stage.check(text("demo_check_dead", stage.language), sorted(codes.items()), sorted(file.rejected.items()))
    return published


def _agree(stage: Stage, folder: Path) -> dict[str, str]:
    """Requested by the consumers, reviewed by the providers, approved by the authority: three people each."""
    from exchange.contracts.contract import load

    numbers: dict[str, str] = {}
    contract = load(stage.root / "schemas" / PUBLISHERS[VIEWED] / VIEWED)
    asked = {**agreements_of_c1(), "own-pension": own_review(contract)}
    for steward in sorted({steward for steward, _ in asked.values()}):
        own = {name: terms for name, (by, terms) in asked.items() if by == steward}
        for name, terms in own.items():
            (folder / f"{name}.json").write_text(json.dumps(terms, ensure_ascii=False, indent=1), "utf-8")
        files = [str(folder / f"{name}.json") for name in own]
        made = stage.run(steward, "agreement", "request", *files, "--json", quiet=True).json
        numbers |= dict(zip(own, (one["about"] for one in made), strict=True))
    for who in sorted({reviewer(terms) for _, terms in asked.values()}):
        own_numbers = [numbers[name] for name, (_, terms) in asked.items() if reviewer(terms) == who]
        words = ["--endorse", "--note", "范围必要 the scope is needed"]
        stage.run(who, "agreement", "review", *own_numbers, *words, quiet=True)
    stage.run("steward.ny.minzheng", "agreement", "approve", numbers["checker-person"], ends=1)
    stage.note("demo_no_self_approval")
    stage.run(AUTHORITY, "agreement", "approve", *numbers.values())
    return numbers


def _revoke(stage: Stage, agreements: dict[str, str]) -> None:
    """A revoke holds at once; without a policy everything is refused."""
    words = ["--reason", "提供方核查 provider's review"]
    stage.run("steward.ny.renshe", "agreement", "revoke", agreements["clerk-pension"], *words, quiet=True)
    asked = ["read", "hrss.pension_account", "--purpose", "dibao.intake", "--case", CASE]
    refused = stage.run(CLERK, *asked, ends=1)
    stage.check(text("demo_check_revoked", stage.language), refused.reasons, ["revoked"])
    stage.run(AUTHORITY, "policy", "withdraw", "--reason", "演练 drill", quiet=True)
    asked = ["read", "mz.division", "--purpose", "open.use"]
    refused = stage.run(CHECKER, *asked, ends=1)
    stage.check(text("demo_check_no_policy", stage.language), refused.reasons, ["policy_unavailable"])
    again = stage.run("steward.ny.minzheng", "policy", "submit", "--json", quiet=True).json[0]["about"]
    stage.run(AUTHORITY, "policy", "approve", again, quiet=True)


def _counted(stage: Stage, records: int, dead: int) -> str:
    return text("demo_counted", stage.language, records=records, dead=dead)


def _figures(stage: Stage, published: dict[str, Counter[str]]) -> list[dict[str, Any]]:
    """What the logs hold, against what the generator made."""
    rows = stage.run(AUDITOR, "status", "--json", quiet=True).json
    counts = {(row["what"], row["name"]): row["count"] for row in rows}
    for dataset, expected in published.items():
        found = _counted(stage, counts[("records", dataset)], counts.get(("dead letters", dataset), 0))
        stage.check(dataset, found, _counted(stage, expected["records"], expected["dead"]))
    stage.run(AUDITOR, "status", lines=30)
    return list(rows)


def _asked(stage: Stage, figures: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The same asked of the engines themselves, by their own clients: what the exchange says is what they hold."""
    rows = counted(read_settings(stage.root, {}))
    held = {(row["what"], row["name"]): row["count"] for row in rows}
    for what in ("records", "dead letters", "entries"):
        said = sorted((row["name"], row["count"]) for row in figures if row["what"] == what)
        found = sorted((name, count) for (kind, name), count in held.items() if kind == what)
        engine = next((row["engine"] for row in rows if row["what"] == what), "-")
        stage.check(text("demo_check_asked", stage.language, what=what, engine=engine), found, said)
    stage.check(
        text("demo_check_size", stage.language),
        held[("size", "")],
        sum(c for (w, _), c in held.items() if w == "entries"),
    )
    return rows


def _end(stage: Stage, report: Path, *, leaves_site: bool) -> None:
    seconds = time.monotonic() - stage.started
    stage.note("demo_report", file=os.path.relpath(report))
    stage.note("demo_done", checks=len(stage.checks), processes=stage.processes, seconds=f"{seconds:.1f}")
    site, log = os.path.relpath(stage.root), os.path.relpath(stage.log)
    tokens = os.path.relpath(stage.tokens)
    offline = (None, f"audit verify {log} --key {site}/keys/audit.vkey")
    tried = [
        (AUDITOR, "status"),
        (CHECKER, f"explain fin.receipt --purpose dibao.initial_check --case {CASE}"),
        (AUTHORITY, "agreement list"),
        (AUDITOR, "audit entry 12"),
    ]
    stage.note("demo_try" if leaves_site else "demo_dropped")
    if leaves_site:
        print(f"\n  export EXCHANGE_SITE={site}")
    for who, words in (*(tried if leaves_site else ()), offline):
        token = f" --token file:{tokens}/{who}.token" if who else ""
        print(f"  {_command()} {words}{token}")


def _command() -> str:
    """How this program is called: by its name where that finds it, else by its path."""
    own = Path(sys.argv[0])
    found = shutil.which("exchange")
    if not own.is_file() or own.name != "exchange" or (found and Path(found).samefile(own)):
        return "exchange"
    return min(os.path.relpath(own), str(own.absolute()), key=len)
