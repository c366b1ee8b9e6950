"""`audit releases --bundle` and its like: what the exchange writes is judged elsewhere, and what cannot be is told."""

import json
import subprocess
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from exchange.audit.taking import INDEXED
from exchange.cli.searching import WHATS
from exchange.evidence.check import check
from exchange.wiring import searched
from exchange.wiring.checker import NAME, checker
from exchange.wiring.evidence import archive
from exchange.wiring.searching import Sought, wanted_of
from tests import simulator
from tests.cli.test_evidence import _python
from tests.evidence.answers import state_of
from tests.simulator import AUDITOR, CASE, CHECKER, DATASET, PROVIDER, PURPOSE, Ran, Site


@pytest.fixture(scope="module", name="read")
def _read(made: Site, tmp_path_factory: pytest.TempPathFactory) -> Site:
    """A site with two releases, one of them confirmed, and a refusal; its tests add auditors' questions alone."""
    site = made.copy(tmp_path_factory.mktemp("bundles") / "exchange")
    assert site.read().code == site.read("--ack").code == 0
    assert site.read(who=PROVIDER).error_code == "question_refused"
    return site


def _bundle(site: Site, what: str, *words: str, lang: str = "en") -> tuple[Path, Ran]:
    out = site.folder / "answer.bundle"
    out.unlink(missing_ok=True)
    return out, site.run("audit", what, "--bundle", str(out), *words, "--lang", lang, who=AUDITOR)


def _judged(site: Site, out: Path, *words: str) -> dict[str, Any]:
    key = str(site.root / "keys" / "audit.vkey")
    ran = simulator.run(["audit", "verify", str(out), "--json", "--key", key, *words], {"LANG": "C"})
    found: dict[str, Any] = ran.json
    assert ran.code == (4 if found["findings"] else 0)
    return found


@pytest.mark.whole
@pytest.mark.parametrize("what", WHATS)
def test_an_answer_is_carried_away_and_judged_elsewhere(read: Site, what: str) -> None:
    """What the search itself shows is in the bundle, whole and proved; as a list it is not called complete, with all
    entries of the log it is.
    """
    rows = read.run("audit", what, "--json", "--limit", "9999", who=AUDITOR).json
    for words, proved in (((), "fits"), (("--complete",), "range")):
        out, ran = _bundle(read, what, *words)
        assert ran.code == 0, ran.stderr
        found = _judged(read, out)
        assert (found["findings"], proved in found["proved"]) == ([], True)
        assert ("omitted" in found["unproved"]) is (words == ())
        shown = [index for index in found["answer"] if index <= rows[-1]["index"]]
        assert shown == [one["index"] for one in rows]
        assert what == "queries" or shown == found["answer"]
        recorded = read.entries("audit_query")[-1]
        assert (recorded[0], recorded[2]["query"], recorded[2]["results"]) == (
            *(found["question"]["asked"], what),
            len(found["answer"]),
        )


@pytest.mark.whole
@pytest.mark.parametrize(
    ("what", "words"),
    [
        ("releases", ("--dataset", DATASET, "--purpose", PURPOSE, "--case", CASE, "--officer", CHECKER)),
        ("releases", ("--field", "person_id", "--department", "ny.minzheng")),
        ("grants", ("--department", "ny.minzheng", "--dataset", DATASET)),
        ("refusals", ("--department", "ny.renshe")),
        ("keys", ("--department", "ny.renshe")),
        ("openings", ("--case", CASE)),
    ],
)
def test_the_judge_and_the_index_mean_the_same_by_a_filter(read: Site, what: str, words: Sequence[str]) -> None:
    """Two programs that share no code: what the index finds is what the judge finds in the whole log."""
    out, ran = _bundle(read, what, *words, "--complete")
    assert ran.code == 0, ran.stderr
    found = _judged(read, out)
    assert (found["findings"], len(found["answer"]) > 0) == ([], True)
    assert ("officer" in found["unproved"]) is ("--officer" in words)


def test_a_period_becomes_indexes_that_reach_over_it(read: Site) -> None:
    """From and until any entry's own time, of whatever kind: the range begins with an entry before, or the log's first,
    ends with one behind, or the last, and has all between that anybody looks for. The judge finds the same; a list has
    an agreement's request beside its later events.
    """
    entries = read.entries()
    times = [body["time_ns"] for _, _, body in entries]
    with read.opened() as exchange:
        who, size, index = exchange.control.model().principals[AUDITOR], exchange.audit.size, exchange.followed()
        periods = [
            *((one, None) for one in times),
            *((None, one) for one in times),
            *zip(times, times[5:], strict=False),
        ]
        for begin, until in periods:
            if begin is not None and until is not None and until <= begin:
                continue
            sought = Sought(from_ns=begin, until_ns=until)
            lo, hi = searched._span(exchange, index, wanted_of(exchange, "grants", sought, size))
            assert lo == 0 or times[lo] < (begin or 0)
            assert hi == size or times[hi - 1] >= (until or 1 << 62)
            inside = [at for at, one in enumerate(times) if (begin or 0) <= one < (until or 1 << 62)]
            assert all(lo <= at < hi for at in inside if entries[at][1] in INDEXED)
        approved = next(body["time_ns"] for _, _, body in entries if body.get("type") == "agreement.approved/1")
        for sought, complete in (
            (Sought(from_ns=times[-1] + 10**9), True),
            (Sought(from_ns=times[3], until_ns=times[-4]), True),
            (Sought(from_ns=approved), False),
            (Sought(from_ns=approved), True),
        ):
            result = check(searched.search_bundle(exchange, who, "grants", sought, complete=complete))
            assert result.findings == []
            assert len(result.answer) == (sought.from_ns == approved or 3 * bool(sought.until_ns))


def test_the_way_from_what_the_auditor_kept(read: Site) -> None:
    """A checkpoint, or the state of his last verification: the bundle shows that the log continues it, and the judge
    takes the same file.
    """
    kept, state, key = read.folder / "kept", read.folder / "state", str(read.root / "keys" / "audit.vkey")
    assert read.run("audit", "checkpoint", "--out", str(kept), who=AUDITOR).code == 0
    verified = simulator.run(
        ["audit", "verify", str(read.data / "audit"), "--key", key, "--state", str(state)], {"LANG": "C"}
    )
    assert verified.code == 0, verified.stdout
    _bundle(read, "keys")
    out, ran = _bundle(read, "releases", "--checkpoint", str(kept), "--state", str(state))
    assert ran.code == 0, ran.stderr
    assert _judged(read, out)["unproved"]["history"] in (1, 2)
    assert _judged(read, out, "--checkpoint", str(kept))["proved"]["history"] == 1
    assert _judged(read, out, "--state", str(state))["proved"]["history"] == 1
    bare, _ = _bundle(read, "releases")
    found = _judged(read, bare, "--state", str(state))["findings"]
    assert [one["code"] for one in found] == ["history_not_shown"]
    state.write_bytes(state_of(Path(key).read_text().strip(), 9_999, bytes(32)))
    again = _bundle(read, "releases", "--state", str(state))[1]
    assert (again.code, again.error_code) == (4, "audit_log_shorter")
    state.write_text("{}")
    again = _bundle(read, "releases", "--state", str(state))[1]
    assert (again.code, again.error_code) == (2, "audit_state_damaged")


def test_a_bar_shows_how_far_it_is(read: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """Entry by entry, whichever form."""
    shown: list[int] = []
    monkeypatch.setattr("exchange.cli.terminal.Progress.to", lambda _, done: shown.append(done))
    _bundle(read, "keys")
    listed = len(shown)
    _bundle(read, "keys", "--complete")
    assert (shown[:listed], shown[listed], max(shown) > 20) == (list(range(1, listed + 1)), 1, True)


def test_the_page_in_both_languages(read: Site) -> None:
    """The report of an answer: question, filter, entries, what is proved and what is not."""
    out, _ = _bundle(read, "grants", "--dataset", DATASET)
    page = read.folder / "report.html"
    _judged(read, out, "--report", str(page))
    text = page.read_text("utf-8")
    for part in (
        "协议的经过：申请、批准、撤销？",
        "What became of agreements",
        PURPOSE,
        "agreement.approved/1",
        "ny.minzheng",
    ):
        assert part in text
    assert "<script" not in text


@pytest.mark.parametrize(
    "words",
    [("--out", "x.csv"), ("--limit", "3"), ("--after", "3")],
)
def test_a_bundle_is_all_that_is_found(read: Site, words: Sequence[str]) -> None:
    """Neither a part of it nor a table beside it; what belongs to a bundle goes with one."""
    out, ran = _bundle(read, "keys", *words)
    assert (ran.code, ran.error_code, out.exists()) == (2, "command_line", False)
    ran = read.run("audit", "keys", "--complete", who=AUDITOR)
    assert (ran.code, ran.error_code) == (2, "command_line")


TOO_MANY = {
    "zh": "answer: 条目数 > 3 超出一个证据包的上限（3）",
    "en": "answer: > 3 entries are more than one bundle holds (at most 3)",
}


@pytest.mark.parametrize("lang", ["zh", "en"])
def test_more_than_a_bundle_holds(read: Site, monkeypatch: pytest.MonkeyPatch, lang: str) -> None:
    """Too many entries found, too many in the range, or too many bytes: told with the limit; nothing is written."""
    monkeypatch.setattr(searched, "MOST_LISTED", 3)
    out, ran = _bundle(read, "keys", lang=lang)
    assert (ran.code, ran.error_code, out.exists()) == (2, "bundle_too_large", False)
    assert TOO_MANY[lang] in ran.stderr.replace("：", ": ", 1)
    monkeypatch.setattr(searched, "MOST_WHOLE", 9)
    assert _bundle(read, "keys", "--complete")[1].error_code == "bundle_too_large"
    monkeypatch.setattr(searched, "MOST_WHOLE", 10_000)
    monkeypatch.setattr(searched, "MOST_BYTES", 999)
    assert _bundle(read, "keys", "--complete")[1].error_code == "bundle_too_large"


def test_only_an_auditor_takes_one(read: Site) -> None:
    """Of unconfirmed releases too, which a recipient may see: in a complete bundle are those of others."""
    out = read.folder / "no.bundle"
    words = ("audit", "unconfirmed", "--department", "ny.minzheng", "--bundle", str(out))
    ran = read.run(*words, who=CHECKER)
    assert (ran.code, ran.error_code, out.exists()) == (1, "auditor_required", False)


@pytest.mark.whole
@pytest.mark.parametrize("version", ["3.8", "3.9", "3.13"])
def test_the_checker_judges_them_on_the_oldest_python(read: Site, tmp_path: Path, version: str) -> None:
    """Alone, isolated: as a list, complete, with a state; one byte changed is found, and an entry taken out."""
    (tmp_path / NAME).write_bytes(checker())
    state, key = tmp_path / "state", read.root / "keys" / "audit.vkey"
    log = str(read.data / "audit")
    assert simulator.run(["audit", "verify", log, "--key", str(key), "--state", str(state)], {"LANG": "C"}).code == 0
    table = tmp_path / "grants.csv"
    assert read.run("audit", "grants", "--out", str(table), who=AUDITOR).code == 0
    for words in ((), ("--complete",)):
        out, _ = _bundle(read, "grants", "--state", str(state), *words)
        sound = tmp_path / "sound.zip"
        sound.write_bytes(out.read_bytes())
        command = [_python(version), "-I", "-S", "-B", NAME, "--json", "--key", str(key), "--state", str(state)]
        ran = subprocess.run([*command, "--table", table, "sound.zip"], cwd=tmp_path, capture_output=True, check=False)
        assert ran.returncode == 0, ran.stderr + ran.stdout
        assert {"history": 1, "table": 3}.items() <= json.loads(ran.stdout)["proved"].items()
        with zipfile.ZipFile(sound) as packed:
            files = {name: packed.read(name) for name in packed.namelist()}
        name = next(one for one in sorted(files) if one.startswith(("range/0", "entries/")))
        for changed in ({**files, name: files[name][:-1] + b"\xff"}, {k: v for k, v in files.items() if k != name}):
            (tmp_path / "bad.zip").write_bytes(archive(changed))
            ran = subprocess.run([*command, "bad.zip"], cwd=tmp_path, capture_output=True, check=False)
            assert (ran.returncode, json.loads(ran.stdout)["ok"]) == (4, False)
