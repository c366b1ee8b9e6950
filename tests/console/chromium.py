"""Chromium, headless, on the pages of a process that serves a site; for the tests and for the screenshots."""

import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Final

import pytest

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

CHROMIUM: Final = Path("/usr/bin/chromium")
LOCALES: Final = {"zh": "zh-CN", "en": "en-GB"}
_SWITCHES: Final = (
    "--no-sandbox",
    "--disable-gpu",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)


def needed() -> None:
    """Skips the test by name where there is no Chromium, or fails it when `REQUIRE` lists `chromium`."""
    if CHROMIUM.exists():
        return
    if "chromium" in os.environ.get("REQUIRE", "").split(","):
        pytest.fail("REQUIRE lists chromium, but there is none: apt-get install chromium fonts-noto-cjk")
    pytest.skip("no Chromium: apt-get install chromium fonts-noto-cjk")


@contextmanager
def served(site: Path, environment: Mapping[str, str]) -> Iterator[str]:
    """The address at which `exchange serve` has this site, until the end of the block."""
    words = [sys.executable, "-m", "exchange", "--site", str(site), "serve", "--port", "0"]
    plain = {name: value for name, value in environment.items() if not name.startswith("EXCHANGE_")}
    with subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, env=plain) as process:
        try:
            assert process.stderr is not None
            line = process.stderr.readline()
            found = re.search(r"http://[0-9.]+:[0-9]+", line)
            assert found, line
            yield found[0]
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(60)


@contextmanager
def launched() -> "Iterator[Browser]":
    """The browser, until the end of the block."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=str(CHROMIUM), args=list(_SWITCHES))
        yield browser
        browser.close()


def signed_in(browser: "Browser", base: str, token: str, language: str) -> "Page":
    """A page of a browser of its own, in this language, in which the owner of the token is signed in."""
    page = browser.new_context(base_url=base, locale=LOCALES[language]).new_page()
    page.goto("/sign-in")
    page.fill("#token", token)
    page.click("main button")
    page.wait_for_url(base + "/")
    return page
