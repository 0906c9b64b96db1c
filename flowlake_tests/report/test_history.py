"""The history page: what followed with honest intervals, names that recur, alarms against their promise."""

from __future__ import annotations

import math

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flowlake.report.history import SMALLEST_BIN, calibration_picture, outcome_bins, recurring, render_history
from flowlake.schemas import table
from flowlake_tests.factories import frame
from flowlake_tests.report.examples import HOSTILE, Tags, event, history


def outcomes_of(zs: list[float], score: float = 5.5) -> tuple[pl.DataFrame, pl.DataFrame]:
    events = frame(table("scored_events"), [event(1) | {"event_id": f"e{at}", "score": score} for at in range(len(zs))])
    rows = [{"event_id": f"e{at}", "horizon_sessions": 1, "z": z, "signed_return": z / 50} for at, z in enumerate(zs)]
    return events, frame(table("event_outcomes"), rows)


def test_means_and_intervals_are_those_of_the_textbook():
    zs = [1.0, 2.0, 3.0, 4.0, -1.0]
    row = outcome_bins(*outcomes_of(zs)).row(0, named=True)
    mean = sum(zs) / 5
    sd = math.sqrt(sum((z - mean) ** 2 for z in zs) / 4)
    assert row["mean"] == pytest.approx(mean)
    assert row["mean_high"] - row["mean"] == pytest.approx(1.959964 * sd / math.sqrt(5))
    # Wilson's interval of 4 out of 5, as any table gives it.
    assert (row["hit_low"], row["hit_high"]) == pytest.approx((0.3755, 0.9638), abs=1e-4)


@settings(max_examples=25, deadline=None)
@given(st.lists(st.floats(min_value=-5, max_value=5), min_size=1, max_size=30))
def test_intervals_hold_their_estimate_and_few_events_have_none(zs: list[float]):
    row = outcome_bins(*outcomes_of(zs)).row(0, named=True)
    assert row["n"] == len(zs)
    if len(zs) < SMALLEST_BIN:
        assert row["mean_low"] is None
        assert row["hit_low"] is None
    else:
        assert row["mean_low"] <= row["mean"] <= row["mean_high"]
        assert 0 <= row["hit_low"] <= row["hit"] + 1e-12
        assert row["hit"] - 1e-12 <= row["hit_high"] <= 1


def test_scores_fall_into_their_bins():
    for score, name in ((1.0, "score 1 to 2"), (5.99, "score 5 to 6"), (10.0, "score 8 to 10")):
        assert outcome_bins(*outcomes_of([1.0], score))["label"].to_list() == [name]


def test_names_recur_by_how_often_they_reached_a_level():
    rows = [
        event(1, "AAA") | {"event_id": "a1"},
        event(1, "BBB") | {"event_id": "b1", "score": 9.0},
        event(1, "BBB") | {"event_id": "b2", "direction": "bearish"},
        event(1, "CCC") | {"event_id": "c1", "conviction": "NONE"},
    ]
    told = [{"event_id": "b1", "status": "confirmed"}, {"event_id": "b2", "status": "withdrawn"}]
    found = recurring(frame(table("scored_events"), rows), frame(table("event_status"), told))
    assert found.select("underlying", "count", "best", "bullish", "bearish", "confirmed").rows() == [
        ("BBB", 2, 9.0, 1, 1, 1),
        ("AAA", 1, 8.5, 1, 0, 0),
    ]


def test_alarms_stand_against_their_promise():
    drawn = calibration_picture(history().calibration)
    assert drawn.count('class="nominal"') == 4
    assert "6 seen, 5.0 promised" in drawn


def test_an_empty_history_has_a_page():
    html = render_history(history(0))
    assert "No session has been scored yet" in html
    assert "The calibration of alarms has not been counted yet" in html


def test_a_long_history_is_one_page():
    html = render_history(history(500))
    tags = Tags(html)
    assert tags.count("svg", "intervals") == 3, "two horizons and the calibration"
    assert "confirmed" in html.lower()
    assert len(html) < 2_000_000


def test_hostile_names_are_shown_and_never_run():
    assert Tags(render_history(history(3, HOSTILE))).count("script") == 1
