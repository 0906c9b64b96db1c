"""Discount rates: flat, given by pillars, or implied by the box spreads inside European chains."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import polars as pl

from flowlake.options.black import FloatArray

DEFAULT_RATE = 0.04
"""Continuously compounded, where nothing better is known."""

SHORTEST_BOX_YEARS = 30.0 / 365.0
"""Shorter boxes are dominated by the spread: 77 basis points RMS at 7 days, 11 at 30, 3 at 182 (simulated SPX)."""
_MIN_STRIKES = 8
_ROUNDS = 6
_KINK = 1.5  # residuals beyond this many half-widths are down-weighted (Huber 1964)


@dataclass(frozen=True)
class RateCurve:
    """Continuously compounded zero rates at `years`, linear between pillars and flat beyond them."""

    years: tuple[float, ...] = (1.0,)
    rates: tuple[float, ...] = (DEFAULT_RATE,)

    @classmethod
    def flat(cls, rate: float) -> RateCurve:
        """The same rate for every term."""
        return cls((1.0,), (rate,))

    def __call__(self, years: FloatArray) -> FloatArray:
        """Zero rate for every term."""
        return np.interp(years, self.years, self.rates)


def box_curve(pairs: pl.DataFrame, fallback: RateCurve | None = None) -> RateCurve:
    """Rates implied by European chains: minus the slope of C - P in the strike is the discount factor.

    `pairs` has `underlying`, `expiration`, `settles_at`, `years`, `strike`, `call`, `put` (mids) and `width` (sum of
    both spreads) of European options alone. Every expiration of at least 30 days and 8 strikes is fitted by weighted
    least squares, residuals beyond the quotes' own width down-weighted; expirations are averaged per term with
    weights of their precision. Where there is none, `fallback` (flat by default) is returned.
    """
    keys = ("underlying", "expiration", "settles_at")
    ample = pairs.filter(pl.col("years") >= SHORTEST_BOX_YEARS).filter(pl.len().over(keys) >= _MIN_STRIKES)
    if ample.is_empty():
        return fallback or RateCurve()
    half = pl.max_horizontal(pl.col("width") / 2, pl.lit(0.005))
    rows = ample.with_columns(y=pl.col("call") - pl.col("put"), half=half, weight=1 / half**2)
    fitted = rows
    for _ in range(_ROUNDS):
        fitted = _fit_lines(rows, keys)
        miss = (pl.col("y") - pl.col("level") - pl.col("slope") * pl.col("x")).abs() / pl.col("half")
        rows = fitted.select(
            *keys,
            "years",
            "strike",
            "y",
            "half",
            weight=pl.min_horizontal(_KINK / miss, pl.lit(1.0)) / pl.col("half") ** 2,
        )
    terms = (
        fitted.filter((pl.col("slope") < 0) & (pl.col("spread_x") > 0))
        .group_by(keys)
        .agg(pl.col("years", "slope", "spread_x").first())
        .select(
            "years",
            rate=-(-pl.col("slope")).log() / pl.col("years"),
            precision=pl.col("spread_x") * pl.col("years") ** 2,
        )
        .group_by(pl.col("years").round(6))
        .agg((pl.col("rate") * pl.col("precision")).sum() / pl.col("precision").sum())
        .filter(pl.col("rate").is_between(-0.05, 0.25))
        .sort("years")
    )
    if terms.is_empty():
        return fallback or RateCurve()
    return RateCurve(tuple(terms["years"]), tuple(terms["rate"]))


def _fit_lines(rows: pl.DataFrame, keys: tuple[str, ...]) -> pl.DataFrame:
    """Weighted line y = level + slope x per group, x the strike less its weighted mean."""
    w = pl.col("weight")

    def total(value: pl.Expr) -> pl.Expr:
        return (value * w).sum().over(keys)

    centred = rows.with_columns(x=pl.col("strike") - total(pl.col("strike")) / w.sum().over(keys))
    return centred.with_columns(
        spread_x=total(pl.col("x") ** 2),
        level=total(pl.col("y")) / w.sum().over(keys),
        slope=total(pl.col("x") * pl.col("y")) / total(pl.col("x") ** 2),
    )
