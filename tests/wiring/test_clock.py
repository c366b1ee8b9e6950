"""The clock that a site's settings name: what it says, what is no clock, and what happens when it is set back."""

import time
from pathlib import Path

import pytest

from exchange.errors import Unavailable
from exchange.settings import new_settings
from exchange.wiring.clock import clock_of
from tests.simulator import ASKED, CHECKER, DATASET, Site

HOUR_NS = 3_600 * 10**9


def _set(file: Path, now_ns: int) -> None:
    """Replaces the clock's file whole, as whoever keeps it does."""
    draft = file.with_suffix(".new")
    draft.write_text(f"{now_ns}\n", "ascii")
    draft.replace(file)


def test_the_file_tells_the_time(tmp_path: Path) -> None:
    """Read anew for every look, relative to the site; without the setting it is the system's clock."""
    settings = new_settings(tmp_path, {"origin": "a", "clock.file": "time"})
    now_ns = clock_of(settings, time.time_ns)
    for told in (1, 1_800_000_000_000_000_000):
        _set(tmp_path / "time", told)
        assert now_ns() == told
    assert clock_of(new_settings(tmp_path, {"origin": "a"}), time.time_ns) is time.time_ns


@pytest.mark.parametrize("content", [None, b"", b"-1", b"1.5", b"1_0", "１".encode(), b"1 2", b"9" * 19, b"1" * 99])
def test_what_is_no_time_is_never_replaced_by_the_systems(tmp_path: Path, content: bytes | None) -> None:
    """A file that is missing, or holds anything but one integer of nanoseconds: `Unavailable`, with its path."""
    if content is not None:
        (tmp_path / "time").write_bytes(content)
    now_ns = clock_of(new_settings(tmp_path, {"origin": "a", "clock.file": "time"}), time.time_ns)
    with pytest.raises(Unavailable, match="clock_unreadable") as caught:
        now_ns()
    assert caught.value.facts["file"] == str(tmp_path / "time")


def test_set_back_it_refuses_reads_and_signs_nothing(site: Site) -> None:
    """An embedded site: no checkpoint under a clock that went back; a start with a right one goes on."""
    file = site.folder / "time"
    more = {"EXCHANGE_CLOCK_FILE": str(file)}
    _set(file, time.time_ns() + 1)
    with site.opened(more) as exchange:
        size = exchange.audit.size
        assert exchange.now_ns() == int(file.read_text())
    _set(file, time.time_ns() - HOUR_NS)
    read = site.run("read", DATASET, *ASKED, who=CHECKER, more=more)
    assert (read.code, read.out, read.error_code) == (3, b"", "audit_stopped")
    assert "clock" in read.stderr
    file.unlink()
    assert site.run("read", DATASET, *ASKED, who=CHECKER, more=more).error_code == "clock_unreadable"
    assert len(site.entries()) == size
    assert site.read().code == 0


def test_doctor_names_the_file(site: Site) -> None:
    """A line that the time is not the system's; it is wrong where the two differ, and where there is none to read."""
    file = site.folder / "time"

    def found() -> dict[str, str]:
        ran = site.run("doctor", "--json", more={"EXCHANGE_CLOCK_FILE": str(file)})
        (row,) = [row for row in ran.json if row["check"] == "clock_file"]
        return {key: row[key] for key in ("state", "code") if key in row}

    assert found() == {"state": "wrong", "code": "clock_unreadable"}
    _set(file, time.time_ns())
    assert found() == {"state": "ok"}
    _set(file, time.time_ns() - HOUR_NS)
    assert found() == {"state": "wrong", "code": "clock_wrong"}
