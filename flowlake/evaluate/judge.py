"""Scores of undisturbed and injected sessions on one scale: evidence, totals under any weights, p-values, ranks."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import date

import numpy as np
import polars as pl

from flowlake.detect import null, scoring, sides

UNIVERSE = scoring.FULL_UNIVERSE
"""Names among which a budget of alerts a day is spent."""

Trailing = Callable[[pl.DataFrame, date], pl.DataFrame]
"""Rows of a frame from the calibration window before a session."""


def evidence(rows: pl.DataFrame, statistics: pl.DataFrame, trailing: Trailing) -> pl.DataFrame:
    """`rows` (TICKER_STATISTICS columns, any sessions) with `{factor}_u`: each factor's share among trailing sides.

    `statistics` holds the undisturbed TICKER_STATISTICS of all sessions.
    """
    parts = []
    for (session,), frame in rows.sort("session").group_by("session", maintain_order=True):
        past = trailing(statistics, session)  # pyright: ignore[reportArgumentType]
        if past.is_empty():
            continue
        parts.append(sides.compare(frame, past))
    keys = [name for name in ("episode_id", "session", "underlying", "right", "activity") if name in rows.columns]
    factors = [f"{factor.column}_u" for factor in scoring.FACTORS]
    return pl.concat(parts).select(*keys, *factors)


def contributions(factors: Sequence[scoring.Factor] = scoring.FACTORS, cap: float = scoring.CAP) -> list[pl.Expr]:
    """Each factor's part of the total, from `{factor}_u`; 0 where it could not be measured."""
    ratios = (np.log(f.strength) + (f.strength - 1.0) * pl.col(f"{f.column}_u").log() for f in factors)
    return [ratio.clip(-cap, cap).fill_null(0.0) for ratio in ratios]


def weighted(weights: Mapping[str, float], cap: float = scoring.CAP) -> list[pl.Expr]:
    """Parts of a linear score: `weights` by factor times -ln u."""
    return [w * surprise(column, cap) for column, w in weights.items()]


def surprise(column: str, cap: float = scoring.CAP) -> pl.Expr:
    """-ln u of a factor; what a factor says on average (1) where it could not be measured."""
    return (-pl.col(f"{column}_u").log()).clip(0.0, 2.0 * cap).fill_null(1.0)


def totals(weighed: pl.DataFrame, parts: Sequence[pl.Expr] | None = None) -> pl.DataFrame:
    """The stronger side of each underlying and session of `weighed` (from `evidence`): keys, right, activity, total.

    The total is the sum of `parts`, today's score by default.
    """
    keys = [name for name in ("episode_id", "session", "underlying") if name in weighed.columns]
    judged = weighed.filter(pl.col("volume_surprise_u").is_not_null())
    summed = judged.select(*keys, "right", "activity", total=pl.sum_horizontal(parts or contributions()).round(6))
    ordered = summed.sort(*keys, "total", "right", descending=[*[False] * len(keys), True, False])
    return ordered.unique(keys, keep="first", maintain_order=True)


def p_values(rows: pl.DataFrame, clean: pl.DataFrame, trailing: Trailing) -> pl.DataFrame:
    """`rows` (from `totals`) with `p_value`, among the undisturbed totals `clean` of earlier sessions, and `score`.

    `score` orders like the score of an event: by p-value, then by total.
    """
    parts = []
    for (session,), frame in rows.sort("session").group_by("session", maintain_order=True):
        past = trailing(clean, session)  # pyright: ignore[reportArgumentType]
        if past.is_empty():
            continue
        p_value, n = null.empirical_p_values(
            frame["total"].to_numpy(),
            frame["activity"].to_numpy(),
            past["total"].to_numpy(),
            past["activity"].to_numpy(),
            scoring.SMALLEST_CLASS,
        )
        parts.append(frame.with_columns(p_value=pl.Series(p_value), null_n=pl.Series(n)))
    return pl.concat(parts).with_columns(score=-pl.col("p_value").log10() + 1e-6 * pl.col("total"))


def ranks(injected: pl.DataFrame, clean: pl.DataFrame) -> pl.DataFrame:
    """`injected` (episode_id, session, underlying, score) with two ranks, 1 the best.

    `universe_rank` is the place among `UNIVERSE` names made of all undisturbed ticker-sessions of `clean` (session,
    underlying, score): 1 + UNIVERSE x the share of them with a higher score. `session_rank` is the place among the
    other underlyings of the same session, `session_names` of them. Ties count half; what a rule cannot score comes
    last.
    """
    floor = pl.col("score").fill_nan(None).fill_null(-np.inf)
    injected, clean = injected.with_columns(score=floor), clean.with_columns(score=floor)
    pool = np.sort(clean["score"].to_numpy())
    score = injected["score"].to_numpy()
    rows = injected.with_columns(universe_rank=pl.Series(1.0 + UNIVERSE * _beaten_by(score, pool) / max(len(pool), 1)))
    others = (
        rows.select("episode_id", "session", "underlying", "score")
        .join(clean.select("session", other="underlying", other_score="score"), on="session")
        .filter(pl.col("other") != pl.col("underlying"))
        .group_by("episode_id", "session")
        .agg(
            session_rank=1.0
            + (pl.col("other_score") > pl.col("score")).sum()
            + (pl.col("other_score") == pl.col("score")).sum() / 2.0,
            session_names=pl.len() + 1,
        )
    )
    return rows.join(others, on=["episode_id", "session"], how="left").sort("episode_id", "session")


def _beaten_by(score: np.ndarray, pool: np.ndarray) -> np.ndarray:
    """How many of the ascending `pool` are above each score, ties counting half."""
    above = len(pool) - np.searchsorted(pool, score, side="right")
    tied = np.searchsorted(pool, score, side="right") - np.searchsorted(pool, score, side="left")
    return above + tied / 2.0


def random_scores(rows: pl.DataFrame, rng: np.random.Generator) -> pl.DataFrame:
    """`rows` with a score drawn at random: what a budget catches without looking."""
    return rows.with_columns(score=pl.Series(rng.random(rows.height)))


def best(ranked: pl.DataFrame) -> pl.DataFrame:
    """Per episode its best place on any of its sessions: episode_id, universe_rank, session_rank, session."""
    return (
        ranked.sort("episode_id", "universe_rank", "session")
        .unique("episode_id", keep="first", maintain_order=True)
        .select("episode_id", "underlying", "session", "universe_rank", "session_rank", "session_names")
    )
