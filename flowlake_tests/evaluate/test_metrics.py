"""Figures and their intervals."""

from __future__ import annotations

from datetime import date, timedelta

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flowlake.detect.calibration import poisson_interval
from flowlake.detect.scoring import CONVICTIONS, FULL_UNIVERSE
from flowlake.evaluate import metrics


def wilson(hits: int, n: int) -> tuple[float, float]:
    low, high = metrics.wilson(pl.col("hits"), pl.col("n"))
    return pl.DataFrame({"hits": [hits], "n": [n]}).select(low=low, high=high).row(0)


@settings(deadline=None)
@given(st.integers(1, 500).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))))
def test_wilsons_interval_holds_the_proportion_and_stays_within_0_and_1(case: tuple[int, int]):
    hits, n = case
    low, high = wilson(hits, n)
    assert 0.0 <= low <= hits / n <= high <= 1.0


def test_wilsons_interval_agrees_with_the_textbook():
    # Newcombe 1998, table I: 81/263 gives 0.2553 to 0.3662.
    assert wilson(81, 263) == pytest.approx((0.2553, 0.3662), abs=1e-4)


def test_poisson_intervals_agree_with_the_textbook():
    # Garwood 1936: 0 observed, 0 to 3.689; 10 observed, 4.795 to 18.390.
    assert poisson_interval(0) == pytest.approx((0.0, 3.689), abs=1e-3)
    assert poisson_interval(10) == pytest.approx((4.795, 18.390), abs=1e-3)


def test_recall_counts_an_episode_once_for_each_budget_it_fits():
    best = pl.DataFrame({"method": ["m"] * 4, "universe_rank": [1.0, 15.0, 60.0, 5_000.0]})
    table = metrics.recall(best, ["method"])
    assert table["budget"].to_list() == list(metrics.BUDGETS)
    assert table["caught"].to_list() == [1, 2, 2, 3]
    assert table["n"].to_list() == [4] * 4


def uniform_days(sessions: int, names: int) -> pl.DataFrame:
    days = [date(2026, 1, 5) + timedelta(days=number) for number in range(sessions)]
    values = (np.arange(sessions * names) + 0.5) / (sessions * names)
    shuffled = np.random.default_rng(5).permutation(values)
    return pl.DataFrame({"session": [day for day in days for _ in range(names)], "p_value": shuffled})


def test_uniform_p_values_raise_as_many_alarms_as_promised():
    table = metrics.calibration(uniform_days(60, 1_000))
    assert table["conviction"].to_list() == [name for name, _ in CONVICTIONS]
    assert table["nominal"].to_list() == pytest.approx([60_000 * alarms / FULL_UNIVERSE for _, alarms in CONVICTIONS])
    assert table["ratio"].to_list() == pytest.approx([1.0] * len(CONVICTIONS), abs=0.01)
    assert (table["low"] < 1.0).all()
    assert (table["high"] > 1.0).all()


def test_alarms_that_come_in_clusters_widen_the_interval_by_day():
    even = uniform_days(40, 500)
    clustered = even.sort("p_value").with_columns(session=even["session"].sort())
    rng = np.random.default_rng
    by_day = [
        metrics.clustered_ratios(frame, rng(1)).filter(conviction="LOW").row(0, named=True)
        for frame in (even, clustered)
    ]
    assert by_day[0]["ratio"] == pytest.approx(by_day[1]["ratio"])
    assert by_day[1]["high"] - by_day[1]["low"] > 3 * (by_day[0]["high"] - by_day[0]["low"])


def test_quantiles_of_uniform_p_values_lie_on_the_diagonal():
    table = metrics.quantiles(uniform_days(10, 100))
    assert table["observed"].to_list() == pytest.approx(table["expected"].to_list(), rel=1e-9)


def test_the_half_detection_size_is_found_where_the_chance_is_half():
    rng = np.random.default_rng(3)
    size = np.exp(rng.uniform(np.log(50), np.log(50_000), 800))
    seen = rng.random(800) < 1.0 / (1.0 + (1_000.0 / size) ** 2)
    doses = pl.DataFrame(
        {
            "episode_id": [f"E{number:04d}" for number in range(800)],
            "size": size,
            "activity": 1,
            "universe_rank": np.where(seen, 10.0, 500.0),
        }
    )
    row = metrics.half_detection(doses, np.random.default_rng(1)).row(0, named=True)
    assert row["low"] < 1_000 < row["high"]
    assert row["half_size"] == pytest.approx(1_000, rel=0.2)


def test_no_half_detection_size_is_claimed_where_nothing_was_caught():
    doses = pl.DataFrame(
        {"episode_id": ["a", "b"], "size": [100, 1_000], "activity": 0, "universe_rank": [900.0, 900.0]}
    )
    assert metrics.half_detection(doses, np.random.default_rng(1))["half_size"].to_list() == [None]


def test_an_alert_at_the_close_of_the_last_trading_session_leads_the_news_by_one():
    days = [date(2026, 6, 1), date(2026, 6, 2), date(2026, 6, 3)]
    ranked = pl.DataFrame(
        {"episode_id": ["a", "a", "b"], "session": [days[1], days[2], days[2]], "universe_rank": [20.0, 5.0, 90.0]}
    )
    plans = pl.DataFrame({"episode_id": ["a", "b"], "first": [0, 2], "last": [2, 2]})
    numbers = pl.DataFrame({"session": days, "number": [0, 1, 2]})
    assert metrics.lead_times(ranked, plans, numbers).rows() == [(2, 1)]
    late = ranked.filter(pl.col("session") == days[2])
    assert metrics.lead_times(late, plans, numbers).rows() == [(1, 1)]


def test_lists_overlap_wholly_with_themselves_and_not_with_their_opposite():
    scores = pl.DataFrame(
        {
            "session": [date(2026, 6, 1)] * 40,
            "underlying": [f"T{n:02d}" for n in range(40)],
            "score": [float(n) for n in range(40)],
        }
    )
    assert metrics.jaccard(scores, scores) == 1.0
    assert metrics.jaccard(scores, scores.with_columns(-pl.col("score"))) == 0.0
