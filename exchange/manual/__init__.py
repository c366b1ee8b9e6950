"""The manual: one tutorial for each kind of user, in English and Chinese, as Markdown beside this file.

`exchange docs` serves it without a network, `make docs` writes it into `docs/`, and `tests/manual` runs every command
of every tutorial as it stands there: a page that does not hold fails the tests.
"""

import html
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from exchange.errors import Invalid
from exchange.messages import Language, text

PAGES: Final = ("index", "first-hour", "department", "steward", "auditor", "evidence", "operator")
LANGUAGES: Final[tuple[Language, ...]] = ("en", "zh")
_HERE: Final = Path(__file__).parent
_TITLE: Final = re.compile(r"# (.+)\n")


@dataclass(frozen=True, slots=True)
class Page:
    """A page of the manual: its name, its language, its Markdown."""

    name: str
    language: Language
    markdown: str

    @property
    def title(self) -> str:
        """Its first heading."""
        found = _TITLE.match(self.markdown)
        return found[1] if found else self.name


def page(name: str, language: Language) -> Page:
    """A page by its name; `Invalid("page_unknown")` for one that there is not."""
    if name not in PAGES:
        raise Invalid("page_unknown")
    return Page(name, language, (_HERE / language / f"{name}.md").read_text("utf-8"))


def pages() -> Iterator[Page]:
    """Every page in every language."""
    for language in LANGUAGES:
        for name in PAGES:
            yield page(name, language)


def rendered(one: Page) -> str:
    """The page as an HTML document that needs `style.css` beside its folder, and nothing else."""
    from markdown_it import MarkdownIt

    markdown = MarkdownIt("commonmark", {"html": False}).enable("table")
    body = markdown.render(re.sub(r"\]\(([a-z-]+)\.md\)", r"](\1.html)", one.markdown))
    titles = {name: html.escape(page(name, one.language).title) for name in PAGES}
    links = "".join(f'<li><a href="{name}.html">{title}</a></li>' for name, title in titles.items())
    other: Language = "zh" if one.language == "en" else "en"
    switch = f'<a href="../{other}/{one.name}.html" lang="{other}" hreflang="{other}">{text("manual_this", other)}</a>'
    return (
        f'<!doctype html>\n<html lang="{one.language}"><head><meta charset="utf-8">'
        f'<meta name="viewport" content="width=device-width, initial-scale=1"><title>{html.escape(one.title)}</title>'
        f'<link rel="stylesheet" href="../style.css"></head>\n<body><nav aria-label="{text("manual", one.language)}">'
        f"<ul>{links}</ul><p>{switch}</p></nav>\n<main>\n{body}</main></body></html>\n"
    )


def style() -> str:
    """The one style sheet."""
    return (_HERE / "style.css").read_text("utf-8")


def files() -> dict[str, str]:
    """The whole manual as files of a web site, by path."""
    made = {f"{one.language}/{one.name}.html": rendered(one) for one in pages()}
    refresh = '<meta http-equiv="refresh" content="0; url=en/index.html">'
    first = f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8">{refresh}<title>Exchange</title></head>\n'
    links = '<body><a href="en/index.html">English</a> <a href="zh/index.html" lang="zh">中文</a></body></html>\n'
    return {"index.html": first + links, "style.css": style(), **made}


def write(folder: Path) -> None:
    """Writes every file of the manual below this folder.

    Raises:
        OSError: it cannot be written.
    """
    for name, content in files().items():
        place = folder / name
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(content, "utf-8")
