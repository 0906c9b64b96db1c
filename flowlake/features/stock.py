"""What the stock itself did: returns, volume, volatility, adjusted for splits, dividends not added back."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date

import numpy as np
import numpy.typing as npt
import polars as pl

from flowlake import calendar
from flowlake.detect.splits import rescaled
from flowlake.features.sums import KEY
from flowlake.options.splits import known_splits

YEAR = 252
"""Sessions a panel holds, the described one included."""
LEAST_RETURNS = {20: 15, 60: 45}
LEAST_VOLUMES = 10
LEAST_YEAR = 200
"""Known sessions that statistics over 20 and 60 returns, 20 volumes and a year need at least."""

FloatArray = npt.NDArray[np.float64]

STOCKS = pl.Schema(
    {
        "session": pl.Date,
        "ticker": pl.String,
        "open": pl.Float64,
        "high": pl.Float64,
        "low": pl.Float64,
        "close": pl.Float64,
        "volume": pl.Float64,
        "vwap": pl.Float64,
        "available_at": pl.Datetime("us", "UTC"),
    }
)
"""What is read of RAW_STOCK_SNAPSHOTS."""


@dataclass(frozen=True)
class StockPanel:
    """Stock facts as matrices of sessions (ascending, the described one last) x tickers (ascending); NaN is unknown."""

    tickers: pl.Series
    open: FloatArray
    high: FloatArray
    low: FloatArray
    close: FloatArray
    volume: FloatArray
    dollars: FloatArray

    def frame(self, columns: dict[str, npt.NDArray]) -> pl.DataFrame:
        """Arrays over the tickers as a frame keyed by underlying; NaN and infinities become null."""
        floats = pl.selectors.float()
        result = pl.DataFrame({KEY: self.tickers, **columns})
        return result.with_columns(pl.when(floats.is_finite()).then(floats))


def stock_panel(stocks: pl.DataFrame, tickers: pl.Series, session: date, actions: pl.DataFrame | None) -> StockPanel:
    """The trailing `YEAR` sessions of `stocks` (STOCKS) for `tickers`, restated to the shares of `session`."""
    names = tickers.unique().sort()
    days = [*calendar.trailing_sessions(session, YEAR - 1), session]
    places = pl.DataFrame({"session": days, "row": np.arange(len(days))}, schema_overrides={"row": pl.Int64})
    columns = pl.DataFrame({KEY: names, "column": np.arange(len(names))}, schema_overrides={"column": pl.Int64})
    rows = stocks.rename({"ticker": KEY}).join(columns, on=KEY, how="inner").join(places, on="session", how="inner")
    rows = rescaled(rows, known_splits(actions), session)
    at = (rows["row"].to_numpy(), rows["column"].to_numpy())

    def matrix(values: pl.Expr) -> FloatArray:
        filled = np.full((len(days), len(names)), np.nan)
        filled[at] = rows.select(values.cast(pl.Float64).fill_null(float("nan"))).to_series().to_numpy()
        return filled

    def price(column: str) -> FloatArray:
        return matrix(pl.when(pl.col(column) > 0).then(pl.col(column) / pl.col("ratio")))

    return StockPanel(
        tickers=names,
        open=price("open"),
        high=price("high"),
        low=price("low"),
        close=price("close"),
        volume=matrix(pl.col("volume") * pl.col("ratio")),
        dollars=matrix(pl.col("volume") * pl.coalesce("vwap", "close")),
    )


@np.errstate(divide="ignore", invalid="ignore")
def stock_features(panel: StockPanel) -> pl.DataFrame:
    """The 'stock' family, one row per ticker of `panel`."""
    close, volume = panel.close, panel.volume
    logs = np.diff(np.log(close), axis=0)
    simple = close[1:] / close[:-1] - 1.0
    highest = np.nanmax(np.where(np.isnan(close), -np.inf, close), axis=0)
    return panel.frame(
        {
            "stock_close": close[-1],
            "stock_volume": volume[-1],
            "stock_dollar_volume": panel.dollars[-1],
            "stock_gap": panel.open[-1] / close[-2] - 1.0,
            **{f"stock_return_{n}": close[-1] / close[-1 - n] - 1.0 for n in (1, 5, 20)},
            "stock_volume_ratio_20": volume[-1] / _mean(volume[-21:-1], LEAST_VOLUMES),
            "realised_volatility_20": _deviation(logs[-20:], LEAST_RETURNS[20]) * np.sqrt(YEAR),
            "realised_volatility_60": _deviation(logs[-60:], LEAST_RETURNS[60]) * np.sqrt(YEAR),
            "range_volatility_20": _parkinson(panel.high[-20:], panel.low[-20:]) * np.sqrt(YEAR),
            "illiquidity_20": 1e6 * _mean(_positive(np.abs(simple[-20:]), panel.dollars[-20:]), LEAST_RETURNS[20]),
            "high_252_distance": _enough(close[-1] / highest - 1.0, close, LEAST_YEAR),
            "stock_sessions": np.isfinite(close).sum(axis=0).astype(np.int16),
        }
    )


def _positive(numerator: FloatArray, denominator: FloatArray) -> FloatArray:
    return np.where(denominator > 0, numerator / denominator, np.nan)


def _enough(result: FloatArray, values: FloatArray, least: int) -> FloatArray:
    """`result` where at least `least` of the column's `values` are known, else NaN."""
    return np.where(np.isfinite(values).sum(axis=0) >= least, result, np.nan)


def _mean(values: FloatArray, least: int) -> FloatArray:
    count = np.isfinite(values).sum(axis=0)
    return _enough(np.nansum(values, axis=0) / count, values, least)


def _deviation(values: FloatArray, least: int) -> FloatArray:
    """Sample standard deviation of the known values of each column."""
    count = np.isfinite(values).sum(axis=0)
    mean = np.nansum(values, axis=0) / count
    squares = np.nansum((values - mean) ** 2, axis=0)
    return _enough(np.sqrt(squares / (count - 1)), values, least)


def _parkinson(high: FloatArray, low: FloatArray) -> FloatArray:
    return np.sqrt(_mean(np.log(high / low) ** 2, LEAST_RETURNS[20]) / (4.0 * np.log(2.0)))
