"""The classes within which observations are comparable: |delta| x days to expiration x activity."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import polars as pl

DELTA_EDGES = (0.1, 0.25, 0.4, 0.6)
"""|delta| classes: below 0.1, to 0.25, to 0.4, to 0.6, above; a sixth holds contracts without a delta."""

DTE_EDGES = (7, 30, 90)
"""Days-to-expiration classes: up to 7, 30, 90, beyond."""

ACTIVITY_EDGES = (1.0, 10.0, 100.0)
"""Expected contracts a session before the rest of the chain is considered: below 1, 10, 100, beyond; a fifth is new."""

TICKER_ACTIVITY_EDGES = (1_000.0, 10_000.0, 100_000.0)
"""Mean option contracts a session of an underlying: below 1,000, 10,000, 100,000, beyond."""

PROFILE_DELTA_EDGES = (0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.65, 0.8)
PROFILE_DTE_EDGES = (0, 1, 4, 9, 20, 45, 90)
"""Finer classes over which a chain's usual volume is profiled: it moves along strikes and towards expiration."""

TICKER_CLASS_NAMES = ("under 1,000", "1,000-10,000", "10,000-100,000", "over 100,000")
"""How the classes of `TICKER_ACTIVITY_EDGES` are called, in contracts a day."""

DELTA_CLASSES = len(DELTA_EDGES) + 2
DTE_CLASSES = len(DTE_EDGES) + 1
ACTIVITY_CLASSES = len(ACTIVITY_EDGES) + 2
PROFILE_DELTA_CLASSES = len(PROFILE_DELTA_EDGES) + 2
PROFILE_DTE_CLASSES = len(PROFILE_DTE_EDGES) + 1
BUCKETS = DELTA_CLASSES * DTE_CLASSES * ACTIVITY_CLASSES
TICKER_CLASSES = len(TICKER_ACTIVITY_EDGES) + 1

NEW = ACTIVITY_CLASSES - 1
"""Activity class of contracts too young to have a history of their own."""


def delta_class(delta: pl.Expr, edges: tuple[float, ...] = DELTA_EDGES) -> pl.Expr:
    """Class of |delta| by `edges`, the last one where it is unknown."""
    above = pl.sum_horizontal(*((delta.abs() >= edge).cast(pl.Int16) for edge in edges))
    return pl.when(delta.is_null()).then(pl.lit(len(edges) + 1, dtype=pl.Int16)).otherwise(above)


def dte_class(dte: pl.Expr, edges: tuple[int, ...] = DTE_EDGES) -> pl.Expr:
    """Class of days to expiration by `edges`."""
    return pl.sum_horizontal(*((dte > edge).cast(pl.Int16) for edge in edges))


def activity_class(expected: npt.NDArray[np.float64], is_new: npt.NDArray[np.bool_]) -> npt.NDArray[np.int16]:
    """Class of a contract's expected count: 0 to 3 as `ACTIVITY_EDGES`, `NEW` for new listings."""
    classes = np.searchsorted(ACTIVITY_EDGES, expected, side="right").astype(np.int16)
    return np.where(is_new, np.int16(NEW), classes)


def ticker_class(volume_mean: pl.Expr) -> pl.Expr:
    """Activity class of an underlying from its mean daily option volume."""
    return pl.sum_horizontal(*((volume_mean >= edge).cast(pl.Int8) for edge in TICKER_ACTIVITY_EDGES)).cast(pl.Int8)
