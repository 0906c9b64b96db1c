"""The daily page: complete for any number of events, safe with any text, honest about where data came from."""

from __future__ import annotations

import re
from datetime import date

import polars as pl
import pytest

from flowlake.report.daily import QualityNote, conviction_counts, render_daily
from flowlake.report.html import compact
from flowlake.schemas import table
from flowlake_tests.factories import SESSION, frame
from flowlake_tests.report.examples import HOSTILE, Tags, event, report

AFTER = date(2026, 6, 2)


def test_an_empty_day_says_that_nothing_was_unusual():
    html = render_daily(report([]))
    assert "Nothing stood out" in html
    assert Tags(html).count("article") == 0


def test_a_day_without_conviction_says_so_and_shows_the_least_ordinary():
    html = render_daily(report([event(1, conviction="NONE")]))
    assert "Nothing reached LOW conviction" in html
    assert "below LOW" in html
    assert Tags(html).count("article") == 1


def test_an_event_shows_its_factors_its_contracts_and_its_chain():
    html = render_daily(report([event(1)]))
    tags = Tags(html)
    assert tags.count("article") == 1
    assert tags.count("svg", "factors") == 1
    assert tags.count("svg", "chain") == 1
    assert tags.count("svg", "smile") == 1
    assert tags.count("polyline") == 3
    assert "+3.00" in html
    assert "add up to 3.50" in html
    assert "volume 4,000, open interest 250" in html


def test_five_hundred_events_stay_one_page_a_browser_can_open():
    html = render_daily(report([event(rank) for rank in range(1, 501)]))
    assert Tags(html).count("article") == 500
    assert len(html) < 10_000_000


def test_events_far_below_low_conviction_are_left_to_the_table():
    html = render_daily(report([event(1), event(40, conviction="NONE")]))
    assert Tags(html).count("article") == 1
    assert "1 less unusual underlyings are in the table scored_events" in html


def test_hostile_text_is_shown_and_never_run():
    hostile = event(1, underlying=HOSTILE, explanation=HOSTILE, annotations=[HOSTILE])
    html = render_daily(report([hostile], underlying=HOSTILE))
    tags = Tags(html)
    assert tags.count("script") == 1, "the page's own, which its policy names by hash"
    assert not [attrs for _, attrs in tags.seen for name in attrs if name.startswith("on")]
    assert "&lt;script&gt;" in html


def test_the_page_needs_nothing_from_anywhere_else():
    tags = Tags(render_daily(report([event(1)])))
    assert [attrs for _, attrs in tags.seen if attrs.get("src")] == []
    assert tags.count("link") == 0
    links = {str(attrs["href"]) for _, attrs in tags.seen if "href" in attrs}
    assert all(re.fullmatch(r"#[\w-]+|[\w.-]+\.html(#[\w-]+)?", link) for link in links), links


def test_simulated_data_are_labelled():
    assert "Simulated market" in render_daily(report([]))


def test_a_failed_check_is_named_with_what_it_demands():
    note = QualityNote("option_chains", "keys_unique", False, "ERROR", "one row per contract", 12)
    html = render_daily(report([], quality=[note]))
    assert "failed" in html
    assert "one row per contract" in html


def test_conviction_budgets_shrink_with_the_universe():
    small = frame(table("scored_events"), [event(1, universe=600)])
    expected = {row["level"]: row["expected"] for row in conviction_counts(small)}
    assert expected == {"EXTREME": pytest.approx(0.1), "HIGH": 0.5, "MEDIUM": 2.0, "LOW": 6.0}


@pytest.mark.parametrize(
    ("value", "text"), [(None, "–"), (0, "0"), (999, "999"), (1234, "1.2K"), (2.5e6, "2.5M"), (-3e9, "-3.0B")]
)
def test_large_numbers_are_shortened(value: float | None, text: str):
    assert compact(value) == text


def test_a_chain_in_which_nothing_traded_has_no_picture():
    quiet = report([event(1, contracts=[])])
    silent = quiet.chains.with_columns(volume=pl.lit(0, pl.Int32))
    html = render_daily(report([event(1, contracts=[])], chains=silent))
    assert "No contract of this chain traded" in html


def test_an_event_shows_what_next_mornings_open_interest_said_of_it():
    told = {
        "event_id": "e1",
        "status": "withdrawn",
        "explanation": "The lines were closed overnight.",
        "session": AFTER,
    }
    html = render_daily(report([event(1)], statuses=frame(table("event_status"), [told])))
    assert "The lines were closed overnight." in html
    assert "withdrawn" in html


def test_the_verdict_on_the_session_before_is_listed_apart():
    told = {"event_id": "old", "underlying": "OLD", "conviction": "HIGH", "status": "confirmed", "session": SESSION}
    html = render_daily(report([event(1)], statuses=frame(table("event_status"), [told])))
    assert "the events of the session before" in html
    assert "OLD" in html


def test_insiders_stand_beside_the_event_and_are_said_not_to_score():
    trade = {"event_id": "e1", "transaction_class": "open_market_purchase", "owners": 2, "transactions": 3}
    html = render_daily(report([event(1)], insiders=frame(table("event_insiders"), [trade])))
    assert "open market purchase" in html
    assert "they never enter a score" in html


def test_data_incidents_are_named_with_what_was_seen_and_demanded():
    incident = {"table": "option_chains", "rule": "stale_copy", "severity": "ERROR", "observed": "equals yesterday"}
    html = render_daily(report([], incidents=frame(table("data_incidents"), [incident])))
    assert "stale copy" in html
    assert "equals yesterday" in html


def test_only_names_that_have_a_page_are_linked_to_it():
    html = render_daily(report([event(1), event(2, conviction="NONE")]))
    assert 'href="ticker-ABC.html"' in html
    assert 'href="ticker-ABC2.html"' not in html
