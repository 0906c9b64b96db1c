"""Implied volatility and Greeks of a whole chain frame."""

from __future__ import annotations

from datetime import date

import numpy as np
import polars as pl

from flowlake.options import black
from flowlake.options.status import LABELS

PRICE_COLUMNS = ("price", "forward", "strike", "years", "discount")


def price_chain(frame: pl.DataFrame, session: date, *, dividends: pl.DataFrame | None = None) -> pl.DataFrame:
    """`frame`, a chain of `session`, with our volatility and Greeks, same rows, same order.

    Reads `price`, `forward`, `discount`, `strike`, `years`, `right` ('C' or 'P') and `spot` (the forward stands in
    where it is null). Adds `implied_volatility` (annualised, decimal), `iv_status` (a label of `Status`) and the fields
    of `Greeks` in its units; null, never NaN, where unsolved.
    """
    price, forward, strike, years, discount = (_floats(frame, name) for name in PRICE_COLUMNS)
    spot = _floats(frame, "spot")
    spot = np.where(np.isfinite(spot) & (spot > 0), spot, forward)
    is_call = (frame["right"] == "C").fill_null(False).to_numpy()
    volatility, status = black.implied_volatility(price, forward, strike, years, discount, is_call)
    values = black.greeks(volatility, forward, strike, years, discount, is_call, spot)
    labels = pl.Series("iv_status", status).replace_strict(dict(enumerate(LABELS)), return_dtype=pl.String)
    return frame.with_columns(
        pl.Series("implied_volatility", volatility).fill_nan(None),
        labels,
        *(pl.Series(name, value).fill_nan(None) for name, value in zip(black.Greeks._fields, values, strict=True)),
    )


def _floats(frame: pl.DataFrame, name: str) -> np.ndarray:
    return frame[name].cast(pl.Float64).fill_null(float("nan")).to_numpy()
