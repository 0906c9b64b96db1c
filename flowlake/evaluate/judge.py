"""Scores of undisturbed and injected sessions on one scale: evidence, totals under any weights, p-values, ranks."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import date

import numpy as np
import polars as pl

from flowlake.detect import model, scoring, sides

UNIVERSE = scoring.FULL_UNIVERSE
"""Names among which a budget of alerts a day is spent."""

Trailing = Callable[[pl.DataFrame, date], pl.DataFrame]
"""Rows of a frame from the calibration window before a session."""


def evidence(rows: pl.DataFrame, statistics: pl.DataFrame, trailing: Trailing) -> pl.DataFrame:
    """`rows` (TICKER_STATISTICS columns, any sessions) as the score reads them: `{factor}_u`, each factor's share among
    trailing sides, and what only speaks against.

    `statistics` holds the undisturbed TICKER_STATISTICS of all sessions.
    """
    parts = []
    for (session,), frame in rows.sort("session").group_by("session", maintain_order=True):
        past = trailing(statistics, session)  # pyright: ignore[reportArgumentType]
        if past.is_empty():
            continue
        parts.append(sides.compare(frame, past))
    keys = [name for name in ("episode_id", "session", "underlying", "right", "activity") if name in rows.columns]
    shares = [f"{factor.column}_u" for factor in scoring.FACTORS if not factor.lowers]
    is_put = (pl.col("right") == "P").cast(pl.Float64).alias("is_put")
    return pl.concat(parts).select(*keys, *shares, *sides.LOOKS, is_put)


def contributions(
    fitted: model.Model | None = None, factors: Sequence[scoring.Factor] = scoring.FACTORS
) -> list[pl.Expr]:
    """Each factor's part of the total, from `evidence`; 0 where it could not be measured."""
    return [factor.contribution(fitted) for factor in factors]


def totals(weighed: pl.DataFrame, parts: Sequence[pl.Expr] | None = None) -> pl.DataFrame:
    """The stronger side of each underlying and session of `weighed` (from `evidence`): keys, right, activity, total.

    The total is the sum of `parts`, today's score by default.
    """
    keys = [name for name in ("episode_id", "session", "underlying") if name in weighed.columns]
    judged = weighed.filter(pl.col("volume_surprise_u").is_not_null())
    summed = judged.select(*keys, "right", "activity", total=pl.sum_horizontal(parts or contributions()).round(6))
    ordered = summed.sort(*keys, "total", "right", descending=[*[False] * len(keys), True, False])
    return ordered.unique(keys, keep="first", maintain_order=True)


def p_values(rows: pl.DataFrame, clean: pl.DataFrame, trailing: Trailing, *, level: bool = True) -> pl.DataFrame:
    """`rows` (from `totals`) with `p_value`, among the undisturbed totals `clean` of earlier sessions, and `score`.

    `score` orders like the score of an event: by p-value, then by total. Without `level` what the whole market shows on
    a session is not taken off.
    """
    parts = []
    for (session,), frame in rows.sort("session").group_by("session", maintain_order=True):
        past = trailing(clean, session)  # pyright: ignore[reportArgumentType]
        if past.is_empty():
            continue
        market = clean.filter(pl.col("session") == session) if level else None
        p_value, n = scoring.total_p_values(frame, past, market)
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
