"""A volatility surface in four numbers per tenor: at-the-money level, 25-delta skew and curvature, slope in time.

Each expiration's out-of-the-money smile is fitted by a parabola in standardised log-moneyness
z = ln(K/F) / (atm sqrt(T)), weighted by what each quote knows about volatility (vega over spread) and down-weighting
lines that miss it; the at-the-money variance is then interpolated linearly in time, skew and curvature likewise.
Cheap (a 3 x 3 system per expiration) and robust (no single quote moves it); it does not exclude arbitrage.
"""

from __future__ import annotations

import numpy as np
import polars as pl

from flowlake.options.black import DAYS_PER_YEAR, FloatArray

TENORS = (7, 30, 60, 90)
"""Days at which the surface is read."""

REACH = 2.5
"""Deviations from the forward within which strikes enter the fit."""
QUARTER_DELTA = 0.6744897501960817
"""Standard normal quantile of 0.75."""

_KEYS = ("underlying", "expiration", "settles_at")
_SHORTEST_YEARS = 1.0 / DAYS_PER_YEAR
_EXTENSION = 2.0  # a tenor is read beyond the listed expirations up to this factor
_ROUNDS = 6
_NARROWEST = 0.01  # dollars
_PRIOR = np.diag([1e-12, 1e-3, 1e-3])  # pulls slope and curvature to zero where strikes do not tell them
_KINK = 2.0  # of the typical miss; beyond it weights fall with the square, so that a wild line loses its pull
_QUARTER_REACH = 0.35  # deviations to both sides that strikes must cover for skew and curvature

SCHEMA = pl.Schema(
    {
        "underlying": pl.String(),
        "tenor_days": pl.Int16(),
        "atm_volatility": pl.Float64(),
        "risk_reversal_25": pl.Float64(),
        "butterfly_25": pl.Float64(),
        "term_slope": pl.Float64(),
        "smile_error": pl.Float64(),
        "strikes_used": pl.UInt32(),
    }
)


def implied_surface(chain: pl.DataFrame, *, tenors: tuple[int, ...] = TENORS) -> pl.DataFrame:
    """Surface of every underlying of a priced chain, one row per underlying and tenor, sorted.

    `chain` is what `price_chain` returns: `underlying`, `expiration`, `years`, `strike`, `right`, `forward`,
    `implied_volatility`, `vega`, and, if present, `settles_at` and `spread`.

    Columns: `underlying`, `tenor_days`, `atm_volatility` (annualised, decimal, at the forward), `risk_reversal_25`
    (volatility of the 25-delta call less that of the 25-delta put), `butterfly_25` (their mean less at the money),
    `term_slope` (change of at-the-money volatility per year of maturity, at the tenor), `smile_error` (weighted RMS
    miss of the fit, volatility) and `strikes_used`. Null where the chain does not say: tenors further than a factor of
    two from any expiration, skew where strikes reach less than 0.35 deviations to either side.
    """
    smiles = fit_smiles(chain)
    if smiles.is_empty():
        return SCHEMA.to_frame()
    parts = [_at_tenor(smiles, days) for days in tenors]
    return pl.concat(parts).select(SCHEMA.names()).cast(SCHEMA).sort("underlying", "tenor_days")


def fit_smiles(chain: pl.DataFrame) -> pl.DataFrame:
    """One parabola per expiration, sorted.

    Columns: the keys, `years`, `atm_volatility`, `risk_reversal_25`, `butterfly_25`, `smile_error`, `strikes_used`.
    """
    points = _points(chain)
    if points.is_empty():
        return points
    groups = points.group_by(_KEYS, maintain_order=True).agg(
        pl.col("years", "nearest").first(), pl.col("z").min().alias("low"), pl.col("z").max().alias("high"), pl.len()
    )
    group = points["group"].to_numpy()
    z, volatility, weight = (points[name].to_numpy() for name in ("z", "implied_volatility", "weight"))
    coefficients, error = _fit(group, groups.height, z, volatility, weight)

    years, scale = groups["years"].to_numpy(), groups["nearest"].to_numpy()
    call, put = (_quarter_delta_volatility(coefficients, scale, years, side) for side in (1.0, -1.0))
    covered = ((groups["low"] < -_QUARTER_REACH) & (groups["high"] > _QUARTER_REACH)).to_numpy()
    atm = coefficients[:, 0]
    return groups.select(
        *_KEYS,
        "years",
        pl.Series("atm_volatility", np.where(atm > 0, atm, np.nan)).fill_nan(None),
        pl.Series("risk_reversal_25", np.where(covered, call - put, np.nan)).fill_nan(None),
        pl.Series("butterfly_25", np.where(covered, 0.5 * (call + put) - atm, np.nan)).fill_nan(None),
        pl.Series("smile_error", error),
        pl.col("len").alias("strikes_used"),
    ).filter(pl.col("atm_volatility").is_not_null())


def _points(chain: pl.DataFrame) -> pl.DataFrame:
    """Out-of-the-money rows with a volatility: keys, `group`, `years`, `nearest`, `z`, volatility, weight."""
    settles_at = pl.col("settles_at") if "settles_at" in chain.columns else pl.col("years")
    spread = pl.col("spread") if "spread" in chain.columns else pl.lit(None, pl.Float64)
    distance = (pl.col("strike") / pl.col("forward")).log()
    out_of_the_money = pl.when(pl.col("strike") >= pl.col("forward")).then(pl.lit("C")).otherwise(pl.lit("P"))
    rows = (
        chain.filter(
            pl.col("implied_volatility").is_not_null()
            & (pl.col("vega") > 0)
            & (pl.col("years") >= _SHORTEST_YEARS)
            & (pl.col("right") == out_of_the_money)
        )
        .select(
            "underlying",
            "expiration",
            "strike",
            settles_at=settles_at,
            years=pl.col("years").median().over("underlying", "expiration", settles_at),
            implied_volatility=pl.col("implied_volatility").cast(pl.Float64),
            distance=distance,
            # Without a quote, a trade is as good as a spread of a tenth of its price.
            weight=(pl.col("vega").cast(pl.Float64) / spread.fill_null(0.1 * pl.col("price") + 0.02).clip(_NARROWEST))
            ** 2,
        )
        .sort(*_KEYS, "strike")
    )
    nearest = pl.col("implied_volatility").sort_by(pl.col("distance").abs()).head(3).median().over(_KEYS)
    return (
        rows.with_columns(nearest=nearest)
        .with_columns(z=pl.col("distance") / (pl.col("nearest") * pl.col("years").sqrt()))
        .filter(pl.col("z").abs() <= REACH)
        .with_columns(group=pl.struct(_KEYS).rank("dense").cast(pl.Int64) - 1)
        .sort("group", "strike")
    )


def _fit(
    group: np.ndarray, groups: int, z: FloatArray, volatility: FloatArray, weight: FloatArray
) -> tuple[FloatArray, FloatArray]:
    """Coefficients (1, z, z^2) of every group and the weighted RMS miss, by reweighted least squares."""
    basis = np.stack([np.ones_like(z), z, z * z])
    coefficients, error, robust = np.zeros((groups, 3)), np.zeros(groups), np.ones_like(z)
    for _ in range(_ROUNDS):
        w = weight * robust
        w = w / np.bincount(group, w, groups)[group]
        moments = np.array([[np.bincount(group, w * a * b, groups) for b in basis] for a in basis])
        targets = np.array([np.bincount(group, w * a * volatility, groups) for a in basis])
        system = np.moveaxis(moments, -1, 0) + _PRIOR
        coefficients = np.linalg.solve(system, targets.T[..., None])[..., 0]
        miss = np.abs(volatility - np.einsum("nk,kn->n", coefficients[group], basis))
        typical = np.bincount(group, w * miss, groups)
        robust = np.minimum(1.0, _KINK * typical[group] / np.maximum(miss, 1e-12)) ** 2
        error = np.sqrt(np.bincount(group, w * miss * miss, groups))
    return coefficients, error


def _quarter_delta_volatility(
    coefficients: FloatArray, scale: FloatArray, years: FloatArray, side: float
) -> FloatArray:
    """Volatility where the forward delta is 0.25 (calls, `side` 1) or -0.25 (puts, -1), by fixed-point iteration."""
    root_years = np.sqrt(years)
    volatility = coefficients[:, 0].copy()
    for _ in range(8):
        s = volatility * root_years
        z = np.clip((side * QUARTER_DELTA * s + 0.5 * s * s) / (scale * root_years), -REACH, REACH)
        volatility = np.maximum(coefficients[:, 0] + z * (coefficients[:, 1] + z * coefficients[:, 2]), 1e-3)
    return volatility


def _at_tenor(smiles: pl.DataFrame, days: int) -> pl.DataFrame:
    """Every underlying's smiles read at one tenor, between the expirations around it."""
    at = days / DAYS_PER_YEAR
    values = ("years", "atm_volatility", "risk_reversal_25", "butterfly_25", "smile_error", "strikes_used")
    before = smiles.filter(pl.col("years") <= at).group_by("underlying").agg(pl.col(values).sort_by("years").last())
    after = smiles.filter(pl.col("years") > at).group_by("underlying").agg(pl.col(values).sort_by("years").first())
    both = smiles.select(pl.col("underlying").unique()).join(before, on="underlying", how="left")
    both = both.join(after, on="underlying", how="left", suffix="_after")
    # Beyond the listed expirations the nearest one stands in, as long as it is near.
    one_sided = [pl.coalesce(name, f"{name}_after").alias(f"{name}_1") for name in values]
    other_side = [pl.coalesce(f"{name}_after", name).alias(f"{name}_2") for name in values]
    both = both.select("underlying", *one_sided, *other_side)
    span = pl.col("years_2") - pl.col("years_1")
    share = pl.when(span > 0).then(((at - pl.col("years_1")) / span).clip(0.0, 1.0)).otherwise(0.0)

    def between(name: str) -> pl.Expr:
        return pl.col(f"{name}_1") * (1 - share) + pl.col(f"{name}_2") * share

    first, second = (pl.col(f"atm_volatility_{k}") ** 2 * pl.col(f"years_{k}") for k in (1, 2))
    inside = span > 0
    variance = pl.when(inside).then(first + (second - first) * share).otherwise(pl.col("atm_volatility_1") ** 2 * at)
    atm = (variance / at).sqrt()
    slope = ((second - first) / span - atm**2) / (2 * atm * at)
    near = (pl.col("years_2") * _EXTENSION >= at) & (pl.col("years_1") <= at * _EXTENSION)
    return both.select(
        "underlying",
        tenor_days=pl.lit(days, pl.Int16),
        atm_volatility=pl.when(near).then(atm),
        risk_reversal_25=pl.when(near).then(between("risk_reversal_25")),
        butterfly_25=pl.when(near).then(between("butterfly_25")),
        term_slope=pl.when(near & inside).then(slope),
        smile_error=pl.when(near).then(between("smile_error")),
        strikes_used=pl.min_horizontal("strikes_used_1", "strikes_used_2"),
    )
