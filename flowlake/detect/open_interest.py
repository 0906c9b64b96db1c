"""Algorithm 2, open interest: positions the previous session opened, seen in this morning's figure.

Open interest of session D is the figure at the start of D, so its rise over D-1 belongs to the trading of D-1. A
contract without a figure for D-1, on a split, or with a rise larger than the volume that could have caused it is not
judged at all.
"""

from __future__ import annotations

import polars as pl

from flowlake.detect import findings

STATISTIC = "open_interest_surprise"

MIN_OPENED = 50
"""Contracts opened below which a line is never a candidate."""


def statistic(lines: pl.DataFrame) -> pl.DataFrame:
    """Per underlying and right: `open_interest_surprise`, -log10 of the leading line's p-value."""
    excess = pl.col("opened") - pl.col("open_interest_expected")
    return findings.leading_surprise(lines, _p_value(), excess, STATISTIC)


def anomalies(lines: pl.DataFrame, sides: pl.DataFrame) -> pl.DataFrame:
    """ANOMALIES_OPEN_INTEREST rows; `volume` and `event_time` are those of the session that opened the positions."""
    flagged = findings.flagged_lines(lines, sides, _p_value(), STATISTIC)
    rows = flagged.with_columns(
        observed=pl.col("opened").cast(pl.Float64),
        expected=pl.col("open_interest_expected"),
        statistic=pl.col("open_interest_deviance"),
        null_n=pl.col("open_interest_null_n"),
        lines=pl.lit(1, dtype=pl.Int32),
        volume=pl.col("previous_volume"),
    )
    return findings.anomaly_rows(rows, "open_interest", _explain, of_previous_session=True)


def _p_value() -> pl.Expr:
    return pl.when(pl.col("open_interest_p").is_not_null()).then(
        pl.when(pl.col("opened") >= MIN_OPENED).then(pl.col("open_interest_p")).otherwise(1.0)
    )


def _explain(row: findings.Row) -> str:
    share = row["observed"] / max(row["volume"], 1)
    return (
        f"{findings.line_name(row)} opened {row['observed']:,.0f} positions in the previous session ({share:.0%} of "
        f"its volume of {row['volume']:,}); about {row['expected']:,.0f} would be usual. Comparable lines do this "
        f"{findings.frequency(row['p_value'])}."
    )
