"""Every page in headless Chromium: no errors, readable in both themes, usable by keyboard, ear and thumb."""

from __future__ import annotations

import functools
import http.server
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from flowlake.report.archive import render_archive
from flowlake.report.daily import render_daily
from flowlake.report.data_docs import render_data_docs
from flowlake.report.history import render_history
from flowlake.report.market import render_market
from flowlake.report.monitor import render_monitor
from flowlake.report.ticker import render_ticker
from flowlake_tests.report import examples
from flowlake_tests.report.browsing import CHECKS, Open, audit, chromium, opening
from flowlake_tests.report.examples import HOSTILE

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

PAGES: dict[str, Callable[[int, str], str]] = {
    "daily": lambda n, name: render_daily(
        examples.report([examples.event(rank + 1, name, explanation=name) for rank in range(n)], name)
    ),
    "ticker": lambda n, name: render_ticker(examples.ticker(n, name)),
    "market": lambda n, name: render_market(examples.market(n, name)),
    "monitor": lambda n, name: render_monitor(examples.monitor(n, name)),
    "history": lambda n, name: render_history(examples.history(n, name)),
    "data_docs": lambda n, name: render_data_docs(examples.data_docs(n, name)),
    "archive": lambda n, name: render_archive(examples.archive(n, name)),
}


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as opened:
        yield opened


@pytest.fixture
def open_page(browser: Browser, tmp_path: Path) -> Iterator[Open]:
    with opening(browser, tmp_path) as opens:
        yield opens


@pytest.fixture
def served(tmp_path: Path) -> Iterator[str]:
    """The folder of the page, over HTTP."""

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, format: str, *args: Any) -> None:
            return

    handler = functools.partial(Quiet, directory=str(tmp_path))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_address[1]}/page.html"
        server.shutdown()
        thread.join()


def column(page: Page, table: str, key: str) -> list[str]:
    """What the visible rows of a table show in a column."""
    return page.evaluate(
        """([id, key]) => { const table = document.getElementById(id);
        const at = [...table.tHead.rows[0].cells].findIndex((cell) => cell.dataset.key === key);
        const shown = [...table.tBodies[0].rows].filter((row) => !row.hidden);
        return shown.map((row) => row.cells[at].innerText.trim()); }""",
        [table, key],
    )


@pytest.mark.parametrize("kind", PAGES)
def test_a_page_is_readable_and_usable_in_light_dark_and_on_a_phone(kind: str, open_page: Open):
    assert audit(PAGES[kind](3, "ABC"), open_page) == []


def test_the_audit_finds_what_it_looks_for(open_page: Open):
    table = "<table><thead><tr><th>a</th></tr></thead><tbody><tr><td>1</td><td>2</td></tr></tbody></table>"
    pale = "<h1 style='color:#999;background:#aaa'>pale</h1><h3>skipped</h3>"
    page = open_page(f"<title>t</title>{pale}<input>{table}<svg></svg><div style='width:2000px'>wide</div>")
    faults = " | ".join(page.evaluate(CHECKS))
    for expected in ("contrast 1.2", "no name", "heading 3 after 1", "no caption", "no scope", "2 cells under 1 heads",
                     "picture without a name", "no main", "px wide"):  # fmt: skip
        assert expected in faults, faults


@pytest.mark.slow
@pytest.mark.parametrize("events", [0, 500])
@pytest.mark.parametrize("kind", PAGES)
def test_nothing_and_very_much_are_shown_as_well(kind: str, events: int, open_page: Open):
    page = open_page(PAGES[kind](events, "ABC"), width=360, dark=True)
    assert page.evaluate(CHECKS) == []


@pytest.mark.slow
@pytest.mark.parametrize("kind", PAGES)
def test_hostile_text_is_text(kind: str, open_page: Open):
    page = open_page(PAGES[kind](3, HOSTILE), width=360)
    assert page.evaluate("document.querySelectorAll('script').length") == 1
    assert page.evaluate(CHECKS) == []
    assert "<script>alert(1)</script>" in page.evaluate("document.body.textContent")


def test_numbers_sort_as_numbers_and_unknown_ones_stay_last(open_page: Open):
    page = open_page(render_market(examples.market(12)))
    header = page.locator("#closing-events th[data-key=premium]")
    header.locator("button").click()
    assert header.get_attribute("aria-sort") == "descending"
    assert column(page, "closing-events", "premium")[:3] == ["$12.0K", "$11.0K", "$10.0K"]
    header.locator("button").press("Enter")
    assert header.get_attribute("aria-sort") == "ascending"
    assert column(page, "closing-events", "premium")[:2] == ["$1.0K", "$2.0K"]
    chain = open_page(render_ticker(examples.ticker()))
    chain.evaluate("document.querySelector('#chain-table tbody tr').cells[4].dataset.v = ''")
    for _ in range(2):
        chain.locator("#chain-table th[data-key=volume] button").click()
        assert chain.evaluate("document.querySelector('#chain-table tbody tr:last-child').cells[4].dataset.v") == ""


def test_filters_narrow_a_table_and_say_how_far(open_page: Open):
    page = open_page(render_market(examples.market(12)))
    form = page.locator("form[data-for=closing-events]")
    form.locator("[data-key=direction]").select_option("bearish")
    assert set(column(page, "closing-events", "direction")) == {"bearish"}
    assert form.locator("output").inner_text() == "4 of 12 shown"
    form.locator("[data-key=premium]").fill("5000")
    assert form.locator("output").inner_text() == "2 of 12 shown"
    form.locator("input[type=search]").fill("abc10")
    assert column(page, "closing-events", "underlying") == ["ABC10"]


def test_the_chain_can_be_narrowed_to_an_expiration_and_a_right(open_page: Open):
    page = open_page(render_ticker(examples.ticker()))
    form = page.locator("form[data-for=chain-table]")
    form.locator("[data-key=right]").select_option("call")
    form.locator("[data-key=expiration]").select_option(index=2)
    assert form.locator("output").inner_text() == "9 of 54 shown"


def test_the_archive_is_searched_in_the_browser(open_page: Open):
    page = open_page(render_archive(examples.archive(30)))
    page.locator("input[type=search]").fill("abc17")
    assert page.locator("#pages li:visible").count() == 1
    page.locator("input[type=search]").fill("2026-05-2")
    assert page.locator("#pages li:visible").count() == 10


def test_the_theme_follows_the_system_until_it_is_chosen_and_the_choice_survives_a_reload(open_page: Open):
    page = open_page(render_market(examples.market()), dark=True)
    background = "getComputedStyle(document.body).backgroundColor"
    dark = page.evaluate(background)
    page.get_by_role("button", name="Light theme").click()
    light = page.evaluate(background)
    assert light != dark
    page.evaluate("localStorage.clear()")
    page.reload()
    assert page.evaluate(background) == light, "kept in the address alone"
    assert open_page(render_market(examples.market())).evaluate(background) == light


def test_tabs_are_walked_with_the_keyboard_and_all_is_there_without_a_script(open_page: Open, browser: Browser):
    html = render_monitor(examples.monitor(2))
    page = open_page(html)
    first = page.get_by_role("tab", name="Latest poll")
    first.focus()
    first.press("ArrowRight")
    assert page.get_by_role("tab", name="All intraday").get_attribute("aria-selected") == "true"
    assert page.locator(".panel:visible").count() == 1
    page.keyboard.press("End")
    assert page.locator(".panel:visible").get_attribute("id") == "alerts"
    page.reload()
    assert page.locator(".panel:visible").get_attribute("id") == "alerts"
    context = browser.new_context(java_script_enabled=False)
    plain = context.new_page()
    plain.set_content(html)
    assert plain.locator(".panel:visible").count() == 4
    context.close()


def test_a_page_refreshes_when_served_and_can_be_paused_but_not_as_a_file(open_page: Open, served: str):
    html = render_market(examples.market())
    assert not open_page(html).locator("[data-refresh]").is_visible()
    page = open_page(html, url=served, after="#!theme=dark", stopped_clock=True)
    page.clock.fast_forward(59_000)
    page.evaluate("window.before = true")
    assert page.evaluate("window.before") is True
    with page.expect_navigation():
        page.clock.fast_forward(2_000)
    assert page.evaluate("document.documentElement.dataset.theme") == "dark"
    page.locator("[data-refresh] button").click()
    assert page.locator("[data-refresh] button").inner_text() == "Resume"
    page.evaluate("window.before = true")
    page.clock.fast_forward(600_000)
    assert page.evaluate("window.before") is True, "no reload while paused"


def test_an_alert_is_acknowledged_where_the_page_is_served(open_page: Open, served: str):
    html = render_market(examples.market())
    assert open_page(html).locator("[data-acknowledge]:visible").count() == 0
    page = open_page(html, url=served)
    asked: list[tuple[str, str]] = []

    def answer(route: Any) -> None:
        asked.append((route.request.url.split("/", 3)[3], route.request.post_data))
        route.fulfill(status=200, json={"action_id": "x", "catalog": 1})

    page.route("**/api/v1/**", answer)
    page.get_by_role("button", name="Acknowledge the alert about ABC").first.click()
    page.locator("[data-state]", has_text="acknowledged").first.wait_for()
    assert asked == [("api/v1/alerts/a1/acknowledge", '{"by":"market page"}')]


@pytest.mark.parametrize("kind", ["daily", "ticker", "market", "monitor", "history"])
def test_nothing_is_cut_off_on_paper(kind: str, open_page: Open):
    page = open_page(PAGES[kind](3, "ABC"), width=703)  # A4 less its margins
    page.emulate_media(media="print")
    assert page.evaluate("document.documentElement.scrollWidth") <= 703


def test_print_shows_every_tab_and_hides_the_controls(open_page: Open):
    page = open_page(render_monitor(examples.monitor(2)), dark=True)
    page.emulate_media(media="print")
    assert page.locator(".panel:visible").count() == 4
    assert page.locator(".filters:visible").count() == 0
    assert page.evaluate("getComputedStyle(document.body).color") != "rgb(231, 237, 244)", "dark ink on white paper"


@pytest.mark.slow
def test_from_the_button_to_the_ledger_and_back(browser: Browser, tmp_path: Path):
    from flowlake.lake import Lake
    from flowlake.serve.server import LakeServer
    from flowlake.settings import Settings
    from flowlake_tests.small_lake import fill

    lake = Lake.open(tmp_path / "data")
    fill(lake)
    with LakeServer(Settings(data_dir=tmp_path / "data", reports_dir=tmp_path)) as server:
        page = browser.new_page()
        page.goto(f"{server.base_url}/market.html")
        page.locator("[data-acknowledge]").first.click()
        page.locator("[data-state]", has_text="acknowledged").first.wait_for()
        page.reload()
        assert page.locator("[data-state]", has_text="acknowledged").count() == 1, "the page was made anew"
        page.close()
    assert "market page" in lake.scan("alert_actions").collect()["by"].to_list()
