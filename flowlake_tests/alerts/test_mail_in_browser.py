"""The mail as people see it, in a real browser engine: on a desk and on a phone, by day and by night."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from flowlake.alerts.message import Message
from flowlake.lake import Lake
from flowlake_tests.alerts.browser import browser, open_mail
from flowlake_tests.alerts.scenes import full_scene
from flowlake_tests.alerts.test_content import HOSTILES, mail_of


@pytest.fixture(scope="module")
def chromium() -> Iterator[Any]:
    with browser() as opened:
        yield opened


@pytest.fixture
def hostile_mail(lake: Lake) -> Message:
    """Everything from outside is hostile at once."""
    nasty = "".join(HOSTILES.values())
    factor = {"factor": nasty, "value": 1.0, "contribution": 2.0, "text": nasty}
    full_scene(lake, nasty, explanation=nasty, annotations=[nasty], factors=[factor], algorithms=[nasty])
    return mail_of(lake)


def wide_by(page: Any) -> int:
    """Pixels by which the page is wider than the window."""
    return page.evaluate("document.documentElement.scrollWidth - window.innerWidth")


@pytest.mark.parametrize("width", [1200, 390])
@pytest.mark.parametrize("kind", ["plain", "hostile"])
def test_a_mail_fits_its_window_shows_its_pictures_and_runs_nothing(
    width: int, kind: str, chromium: Any, lake: Lake, tmp_path: Path, request: pytest.FixtureRequest
):
    if kind == "plain":
        full_scene(lake)
    message = mail_of(lake) if kind == "plain" else request.getfixturevalue("hostile_mail")
    with open_mail(chromium, message, tmp_path, width) as page:
        assert wide_by(page) <= 0
        loaded = page.evaluate("[...document.images].map(i => i.complete && i.naturalWidth > 0)")
        assert loaded == [True, True]
        assert page.evaluate("[...document.images].every(i => i.getBoundingClientRect().right <= window.innerWidth)")
        assert page.ran == []
        assert "ran" not in page.title()
        assert page.evaluate("document.scripts.length") == 0
        assert "cannot identify traders" in page.inner_text("body")


def test_by_night_text_is_light_on_dark(chromium: Any, lake: Lake, tmp_path: Path):
    full_scene(lake)
    with open_mail(chromium, mail_of(lake), tmp_path, 390, "dark") as page:
        card = page.evaluate("getComputedStyle(document.querySelector('.cardbox')).backgroundColor")
        ink = page.evaluate("getComputedStyle(document.querySelector('h1')).color")
        assert card == "rgb(24, 32, 42)"
        assert ink == "rgb(231, 237, 244)"
        readable = (
            "[...document.querySelectorAll('p,h1,h2,td')].every(e => getComputedStyle(e).color != 'rgb(22, 32, 44)')"
        )
        assert page.evaluate(readable)
