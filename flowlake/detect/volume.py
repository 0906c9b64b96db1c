"""Algorithm 1, volume with Greeks context: a line that traded far more than its history and its chain explain."""

from __future__ import annotations

import polars as pl

from flowlake.detect import findings

STATISTIC = "volume_surprise"

MIN_VOLUME = 50
"""Contracts below which a line is never a candidate; the smallest case that became public had 86."""


def statistic(lines: pl.DataFrame) -> pl.DataFrame:
    """Per underlying and right: `volume_surprise`, -log10 of the leading line's p-value."""
    return findings.leading_surprise(lines, p_value(), excess(), STATISTIC)


def anomalies(lines: pl.DataFrame, sides: pl.DataFrame) -> pl.DataFrame:
    """ANOMALIES_VOLUME rows: the unusual lines of sides (from `sides.compare`) that are unusual as a whole."""
    flagged = findings.flagged_lines(lines, sides, p_value(), STATISTIC)
    rows = flagged.with_columns(
        observed=pl.col("volume").cast(pl.Float64),
        expected=pl.col("volume_expected"),
        statistic=pl.col("volume_deviance"),
        null_n=pl.col("volume_null_n"),
        lines=pl.lit(1, dtype=pl.Int32),
    )
    return findings.anomaly_rows(rows, "volume", _explain)


def excess() -> pl.Expr:
    """Contracts beyond expectation."""
    return (pl.col("volume") - pl.col("volume_expected")).clip(0.0)


def p_value() -> pl.Expr:
    """The line's p-value; 1 below `MIN_VOLUME`."""
    return pl.when(pl.col("volume_p").is_not_null()).then(
        pl.when(pl.col("volume") >= MIN_VOLUME).then(pl.col("volume_p")).otherwise(1.0)
    )


def _explain(row: findings.Row) -> str:
    return (
        f"{findings.line_name(row)} traded {row['observed']:,.0f} contracts; its history and the rest of the chain "
        f"today explain about {row['expected']:,.0f}. Comparable lines do this {findings.frequency(row['p_value'])}."
    )
