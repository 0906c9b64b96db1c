"""As-of joins: strict, newest session first, equal to a plain polars oracle."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from polars.testing import assert_frame_equal

from flowlake.features import asof
from flowlake.schemas import UTC_TIME

START = datetime(2026, 6, 1, 20, tzinfo=UTC)
MONDAY = date(2026, 6, 1)

FACT = {"underlying": pl.String, "session": pl.Date, "value": pl.Int64, "available_at": UTC_TIME}


def facts(rows: list[tuple[str, int, int]]) -> pl.DataFrame:
    """Rows of (underlying, session number, hours after START at which it was known); the value tells rows apart."""
    return pl.DataFrame(
        [
            (name, MONDAY + timedelta(days=day), number, START + timedelta(hours=hours))
            for number, (name, day, hours) in enumerate(rows)
        ],
        schema=FACT,
        orient="row",
    )


def asked(*pairs: tuple[str, int]) -> pl.DataFrame:
    rows = [(name, START + timedelta(hours=hours)) for name, hours in pairs]
    return pl.DataFrame(rows, schema={"underlying": pl.String, "as_of": UTC_TIME}, orient="row")


def values(spine: pl.DataFrame, known: pl.DataFrame) -> list[int | None]:
    return asof.latest_known(spine, known)["value"].to_list()


def test_what_becomes_known_at_the_moment_itself_is_not_known():
    known = facts([("A", 0, 0), ("A", 1, 24)])
    assert values(asked(("A", 0), ("A", 1), ("A", 24), ("A", 25)), known) == [None, 0, 0, 1]


def test_a_session_filled_in_late_does_not_hide_a_later_one():
    known = facts([("A", 5, 0), ("A", 2, 10)])
    assert values(asked(("A", 20)), known) == [0]


def test_of_two_sessions_that_arrive_together_the_later_one_counts():
    assert values(asked(("A", 1)), facts([("A", 3, 0), ("A", 4, 0), ("A", 2, 0)])) == [1]


def test_underlyings_do_not_mix_and_strangers_are_null():
    known = facts([("A", 0, 0), ("B", 0, 0)])
    assert values(asked(("A", 1), ("B", 1), ("C", 1)), known) == [0, 1, None]


def test_a_moment_without_a_time_zone_is_refused():
    with pytest.raises(ValueError, match="time zone"):
        asof.spine(pl.Series(["A"]), datetime(2026, 6, 1))


def oracle(spine: pl.DataFrame, known: pl.DataFrame) -> pl.DataFrame:
    """The same in polars, without any as-of join: all pairs, the gate, the newest session."""
    pairs = spine.join(known, on="underlying").filter(pl.col("available_at") < pl.col("as_of"))
    newest = pairs.sort("session").group_by("underlying", "as_of").last()
    return spine.join(newest, on=["underlying", "as_of"], how="left").sort("underlying", "as_of")


fact_rows = st.lists(
    st.tuples(st.sampled_from("AB"), st.integers(0, 6), st.integers(0, 30)),
    max_size=14,
    unique_by=lambda row: row[:2],
)
moments = st.lists(st.tuples(st.sampled_from("ABC"), st.integers(0, 31)), min_size=1, max_size=6, unique=True)


@settings(max_examples=40, deadline=None)
@given(fact_rows, moments)
def test_duckdb_agrees_with_polars(rows: list[tuple[str, int, int]], at: list[tuple[str, int]]):
    spine, known = asked(*at), facts(rows)
    assert_frame_equal(
        asof.latest_known(spine, known), oracle(spine, known).select("underlying", "as_of", *list(FACT)[1:])
    )


def test_steps_give_each_session_only_if_it_was_known():
    known = facts([("A", 0, 0), ("A", 1, 24), ("A", 2, 48)])
    spine = asked(("A", 30)).join(known.select("session"), how="cross")
    assert asof.known_steps(spine, known)["value"].to_list() == [0, 1, None]
