"""The shape of a session's table: statistics, null shares, histograms, and how far they are from those before."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Final

import numpy as np
import polars as pl

TRAILING: Final = 10
"""Sessions a session is compared with."""
MIN_TRAILING: Final = 5
"""Sessions below which nothing is compared."""
_SMOOTHING = 0.5


@dataclass(frozen=True)
class Statistic:
    """One number a session: its expression, and whether it is compared as a difference (`shift`) or as a ratio."""

    value: pl.Expr
    shift: bool = False


@dataclass(frozen=True)
class Distribution:
    """A column whose histogram is compared: its expression and the inner edges of its bins, ascending."""

    value: pl.Expr
    edges: tuple[float, ...]


@dataclass(frozen=True)
class Profiled:
    """One session of one table: numbers and histograms by name, and the rows its sets and pairs are judged on."""

    session: date
    numbers: Mapping[str, float | None]
    shifts: frozenset[str]
    histograms: Mapping[str, tuple[int, ...]]
    rows: pl.DataFrame

    @classmethod
    def of(
        cls,
        session: date,
        frame: pl.DataFrame,
        statistics: Mapping[str, Statistic],
        nullable: Sequence[str],
        distributions: Mapping[str, Distribution],
        rows: pl.DataFrame,
    ) -> Profiled:
        """The profile of `frame`, all rows of one session."""
        nulls = {f"null share of {name}": pl.col(name).is_null().mean() for name in nullable}
        numbers = frame.select(**{name: each.value.cast(pl.Float64) for name, each in statistics.items()}, **nulls).row(
            0, named=True
        )
        histograms = {name: _histogram(frame, each) for name, each in distributions.items()}
        shifts = frozenset({name for name, each in statistics.items() if each.shift} | set(nulls))
        return cls(session, numbers, shifts, histograms, rows)


def compare(profiles: Sequence[Profiled]) -> pl.DataFrame:
    """Profiles in the order of their sessions, each beside the `TRAILING` before it.

    Columns: session; each number; beside it '<number>, ratio' (to the trailing median) or '<number>, shift' (from it);
    'stability of <distribution>', the population stability index against the pooled trailing histograms beyond what
    sampling explains: below 0.1 where alike and above 0.25 where changed. Comparisons are null with fewer than
    `MIN_TRAILING` sessions before.
    """
    if not profiles:
        return pl.DataFrame(schema={"session": pl.Date})
    numbers = pl.DataFrame([dict(each.numbers) for each in profiles], schema_overrides=_floats(profiles[0].numbers))
    compared = []
    for name in numbers.columns:
        before = pl.col(name).shift(1).rolling_median(TRAILING, min_samples=MIN_TRAILING)
        if name in profiles[0].shifts:
            compared.append((pl.col(name) - before).alias(f"{name}, shift"))
        else:
            compared.append(pl.when(before.abs() > 0).then(pl.col(name) / before).alias(f"{name}, ratio"))
    stability = [
        pl.Series(f"stability of {name}", _stability(np.array([each.histograms[name] for each in profiles])))
        for name in profiles[0].histograms
    ]
    sessions = pl.Series("session", [each.session for each in profiles], dtype=pl.Date)
    return numbers.with_columns(*compared).with_columns(sessions, *stability)


def _floats(numbers: Mapping[str, float | None]) -> dict[str, type[pl.DataType]]:
    return dict.fromkeys(numbers, pl.Float64)


def _histogram(frame: pl.DataFrame, distribution: Distribution) -> tuple[int, ...]:
    values = frame.select(distribution.value.cast(pl.Float64)).to_series().drop_nulls().to_numpy()
    bins = np.searchsorted(np.array(distribution.edges), values)
    return tuple(int(n) for n in np.bincount(bins, minlength=len(distribution.edges) + 1))


def _stability(counts: np.ndarray) -> list[float | None]:
    """Population stability index of each row of `counts` (sessions x bins) against the rows before it.

    Less what two samples of these sizes from one distribution give on average: small markets are noisy, not shifted.
    """
    total = np.vstack([np.zeros(counts.shape[1]), np.cumsum(counts, axis=0)])
    at = np.arange(len(counts))
    first = np.maximum(at - TRAILING, 0)
    pooled = total[at] - total[first]
    seen, usual = _shares(counts), _shares(pooled)
    index = ((seen - usual) * np.log(seen / usual)).sum(axis=1)
    sizes = np.maximum(np.stack([counts.sum(axis=1), pooled.sum(axis=1)]), 1)
    noise = (counts.shape[1] - 1) * (1 / sizes).sum(axis=0)
    index = np.maximum(index - noise, 0.0)
    judged = (at - first >= MIN_TRAILING) & (counts.sum(axis=1) > 0) & (pooled.sum(axis=1) > 0)
    return [float(value) if known else None for value, known in zip(index, judged, strict=True)]


def _shares(counts: np.ndarray) -> np.ndarray:
    smoothed = counts + _SMOOTHING
    return smoothed / smoothed.sum(axis=1, keepdims=True)
