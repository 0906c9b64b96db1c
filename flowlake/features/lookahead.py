"""The gate of the feature table, checked from its inputs: nothing in a row was known after the row says it was."""

from __future__ import annotations

from collections.abc import Mapping

import polars as pl

from flowlake.features.sums import KEY

STRICT = frozenset({"insider_signals"})
"""Inputs that must have been known strictly before; the others make the row known themselves."""


def lookahead_violations(features: pl.DataFrame, inputs: Mapping[str, pl.DataFrame]) -> pl.DataFrame:
    """Rows of `features` with an input known too late: underlying, input, input_available_at, available_at; sorted.

    `inputs` holds, by table, underlying (null: an input of every row) and available_at of what the session's rows are
    made from.
    """
    found: list[pl.DataFrame] = []
    rows = features.select(KEY, "available_at")
    for name, frame in inputs.items():
        newest = frame.group_by(KEY).agg(input_available_at=pl.col("available_at").max())
        of_all = newest.filter(pl.col(KEY).is_null()).drop(KEY)
        joined = pl.concat([rows.join(newest, on=KEY), rows.join(of_all, how="cross")])
        late = pl.col("input_available_at") > pl.col("available_at")
        if name in STRICT:
            late = pl.col("input_available_at") >= pl.col("available_at")
        found.append(joined.filter(late).select(KEY, pl.lit(name).alias("input"), "input_available_at", "available_at"))
    if not found:
        raise ValueError("no inputs were given: a check of nothing would always pass")
    return pl.concat(found).sort(KEY, "input")
