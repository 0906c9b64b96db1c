"""Parameters: what one declaration accepts is what it says it accepts, whatever is sent."""

from __future__ import annotations

from datetime import date

import pytest
from hypothesis import given
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from flowlake.serve.endpoints import listings
from flowlake.serve.parameters import Parameter, read_query
from flowlake.serve.problems import Problem

EVERY = sorted({p.name: p for listing in listings() for p in listing.parameters}.values(), key=lambda p: p.name)


@given(text=st.text(max_size=60), place=st.integers(0, len(EVERY) - 1))
def test_a_text_is_read_or_refused_by_name_and_never_anything_else(text: str, place: int):
    parameter = EVERY[place]
    try:
        value = parameter.read(text)
    except Problem as problem:
        assert (problem.status, problem.parameter) == (400, parameter.name)
        assert problem.remedy
        return
    shown = list(value) if isinstance(value, tuple) else value.isoformat() if isinstance(value, date) else value
    Draft202012Validator(parameter.json_schema(), format_checker=Draft202012Validator.FORMAT_CHECKER).validate(shown)


@given(value=st.integers(-(10**20), 10**20))
def test_a_bounded_number_is_read_exactly_within_its_bounds(value: int):
    parameter = Parameter("limit", "integer", "", minimum=1, maximum=10_000)
    if 1 <= value <= 10_000:
        assert parameter.read(str(value)) == value
    else:
        with pytest.raises(Problem, match="limit"):
            parameter.read(str(value))


@given(day=st.dates())
def test_a_date_comes_back_as_itself(day: date):
    assert Parameter("from", "date", "").read(day.isoformat()) == day


@pytest.mark.parametrize("text", ["2026-6-1", "20260601", "2026-02-30", "2026-06-01T00:00", "２０２６-06-01", "today"])
def test_dates_are_written_in_one_way(text: str):
    with pytest.raises(Problem):
        Parameter("from", "date", "").read(text)


@pytest.mark.parametrize("text", ["nan", "inf", "1e400", "1_000", "0x10", " 1", "1 ", ""])
def test_numbers_are_plain(text: str):
    with pytest.raises(Problem):
        Parameter("min_score", "number", "").read(text)


def test_defaults_are_filled_in_and_what_is_required_is_named():
    declared = (Parameter("a", "text", "", required=True), Parameter("b", "integer", "", default=5))
    assert read_query(declared, [("a", "x")]) == {"a": "x", "b": 5}
    with pytest.raises(Problem, match="'a' is required"):
        read_query(declared, [("b", "1")])
    with pytest.raises(Problem, match="twice"):
        read_query(declared, [("a", "x"), ("a", "y")])
    with pytest.raises(Problem, match="no parameter 'c'") as caught:
        read_query(declared, [("c", "x")])
    assert caught.value.remedy == "known here: a, b"
