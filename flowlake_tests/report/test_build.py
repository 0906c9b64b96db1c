"""From a lake to its pages: everything a page needs is read from one state, and a name nobody knows is an error."""

from __future__ import annotations

from datetime import date
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flowlake.lake import Lake
from flowlake.lake.store import Snapshot
from flowlake.report import build
from flowlake.report.build import UnknownUnderlying
from flowlake.report.html import monitor_file, name_in_file, ticker_file
from flowlake.report.on_request import LivePages, page_on_request
from flowlake.settings import MonitorSettings
from flowlake_tests.report.examples import Tags
from flowlake_tests.small_lake import SESSIONS, UNDERLYINGS, fill

THRESHOLDS = MonitorSettings(underlyings="ABC")


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> Snapshot:
    """Three published sessions of two underlyings."""
    lake = Lake.open(tmp_path_factory.mktemp("pages") / "data")
    fill(lake)
    return lake.published()


def test_a_ticker_page_compares_with_the_session_before(published: Snapshot):
    [page] = build.collect_tickers(published, ["ABC"])
    assert page.session == SESSIONS[-1]
    assert set(page.previous_chain["session"]) == {SESSIONS[-2]}
    assert page.history["session"].to_list() == list(SESSIONS)
    assert page.history["call_volume"][-1] > 0
    assert set(page.events["underlying"]) == {"ABC"}


def test_a_page_of_an_earlier_session_knows_nothing_later(published: Snapshot):
    [page] = build.collect_tickers(published, ["ABC"], SESSIONS[0])
    assert page.session == SESSIONS[0]
    assert page.previous_chain.is_empty()
    assert page.events["session"].max() == SESSIONS[0]
    assert page.history.height == 1
    assert page.outcomes.is_empty()
    assert page.statuses.is_empty()


def test_an_unknown_underlying_is_an_error_that_names_it(published: Snapshot):
    with pytest.raises(UnknownUnderlying, match="'NOPE'"):
        build.ticker_page(published, "NOPE")


def test_the_market_page_shows_the_newest_session_with_its_alerts(published: Snapshot):
    page = build.collect_market(published)
    assert page.session == SESSIONS[-1]
    assert page.recent["session"].n_unique() == 3
    assert set(page.alerts["session"]) == {SESSIONS[-1]}


def test_a_daily_page_learns_what_the_next_morning_said(published: Snapshot):
    report = build.collect_daily(published, SESSIONS[0])
    assert set(report.statuses["event_session"]) == {SESSIONS[0]}


def test_names_with_events_get_pages_the_newest_first_and_not_too_many(published: Snapshot):
    assert build.current_underlyings(published, [SESSIONS[-1]], 10) == ["ABC"]
    assert build.current_underlyings(published, [SESSIONS[-1]], 0) == []


def test_every_page_can_be_had_from_an_empty_lake(tmp_path: Path):
    empty = Lake.open(tmp_path / "data").published()
    for file in ("market.html", "history.html", "monitor-SPX.html"):
        assert "</html>" in (page_on_request(empty, file, THRESHOLDS) or "")
    assert page_on_request(empty, "ticker-ABC.html", THRESHOLDS) is None


def test_pages_are_asked_for_by_the_names_that_links_use(published: Snapshot):
    files = [ticker_file("ABC"), monitor_file("ABC"), "market.html", "history.html"]
    for file in files:
        assert Tags(page_on_request(published, file, THRESHOLDS) or "").count("h1") == 1, file


@pytest.mark.parametrize(
    "file",
    ["", "index.html", "ticker-.html", "ticker-NOPE.html", "daily-2026-06-01.html", "daily-.html", "ticker-../x.html",
     "ticker-_ffffffffff_.html", "ticker-_41_.html", "market.html/x"],
)  # fmt: skip
def test_other_names_are_no_pages(published: Snapshot, file: str):
    assert page_on_request(published, file, THRESHOLDS) is None


@given(st.text(min_size=1, max_size=12))
def test_the_name_in_a_file_is_the_one_it_was_made_for(name: str):
    assert name_in_file("ticker", ticker_file(name)) == name


def test_pages_are_kept_until_the_lake_shows_something_newer(published: Snapshot):
    version, seen = [1], []

    def newest() -> tuple[int, Snapshot]:
        return version[0], published

    class Counting(MonitorSettings):
        def watched(self, traded: list[str] | None = None) -> list[str]:
            seen.append(1)
            return super().watched(traded)

    pages = LivePages(newest, Counting(underlyings="ABC"))
    first = pages("monitor-ABC.html")
    made = len(seen)
    assert pages("monitor-ABC.html") == first
    assert len(seen) == made
    version[0] = 2
    assert pages("monitor-ABC.html") == first
    assert len(seen) > made


def test_every_underlying_of_the_lake_has_a_page_on_request(published: Snapshot):
    for name in UNDERLYINGS:
        assert name in build.ticker_page(published, name, date(2026, 6, 2))
