"""The market page: newest judgement per name, status and alert beside each event, heat over sessions."""

from __future__ import annotations

from datetime import UTC, datetime

import polars as pl

from flowlake.report.market import heat_overview, render_market
from flowlake.schemas import table
from flowlake_tests.factories import SESSION, frame
from flowlake_tests.report.examples import BEFORE, HOSTILE, Tags, event, market


def test_an_empty_lake_has_a_page():
    empty = market(0, session=None, alerts=table("alerts").empty())
    assert "No session has been scored yet" in render_market(empty)


def test_every_event_shows_its_false_alarms_its_status_and_its_alert():
    html = render_market(market(1))
    assert "0.60" in html
    assert "withdrawn" in html
    assert 'data-acknowledge="a1"' in html


def test_an_acknowledged_alert_offers_no_button():
    done = market(1).alerts.with_columns(status=pl.lit("acknowledged"))
    html = render_market(market(1, alerts=done))
    assert "acknowledged" in html
    assert "data-acknowledge=" not in html.split("</head>")[1]


def test_within_the_session_each_name_counts_once_as_last_judged():
    moments = [datetime(2026, 6, 1, hour, tzinfo=UTC) for hour in (15, 16)]
    rows = [
        event(1) | {"snapshot": moments[0], "score": 9.0, "event_id": "e1"},
        event(1) | {"snapshot": moments[1], "score": 4.0, "event_id": "e1"},
    ]
    html = render_market(market(0, intraday=frame(table("intraday_scored_events"), rows)))
    assert "12:00" in html, "the newest snapshot, in New York"
    assert 'data-v="4"' in html
    assert 'data-v="9"' not in html


def test_without_snapshots_there_is_no_section_about_the_session():
    html = render_market(market(1, intraday=table("intraday_scored_events").empty()))
    assert "In the session" not in html


def test_the_heat_overview_marks_levels_and_leaves_unjudged_days_blank():
    recent = pl.DataFrame(
        {
            "session": [BEFORE, SESSION, SESSION],
            "underlying": ["ABC", "ABC", "XYZ"],
            "score": [9.5, 2.0, 5.0],
            "conviction": ["EXTREME", "NONE", "LOW"],
        }
    )
    heat = heat_overview(recent)
    assert heat["days"] == [BEFORE, SESSION]
    assert [name for name, _ in heat["rows"]] == ["ABC", "XYZ"]
    assert heat["rows"][0][1] == [("q6", 9.5, "EXTREME"), ("q0", 2.0, "NONE")]
    assert heat["rows"][1][1][0] == ("", None, "")


def test_five_hundred_hostile_events_are_harmless_and_stay_small():
    html = render_market(market(500, HOSTILE))
    assert Tags(html).count("script") == 1
    assert len(html) < 5_000_000
