"""The demo's folder: new, empty, or a former demo's; anything else is left as it is."""

from pathlib import Path

import pytest

from exchange.cli.demo import MARK, claimed
from exchange.errors import Invalid, Unavailable
from tests import simulator


def test_a_new_or_empty_folder_is_taken(tmp_path: Path) -> None:
    """Also one whose parents are not there yet; it is marked at once."""
    assert claimed(tmp_path / "a" / "b") == (tmp_path / "a" / "b").resolve()
    (tmp_path / "empty").mkdir()
    assert [one.name for one in claimed(tmp_path / "empty").iterdir()] == [MARK]


@pytest.mark.parametrize("left", [MARK, "departments/truth.json"])
def test_a_former_demo_makes_room(tmp_path: Path, left: str) -> None:
    """Known by its mark, and before there was one by the generator's truth; nothing of it is left."""
    folder = tmp_path / "demo"
    (folder / left).parent.mkdir(parents=True)
    (folder / left).write_text("x", "utf-8")
    (folder / "site").mkdir()
    claimed(folder)
    assert [one.name for one in folder.iterdir()] == [MARK]


def test_what_is_somebody_elses_stays(tmp_path: Path) -> None:
    """A folder with anything in it, a file, a link to a former demo: refused, and as before."""
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "letter").write_text("dear", "utf-8")
    (tmp_path / "file").write_text("x", "utf-8")
    claimed(tmp_path / "demo")
    (tmp_path / "link").symlink_to(tmp_path / "demo")
    for name in ("folder", "file", "link"):
        with pytest.raises(Invalid) as caught:
            claimed(tmp_path / name)
        assert (caught.value.code, caught.value.where) == ("demo_folder_in_use", name)
    assert (tmp_path / "folder" / "letter").read_text("utf-8") == "dear"
    assert (tmp_path / "demo" / MARK).is_file()


def test_a_folder_that_cannot_be_made(tmp_path: Path) -> None:
    """Below a file there is none."""
    (tmp_path / "file").write_text("x", "utf-8")
    with pytest.raises(Unavailable) as caught:
        claimed(tmp_path / "file" / "demo")
    assert caught.value.code == "system"


def test_the_command_says_so(tmp_path: Path) -> None:
    """In both languages, with what to do."""
    (tmp_path / "letter").write_text("dear", "utf-8")
    for language, word in (("zh", "演示"), ("en", "former demo")):
        ran = simulator.run(["demo", str(tmp_path), "--lang", language], {})
        assert (ran.code, ran.error_code) == (2, "demo_folder_in_use")
        assert word in ran.stderr


@pytest.mark.parametrize("scale", ["0", "nan", "51"])
def test_a_scale_that_is_none_takes_nothing_away(tmp_path: Path, scale: str) -> None:
    """A former demo stays until the next one can be played."""
    folder = claimed(tmp_path / "demo")
    (folder / "report.html").write_text("x", "utf-8")
    ran = simulator.run(["demo", str(folder), "--scale", scale, "--lang", "en"], {})
    assert (ran.code, ran.error_code) == (2, "sample_scale")
    assert (folder / "report.html").is_file()
