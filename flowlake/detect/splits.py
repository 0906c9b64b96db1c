"""Splits as detection sees them: when open interest may not be compared, and how to rescale what came before."""

from __future__ import annotations

from datetime import date

import polars as pl

from flowlake import calendar


def incomparable_sessions(effective_on: date) -> frozenset[date]:
    """Sessions whose open interest must not be compared with that of the session before.

    Old and new strikes are listed side by side on the effective date and their open interest moves over by the
    next morning, so both changes are bookkeeping, not trading.
    """
    first = effective_on if calendar.is_session(effective_on) else calendar.next_session(effective_on)
    return frozenset((first, calendar.next_session(first)))


def rescaled(frame: pl.DataFrame, splits: pl.DataFrame, session: date) -> pl.DataFrame:
    """`frame` (underlying, session, ...) with a column `ratio`: the product of splits since the row's session.

    Contracts traded before a split count `ratio` times today's contracts; prices divide by it.
    """
    due = splits.filter(pl.col("effective_on") <= session)
    if due.is_empty():
        return frame.with_columns(ratio=pl.lit(1.0))
    ratios = (
        frame.select("underlying", "session")
        .unique()
        .join(due, on="underlying", how="inner")
        .filter(pl.col("session") < pl.col("effective_on"))
        .group_by("underlying", "session", maintain_order=True)
        .agg(pl.col("ratio").product())
    )
    return frame.join(ratios, on=["underlying", "session"], how="left", maintain_order="left").with_columns(
        pl.col("ratio").fill_null(1.0)
    )
