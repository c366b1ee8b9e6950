"""The demo leaves no id behind: not in what is said, not in arguments, not in what is stored beside the records.

The whole play at a small scale, in one process; what each command was given and wrote is kept. Only records themselves
may hold ids: in the files of the departments, in the record log and the state, and in what was released.
"""

import re
import unicodedata
from pathlib import Path

import pytest

from adapters.sample.truth import Truth
from exchange.settings import read_settings
from tests.cli.playing import Play, played_in
from tests.simulator import Site

pytestmark = [pytest.mark.demo, pytest.mark.slow]

RECORDS = {"records.db", "state.db"}
_RUN = re.compile(r"\d{14,}[\dXx]")
_ID = re.compile(r"(?<![0-9A-Za-z])(?:[0-9]{17}[0-9Xx]|[0-9]{15}|H[0-9]{15})(?![0-9A-Za-z])")


@pytest.fixture(scope="module")
def play(tmp_path_factory: pytest.TempPathFactory) -> Play:
    """The demo, played once."""
    return played_in(tmp_path_factory.mktemp("play") / "demo")


@pytest.fixture(scope="module")
def ids(play: Play) -> frozenset[str]:
    """Every id of a person or household in the departments' files and the generator's truth, and what is like one."""
    truth = Truth.load(play.folder / "departments" / "truth.json")
    found = {one.person_id for one in truth.planted} | {one.household_id for one in truth.planted} - {""}
    for file in (play.folder / "departments").glob("*.csv"):
        data = file.read_bytes()
        encoding = "utf-8-sig" if data.startswith(b"\xef\xbb\xbf") else "utf-8"
        try:
            text = data.decode(encoding)
        except UnicodeDecodeError:
            text = data.decode("gb18030", "replace")
        found |= set(_ID.findall(unicodedata.normalize("NFKC", text)))
    return frozenset(found)


def among(text: str, ids: frozenset[str]) -> set[str]:
    """The ids that stand in a text, also in the middle of a longer run of digits."""
    found = set()
    for run in _RUN.findall(text):
        for length in (15, 18):
            found |= {run[at : at + length] for at in range(len(run) - length + 1)} & ids
    return found | (set(re.findall(r"H[0-9]{15}", text)) & ids)


def _bytes(file: Path) -> str:
    return file.read_bytes().decode("latin-1")


def test_the_search_finds_what_is_there(play: Play, ids: frozenset[str]) -> None:
    """Some hundred ids are looked for, and found where they may be: in the files and in what was released."""
    assert len(ids) > 500
    assert len(among("\n".join(play.released), ids)) > 3
    assert len(among(_bytes(play.folder / "site" / "data" / "records.db"), ids)) > 500
    assert among(f"x{min(ids)}y 0{max(ids)}0", ids)


def test_no_id_is_said_or_given_as_an_argument(play: Play, ids: frozenset[str]) -> None:
    """Arguments, environments, standard error of every command, standard output of those that release nothing."""
    assert len(play.given) > 500
    assert len(play.said) > 60
    for text in (*play.given, *play.said):
        assert not among(text, ids)


def test_the_demo_itself_shows_ids_only_where_records_were_released(play: Play, ids: frozenset[str]) -> None:
    """What it prints besides the released records it echoes holds none."""
    released = {line[:160] for text in play.released for line in text.splitlines()}
    others = [line for line in play.printed.splitlines() if line.strip() not in released]
    assert len(others) > 100
    assert not among("\n".join(others), ids)


def test_no_id_lies_beside_the_records(play: Play, ids: frozenset[str]) -> None:
    """Events, agreements, audit log and its copies, index, ledgers, lock, tokens, checkpoints, terms: none has one."""
    files = [file for file in play.folder.rglob("*") if file.is_file()]
    looked = []
    for file in files:
        if "departments" in file.parts or file.name in RECORDS or file.name.startswith("divisions-read"):
            continue
        if file.name == "report.html":  # it shows released records, and says that they are made up
            continue
        assert not among(_bytes(file), ids), file
        assert not among(file.name, ids)
        looked.append(file.name)
    assert {"control.db", "subjects.db", "checkpoint", "lock", "exchange.toml"} <= set(looked)
    assert any("ledgers" in file.parts for file in files)


def test_no_id_stands_in_an_entry_or_a_dead_letter(play: Play, ids: frozenset[str]) -> None:
    """Decoded: every entry of the audit log, every dead letter with its reason, place and shape."""
    site = Site(play.folder)
    entries = site.entries()
    with site.opened() as exchange:
        letters = []
        for name, dataset in exchange.control.model().datasets.items():
            owner = next(
                one for one in exchange.control.model().principals.values() if one.department == dataset.department
            )
            letters += list(exchange.dead_letters(owner, name))
    assert len(entries) > 100
    assert len(letters) > 10
    for one in (*entries, *letters):
        assert not among(str(one), ids)


def test_the_report_shows_what_was_played(play: Play, ids: frozenset[str]) -> None:
    """Records as the three received them, the proof of the log, the verifier's verdicts; marked as made up."""
    page = (play.folder / "report.html").read_text("utf-8")
    shown = among(page, ids)
    assert len(shown) == 2
    assert shown <= among("\n".join(play.released), ids)
    assert "Synthetic data" in page
    assert '<svg xmlns="http://www.w3.org/2000/svg" class="merkle-path"' in page
    for code in ("entry_changed", "log_cut_off", "history_rewritten"):
        assert f"{code}:" in page
    origin = read_settings(play.folder / "site", {}).text("origin")
    assert f">{origin}<" in page
