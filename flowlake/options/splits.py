"""Which underlyings had a split between two sessions, so that nothing is compared across it.

On the execution date the old series are renamed, restruck or replaced, old and new strikes may be listed side by side,
and the clearing house restates open interest overnight, so it appears in the session AFTER the execution date (KLAC's
10:1 split of 2026-06-12 multiplied its open interest on 06-15). A comparison with the session before is therefore
unsound on the execution date and on the session after it.
"""

from __future__ import annotations

from datetime import date

import polars as pl

from flowlake.calendar import previous_session

SETTLING_SESSIONS = 1
"""Sessions after the execution date on which open interest is still being restated."""


_SCHEMA = pl.Schema({"underlying": pl.String, "effective_on": pl.Date, "ratio": pl.Float64})


def known_splits(actions: pl.DataFrame | None) -> pl.DataFrame:
    """Splits of a CORPORATE_ACTIONS frame: underlying, effective_on, ratio (new shares per old share), sorted.

    Rows without both share counts are left out.
    """
    if actions is None:
        return pl.DataFrame(schema=_SCHEMA)
    return (
        actions.filter(pl.col("kind") == "split", pl.col("split_from") > 0, pl.col("split_to") > 0)
        .select(underlying="ticker", effective_on="effective_on", ratio=pl.col("split_to") / pl.col("split_from"))
        .unique()
        .sort("underlying", "effective_on", "ratio")
    )


def splits_between(actions: pl.DataFrame | None, after: date, through: date) -> pl.DataFrame:
    """Splits with `after` < execution date <= `through`: ticker, split_factor (new shares per old share), sorted.

    Several splits of one ticker multiply.
    """
    executed = pl.col("effective_on").is_between(after, through, closed="right")
    return (
        known_splits(actions)
        .filter(executed)
        .group_by(ticker="underlying")
        .agg(split_factor=pl.col("ratio").product())
        .sort("ticker")
    )


def split_underlyings(actions: pl.DataFrame | None, session: date) -> pl.DataFrame:
    """Underlyings whose open interest and strikes of `session` must not be compared with the session before.

    Columns ticker, split_factor. These are the splits executed on `session` (or on closed days before it) or within
    `SETTLING_SESSIONS` before.
    """
    return splits_between(actions, previous_session(session, 1 + SETTLING_SESSIONS), session)
