"""`make screenshots [SITE=DIR]`: pictures of the pages of a sample site, as a person sees them, into docs/screenshots.

Without SITE a sample is made for it. Each picture is of a page at its own address, in one of both languages and widths.
"""

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from tests.console import chromium

if TYPE_CHECKING:
    from playwright.sync_api import Page

OUT: Final = Path(__file__).resolve().parents[2] / "docs" / "screenshots"
MOST_BYTES: Final = 150_000
_WIDE, _NARROW = 1040, 400
_BESIDE: Final = "/datasets/hrss.pension_account/side-by-side"
_NOTHING: Final[Callable[["Page", Path], None]] = lambda _page, _site: None  # noqa: E731  # the page as it comes


@dataclass(frozen=True)
class Picture:
    """`do` brings the page from its address to what the picture shows; at most `height` of it is in the picture."""

    name: str
    who: str
    path: str
    language: str
    width: int = _WIDE
    height: int = 900
    do: Callable[["Page", Path], None] = _NOTHING


def _ask(page: "Page", site: Path) -> None:
    """Asks who saw the applicant's wife, and opens the first proof."""
    truth = json.loads((site / "departments" / "truth.json").read_text("utf-8"))
    page.fill("#subject", next(one["person_id"] for one in truth["planted"] if one["role"] == "spouse"))
    page.click("main form button")
    page.wait_for_selector("details")
    page.evaluate("document.querySelector('details').open = true")


def _verify(page: "Page", _site: Path) -> None:
    page.click("main form button")
    page.wait_for_selector("p.good")


def _newest(page: "Page", _site: Path) -> None:
    """From what was found to its newest entry."""
    page.click(".found tbody th a")
    page.wait_for_selector(".body")


def _records(page: "Page", _site: Path) -> None:
    """From the records on: the plans above them are in another picture."""
    page.evaluate("document.querySelector('.plans').parentElement.remove()")


PICTURES: Final = (
    Picture("overview-zh", "steward.ny.renshe", "/", "zh"),
    Picture("dataset-en", "steward.ny.renshe", "/datasets/hrss.pension_account", "en", height=1_000),
    Picture("plans-en", "steward.ny.renshe", _BESIDE, "en", height=760),
    Picture("side-by-side-zh", "steward.ny.renshe", _BESIDE, "zh", height=850, do=_records),
    Picture(
        "side-by-side-narrow-en",
        "steward.ny.renshe",
        _BESIDE,
        "en",
        width=_NARROW,
        height=1_000,
        do=_records,
    ),
    Picture("agreement-zh", "deputy.ny.shuju", "/agreements/agr-12", "zh", height=1_100),
    Picture("who-saw-zh", "auditor.ny.shenji", "/who-saw", "zh", height=1_150, do=_ask),
    Picture("audit-releases-zh", "auditor.ny.shenji", "/audit/releases?case=case-2026-000124", "zh", height=1_040),
    Picture("audit-entry-en", "auditor.ny.shenji", "/audit/releases", "en", height=880, do=_newest),
    Picture("audit-log-en", "auditor.ny.shenji", "/audit", "en", height=1_000, do=_verify),
    Picture("dead-letters-en", "steward.ny.renshe", "/datasets/hrss.pension_account/dead-letters", "en", height=900),
)


@contextmanager
def _sample(given: str) -> Iterator[Path]:
    """A copy of the given sample site, or a new one; gone at the end."""
    with tempfile.TemporaryDirectory() as folder:
        site = Path(folder) / "sample"
        if given:
            shutil.copytree(given, site, ignore=shutil.ignore_patterns("*.sock"))
        else:
            made = [sys.executable, "-m", "exchange", "init", str(site), "--sample"]
            subprocess.run(made, check=True, stdout=subprocess.DEVNULL)
        for file in (site / "departments" / "adapters").glob("*.toml"):
            shutil.copy(file, site / "adapters")
        yield site


def main(given: str) -> int:
    """Takes every picture; 1 when one of them is too heavy for a README."""
    heavy = 0
    OUT.mkdir(parents=True, exist_ok=True)
    with _sample(given) as site, chromium.served(site, os.environ) as base, chromium.launched() as browser:
        for one in PICTURES:
            token = (site / "tokens" / f"{one.who}.token").read_text().strip()
            page = chromium.signed_in(browser, base, token, one.language)
            page.set_viewport_size({"width": one.width, "height": 900})
            page.goto(one.path)
            one.do(page, site)
            tall = int(page.evaluate("document.documentElement.scrollHeight"))
            page.set_viewport_size({"width": one.width, "height": min(tall, one.height)})
            size = len(page.screenshot(path=str(OUT / f"{one.name}.png")))
            page.context.close()
            heavy += size > MOST_BYTES
            sys.stdout.write(f"docs/screenshots/{one.name}.png {size:,} bytes{' TOO HEAVY' * (size > MOST_BYTES)}\n")
    return int(heavy > 0)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1] if len(sys.argv) > 1 else ""))
