"""Empirical nulls: how often trailing sessions, labelled by nobody, showed something at least as extreme.

Contract statistics come as histograms per bucket (CALIBRATION_BINS), ticker statistics as plain values. Both become
conformal p-values, (1 + number at least as extreme) / (n + 1), continued beyond the data by a generalised Pareto tail
fitted with probability-weighted moments (Hosking and Wallis, Technometrics 29, 1987).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import polars as pl

from flowlake.detect import buckets

Floats = npt.NDArray[np.float64]

BIN_WIDTH = 0.05
BINS = 481
"""Bins 1..480 hold deviances of (0, 24]; bin 0 everything not above expectation; the last one is open."""

SMALLEST_BUCKET = 2_000
"""A bucket with fewer trailing contracts borrows the null of all buckets of its activity class, then of the market."""

TAIL_SHARE = 0.01
TAIL_ROWS = 50
"""A tail is fitted on the top 1 % (at least this many rows) and used where fewer than this many rows lie beyond."""

LARGEST_SHAPE = 0.9


@dataclass(frozen=True)
class LineNull:
    """Null of one contract statistic: exceedance counts per bucket and bin edge, sample sizes, fitted tails."""

    n: Floats
    exceeding: Floats
    threshold: Floats
    share: Floats
    shape: Floats
    scale: Floats


def histogram(frame: pl.DataFrame, name: str) -> pl.DataFrame:
    """Counts of `{name}_deviance` by bucket and bin: statistic, bucket, bin, contracts."""
    counts = (
        frame.lazy()
        .filter(pl.col(f"{name}_deviance").is_not_null())
        .select(bucket=pl.col(f"{name}_bucket"), bin=_bin(pl.col(f"{name}_deviance")))
        .group_by("bucket", "bin")
        .agg(contracts=pl.len().cast(pl.Int32))
        .sort("bucket", "bin")
        .collect()
    )
    return counts.select(pl.lit(name).alias("statistic"), "bucket", "bin", "contracts")


def _bin(deviance: pl.Expr) -> pl.Expr:
    return (deviance / BIN_WIDTH).ceil().clip(0, BINS - 1).cast(pl.Int16)


def line_null(bins: pl.DataFrame, name: str) -> LineNull | None:
    """The null of statistic `name` from trailing CALIBRATION_BINS; None where no session has been recorded yet."""
    rows = bins.filter(pl.col("statistic") == name)
    if rows.is_empty():
        return None
    counts = np.zeros((buckets.BUCKETS, BINS))
    np.add.at(counts, (rows["bucket"].to_numpy(), rows["bin"].to_numpy()), rows["contracts"].to_numpy())
    counts = _borrow(counts)
    exceeding = np.cumsum(counts[:, ::-1], axis=1)[:, ::-1]
    n = exceeding[:, 0]
    threshold, share, shape, scale = _binned_tails(counts, exceeding, n)
    return LineNull(n, exceeding, threshold, share, shape, scale)


def _borrow(counts: Floats) -> Floats:
    grid = counts.reshape(-1, buckets.ACTIVITY_CLASSES, BINS)
    by_activity = np.broadcast_to(grid.sum(axis=0), grid.shape).reshape(counts.shape)
    market = np.broadcast_to(counts.sum(axis=0), counts.shape)
    borrowed = np.where((by_activity.sum(axis=1) >= SMALLEST_BUCKET)[:, None], by_activity, market)
    return np.where((counts.sum(axis=1) >= SMALLEST_BUCKET)[:, None], counts, borrowed)


def _binned_tails(counts: Floats, exceeding: Floats, n: Floats) -> tuple[Floats, Floats, Floats, Floats]:
    """Generalised Pareto tails per bucket: threshold, share of rows beyond it, shape, scale."""
    wanted = np.maximum(TAIL_ROWS, TAIL_SHARE * n)[:, None]
    first = np.maximum((exceeding >= wanted).sum(axis=1), 1)
    edges = (np.arange(BINS) - 1) * BIN_WIDTH
    middle = edges + BIN_WIDTH / 2
    threshold: Floats = edges[np.minimum(first, BINS - 1)].astype(np.float64)
    beyond = np.arange(BINS)[None, :] >= first[:, None]
    weights = np.where(beyond, counts, 0.0)
    total = weights.sum(axis=1)
    excess = np.where(beyond, middle[None, :] - threshold[:, None], 0.0)
    # Share of the tail strictly above a bin, plus half its own: the survival function at the bin's middle.
    survival = (np.cumsum(weights[:, ::-1], axis=1)[:, ::-1] - weights / 2) / np.maximum(total, 1.0)[:, None]
    mean = (weights * excess).sum(axis=1) / np.maximum(total, 1.0)
    weighted = (weights * excess * survival).sum(axis=1) / np.maximum(total, 1.0)
    shape, scale = _pareto(mean, weighted)
    return threshold, total / np.maximum(n, 1.0), shape, scale


def _pareto(mean: Floats, weighted: Floats, smallest_shape: float = 0.0) -> tuple[Floats, Floats]:
    """Shape and scale from E[X] and E[X S(X)]; a shape held above 0 leaves no event impossible."""
    mean = np.maximum(mean, 1e-9)
    shape = np.clip(2.0 - mean / np.maximum(mean - 2.0 * weighted, 1e-9), smallest_shape, LARGEST_SHAPE)
    return shape, mean * (1.0 - shape)


def _pareto_survival(excess: Floats, shape: Floats, scale: Floats) -> Floats:
    ratio = np.maximum(excess, 0.0) / scale
    with np.errstate(divide="ignore", invalid="ignore"):
        heavy = np.exp(-np.log1p(np.maximum(shape * ratio, -1.0)) / shape)
    return np.where(np.abs(shape) > 1e-6, heavy, np.exp(-ratio))


def line_p_values(frame: pl.DataFrame, name: str, null: LineNull | None) -> pl.DataFrame:
    """`frame` with `{name}_p` and `{name}_null_n`; null where there is no statistic or no null yet."""
    if null is None:
        nothing = pl.lit(None, dtype=pl.Float64).alias(f"{name}_p")
        return frame.with_columns(nothing, pl.lit(0, dtype=pl.Int64).alias(f"{name}_null_n"))
    deviance = frame[f"{name}_deviance"].fill_null(0.0).to_numpy()
    bucket = frame[f"{name}_bucket"].to_numpy().astype(np.intp)
    at = np.clip(np.ceil(deviance / BIN_WIDTH), 0, BINS - 1).astype(np.intp)
    n = null.n[bucket]
    above = np.append(null.exceeding, np.zeros((len(null.exceeding), 1)), axis=1)
    # Within a bin the null is spread evenly; bin 0 is a single point (nothing above expectation), shared by all in it.
    part = np.where(at == 0, 1.0, np.clip(at - deviance / BIN_WIDTH, 0.0, 1.0))
    exceeding = above[bucket, at + 1] + part * (above[bucket, at] - above[bucket, at + 1])
    counted = (1.0 + exceeding) / (n + 1.0)
    tail = null.share[bucket] * _pareto_survival(
        deviance - null.threshold[bucket], null.shape[bucket], null.scale[bucket]
    )
    use_tail = (exceeding < TAIL_ROWS) & (deviance > null.threshold[bucket]) & (null.share[bucket] > 0)
    p_value = np.where(use_tail, np.maximum(tail, np.finfo(np.float64).tiny), counted)
    judged = frame[f"{name}_deviance"].is_not_null()
    return frame.with_columns(
        pl.when(judged).then(pl.Series(np.minimum(p_value, 1.0))).alias(f"{name}_p"),
        pl.Series(f"{name}_null_n", n.astype(np.int64)),
    )


def empirical_p_values(
    values: Floats,
    classes: npt.NDArray[np.integer],
    null_values: Floats,
    null_classes: npt.NDArray[np.integer],
    smallest_class: int,
    smallest_shape: float = 0.0,
) -> tuple[Floats, npt.NDArray[np.int64]]:
    """Upper-tail p-values of `values` among `null_values` of the same class, and the null's size.

    A class with fewer than `smallest_class` null rows is judged among all classes. NaN values get NaN. Beyond the
    `TAIL_ROWS` largest null values the generalised Pareto tail takes over, but never below 0.1 / (n + 1): one order of
    magnitude beyond what has been seen is as far as it is believed. Its shape is held above `smallest_shape`.
    """
    p_values = np.full(len(values), np.nan)
    sizes = np.zeros(len(values), dtype=np.int64)
    known = ~np.isnan(null_values)
    market = np.sort(null_values[known])
    for label in np.unique(classes):
        own = np.sort(null_values[known & (null_classes == label)])
        null = own if len(own) >= smallest_class else market
        rows = np.flatnonzero((classes == label) & ~np.isnan(values))
        p_values[rows] = _upper_tail(values[rows], null, smallest_shape)
        sizes[rows] = len(null)
    return p_values, sizes


def _upper_tail(values: Floats, null: Floats, smallest_shape: float) -> Floats:
    """P-values of `values` in the ascending sample `null`."""
    n = len(null)
    exceeding = n - np.searchsorted(null, values, side="left")
    counted: Floats = np.asarray((1.0 + exceeding) / (n + 1.0), dtype=np.float64)
    if n < 4 * TAIL_ROWS:
        return counted
    tail = null[-max(TAIL_ROWS, int(0.05 * n)) :]
    threshold = tail[0]
    excess = tail - threshold
    survival = (len(tail) - np.arange(len(tail)) - 0.5) / len(tail)
    shape, scale = _pareto(np.array([excess.mean()]), np.array([(excess * survival).mean()]), smallest_shape)
    fitted = len(tail) / n * _pareto_survival(values - threshold, shape, scale)
    use_tail = (exceeding < TAIL_ROWS // 5) & (values > threshold)
    return np.where(use_tail, np.maximum(fitted, 0.1 / (n + 1.0)), counted)
