"""The trailing sessions as dense arrays over today's contracts: exact statistics of the whole market without joins."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date

import numpy as np
import numpy.typing as npt
import polars as pl

from flowlake import calendar

Trailing = Mapping[date, pl.LazyFrame]
"""Option chains of earlier sessions by session; frames of absent sessions are simply not there."""

ABSENT = np.iinfo(np.int32).min
"""Marks sessions in which a contract was not listed, or its figure is unknown."""

Ints = npt.NDArray[np.int32]
Floats = npt.NDArray[np.float64]

_CHUNK_ROWS = 65_536


class FutureData(ValueError):
    """A baseline was asked to read a session that is not strictly before the one it is for."""


@dataclass(frozen=True)
class Panel:
    """Daily volume and open interest, one row per calendar session (ascending), one column per contract."""

    sessions: tuple[date, ...]
    volume: Ints
    open_interest: Ints


def trailing_window(trailing: Trailing, session: date, n: int) -> tuple[date, ...]:
    """The `n` calendar sessions before `session`; raises `FutureData` where `trailing` holds anything later."""
    late = sorted(day for day in trailing if day >= session)
    if late:
        raise FutureData(f"the baseline of {session} may only read earlier sessions, but was given {late[0]}")
    return tuple(calendar.trailing_sessions(session, n))


def load_panel(contract_ids: Ints, trailing: Trailing, session: date, window: int) -> Panel:
    """Scatter the trailing chains into arrays over `contract_ids` (unique, any order), one session at a time.

    Reads contract_id, volume, open_interest and basis. Sessions rebuilt from aggregates have volume, no open interest.
    """
    sessions = trailing_window(trailing, session, window)
    volume = np.full((len(sessions), len(contract_ids)), ABSENT, dtype=np.int32)
    open_interest = np.full_like(volume, ABSENT)
    position = np.full(int(contract_ids.max(initial=-1)) + 1, -1, dtype=np.int32)
    position[contract_ids] = np.arange(len(contract_ids), dtype=np.int32)
    counted_oi = pl.when(pl.col("basis") != "aggregates").then("open_interest")
    for row, day in enumerate(sessions):
        if day not in trailing:
            continue
        chain = (
            trailing[day]
            .select("contract_id", "volume", open_interest=counted_oi)
            .filter(pl.col("contract_id") < len(position))
            .with_columns(pl.col("volume", "open_interest").fill_null(ABSENT))
            .collect()
        )
        at = position[chain["contract_id"].to_numpy()]
        listed = at >= 0
        volume[row, at[listed]] = chain["volume"].to_numpy()[listed]
        open_interest[row, at[listed]] = chain["open_interest"].to_numpy()[listed]
    return Panel(sessions, volume, open_interest)


def changes(levels: Ints) -> Ints:
    """Row-to-row differences of `levels`; ABSENT where either end is, and in the first row."""
    known = levels != ABSENT
    result = np.full_like(levels, ABSENT)
    both = known[1:] & known[:-1]
    np.subtract(levels[1:], levels[:-1], out=result[1:], where=both)
    return result


def summarise(values: Ints) -> dict[str, npt.NDArray[np.generic]]:
    """Per contract, over sessions: n, zero_days, mean, std (sample), median, mad, max, opened_mean.

    `values` has one row per session. Statistics of contracts without any value are NaN (max: ABSENT); std needs two.
    """
    contracts = values.shape[1]
    parts = [_summarise_chunk(values[:, at : at + _CHUNK_ROWS].T) for at in range(0, contracts, _CHUNK_ROWS)]
    if not parts:
        parts = [_summarise_chunk(values.T)]
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def _summarise_chunk(values: Ints) -> dict[str, npt.NDArray[np.generic]]:
    values = np.ascontiguousarray(values)
    present = values != ABSENT
    counted = np.where(present, values, 0).astype(np.float64)
    n = present.sum(axis=1)
    zero_days = (values == 0).sum(axis=1)
    with np.errstate(invalid="ignore", divide="ignore"):
        mean = counted.sum(axis=1) / n
        opened_mean = np.maximum(counted, 0).sum(axis=1) / n
        deviations = np.where(present, counted - mean[:, None], 0.0)
        std = np.sqrt((deviations**2).sum(axis=1) / (n - 1.0))
    std[n < 2] = np.nan
    # Most contracts do not trade on most days: where zeros are the majority, median and MAD are 0 without sorting.
    median, mad = np.where(n > 0, 0.0, np.nan), np.where(n > 0, 0.0, np.nan)
    sorting = np.flatnonzero((n > 0) & (2 * zero_days <= n))
    median[sorting] = _row_medians(counted[sorting], present[sorting], n[sorting])
    apart = np.abs(counted[sorting] - median[sorting, None])
    mad[sorting] = _row_medians(apart, present[sorting], n[sorting])
    return {
        "n": n.astype(np.int16),
        "zero_days": zero_days.astype(np.int16),
        "mean": mean,
        "std": std,
        "median": median,
        "mad": mad,
        "max": values.max(axis=1, initial=ABSENT),
        "opened_mean": opened_mean,
    }


def _row_medians(values: Floats, present: npt.NDArray[np.bool_], n: npt.NDArray[np.int64]) -> Floats:
    ordered = np.sort(np.where(present, values, np.inf), axis=1)
    rows = np.arange(len(values))
    return (ordered[rows, (n - 1) // 2] + ordered[rows, n // 2]) / 2.0
