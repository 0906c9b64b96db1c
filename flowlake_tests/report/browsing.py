"""A headless browser for pages under test, and the audit that every page has to pass."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
]

Open = Callable[..., "Page"]

CHECKS = (Path(__file__).parent / "page_checks.js").read_text(encoding="utf-8")
"""Looks at a page as an auditor does; returns one line per fault."""

SIZES = ((1280, False), (1280, True), (390, True), (360, False))
"""Widths in px, and whether the theme is dark, at which every page is audited."""


@contextmanager
def chromium() -> Iterator[Browser]:
    """Headless Chromium; skips where there is none."""
    if shutil.which("chromium") is None:
        pytest.skip("chromium is not installed: `make browser` installs it where apt can")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        opened = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=FLAGS)
        yield opened
        opened.close()


@contextmanager
def opening(browser: Browser, folder: Path) -> Iterator[Open]:
    """Opens a page as a file in `folder`; at the end, nothing may have been logged, thrown or fetched."""
    contexts, faults = [], []

    def watch(page: Page) -> None:
        page.on("pageerror", lambda error: faults.append(f"error: {error}"))
        page.on("console", lambda said: faults.append(f"{said.type}: {said.text}"))
        page.on("request", lambda asked: faults.append(f"fetched {asked.url}") if _foreign(asked.url) else None)

    def opens(
        html: str,
        *,
        width: int = 1280,
        dark: bool = False,
        url: str | None = None,
        after: str = "",
        stopped_clock: bool = False,
    ) -> Page:
        file = folder / "page.html"
        file.write_text(html, encoding="utf-8")
        context = browser.new_context(
            viewport={"width": width, "height": 800}, color_scheme="dark" if dark else "light", reduced_motion="reduce"
        )
        contexts.append(context)
        page = context.new_page()
        watch(page)
        if stopped_clock:
            page.clock.install()
        page.goto((url or file.as_uri()) + after)
        return page

    yield opens
    for context in contexts:
        context.close()
    assert faults == []


def audit(html: str, open_page: Open) -> list[str]:
    """The faults of a page at all `SIZES`, every tab and detail open; none is what is wanted."""
    faults = []
    for width, dark in SIZES:
        page = open_page(html, width=width, dark=dark)
        page.evaluate("document.querySelectorAll('.panel').forEach((panel) => { panel.hidden = false; })")
        page.evaluate("document.querySelectorAll('details').forEach((part) => { part.open = true; })")
        faults += [f"{width}, {'dark' if dark else 'light'}: {fault}" for fault in page.evaluate(CHECKS)]
    return faults


def _foreign(url: str) -> bool:
    return not url.startswith(("file:", "data:", "http://127.0.0.1"))
