"""Ranks of injected names among undisturbed ones."""

from __future__ import annotations

from datetime import date

import polars as pl
from hypothesis import given, settings
from hypothesis import strategies as st

from flowlake.evaluate import judge

DAYS = [date(2026, 6, 1), date(2026, 6, 2)]


def clean(scores: list[float | None]) -> pl.DataFrame:
    half = len(scores) // 2
    return pl.DataFrame(
        {
            "session": [DAYS[0]] * half + [DAYS[1]] * (len(scores) - half),
            "underlying": [f"T{number % half}" for number in range(len(scores))],
            "score": scores,
        },
        schema_overrides={"score": pl.Float64},
    )


def injected(score: float | None, underlying: str = "NEW") -> pl.DataFrame:
    row = {"episode_id": ["E0"], "session": [DAYS[0]], "underlying": [underlying], "score": [score]}
    return pl.DataFrame(row, schema_overrides={"score": pl.Float64})


def test_the_best_score_is_first_and_the_worst_is_behind_everybody():
    pool = clean([1.0, 2.0, 3.0, 4.0])
    assert judge.ranks(injected(9.0), pool)["universe_rank"][0] == 1.0
    assert judge.ranks(injected(0.0), pool)["universe_rank"][0] == 1.0 + judge.UNIVERSE


def test_a_tie_counts_half():
    pool = clean([1.0, 2.0, 2.0, 3.0])
    row = judge.ranks(injected(2.0), pool).row(0, named=True)
    assert row["universe_rank"] == 1.0 + judge.UNIVERSE * 2.0 / 4.0
    assert row["session_rank"] == 1.5


def test_a_name_does_not_compete_with_its_own_undisturbed_session():
    pool = clean([5.0, 2.0, 1.0, 1.0])
    assert judge.ranks(injected(3.0, "T0"), pool)["session_rank"][0] == 1.0
    assert judge.ranks(injected(3.0, "T1"), pool)["session_rank"][0] == 2.0


def test_what_a_rule_cannot_score_ranks_behind_all_it_can():
    pool = clean([1.0, None, 2.0, None])
    assert judge.ranks(injected(None), pool)["universe_rank"][0] == 1.0 + judge.UNIVERSE * 3.0 / 4.0


@settings(deadline=None)
@given(st.lists(st.floats(-50, 50), min_size=4, max_size=40), st.floats(-50, 50))
def test_ranks_depend_only_on_the_order_of_scores(scores: list[float], score: float):
    plain = judge.ranks(injected(score), clean(list(scores)))
    # Doubling keeps the order of floating-point numbers exactly, ties included.
    doubled = judge.ranks(injected(2.0 * score), clean([2.0 * value for value in scores]))
    assert plain.drop("score").equals(doubled.drop("score"))


def test_the_best_session_of_an_episode_counts():
    ranked = pl.DataFrame(
        {
            "episode_id": ["a", "a", "b"],
            "underlying": ["X", "X", "Y"],
            "session": [DAYS[0], DAYS[1], DAYS[0]],
            "universe_rank": [70.0, 30.0, 90.0],
            "session_rank": [2.0, 1.0, 3.0],
            "session_names": [10, 10, 10],
        }
    )
    assert judge.best(ranked)["universe_rank"].to_list() == [30.0, 90.0]
