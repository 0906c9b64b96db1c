"""The monitor page: the tabs of the earlier dashboard, flags in colour, and a first day that explains itself."""

from __future__ import annotations

import polars as pl

from flowlake.report.monitor import FLAGS, render_monitor
from flowlake.schemas import table
from flowlake_tests.report.examples import HOSTILE, Tags, monitor


def test_the_tabs_are_those_of_the_earlier_dashboard():
    html = render_monitor(monitor())
    names = [attrs["data-tab"] for _, attrs in Tags(html).seen if "data-tab" in attrs]
    assert names == ["Latest poll", "All intraday", "Daily history", "Alerts"]


def test_each_flag_has_its_name_its_colour_and_its_meaning():
    html = render_monitor(monitor(4))
    for flag in FLAGS:
        assert f'class="tag {flag}"' in html
    assert "volume rose by more than 200 contracts" in html


def test_the_first_day_says_why_nothing_is_flagged():
    html = render_monitor(monitor(0))
    assert "First day: there is no earlier session to compare with" in html
    assert "No contract broke a rule" in html


def test_without_polls_the_chain_at_the_close_stands_in():
    quiet = monitor(3, flagged=table("intraday_day_over_day").empty(), polls=table("monitor_polls").empty())
    html = render_monitor(quiet)
    assert "No poll within a session is in the lake" in html
    assert "busiest watched contracts" in html


def test_only_the_newest_poll_is_the_latest():
    page = monitor(2)
    later = page.flagged.with_columns(
        volume=pl.when(pl.col("snapshot") == page.flagged["snapshot"].max()).then(77_777).otherwise(11_111)
    )
    html = render_monitor(monitor(2, flagged=later.cast({"volume": pl.Int32})))
    latest = html.split('id="latest"')[1].split('id="intraday"')[0]
    assert "77,777" in latest
    assert "11,111" not in latest


def test_an_underlying_that_is_not_watched_says_how_to_watch_it():
    assert "FLOWLAKE_MONITOR__UNDERLYINGS" in render_monitor(monitor(1, "XYZ"))


def test_hostile_text_is_shown_and_never_run():
    assert Tags(render_monitor(monitor(3, HOSTILE))).count("script") == 1
