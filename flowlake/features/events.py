"""What the detectors found in the underlying."""

from __future__ import annotations

from collections.abc import Mapping

import polars as pl

from flowlake.features.sums import KEY

SCORED = ("volume", "open_interest", "multi_strike", "low_volume")
"""Algorithms whose anomalies carry a p-value."""
COUNTED = (*SCORED, "day_over_day")
_SMALLEST_P = 1e-300


def event_features(underlyings: pl.DataFrame, found: Mapping[str, pl.DataFrame]) -> pl.DataFrame:
    """The 'events' family, one row per row of `underlyings` (column underlying).

    `found` holds, by table name, the anomalies_*, scored_events and ticker_statistics of the session; of a table that
    is not there nothing is known, of one that is there an underlying without rows had none.
    """
    result = underlyings.select(KEY)
    for algorithm in COUNTED:
        anomalies = found.get(f"anomalies_{algorithm}")
        count, surprise = f"events_{algorithm}", f"surprise_{algorithm}"
        if anomalies is None:
            result = result.with_columns(pl.lit(None, pl.Int32).alias(count))
        else:
            counts = anomalies.group_by(KEY).agg(pl.len().cast(pl.Int32).alias(count))
            result = result.join(counts, on=KEY, how="left").with_columns(pl.col(count).fill_null(0))
        if algorithm in SCORED:
            result = result.join(_surprise(anomalies, surprise), on=KEY, how="left")
    return result.join(_evidence(found.get("ticker_statistics")), on=KEY, how="left").join(
        _scores(found.get("scored_events")), on=KEY, how="left"
    )


def _surprise(anomalies: pl.DataFrame | None, name: str) -> pl.DataFrame:
    if anomalies is None:
        return pl.DataFrame(schema={KEY: pl.String, name: pl.Float64})
    least = pl.col("p_value").min().clip(lower_bound=_SMALLEST_P)
    # The logarithm of 1 is a negative zero.
    return anomalies.group_by(KEY).agg((-least.log10() + 0.0).alias(name))


def _evidence(statistics: pl.DataFrame | None) -> pl.DataFrame:
    if statistics is None:
        return pl.DataFrame(schema={KEY: pl.String, "call_evidence": pl.Float64, "put_evidence": pl.Float64})
    evidence, side = pl.col("llr_total"), pl.col("right")
    return statistics.group_by(KEY).agg(
        call_evidence=evidence.filter(side == "C").first(), put_evidence=evidence.filter(side == "P").first()
    )


def _scores(events: pl.DataFrame | None) -> pl.DataFrame:
    if events is None:
        return pl.DataFrame(schema={KEY: pl.String, "event_score": pl.Float64, "event_direction": pl.Int8})
    direction = pl.col("direction").replace_strict({"bullish": 1, "bearish": -1, "neutral": 0}, return_dtype=pl.Int8)
    return events.select(KEY, event_score="score", event_direction=direction)
