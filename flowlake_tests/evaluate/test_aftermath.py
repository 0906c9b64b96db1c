"""What followed events."""

from __future__ import annotations

from datetime import date

import numpy as np
import polars as pl
import pytest

from flowlake import calendar
from flowlake.evaluate import aftermath

DAYS = calendar.sessions(date(2026, 5, 1), date(2026, 6, 12))
NO_SPLITS = pl.DataFrame(schema={"underlying": pl.String, "effective_on": pl.Date})


def prices(jump: dict[str, float], at: int = 20) -> pl.DataFrame:
    """Ten names that never move, but for those in `jump`, which move once on session `at`."""
    rows = [
        {
            "session": day,
            "underlying": f"T{name}",
            "spot": 100.0 * (jump.get(f"T{name}", 1.0) if number >= at else 1.0),
            "previous_spot": 100.0 * (jump.get(f"T{name}", 1.0) if number > at else 1.0),
        }
        for number, day in enumerate(DAYS)
        for name in range(10)
    ]
    return pl.DataFrame(rows)


def returns(frame: pl.DataFrame, splits: pl.DataFrame = NO_SPLITS) -> pl.DataFrame:
    return aftermath.forward_returns(frame, splits).filter(underlying="T0").sort("session")


def test_a_jump_is_ahead_of_the_sessions_before_it_only():
    ahead = returns(prices({"T0": 1.1}))["abnormal_5"]
    assert ahead[14:20].drop_nulls().to_list() == pytest.approx([0.0] + [np.log(1.1)] * 5)
    assert ahead[20:24].to_list() == pytest.approx([0.0] * 4)


def test_what_the_whole_market_does_is_not_abnormal():
    everybody = prices({f"T{name}": 0.9 for name in range(10)})
    assert returns(everybody)["abnormal_1"].drop_nulls().abs().max() == 0.0


def test_returns_across_a_split_are_unknown():
    splits = pl.DataFrame({"underlying": ["T0"], "effective_on": [DAYS[20]]})
    ahead = returns(prices({"T0": 0.1}), splits)["abnormal_1"]
    assert ahead[19] is None
    assert ahead[18] == ahead[20] == 0.0


def judged(event_right: str) -> pl.DataFrame:
    rows = [
        {
            "session": day,
            "underlying": f"T{name}",
            "right": event_right,
            "activity": 1,
            "p_value": 0.001 if name == 0 else 0.5,
        }
        for day in DAYS[5:20]
        for name in range(10)
    ]
    return pl.DataFrame(rows)


@pytest.mark.parametrize(("right", "sign"), [("C", 1.0), ("P", -1.0)])
def test_returns_are_signed_by_the_side_that_traded(right: str, sign: float):
    tables = aftermath.aftermath(judged(right), prices({"T0": 1.2}), NO_SPLITS, np.random.default_rng(1), draws=200)
    row = tables["aftermath"].filter(direction="all", horizon=10).row(0, named=True)
    assert row["events"] == 15
    assert row["lift"] == pytest.approx(sign * np.log(1.2) * 10 / 15)
    assert row["low"] <= row["lift"] <= row["high"]


def test_nothing_is_said_of_a_handful_of_events():
    few = judged("C").filter(pl.col("session") < DAYS[10])
    assert "aftermath" not in aftermath.aftermath(
        few.filter(p_value=9.0), prices({}), NO_SPLITS, np.random.default_rng(1)
    )
