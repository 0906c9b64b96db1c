"""What a contract should have traded, given its history and the rest of its chain today, and how far off it was.

A busy ticker is not news, a busy line in a quiet chain is. The expected count of a contract is

    mean of its history, shrunk to the contracts like it in the same chain
      x (rest of the chain today + c) / (rest of the chain expected + c)

where the rest leaves out the contract and its neighbouring strikes, so that a ladder does not explain itself away.
The distance is the signed root deviance of a negative binomial (McCullagh and Nelder, Generalized Linear Models, 1989,
section 2.4): unlike a p-value it does not underflow, so extremes keep their order.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import polars as pl

from flowlake.detect import buckets

Floats = npt.NDArray[np.float64]
Index = npt.NDArray[np.intp]

SHRINKAGE_SESSIONS = 20.0
"""A contract's own history counts against its bucket as its sessions against this many."""

REST_PSEUDO_CONTRACTS = 25.0
"""Damps the rest-of-chain factor of chains that hardly trade."""

SMALLEST_FACTOR = 0.25
"""A chain asleep does not make an ordinary trade remarkable beyond this."""

NEIGHBOURS = 2
"""Strikes on either side left out of the rest of the chain together with the contract."""

NEW_LISTING_SESSIONS = 5
"""Contracts listed for fewer sessions are judged among new listings."""

MIN_BASELINE_SESSIONS = 5
"""An underlying with fewer sessions of history is not judged at all: silent rather than wrong."""

SHORT_DATED_DAYS = 60
OTM_DELTA = 0.45
LEVERAGE_WEIGHTS = (4.0, 2.0, 1.0)
"""Prior weight of a line for a buyer with short-lived knowledge: out of the money and short-dated (2 to 60 days), out
of the money otherwise, and the rest. A weight, not a gate: any line can still lead."""

SMALLEST_MEAN = 0.02
"""Expected contracts a session of a line that never trades in a chain that never trades."""


def lines(chains: pl.DataFrame, contract_baselines: pl.DataFrame, ticker_baselines: pl.DataFrame) -> pl.DataFrame:
    """The chain's testable contracts with their history: one row each, sorted by underlying, right, expiration, strike.

    Adjusted contracts are left out (their counts belong to another deliverable), and so are underlyings with fewer than
    `MIN_BASELINE_SESSIONS` sessions of history, or as few since a split listed all their contracts anew. Adds `delta`
    (ours, else the vendor's), `new_listing`, `delta_class`, `dte_class`, `weight` (see `LEVERAGE_WEIGHTS`), and
    `opened`: yesterday's open-interest rise, null where unknown or larger than the volume that could have caused it.
    `ticker_day_mean` is a whole day's volume also where the other means are rescaled to a part of it.
    """
    history = contract_baselines.drop("session", "underlying", "available_at", "origin")
    settled = pl.col("sessions_since_split").fill_null(MIN_BASELINE_SESSIONS) >= MIN_BASELINE_SESSIONS
    tickers = ticker_baselines.filter(settled & (pl.col("n_20") >= MIN_BASELINE_SESSIONS)).select(
        "underlying",
        "previous_spot",
        "return_std",
        "sessions_since_split",
        ticker_volume_mean="volume_mean_20",
        ticker_day_mean="volume_mean_20",
        ticker_call_mean="call_volume_mean_20",
        ticker_put_mean="put_volume_mean_20",
        ticker_premium_mean="premium_mean_usd_20",
    )
    rise = pl.col("open_interest") - pl.col("previous_open_interest")
    return (
        _testable(chains, tickers)
        .join(tickers, on="underlying", how="left", maintain_order="left")
        .join(history, on="contract_id", how="left", maintain_order="left")
        .with_columns(
            delta=pl.coalesce("delta", "vendor_delta").cast(pl.Float64),
            new_listing=(pl.col("listing_age") < NEW_LISTING_SESSIONS) & ~pl.col("listed_before_window"),
            # Positions open only by trading: a larger rise is bookkeeping (a split, an adjustment, a data error).
            opened=pl.when(rise <= pl.col("previous_volume")).then(pl.max_horizontal(rise, 0)),
        )
        .with_columns(
            delta_class=buckets.delta_class(pl.col("delta")),
            dte_class=buckets.dte_class(pl.col("dte")),
            weight=_leverage_weight(),
        )
    )


def _testable(chains: pl.DataFrame, tickers: pl.DataFrame) -> pl.DataFrame:
    """Contracts of `tickers` that are not adjusted, in the order of `lines`: every column is moved only once."""
    order = ("underlying", "right", "expiration", "strike", "contract_id")
    rows = (
        chains.select(*order, "is_adjusted", row=pl.int_range(pl.len()))
        .filter(~pl.col("is_adjusted"))
        .join(tickers, on="underlying", how="semi")
        .sort(order)
    )
    return chains[rows["row"]]


def _leverage_weight() -> pl.Expr:
    short_otm, otm, other = LEVERAGE_WEIGHTS
    is_otm = (pl.col("delta").abs() < OTM_DELTA).fill_null(False)
    return (
        pl.when(is_otm & pl.col("dte").is_between(2, SHORT_DATED_DAYS))
        .then(short_otm)
        .when(is_otm)
        .then(otm)
        .otherwise(other)
    )


def expect(
    frame: pl.DataFrame,
    observed: str,
    mean: str,
    n: str,
    name: str,
    profile: str | None = None,
    smallest_factor: float = SMALLEST_FACTOR,
) -> pl.DataFrame:
    """`frame` (as `lines` returns it) with `{name}_expected`, `{name}_deviance` and `{name}_bucket`.

    `observed` is the counted column (null: not judged, deviance null), `mean` and `n` its trailing mean and sessions,
    `profile` the usual count of contracts standing where this one stands today, if known; the rest-of-chain factor is
    held above `smallest_factor`.
    The deviance is 0 where no more than expected was observed.
    """
    chain = frame["underlying"].rle_id().to_numpy().astype(np.intp)
    series = (
        frame.select(pl.struct("underlying", "right", "expiration").rle_id()).to_series().to_numpy().astype(np.intp)
    )
    counted = frame[observed].cast(pl.Float64).to_numpy()
    known = ~np.isnan(counted)
    seen = np.where(known, counted, 0.0)
    usual = np.where(known, _usual(frame, mean, n, profile), 0.0)
    rest_seen = _per_group(chain, seen) - _neighbourhood(series, seen)
    rest_usual = _per_group(chain, usual) - _neighbourhood(series, usual)
    factor = (rest_seen + REST_PSEUDO_CONTRACTS) / (rest_usual + REST_PSEUDO_CONTRACTS)
    expected = usual * np.maximum(factor, smallest_factor)
    activity = buckets.activity_class(usual, frame["new_listing"].fill_null(True).to_numpy())
    deviance = root_deviance(seen, expected, _dispersion(frame, usual, activity))
    bucket = (
        frame["delta_class"].to_numpy().astype(np.int16) * buckets.DTE_CLASSES + frame["dte_class"].to_numpy()
    ) * buckets.ACTIVITY_CLASSES + activity
    return frame.with_columns(
        pl.Series(f"{name}_expected", np.where(known, expected, np.nan)).fill_nan(None),
        pl.Series(f"{name}_deviance", np.where(known, deviance, np.nan)).fill_nan(None),
        pl.Series(f"{name}_bucket", bucket.astype(np.int16)),
    )


def root_deviance(observed: Floats, expected: Floats, dispersion: Floats) -> Floats:
    """Signed root deviance sqrt(2 [x ln(x/mu) - (x+k) ln((x+k)/(mu+k))]) where x > mu, else 0.

    `dispersion` is k of the negative binomial with variance mu + mu^2 / k.
    """
    above = observed > expected
    x, mu, k = observed[above], expected[above], dispersion[above]
    squared = 2.0 * (x * np.log(x / mu) - (x + k) * np.log((x + k) / (mu + k)))
    result = np.zeros_like(observed)
    result[above] = np.sqrt(np.maximum(squared, 0.0))
    return result


def _usual(frame: pl.DataFrame, mean: str, n: str, profile: str | None) -> Floats:
    """Trailing mean shrunk to the profile, or else to the contracts of the same side, |delta| and expiration class."""
    history = (pl.col(n) > 0) & pl.col(mean).is_not_null()
    known = pl.when(history).then(pl.col(mean))
    alike = frame.select("delta_class", "dte_class", own=known, side=pl.struct("underlying", "right").rle_id())
    classes = (pl.col("side").cast(pl.Int64) * buckets.DELTA_CLASSES + pl.col("delta_class")) * buckets.DTE_CLASSES
    group = alike.select((classes + pl.col("dte_class")).alias("group"))["group"].to_numpy()
    own = alike["own"].to_numpy()
    bucket_mean = _group_mean(group, own)
    bucket_mean = np.where(
        np.isnan(bucket_mean), _group_mean(alike["side"].to_numpy().astype(np.intp), own), bucket_mean
    )
    if profile is not None:
        bucket_mean = np.where(frame[profile].is_null().to_numpy(), bucket_mean, frame[profile].to_numpy())
    bucket_mean = np.nan_to_num(bucket_mean, nan=0.0)
    sessions = frame[n].fill_null(0).to_numpy().astype(np.float64)
    shrunk = (sessions * np.nan_to_num(own) + SHRINKAGE_SESSIONS * bucket_mean) / (sessions + SHRINKAGE_SESSIONS)
    return np.maximum(shrunk, SMALLEST_MEAN)


def _group_mean(group: npt.NDArray[np.integer], values: Floats) -> Floats:
    known = ~np.isnan(values)
    count = np.bincount(group, weights=known)
    total = np.bincount(group, weights=np.where(known, values, 0.0))
    with np.errstate(invalid="ignore"):
        return (total / count)[group]


def _per_group(group: Index, values: Floats) -> Floats:
    totals: Floats = np.bincount(group, weights=values, minlength=1).astype(np.float64)
    return totals[group]


def _neighbourhood(series: Index, values: Floats) -> Floats:
    """Sum over each row and the `NEIGHBOURS` rows on either side within its contiguous series."""
    if not len(values):
        return values
    starts = np.flatnonzero(np.diff(series, prepend=-1))
    ends = np.append(starts[1:], len(series))
    rows = np.arange(len(series))
    low = np.maximum(rows - NEIGHBOURS, starts[series])
    high = np.minimum(rows + NEIGHBOURS + 1, ends[series])
    cumulated = np.concatenate([[0.0], np.cumsum(values)])
    return cumulated[high] - cumulated[low]


def _dispersion(frame: pl.DataFrame, usual: Floats, activity: npt.NDArray[np.int16]) -> Floats:
    """Negative-binomial k per activity class by moments over trailing volumes, so that thin lines borrow strength."""
    moments = frame.select(
        pl.col("volume_mean_20").cast(pl.Float64), variance=pl.col("volume_std_20").cast(pl.Float64) ** 2
    )
    mean, variance = moments["volume_mean_20"].to_numpy(), moments["variance"].to_numpy()
    usable = ~np.isnan(mean) & ~np.isnan(variance)
    square = np.bincount(activity[usable], weights=mean[usable] ** 2, minlength=buckets.ACTIVITY_CLASSES)
    excess = np.bincount(
        activity[usable], weights=np.maximum(variance - mean, 0.0)[usable], minlength=buckets.ACTIVITY_CLASSES
    )
    k = np.clip(square / np.maximum(excess, 1e-9), 0.05, 5.0)
    k[square == 0] = 0.2
    return k[activity]
