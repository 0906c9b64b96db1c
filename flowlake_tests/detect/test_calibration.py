from __future__ import annotations

from datetime import date

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flowlake import calendar, schemas
from flowlake.detect import calibration, scoring
from flowlake.settings import CalibrationSettings
from flowlake_tests.factories import frame

SESSIONS = calendar.trailing_sessions(date(2026, 7, 1), 10)
SHARES = {level: alarms / scoring.FULL_UNIVERSE for level, alarms in scoring.CONVICTIONS}


def market(p_values: dict[date, np.ndarray]) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Events and statistics of sessions whose underlyings have these p-values, in two activity classes by turns."""
    events, statistics = [], []
    for session, values in p_values.items():
        names = [f"U{n:05d}" for n in range(len(values))]
        level = [next((name for name in SHARES if p <= SHARES[name]), "NONE") for p in values]
        table = pl.DataFrame({"session": session, "underlying": names, "p_value": values, "conviction": level})
        events.append(table.filter(pl.col("p_value") <= 0.05))
        side = frame(schemas.table("ticker_statistics"), [{"session": session, "llr_total": 0.0}])
        listed = pl.DataFrame({"underlying": names, "activity": pl.Series(range(len(names)), dtype=pl.Int64) % 2})
        sides = listed.join(pl.DataFrame({"right": ["C", "P"]}), how="cross")
        full = sides.join(side.drop(sides.columns), how="cross")
        statistics.append(schemas.table("ticker_statistics").conform(full.select(side.columns)))
    return pl.concat(events), pl.concat(statistics)


def uniform(n: int, alarms: int, level: str = "LOW") -> np.ndarray:
    """`n` p-values of which `alarms` just reach `level`."""
    return np.where(np.arange(n) < alarms, SHARES[level], 0.04)


def row(rows: pl.DataFrame, level: str, activity: str = calibration.OVERALL) -> dict:
    return rows.filter(pl.col("level") == level, pl.col("activity") == activity).row(0, named=True)


def test_levels_count_with_those_above_them_today_and_over_all_sessions():
    values = {day: uniform(6_000, 50) for day in SESSIONS[:-1]} | {SESSIONS[-1]: uniform(6_000, 3, "HIGH")}
    rows = calibration.calibration(SESSIONS[-1], *market(values))
    low, high, extreme = (row(rows, level) for level in ("LOW", "HIGH", "EXTREME"))
    assert (low["sessions"], low["judged"]) == (10, 60_000)
    assert (low["nominal_session"], low["observed_session"]) == (pytest.approx(60), 3)
    assert (low["nominal"], low["observed"]) == (pytest.approx(600), 453)
    assert (high["observed"], high["nominal"]) == (3, pytest.approx(50))
    assert (extreme["observed"], extreme["ratio"], extreme["ratio_low"]) == (0, 0.0, 0.0)


def test_activity_classes_add_up_to_the_whole():
    values = {day: np.random.default_rng(day.day).uniform(size=1_000) for day in SESSIONS}
    rows = calibration.calibration(SESSIONS[-1], *market(values))
    assert set(rows["activity"]) == {calibration.OVERALL, *calibration.ACTIVITY[:2]}
    for name in ("judged", "nominal", "observed", "observed_session"):
        classes = rows.filter(pl.col("activity") != calibration.OVERALL).group_by("level").agg(pl.col(name).sum())
        overall = rows.filter(pl.col("activity") == calibration.OVERALL).select("level", overall=name)
        both = classes.join(overall, on="level")
        assert both[name].to_list() == pytest.approx(both["overall"].to_list())


@pytest.mark.parametrize(
    ("alarms", "verdict"),
    [(20, "holds"), (24, "holds"), (34, "too many"), (10, "too few")],
)
def test_the_verdict_needs_both_the_band_and_more_than_chance(alarms: int, verdict: str):
    rows = calibration.calibration(SESSIONS[-1], *market({day: uniform(2_000, alarms) for day in SESSIONS}))
    assert row(rows, "LOW")["verdict"] == verdict


def test_outside_the_band_but_explained_by_chance_is_undecided():
    rows = calibration.calibration(SESSIONS[-1], *market({SESSIONS[-1]: uniform(150, 3)}))
    assert row(rows, "LOW")["ratio"] == pytest.approx(2.0)
    assert row(rows, "LOW")["verdict"] == "undecided"


def test_the_band_is_a_setting():
    wide = CalibrationSettings(lowest_ratio=0.3, highest_ratio=3.0)
    rows = calibration.calibration(SESSIONS[-1], *market({day: uniform(2_000, 34) for day in SESSIONS}), wide)
    assert row(rows, "LOW")["verdict"] == "holds"


def test_later_sessions_do_not_count():
    values = {day: uniform(600, 6) for day in SESSIONS}
    events, statistics = market(values)
    past = [pl.col("session") <= SESSIONS[4]]
    whole = calibration.calibration(SESSIONS[4], events, statistics)
    assert whole.equals(calibration.calibration(SESSIONS[4], events.filter(*past), statistics.filter(*past)))
    assert row(whole, "LOW")["sessions"] == 5


def test_a_session_that_was_not_ranked_is_not_judged():
    events, statistics = market({day: uniform(600, 6) for day in SESSIONS[:2]})
    assert calibration.calibration(SESSIONS[2], events, statistics).is_empty()
    assert calibration.quantiles(SESSIONS[2], events, statistics).is_empty()
    unranked = statistics.with_columns(llr_total=pl.lit(None, pl.Float64))
    assert calibration.calibration(SESSIONS[1], events, unranked).is_empty()


@settings(max_examples=20, deadline=None)
@given(st.lists(st.floats(1e-6, 1.0), min_size=1, max_size=80))
def test_the_ladder_counts_p_values(values: list[float]):
    rows = calibration.quantiles(SESSIONS[0], *market({SESSIONS[0]: np.array([*values, 0.05])}))
    for p, nominal, observed in rows.select("p", "nominal", "observed").iter_rows():
        assert observed == sum(value <= p for value in [*values, 0.05])
        assert nominal == pytest.approx(p * (len(values) + 1))


@given(st.integers(0, 500))
def test_the_interval_contains_the_count(count: int):
    low, high = calibration.poisson_interval(count)
    assert low <= count <= high


def test_honest_p_values_are_rarely_called_dishonest():
    verdicts = []
    for seed in range(40):
        rng = np.random.default_rng(seed)
        rows = calibration.calibration(SESSIONS[-1], *market({day: rng.uniform(size=500) for day in SESSIONS[-4:]}))
        verdicts.append(row(rows, "LOW")["verdict"])
    # A 95 % interval misses 2 of 40; 7 or more would happen once in 300 times.
    assert sum(verdict in ("too many", "too few") for verdict in verdicts) < 7
