"""A mail opened as a mail client would: its HTML part, its pictures by content id, nothing from the network."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from flowlake.alerts.message import Message

CHROMIUM = shutil.which("chromium")
_ARGUMENTS = [
    "--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update",
    "--disable-sync", "--no-first-run",
]  # fmt: skip


@contextmanager
def browser() -> Iterator[Any]:
    """A headless Chromium; skips where there is none."""
    if CHROMIUM is None:
        pytest.skip("chromium is not installed")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        opened = playwright.chromium.launch(executable_path=CHROMIUM, args=_ARGUMENTS)
        try:
            yield opened
        finally:
            opened.close()


@contextmanager
def open_mail(opened: Any, message: Message, folder: Path, width: int, scheme: str = "light") -> Iterator[Any]:
    """A page that shows `message`; scripts are allowed, so that a test sees whether one would have run."""
    html = message.html
    for name, png in message.pictures.items():
        (folder / f"{name}.png").write_bytes(png)
        html = html.replace(f"cid:{name}", f"{name}.png")
    (folder / "mail.html").write_text(html, encoding="utf-8")
    context = opened.new_context(viewport={"width": width, "height": 900}, color_scheme=scheme, device_scale_factor=1)
    page = context.new_page()
    page.ran = []
    page.on("dialog", lambda dialog: (page.ran.append(dialog.message), dialog.dismiss()))
    page.goto((folder / "mail.html").as_uri())
    try:
        yield page
    finally:
        context.close()


if __name__ == "__main__":
    import sys
    from datetime import UTC, datetime

    from flowlake.alerts.sample import sample_message
    from flowlake.settings import Settings

    target = Path(sys.argv[1])
    target.mkdir(parents=True, exist_ok=True)
    sample = sample_message(Settings(_env_file=None), "email", datetime(2026, 6, 1, 20, 30, tzinfo=UTC))  # pyright: ignore[reportCallIssue]
    with browser() as chromium:
        for wide, mode in ((1200, "light"), (390, "light"), (390, "dark")):
            with open_mail(chromium, sample, target, wide, mode) as shown:
                shown.screenshot(path=str(target / f"mail-{wide}-{mode}.png"), full_page=True)
