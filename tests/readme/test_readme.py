"""README.md is true: its commands run, its help texts, settings and rooms are those of the code."""

import re
import sys
import tomllib
from pathlib import Path

import pytest

from exchange.errors import Invalid, Refused, Tampered, Unavailable
from tests.readme import blocks, shell

TEXT = blocks.README.read_text("utf-8")
ROOT = blocks.README.parent


@pytest.mark.processes
@pytest.mark.enable_socket
@pytest.mark.demo
def test_the_commands_print_what_the_readme_says(tmp_path: Path) -> None:
    """The console blocks, run by a shell in one folder after another, end well and print what stands there."""
    for name in ("schemas", "adapters"):
        (tmp_path / name).symlink_to(ROOT / name)
    (tmp_path / ".venv").symlink_to(sys.prefix)
    shell.play(TEXT, tmp_path, {})


@pytest.mark.parametrize(("part", "made"), [("settings", blocks.settings), ("commands", blocks.commands)])
def test_what_follows_from_the_code_is_up_to_date(part: str, made: object) -> None:
    """Help texts and settings table are the tool's own: else run `python -m tests.readme.blocks`."""
    assert callable(made)
    assert " ".join(blocks.parts(TEXT)[part].split()) == " ".join(made().split())


def test_the_map_of_rooms_is_whole_and_in_order() -> None:
    """Every room is on the map, highest first as the import contract has them, and nothing else is."""
    rooms = re.findall(r"^\| `exchange/([a-z_]+)(?:\.py)?` \|", TEXT, re.MULTILINE)
    contract = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["tool"]["importlinter"]["contracts"][0]
    layers = [layer.split(" | ") for layer in contract["layers"] if layer != "__main__"]
    assert sorted(rooms) == sorted(room for layer in layers for room in layer)
    heights = {room: height for height, layer in enumerate(layers) for room in layer}
    assert rooms == sorted(rooms, key=lambda room: heights[room])
    for room in rooms:
        assert (ROOT / "exchange" / room).is_dir() or (ROOT / "exchange" / f"{room}.py").is_file()
        assert f"`exchange/{room}{'' if (ROOT / 'exchange' / room).is_dir() else '.py'}`" in TEXT


def test_the_exit_codes_are_those_of_the_families() -> None:
    """The table of exit codes names each family with its code."""
    rows = dict(re.findall(r"^\| (\d) \| ([a-z]+) \|", TEXT, re.MULTILINE))
    assert rows == {str(one.exit_code): one.family for one in (Refused, Invalid, Unavailable, Tampered)}


def test_the_files_that_the_readme_names_are_there() -> None:
    """A path in backquotes that begins at the root of the repository exists."""
    named = set(re.findall(r"`((?:exchange|adapters|policies|deploy|tests)/[\w./]*|LICENSE|CHANGELOG\.md)`", TEXT))
    assert {"LICENSE", "CHANGELOG.md", "exchange/control/control.py"} <= named
    missing = sorted(name for name in named if not (ROOT / name).exists())
    assert not missing


def test_the_licence_is_whole() -> None:
    """LICENSE is the text of the Apache License 2.0 from its title to the end of its appendix."""
    text = (ROOT / "LICENSE").read_text("utf-8")
    assert text.split()[:6] == ["Apache", "License", "Version", "2.0,", "January", "2004"]
    assert all(f"\n   {number}. " in text for number in range(1, 10))
    assert "END OF TERMS AND CONDITIONS" in text
    assert text.rstrip().endswith("limitations under the License.")
