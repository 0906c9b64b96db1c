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

DELTA_CLASSES = len(DELTA_EDGES) + 2
DTE_CLASSES = len(DTE_EDGES) + 1
ACTIVITY_CLASSES = len(ACTIVITY_EDGES) + 2
BUCKETS = DELTA_CLASSES * DTE_CLASSES * ACTIVITY_CLASSES
TICKER_CLASSES = len(TICKER_ACTIVITY_EDGES) + 1

NEW = ACTIVITY_CLASSES - 1
"""Activity class of contracts too young to have a history of their own."""


def delta_class(delta: pl.Expr) -> pl.Expr:
    """Class of |delta|: 0 to 4 as `DELTA_EDGES`, 5 where it is unknown."""
    size = delta.abs()
    return pl.sum_horizontal(*((size >= edge).cast(pl.Int16) for edge in DELTA_EDGES), ignore_nulls=False).fill_null(
        DELTA_CLASSES - 1
    )


def dte_class(dte: pl.Expr) -> pl.Expr:
    """Class of days to expiration: 0 to 3 as `DTE_EDGES`."""
    return pl.sum_horizontal(*((dte > edge).cast(pl.Int16) for edge in DTE_EDGES))


def activity_class(expected: npt.NDArray[np.float64], is_new: npt.NDArray[np.bool_]) -> npt.NDArray[np.int16]:
    """Class of a contract's expected count: 0 to 3 as `ACTIVITY_EDGES`, `NEW` for new listings."""
    classes = np.searchsorted(ACTIVITY_EDGES, expected, side="right").astype(np.int16)
    return np.where(is_new, np.int16(NEW), classes)


def ticker_class(volume_mean: pl.Expr) -> pl.Expr:
    """Activity class of an underlying from its mean daily option volume."""
    return pl.sum_horizontal(*((volume_mean >= edge).cast(pl.Int8) for edge in TICKER_ACTIVITY_EDGES)).cast(pl.Int8)
