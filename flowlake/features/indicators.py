"""RSI, MACD, Bollinger bands and distances to simple means, over the closes known in the last 252 sessions."""

from __future__ import annotations

import numpy as np
import polars as pl

from flowlake.features.stock import FloatArray, StockPanel

RSI_PERIOD = 14
MACD_PERIODS = (12, 26, 9)
BOLLINGER_PERIOD, BOLLINGER_WIDTH = 20, 2.0
MEANS = (20, 50, 200)


@np.errstate(divide="ignore", invalid="ignore")
def indicator_features(panel: StockPanel) -> pl.DataFrame:
    """The 'indicators' family; null for a ticker without a close in the described session."""
    closes = packed(panel.close)
    macd, signal = moving_average_convergence(closes)
    mean, deviation = last_mean(closes, BOLLINGER_PERIOD), _last_deviation(closes, BOLLINGER_PERIOD)
    width = 2.0 * BOLLINGER_WIDTH * deviation
    columns = {
        "rsi_14": relative_strength(closes),
        "macd": macd,
        "macd_signal": signal,
        "macd_histogram": macd - signal,
        "bollinger_percent_b": (closes[-1] - (mean - BOLLINGER_WIDTH * deviation)) / width,
        "bollinger_bandwidth": width / mean,
        **{f"sma_{n}_distance": closes[-1] / last_mean(closes, n) - 1.0 for n in MEANS},
    }
    traded = np.isfinite(panel.close[-1])
    return panel.frame({name: np.where(traded, values, np.nan) for name, values in columns.items()})


def packed(values: FloatArray) -> FloatArray:
    """`values` with each column's known entries moved to its end, in order: sessions without one are skipped."""
    order = np.argsort(np.isfinite(values), axis=0, kind="stable")
    return np.take_along_axis(values, order, axis=0)


def last_mean(closes: FloatArray, n: int) -> FloatArray:
    """Mean of the last `n` rows, NaN where one is unknown."""
    return closes[-n:].mean(axis=0)


def _last_deviation(closes: FloatArray, n: int) -> FloatArray:
    return closes[-n:].std(axis=0)


def exponential_average(values: FloatArray, n: int, weight: float) -> FloatArray:
    """Recursive average of each packed column: begun with the mean of its first `n`, then moved by `weight`.

    Rows before that are NaN.
    """
    result = np.full_like(values, np.nan)
    known = np.cumsum(np.isfinite(values), axis=0)
    level = np.full(values.shape[1], np.nan)
    for row in range(values.shape[0]):
        if row >= n - 1:
            begun = values[row - n + 1 : row + 1].mean(axis=0)
            level = np.where(known[row] == n, begun, level + weight * (values[row] - level))
        result[row] = level
    return result


def moving_average_convergence(closes: FloatArray) -> tuple[FloatArray, FloatArray]:
    """MACD line and its signal at the last row of packed `closes`."""
    fast, slow, smooth = MACD_PERIODS
    line = exponential_average(closes, fast, 2.0 / (fast + 1)) - exponential_average(closes, slow, 2.0 / (slow + 1))
    return line[-1], exponential_average(line, smooth, 2.0 / (smooth + 1))[-1]


def relative_strength(closes: FloatArray) -> FloatArray:
    """Wilder's RSI at the last row of packed `closes`; 50 where nothing moved."""
    changes = np.diff(closes, axis=0)
    gain = exponential_average(np.maximum(changes, 0.0), RSI_PERIOD, 1.0 / RSI_PERIOD)[-1]
    loss = exponential_average(np.maximum(-changes, 0.0), RSI_PERIOD, 1.0 / RSI_PERIOD)[-1]
    moved = gain + loss
    return np.where(moved > 0, 100.0 * gain / moved, np.where(np.isfinite(moved), 50.0, np.nan))
