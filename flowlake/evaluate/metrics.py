"""Figures with their intervals: recall, calibration, dose and response, lead time, stability. Frames in, frames out."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import polars as pl

from flowlake.detect.calibration import poisson_interval
from flowlake.detect.scoring import CONVICTIONS, FULL_UNIVERSE

BUDGETS = (10, 20, 50, 100)
"""Alerts a day over a universe of 6,000 names."""

Z = 1.959964


def wilson(hits: pl.Expr, n: pl.Expr) -> tuple[pl.Expr, pl.Expr]:
    """Wilson's 95 % interval of a proportion (Journal of the American Statistical Association 22, 1927)."""
    share = hits / n
    middle = (share + Z**2 / (2 * n)) / (1 + Z**2 / n)
    half = Z / (1 + Z**2 / n) * (share * (1 - share) / n + Z**2 / (4 * n**2)).sqrt()
    # Rounding must not push the ends past the proportion itself where it is 0 or 1.
    return pl.min_horizontal(middle - half, share).clip(0.0, 1.0), pl.max_horizontal(middle + half, share).clip(
        0.0, 1.0
    )


def recall(best: pl.DataFrame, by: Sequence[str] = (), budgets: Sequence[int] = BUDGETS) -> pl.DataFrame:
    """Share of episodes within each budget of a 6,000-name universe, by the columns `by`.

    `best` has one row per episode with universe_rank. Columns: *by, budget, caught, n, recall, low, high (95 %).
    """
    budget = pl.DataFrame({"budget": list(budgets)}, schema={"budget": pl.Int32})
    low, high = wilson(pl.col("caught"), pl.col("n"))
    return (
        best.join(budget, how="cross")
        .group_by(*by, "budget")
        .agg(caught=(pl.col("universe_rank") <= pl.col("budget")).sum(), n=pl.len())
        .with_columns(recall=pl.col("caught") / pl.col("n"), low=low, high=high)
        .sort(*by, "budget")
    )


def calibration(p_values: pl.DataFrame, by: Sequence[str] = ()) -> pl.DataFrame:
    """Alarms observed on undisturbed sessions against the number each conviction promises, by the columns `by`.

    `p_values` has session, p_value, one row per underlying. Columns: *by, conviction, sessions, ticker_sessions,
    nominal, observed, ratio, low, high: counts over all sessions, and the ratio with Garwood's interval, which takes
    alarms of one day as independent and is therefore too narrow where they come in clusters.
    """
    levels = pl.DataFrame(
        {
            "conviction": [name for name, _ in CONVICTIONS],
            "level": [alarms / FULL_UNIVERSE for _, alarms in CONVICTIONS],
        }
    )
    rows = (
        p_values.join(levels, how="cross")
        .group_by(*by, "conviction", "level")
        .agg(
            sessions=pl.col("session").n_unique(),
            ticker_sessions=pl.len(),
            observed=(pl.col("p_value") <= pl.col("level")).sum(),
        )
        .with_columns(nominal=pl.col("ticker_sessions") * pl.col("level"))
        .sort(*by, "level")
    )
    intervals = [poisson_interval(count) for count in rows["observed"]]
    return rows.with_columns(
        ratio=pl.col("observed") / pl.col("nominal"),
        low=pl.Series([low for low, _ in intervals], dtype=pl.Float64) / pl.col("nominal"),
        high=pl.Series([high for _, high in intervals], dtype=pl.Float64) / pl.col("nominal"),
    )


def clustered_ratios(p_values: pl.DataFrame, rng: np.random.Generator, draws: int = 2_000) -> pl.DataFrame:
    """Observed over nominal alarms with a 95 % interval from resampling whole days: conviction, ratio, low, high."""
    days = p_values.group_by("session").agg(
        pl.len().alias("n"), *((pl.col("p_value") <= a / FULL_UNIVERSE).sum().alias(name) for name, a in CONVICTIONS)
    )
    days = days.sort("session")
    picked = rng.integers(0, days.height, (draws, days.height))
    size = days["n"].to_numpy()
    rows = []
    for name, alarms in CONVICTIONS:
        count = days[name].to_numpy()
        ratios = count[picked].sum(axis=1) / (size[picked].sum(axis=1) * alarms / FULL_UNIVERSE)
        observed = count.sum() / (size.sum() * alarms / FULL_UNIVERSE)
        low, high = np.quantile(ratios, [0.025, 0.975])
        rows.append({"conviction": name, "ratio": float(observed), "low": float(low), "high": float(high)})
    return pl.DataFrame(rows)


def quantiles(p_values: pl.DataFrame) -> pl.DataFrame:
    """Points of a quantile-quantile plot of p-values against the uniform: expected, observed, both ascending."""
    ordered = np.sort(p_values["p_value"].to_numpy())
    n = len(ordered)
    at = np.unique(np.round(np.geomspace(1, n, min(200, n))).astype(int)) - 1
    return pl.DataFrame({"expected": (at + 0.5) / n, "observed": ordered[at]})


def half_detection(
    doses: pl.DataFrame, rng: np.random.Generator, budget: int = 50, by: str = "activity", draws: int = 400
) -> pl.DataFrame:
    """Per class of `by`: the size that is caught half the time, from a logistic curve in log size.

    `doses` has size, universe_rank and `by`. Columns: by, n, caught, half_size, low, high (95 %, bootstrap over
    episodes). Null where every or no episode was caught, or larger ones were not caught more often.
    """
    rows = []
    for (label,), frame in doses.sort(by, "episode_id").group_by(by, maintain_order=True):
        size = np.log10(frame["size"].to_numpy().astype(float))
        caught = (frame["universe_rank"] <= budget).to_numpy().astype(float)
        half = _half_point(size, caught)
        picked = rng.integers(0, len(size), (draws, len(size)))
        again = np.array([_half_point(size[row], caught[row]) for row in picked])
        again = again[np.isfinite(again)]
        low, high = np.quantile(again, [0.025, 0.975]) if len(again) >= draws // 2 else (np.nan, np.nan)
        rows.append(
            {
                by: label, "n": len(size), "caught": int(caught.sum()),
                "half_size": 10**half, "low": 10**low, "high": 10**high,
            }
        )  # fmt: skip
    return pl.DataFrame(rows).with_columns(pl.col(pl.Float64).fill_nan(None))


def _half_point(x: np.ndarray, y: np.ndarray) -> float:
    """Where a logistic curve fitted by Newton's method (with a light ridge, so that separated data fit) crosses 1/2."""
    if y.min(initial=1.0) == y.max(initial=0.0):
        return float("nan")
    middle = x.mean()
    design = np.column_stack([np.ones_like(x), x - middle])
    beta = np.zeros(2)
    ridge = np.diag([1e-6, 0.05])
    for _ in range(50):
        chance = 1.0 / (1.0 + np.exp(-np.clip(design @ beta, -30, 30)))
        gradient = design.T @ (y - chance) - ridge @ beta
        step = np.linalg.solve(design.T @ (design * (chance * (1 - chance))[:, None]) + ridge, gradient)
        beta = beta + np.clip(step, -5.0, 5.0)
        if np.abs(step).max() < 1e-8:
            break
    if beta[1] <= 0:
        return float("nan")
    crossing = middle - beta[0] / beta[1]
    # A crossing a factor of ten outside the doses tried is not known.
    return float(crossing) if x.min() - 1 <= crossing <= x.max() + 1 else float("nan")


def lead_times(ranked: pl.DataFrame, plans: pl.DataFrame, numbers: pl.DataFrame, budget: int = 50) -> pl.DataFrame:
    """Sessions from an episode's first alert to its news (the session after its last): lead_sessions, episodes.

    `ranked` has episode_id, session, universe_rank; `numbers` maps session to number. An alert at the close of the last
    trading session leads by one: it is there before the news.
    """
    first = (
        ranked.filter(pl.col("universe_rank") <= budget)
        .join(numbers, on="session")
        .group_by("episode_id")
        .agg(seen=pl.col("number").min())
    )
    return (
        first.join(plans.select("episode_id", "first", "last"), on="episode_id")
        .with_columns(lead_sessions=pl.col("last") + 1 - pl.col("seen"))
        .group_by("lead_sessions")
        .agg(episodes=pl.len())
        .sort("lead_sessions")
    )


def jaccard(scores: pl.DataFrame, other: pl.DataFrame, share: float = 0.05) -> float:
    """Mean over sessions of the overlap of the two daily top lists (`share` of the names), intersection over union."""

    def top(frame: pl.DataFrame) -> pl.DataFrame:
        place = pl.col("score").rank("ordinal", descending=True).over("session")
        return frame.sort("session", "underlying").filter(place <= share * pl.len().over("session"))

    both = (
        top(scores)
        .select("session", "underlying", a=True)
        .join(
            top(other).select("session", "underlying", b=True), on=["session", "underlying"], how="full", coalesce=True
        )
    )
    overlap = both.group_by("session").agg(((pl.col("a") & pl.col("b")).fill_null(False)).mean().alias("overlap"))
    # Sorted, so that the order in which the mean is summed does not show in its last digit.
    overlap = overlap.sort("session")
    return float(overlap["overlap"].mean())  # pyright: ignore[reportArgumentType]
