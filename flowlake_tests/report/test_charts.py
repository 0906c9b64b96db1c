"""Pictures: scales that keep order, axes with round numbers, and nothing drawn from nothing."""

from __future__ import annotations

from datetime import date

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flowlake.report import charts

AMOUNT = st.floats(min_value=0, max_value=1e9, allow_nan=False)


@given(st.lists(AMOUNT, min_size=1, max_size=20))
def test_more_is_never_paler(values: list[float]):
    kind = charts.root_steps(values)
    drawn = [kind(value) for value in sorted(values)]
    order = ["blank", *(f"q{at}" for at in range(7))]
    assert [order.index(name) for name in drawn] == sorted(order.index(name) for name in drawn)
    assert kind(0.0) == "blank"


@given(st.floats(min_value=-1, max_value=1), st.floats(min_value=0.01, max_value=1))
def test_equal_rises_and_falls_are_equally_strong(change: float, reach: float):
    kind = charts.change_steps(reach)
    assert kind(change)[-1] == kind(-change)[-1]


@given(st.floats(min_value=-1e6, max_value=1e6), st.floats(min_value=1e-3, max_value=1e6))
def test_ticks_are_few_and_inside(low: float, span: float):
    ticks = charts.round_ticks(low, low + span)
    assert 1 <= len(ticks) <= 6
    slack = 1e-6 * max(abs(low), span)
    assert all(low - slack <= tick <= low + span + slack for tick in ticks)


def test_zero_is_a_tick_where_it_lies_between():
    assert 0.0 in charts.round_ticks(-1.3, 2.9)


def test_a_picture_says_what_it_shows_for_those_who_cannot_see_it():
    cells = [charts.Cell(0, 0, "q3", "first", marked=True), charts.Cell(0, 1, "q1", "<b>")]
    drawn = charts.heat_map(["row"], ["a", "b"], cells, "Heat & more", "busiest: a", [("q3", "some")], 0.5, "spot")
    assert 'role="img" aria-label="Heat &amp; more"' in drawn
    assert "<desc>busiest: a</desc>" in drawn
    assert "&lt;b&gt;" in drawn
    assert drawn.index("<b>" if "<b>" in drawn else "&lt;b&gt;") < drawn.index("first"), "marked cells come last"


def test_nothing_is_drawn_of_nothing():
    assert charts.heat_map([], [], [], "t", "d", []) == ""
    assert charts.time_panels([], [], "t", "d") == ""
    assert charts.interval_chart([], "t", str) == ""
    assert charts.factor_bars([]) == ""


def test_a_line_breaks_where_a_value_is_unknown():
    days = [date(2026, 6, day) for day in range(1, 8)]
    panel = charts.Panel("p", [charts.Series("s", [1.0, 2.0, None, 3.0, None, 4.0, 5.0])], str)
    drawn = charts.time_panels(days, [panel], "t", "d")
    assert drawn.count("<polyline") == 2
    assert drawn.count('<circle class="dot"') == 1, "the lone value in the middle"


def test_what_happened_between_sessions_belongs_to_the_one_before():
    days = [date(2026, 6, 5), date(2026, 6, 8)]
    panel = charts.Panel("p", [charts.Series("s", [1.0, 2.0])], str)
    mark = charts.Mark(date(2026, 6, 6), 0, "bought", "up", "filed on Saturday")
    friday = charts.Mark(date(2026, 6, 5), 0, "bought", "up", "filed on Friday")
    saturday, on_friday = (charts.time_panels(days, [panel], "t", "d", [m], ["insiders"]) for m in (mark, friday))
    assert saturday.replace("Saturday", "Friday") == on_friday


@pytest.mark.parametrize("values", [[5.0], [5.0, 5.0], [0.0, 0.0]])
def test_a_flat_series_is_drawn(values: list[float]):
    days = [date(2026, 6, 1 + at) for at in range(len(values))]
    drawn = charts.time_panels(days, [charts.Panel("p", [charts.Series("s", values)], str)], "t", "d")
    assert "nan" not in drawn
