"""Sums and ratios of features: the same bytes however the work is split, null where nothing is known."""

from __future__ import annotations

import polars as pl

KEY = "underlying"


def exact_sum(values: pl.Expr, digits: int = 2) -> pl.Expr:
    """Sum of `values` rounded to `digits` decimals: whole numbers add up exactly in any order."""
    scale = 10.0**digits
    return (values * scale).round().cast(pl.Int64).sum() / scale


def ratio(numerator: pl.Expr, denominator: pl.Expr) -> pl.Expr:
    """`numerator / denominator`, null where the denominator is not positive."""
    return pl.when(denominator > 0).then(numerator / denominator)


def known(values: pl.Expr, total: pl.Expr) -> pl.Expr:
    """`total`, or null where none of `values` is known (a sum over nothing is zero)."""
    return pl.when(values.is_not_null().any()).then(total)
