"""The trailing sessions as dense arrays over today's contracts: exact statistics of the whole market without joins."""

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import date

import numpy as np
import numpy.typing as npt
import polars as pl

from flowlake import calendar
from flowlake.options.engine import available_threads

Trailing = Mapping[date, pl.LazyFrame]
"""Option chains of earlier sessions by session; frames of absent sessions are simply not there."""

ABSENT = np.iinfo(np.int32).min
"""Marks sessions in which a contract was not listed, or its figure is unknown."""

Ints = npt.NDArray[np.int32]
Floats = npt.NDArray[np.float64]

_CHUNK_ROWS = 4_096
"""Contracts summarised at a time: few enough for the arrays of 60 sessions to stay in a processor's cache."""


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
    """Scatter the trailing chains into arrays over `contract_ids` (unique, any order), several sessions at a time.

    Reads contract_id, volume, open_interest and basis. Sessions rebuilt from aggregates have volume, no open interest.
    """
    sessions = trailing_window(trailing, session, window)
    # One column more than contracts: whatever is not asked for is written there, and left behind.
    elsewhere = len(contract_ids)
    volume = np.full((len(sessions), elsewhere + 1), ABSENT, dtype=np.int32)
    open_interest = np.full_like(volume, ABSENT)
    position = np.full(int(contract_ids.max(initial=-1)) + 2, elsewhere, dtype=np.int32)
    position[contract_ids] = np.arange(elsewhere, dtype=np.int32)
    counted_oi = pl.when(pl.col("basis") != "aggregates").then("open_interest")

    def scatter(row: int) -> None:
        chain = (
            trailing[sessions[row]]
            .select("contract_id", "volume", open_interest=counted_oi)
            .with_columns(pl.col("volume", "open_interest").fill_null(ABSENT))
            .collect()
        )
        at = position[np.minimum(chain["contract_id"].to_numpy(), len(position) - 1)]
        volume[row, at] = chain["volume"].to_numpy()
        open_interest[row, at] = chain["open_interest"].to_numpy()

    with ThreadPoolExecutor(available_threads()) as pool:
        list(pool.map(scatter, [row for row, day in enumerate(sessions) if day in trailing]))
    return Panel(sessions, volume[:, :-1], open_interest[:, :-1])


def changes(levels: Ints) -> Ints:
    """Row-to-row differences of `levels`; ABSENT where either end is, and in the first row."""
    result = np.full_like(levels, ABSENT)
    for row in range(1, len(levels)):
        both = (levels[row] != ABSENT) & (levels[row - 1] != ABSENT)
        np.subtract(levels[row], levels[row - 1], out=result[row], where=both)
    return result


def summarise(values: Ints) -> dict[str, npt.NDArray[np.generic]]:
    """Per contract, over sessions: n, zero_days, mean, std (sample), median, mad, max, opened_mean.

    `values` has one row per session. Statistics of contracts without any value are NaN (max: ABSENT); std needs two.
    """
    starts = range(0, max(values.shape[1], 1), _CHUNK_ROWS)
    chunks = [values[:, at : at + _CHUNK_ROWS] for at in starts]
    if len(chunks) == 1:
        return _summarise_chunk(chunks[0])
    with ThreadPoolExecutor(available_threads()) as pool:
        parts = list(pool.map(_summarise_chunk, chunks))
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def _summarise_chunk(values: Ints) -> dict[str, npt.NDArray[np.generic]]:
    present = values != ABSENT
    n, zero_days = _count(present), _count(values == 0)
    counted = (values * present).astype(np.float64)
    with np.errstate(invalid="ignore", divide="ignore"):
        mean = counted.sum(axis=0) / n
        opened_mean = np.maximum(counted, 0).sum(axis=0) / n
        std = np.sqrt(_sum_of_rows(np.square(counted - mean) * present) / (n - 1.0))
    std[n < 2] = np.nan
    # Most contracts do not trade on most days: where zeros are the majority, median and MAD are 0 without sorting.
    median, mad = np.where(n > 0, 0.0, np.nan), np.where(n > 0, 0.0, np.nan)
    sorting = np.flatnonzero((n > 0) & (2 * zero_days <= n))
    median[sorting], mad[sorting] = _medians(np.ascontiguousarray(values[:, sorting].T), n[sorting].astype(np.intp))
    return {
        "n": n,
        "zero_days": zero_days,
        "mean": mean,
        "std": std,
        "median": median,
        "mad": mad,
        "max": values.max(axis=0, initial=ABSENT),
        "opened_mean": opened_mean,
    }


def _count(marked: npt.NDArray[np.bool_]) -> npt.NDArray[np.int16]:
    return marked.view(np.int8).sum(axis=0, dtype=np.int16)


def _sum_of_rows(values: Floats) -> Floats:
    """Column sums by eight running sums: the order, hence the rounding, in which NumPy adds up one contract's row."""
    whole = len(values) // 8 * 8
    total = np.zeros(values.shape[1])
    if whole:
        lanes = values[:8].copy()
        for at in range(8, whole, 8):
            lanes += values[at : at + 8]
        pairs = lanes[::2] + lanes[1::2]
        total = (pairs[0] + pairs[1]) + (pairs[2] + pairs[3])
    for row in values[whole:]:
        total += row
    return total


def _medians(values: Ints, n: npt.NDArray[np.intp]) -> tuple[Floats, Floats]:
    """Median and median absolute deviation of each row, of which `n` values are present."""
    median = _row_medians(values, n)
    apart = np.abs(values - median[:, None])
    np.putmask(apart, values == ABSENT, -1.0)
    return median, _row_medians(apart, n)


def _row_medians(values: Ints | Floats, n: npt.NDArray[np.intp]) -> Floats:
    """Median of the `n` largest values of each row: what is absent is smaller than anything else."""
    ordered = np.sort(values, axis=1)
    rows, first = np.arange(len(values)), values.shape[1] - n
    low, high = ordered[rows, first + (n - 1) // 2], ordered[rows, first + n // 2]
    return (low.astype(np.float64) + high) / 2.0
