"""The manual is true: its commands run and print what it says, in both languages; its pages are whole."""

import re
from pathlib import Path

import pytest

from exchange.errors import Invalid
from exchange.manual import LANGUAGES, PAGES, files, page, rendered
from exchange.messages import Language
from tests.readme import shell

TUTORIALS = [name for name in PAGES if shell.commands(page(name, "en").markdown)]
LOCALES = {"en": "C.UTF-8", "zh": "zh_CN.UTF-8"}


@pytest.mark.whole
@pytest.mark.processes
@pytest.mark.enable_socket
@pytest.mark.parametrize("name", TUTORIALS)
def test_a_tutorial_can_be_followed(name: str, tmp_path: Path) -> None:
    """Every command of a tutorial, run in an empty folder, ends well and prints what stands there."""
    shell.play(page(name, "en").markdown, tmp_path, {"LANG": LOCALES["en"]})


@pytest.mark.parametrize("name", PAGES)
def test_both_languages_say_the_same(name: str) -> None:
    """The Chinese page has the same commands, the same number of headings and the same links as the English one."""
    en, zh = (page(name, language).markdown for language in LANGUAGES)
    assert [command for command, _ in shell.commands(zh)] == [command for command, _ in shell.commands(en)]
    assert len(re.findall(r"^#+ ", zh, re.MULTILINE)) == len(re.findall(r"^#+ ", en, re.MULTILINE))
    assert re.findall(r"\]\(([^)]+)\)", zh) == re.findall(r"\]\(([^)]+)\)", en)


@pytest.mark.parametrize("language", LANGUAGES)
def test_pages_are_whole(language: Language) -> None:
    """Each page names its language, links only to pages that there are, and needs nothing from outside."""
    made = files()
    for name in PAGES:
        text = rendered(page(name, language))
        assert f'<html lang="{language}">' in text
        assert "<script" not in text
        for link in re.findall(r'(?:href|src)="([^"]+)"', text):
            place = (Path(language) / link).as_posix()
            assert place.replace(f"{language}/../", "") in made, link


def test_a_page_that_there_is_not() -> None:
    """An unknown name is an error like any other."""
    with pytest.raises(Invalid, match="page_unknown"):
        page("../../keys", "en")


def test_the_built_manual_is_up_to_date() -> None:
    """`docs/` holds what the manual says now: else run `make docs`."""
    folder = shell.ROOT / "docs"
    for name, content in files().items():
        assert (folder / name).read_text("utf-8") == content, name
