"""Chooses between the compiled kernels and NumPy, spreads rows over threads, and speaks arrays or polars expressions.

numba is imported on first use, never with the package: every Dagster step process imports `flowlake.definitions`, few
of them price options. Where numba is absent (or `engine="numpy"`), the same algorithms run in NumPy.
"""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from typing import Any, Literal, overload

import numpy as np
import numpy.typing as npt
import polars as pl

from flowlake.options import american, black
from flowlake.options.american import Contracts, IntArray, Premium, PremiumFunction
from flowlake.options.black import BoolArray, FloatArray, Greeks
from flowlake.options.status import Status

Engine = Literal["auto", "numba", "numpy"]
StatusArray = npt.NDArray[np.uint8]

_ROWS_PER_THREAD = 32_768
_TREES_PER_CHUNK = 8_192


class EngineUnavailable(RuntimeError):
    """The compiled engine was asked for where numba is not installed."""


@cache
def has_numba() -> bool:
    """Whether numba is installed; does not import it."""
    return importlib.util.find_spec("numba") is not None


def available_threads() -> int:
    """Processors this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def volatility_and_greeks(
    price: npt.ArrayLike,
    forward: npt.ArrayLike,
    strike: npt.ArrayLike,
    years: npt.ArrayLike,
    discount: npt.ArrayLike,
    is_call: npt.ArrayLike,
    spot: npt.ArrayLike | None = None,
    *,
    engine: Engine = "auto",
    threads: int | None = None,
) -> tuple[FloatArray, StatusArray, Greeks]:
    """European volatility (annualised, decimal; NaN where unsolved), `Status` and `Greeks` of every contract.

    Arguments broadcast against each other; missing values are NaN. `spot` defaults to the forward. Nothing raises on
    bad rows; `EngineUnavailable` where `engine="numba"` cannot be had.
    """
    spot = forward if spot is None else spot
    prices, forwards, strikes, terms, discounts, calls, spots = _arrays(
        price, forward, strike, years, discount, is_call, spot
    )
    if not _compiled(engine):
        volatility, status = black.implied_volatility(prices, forwards, strikes, terms, discounts, calls)
        return volatility, status, black.greeks(volatility, forwards, strikes, terms, discounts, calls, spots)

    from flowlake.options import kernel

    count = prices.size
    sign = calls.view(np.int8) * np.int8(2) - np.int8(1)
    status, out = np.empty(count, dtype=np.uint8), np.empty((8, count))

    def work(rows: slice) -> None:
        kernel.solve(prices, forwards, strikes, terms, discounts, sign, spots, rows.start, rows.stop, status, out)

    _spread(work, count, _ROWS_PER_THREAD, threads)
    return out[0], status, Greeks(*out[1:])


@overload
def implied_volatility(
    price: pl.Expr, forward: Any, strike: Any, years: Any, discount: Any, is_call: Any, **options: Any
) -> pl.Expr: ...
@overload
def implied_volatility(
    price: npt.ArrayLike,
    forward: npt.ArrayLike,
    strike: npt.ArrayLike,
    years: npt.ArrayLike,
    discount: npt.ArrayLike,
    is_call: npt.ArrayLike,
    **options: Any,
) -> tuple[FloatArray, StatusArray]: ...
def implied_volatility(
    price: Any, forward: Any, strike: Any, years: Any, discount: Any, is_call: Any, **options: Any
) -> Any:
    """European volatility (annualised, decimal; NaN where unsolved) and `Status` of every contract.

    Given arrays, returns two arrays; given a polars expression as `price`, returns an expression of the volatility
    (null where unsolved), in which every other argument may be an expression or a number. Options as in
    `volatility_and_greeks`.
    """
    if not isinstance(price, pl.Expr):
        volatility, status, _ = volatility_and_greeks(price, forward, strike, years, discount, is_call, **options)
        return volatility, status

    def solve(columns: pl.Series) -> pl.Series:
        volatility, _, _ = volatility_and_greeks(**_fields(columns), **options)
        return pl.Series(columns.name, volatility).fill_nan(None)

    arguments = _struct(price=price, forward=forward, strike=strike, years=years, discount=discount, is_call=is_call)
    return arguments.map_batches(solve, return_dtype=pl.Float64, is_elementwise=True)


@overload
def greeks(iv: pl.Expr, forward: Any, strike: Any, years: Any, discount: Any, is_call: Any, spot: Any) -> pl.Expr: ...
@overload
def greeks(
    iv: npt.ArrayLike,
    forward: npt.ArrayLike,
    strike: npt.ArrayLike,
    years: npt.ArrayLike,
    discount: npt.ArrayLike,
    is_call: npt.ArrayLike,
    spot: npt.ArrayLike,
) -> Greeks: ...
def greeks(iv: Any, forward: Any, strike: Any, years: Any, discount: Any, is_call: Any, spot: Any) -> Any:
    """`Greeks` of European options at volatility `iv`: arrays in, arrays out; a polars expression in, a struct out."""
    if not isinstance(iv, pl.Expr):
        volatilities, forwards, strikes, terms, discounts, calls, spots = _arrays(
            iv, forward, strike, years, discount, is_call, spot
        )
        return black.greeks(volatilities, forwards, strikes, terms, discounts, calls, spots)

    def evaluate(columns: pl.Series) -> pl.Series:
        values = black.greeks(**_fields(columns))
        named = {name: pl.Series(value).fill_nan(None) for name, value in values._asdict().items()}
        return pl.DataFrame(named).to_struct(columns.name)

    arguments = _struct(
        iv=iv, forward=forward, strike=strike, years=years, discount=discount, is_call=is_call, spot=spot
    )
    return arguments.map_batches(
        evaluate, return_dtype=pl.Struct(dict.fromkeys(Greeks._fields, pl.Float64())), is_elementwise=True
    )


def american_volatility_and_greeks(
    price: FloatArray,
    contracts: Contracts,
    european_iv: FloatArray,
    *,
    engine: Engine = "auto",
    threads: int | None = None,
) -> tuple[FloatArray, StatusArray, Greeks]:
    """`flowlake.options.american.solve` on threads; `european_iv` is where the search starts (NaN: anywhere)."""
    count = price.size
    volatility, status = np.full(count, np.nan), np.full(count, Status.IMPRECISE, dtype=np.uint8)
    out = np.full((len(Greeks._fields), count), np.nan)
    grow = premiums(engine)

    def work(rows: slice) -> None:
        index = np.arange(rows.start, rows.stop)
        volatility[rows], status[rows], values = american.solve(
            price[rows], contracts.rows(index), european_iv[rows], grow
        )
        for target, value in zip(out, values, strict=True):
            target[rows] = value

    _spread(work, count, _TREES_PER_CHUNK, threads)
    return volatility, status, Greeks(*out)


def premiums(engine: Engine = "auto") -> PremiumFunction:
    """The function that grows trees: compiled, or NumPy."""
    return _compiled_premiums if _compiled(engine) else american.numpy_premiums


def _compiled_premiums(contracts: Contracts, volatility: FloatArray, steps: IntArray) -> Premium:
    from flowlake.options import tree

    out = np.empty((4, volatility.size))
    dividends, lognormal = contracts.dividends, contracts.lognormal
    sign = np.where(contracts.is_call, 1.0, -1.0)

    def work(rows: slice) -> None:
        tree.premiums(
            lognormal,
            contracts.strike,
            contracts.years,
            contracts.rate,
            contracts.carry,
            volatility,
            sign,
            steps,
            dividends.first,
            dividends.last,
            dividends.ex_years,
            dividends.cash,
            rows.start,
            rows.stop,
            out,
        )

    _spread(work, volatility.size, _TREES_PER_CHUNK, None)
    return Premium(*out)


def _compiled(engine: Engine) -> bool:
    if engine == "numba" and not has_numba():
        raise EngineUnavailable("engine='numba' needs numba: pip install numba, or use engine='auto'")
    return engine != "numpy" and has_numba()


def _spread(work: Callable[[slice], None], count: int, chunk: int, threads: int | None) -> None:
    """Run `work` on slices of `count` rows; the kernels release the interpreter lock."""
    workers = min(threads or available_threads(), -(-count // chunk))
    if workers <= 1:
        work(slice(0, count))
        return
    with ThreadPoolExecutor(workers) as pool:
        list(pool.map(work, _slices(count, chunk)))


def _slices(count: int, chunk: int) -> Iterator[slice]:
    return (slice(start, min(start + chunk, count)) for start in range(0, count, chunk))


def _arrays(
    price: Any, forward: Any, strike: Any, years: Any, discount: Any, is_call: Any, spot: Any
) -> tuple[FloatArray, FloatArray, FloatArray, FloatArray, FloatArray, BoolArray, FloatArray]:
    """The arguments as contiguous arrays of one length."""
    shaped = np.broadcast_arrays(price, forward, strike, years, discount, is_call, spot)

    def plain(k: int, dtype: type) -> np.ndarray:
        return np.ascontiguousarray(np.atleast_1d(shaped[k]), dtype=dtype)

    return (*(plain(k, float) for k in range(5)), plain(5, bool), plain(6, float))  # type: ignore[return-value]


def _struct(**arguments: Any) -> pl.Expr:
    return pl.struct(
        (value if isinstance(value, pl.Expr) else pl.lit(value)).cast(pl.Float64).alias(name)
        for name, value in arguments.items()
    )


def _fields(columns: pl.Series) -> dict[str, Any]:
    fields = {name: columns.struct.field(name) for name in columns.struct.fields}
    arrays = {name: field.fill_null(float("nan")).to_numpy() for name, field in fields.items()}
    return arrays | {"is_call": arrays["is_call"] == 1.0}
