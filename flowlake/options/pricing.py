"""Implied volatility and Greeks of a whole chain frame, American where exercise can matter."""

from __future__ import annotations

from datetime import date

import numpy as np
import polars as pl

from flowlake.options.american import Contracts, Schedule, exercise_matters
from flowlake.options.black import DAYS_PER_YEAR, FloatArray, Greeks
from flowlake.options.engine import (
    Engine,
    StatusArray,
    american_volatility_and_greeks,
    volatility_and_greeks,
)
from flowlake.options.schedule import dividend_schedule
from flowlake.options.status import LABELS, Status

_BOUNDED = (Status.NO_PRICE, Status.BELOW_INTRINSIC, Status.IMPRECISE)


def price_chain(
    frame: pl.DataFrame,
    session: date,
    *,
    dividends: pl.DataFrame | None = None,
    engine: Engine = "auto",
    threads: int | None = None,
) -> pl.DataFrame:
    """`frame`, a chain of `session`, with our volatility and Greeks: same rows, same order.

    Reads `price`, `forward`, `discount`, `strike`, `years`, `right` ('C' or 'P'), `spot` (the forward stands in where
    it is null), and, if present, `exercise_style` ('american' rows are priced so wherever exercise before expiration
    can be worth anything; without the column all are European), `underlying` and `expiration` (for dividends), `ask`.
    `dividends` has `ticker`, `effective_on` (ex-date), `cash_amount` (dollars per share); those that go ex after
    `session` and by the expiration count.

    Adds `implied_volatility` (annualised, decimal), `iv_status` (a label of `Status`), the fields of `Greeks` in its
    units, and `iv_bound`: where the price gives no volatility, that of the ask, which the true one does not exceed.
    Unsolved is null, never NaN.
    """
    schedule = dividend_schedule(frame, session, dividends)
    american = _american(frame)
    price = _floats(frame, "price")
    volatility, status, greeks = _price(frame, price, schedule, american, engine, threads)
    bound = _bounds(frame, status, schedule, american, engine, threads)
    return frame.with_columns(
        pl.Series("implied_volatility", volatility).fill_nan(None),
        pl.Series(LABELS).gather(status).alias("iv_status"),
        *(pl.Series(name, value).fill_nan(None) for name, value in greeks._asdict().items()),
        pl.Series("iv_bound", bound).fill_nan(None),
    )


@np.errstate(all="ignore")  # rows without a solution run through the arithmetic and are masked by status
def _price(
    frame: pl.DataFrame,
    price: FloatArray,
    schedule: Schedule,
    american: np.ndarray,
    engine: Engine,
    threads: int | None,
) -> tuple[FloatArray, StatusArray, Greeks]:
    forward, strike, years, discount = (_floats(frame, name) for name in ("forward", "strike", "years", "discount"))
    spot = _floats(frame, "spot")
    known = np.isfinite(spot) & (spot > 0)
    spot = np.where(known, spot, forward)
    is_call = (frame["right"] == "C").fill_null(False).to_numpy()

    contracts = Contracts.of(spot, forward, strike, years, discount, is_call, schedule)
    volatility, status, greeks = volatility_and_greeks(
        price, forward, strike, years, discount, is_call, contracts.lognormal, engine=engine, threads=threads
    )
    greeks = _with_escrow(greeks, contracts)

    unusable = np.isin(status, (Status.NO_PRICE, Status.NO_FORWARD, Status.EXPIRED))
    reference = np.where(np.isfinite(volatility), volatility, 1.0)
    early = american & known & ~unusable & (contracts.lognormal > 0) & exercise_matters(contracts, reference)
    rows = np.flatnonzero(early)
    if rows.size:
        solved = american_volatility_and_greeks(
            price[rows], contracts.rows(rows), volatility[rows], engine=engine, threads=threads
        )
        volatility[rows], status[rows] = solved[0], solved[1]
        for target, value in zip(greeks, solved[2], strict=True):
            target[rows] = value
    return volatility, status, greeks


def _with_escrow(greeks: Greeks, contracts: Contracts) -> Greeks:
    """European Greeks to the lognormal rest, carried to the stock: held still, it lets the escrow grow at the rate."""
    shrinkage = -contracts.rate * contracts.escrow / DAYS_PER_YEAR
    return greeks._replace(
        theta=greeks.theta + shrinkage * greeks.delta,
        rho=greeks.rho + contracts.escrow_slope * greeks.delta / 100.0,
        charm=greeks.charm + shrinkage * greeks.gamma,
    )


def _bounds(
    frame: pl.DataFrame,
    status: StatusArray,
    schedule: Schedule,
    american: np.ndarray,
    engine: Engine,
    threads: int | None,
) -> FloatArray:
    """Volatility of the ask where the price itself has none; NaN elsewhere."""
    bound = np.full(frame.height, np.nan)
    if "ask" not in frame.columns:
        return bound
    rows = np.flatnonzero(np.isin(status, _BOUNDED) & (frame["ask"] > 0).fill_null(False).to_numpy())
    if rows.size:
        part = frame[rows]
        bound[rows], _, _ = _price(part, _floats(part, "ask"), schedule.rows(rows), american[rows], engine, threads)
    return bound


def _american(frame: pl.DataFrame) -> np.ndarray:
    if "exercise_style" not in frame.columns:
        return np.zeros(frame.height, dtype=bool)
    return (frame["exercise_style"] == "american").fill_null(False).to_numpy()


def _floats(frame: pl.DataFrame, name: str) -> FloatArray:
    return frame[name].cast(pl.Float64).fill_null(float("nan")).to_numpy()
