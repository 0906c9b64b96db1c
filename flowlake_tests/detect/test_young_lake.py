"""While a lake still learns what is usual for each side, underlyings are ranked and none is an alarm."""

from __future__ import annotations

import polars as pl
import pytest

from flowlake import calendar
from flowlake.detect import scoring
from flowlake_tests.factories import SESSION

NAMES = [f"U{n:04d}" for n in range(400)]


def ranked(sessions: int) -> pl.DataFrame:
    """One extreme underlying among ordinary ones, after this many trailing sessions."""
    sides = pl.DataFrame({"underlying": NAMES, "right": "C", "activity": 0, "llr_total": [n / 400 for n in range(400)]})
    extreme = sides.with_columns(llr_total=pl.when(pl.col("underlying") == NAMES[0]).then(9.0).otherwise("llr_total"))
    trailing = pl.concat(
        sides.with_columns(session=pl.lit(day)) for day in calendar.trailing_sessions(SESSION, sessions)
    )
    return scoring.rank_underlyings(extreme.with_columns(pl.col("activity").cast(pl.Int8)), trailing)


@pytest.mark.parametrize("sessions", [1, scoring.SETTLED_SESSIONS - 1])
def test_a_young_lake_ranks_and_raises_no_alarm(sessions: int):
    events = ranked(sessions)
    assert events["underlying"][0] == NAMES[0]
    assert set(events["conviction"]) == {"NONE"}
    assert events["p_value"].min() == scoring.UNSETTLED_P


def test_a_settled_lake_raises_it():
    first = ranked(scoring.SETTLED_SESSIONS).row(0, named=True)
    assert first["underlying"] == NAMES[0]
    assert first["conviction"] != "NONE"
