"""The Leisen-Reimer tree of `flowlake.options.american`, compiled; importing this module imports numba.

One buffer with constant offsets between its rows lets LLVM vectorise the inner loop, which runs over a whole number of
vectors: the nodes beyond the last one hold finite numbers that nothing reads.
"""

from __future__ import annotations

import math

import numpy as np
from numba import njit

from flowlake.options.american import LARGEST_STEPS, UNDECIDED
from flowlake.options.kernel import OPTIONS

ROW = LARGEST_STEPS + 23
AMERICAN, EUROPEAN, GRID, GAIN, FACTOR, OFFSET, WAIT = (ROW * row for row in range(7))
ROWS = 7
RESCALE_EVERY = 16
"""Steps after which nodes return to dollars, long before their units overflow."""
ONE_OVER_SQRT_2PI = 1.0 / math.sqrt(2.0 * math.pi)
SQRT_HALF = math.sqrt(0.5)


@njit(**OPTIONS)
def _peizer_pratt(z: float, steps: int) -> float:
    scaled = z / (steps + 1.0 / 3.0 + 0.1 / (steps + 1.0))
    root = 0.5 * math.sqrt(1.0 - math.exp(-scaled * scaled * (steps + 1.0 / 6.0)))
    return 0.5 + root if z >= 0.0 else 0.5 - root


@njit(**OPTIONS)
def _fill_exercise_terms(
    nodes: np.ndarray,
    ex_years: np.ndarray,
    cash: np.ndarray,
    first: int,
    last: int,
    strike: float,
    sign: float,
    rate: float,
    carry: float,
    step: float,
    steps: int,
) -> None:
    """`flowlake.options.american._exercise_terms` of one contract."""
    for i in range(steps + 1):
        nodes[FACTOR + i], nodes[OFFSET + i], nodes[WAIT + i] = 1.0, -strike, 0.0
    for dividend in range(first, last):
        due = cash[dividend] * math.exp(-rate * ex_years[dividend])
        growth = math.exp(rate * step)
        for i in range(min(steps, math.ceil(ex_years[dividend] / step) - 1) + 1):
            nodes[OFFSET + i] += due
            due *= growth
    i = -1
    for dividend in range(first, last):
        before = min(steps, math.ceil(ex_years[dividend] / step) - 1)
        if before == i or before < 0:
            continue  # two ex-dates in one step: the first decides
        i = before
        wait, due = ex_years[dividend] - i * step, 0.0
        for other in range(dividend, last):
            if ex_years[other] <= (i + 1) * step:
                wait = ex_years[other] - i * step
                due += cash[other] * math.exp(-rate * wait)
        now = nodes[OFFSET + i]
        later = now + strike - strike * math.exp(-rate * wait) - (due if sign < 0.0 else 0.0)
        factor = math.exp((carry - rate) * wait)
        if sign * (factor * strike + later) > sign * (strike + now):
            nodes[FACTOR + i], nodes[OFFSET + i], nodes[WAIT + i] = factor, later, wait if sign > 0.0 else 0.0


@njit(**OPTIONS)
def _plant(nodes: np.ndarray, n: int, low: float, ratio: float, sign: float, strike: float) -> None:
    """The grid, powers of the ratio between neighbours, and what both options are worth at expiration."""
    level = 1.0
    for j in range(8):
        nodes[GRID + j] = level
        level *= ratio
    for j in range(8, n + 17):
        nodes[GRID + j] = nodes[GRID + j - 8] * level
    for j in range(n + 17):
        payoff = sign * (low * nodes[GRID + j] - strike)
        payoff = payoff if payoff > 0.0 else 0.0
        nodes[AMERICAN + j] = payoff
        nodes[EUROPEAN + j] = payoff


@njit(**OPTIONS)
def _rescale(nodes: np.ndarray, i: int, factor: float) -> None:
    for j in range((i + 8) & ~7):
        nodes[AMERICAN + j] *= factor
        nodes[EUROPEAN + j] *= factor


@njit(**OPTIONS)
def _roll_back(nodes: np.ndarray, i: int, odds: float, slope: float, offset: float) -> None:
    """Both trees from time step i + 1 to i; exercise is worth slope * grid + offset.

    Values are kept in units of the discounted probability of all the down moves rolled back over, which saves a
    multiplication per node: `odds` is the up probability over the down one.
    """
    for j in range((i + 8) & ~7):
        held = nodes[AMERICAN + j] + odds * nodes[AMERICAN + j + 1]
        exercised = slope * nodes[GRID + j] + offset
        nodes[AMERICAN + j] = held if held > exercised else exercised
        nodes[GAIN + j] = held - exercised
        nodes[EUROPEAN + j] = nodes[EUROPEAN + j] + odds * nodes[EUROPEAN + j + 1]


@njit(**OPTIONS)
def _decide_later(nodes: np.ndarray, i: int, slope: float, offset: float, deviation: float) -> None:
    """`flowlake.options.american._decide` after `_roll_back` to step i, whose `GAIN` row holds held less exercised."""
    for j in range(1, i):
        gain, level = nodes[GAIN + j], nodes[GRID + j]
        lean = (nodes[GAIN + j + 1] - nodes[GAIN + j - 1]) / (nodes[GRID + j + 1] - nodes[GRID + j - 1])
        width = abs(lean) * level * deviation
        if abs(gain) < UNDECIDED * width:
            z = gain / width
            likely = 0.5 * math.erfc(-z * SQRT_HALF)
            smooth = gain * likely + width * ONE_OVER_SQRT_2PI * math.exp(-0.5 * z * z)
            nodes[AMERICAN + j] = slope * level + offset + smooth


@njit(**OPTIONS)
def _roll_back_twice(
    nodes: np.ndarray, i: int, odds: float, late_slope: float, late_offset: float, slope: float, offset: float
) -> None:
    """Both trees from time step i + 2 to i in one pass.

    Rows are short: a pass that reads what the last one has just stored, one node aside, waits for the store.
    """
    twice, square = 2.0 * odds, odds * odds
    for j in range((i + 8) & ~7):
        a0, a1, a2 = nodes[AMERICAN + j], nodes[AMERICAN + j + 1], nodes[AMERICAN + j + 2]
        g0, g1 = nodes[GRID + j], nodes[GRID + j + 1]
        low, high = a0 + odds * a1, a1 + odds * a2
        low_exercised, high_exercised = late_slope * g0 + late_offset, late_slope * g1 + late_offset
        low = low if low > low_exercised else low_exercised
        high = high if high > high_exercised else high_exercised
        held, exercised = low + odds * high, slope * g0 + offset
        nodes[AMERICAN + j] = held if held > exercised else exercised
        e0, e1, e2 = nodes[EUROPEAN + j], nodes[EUROPEAN + j + 1], nodes[EUROPEAN + j + 2]
        nodes[EUROPEAN + j] = e0 + twice * e1 + square * e2


@njit(**OPTIONS)
def _terms(nodes: np.ndarray, i: int, strike: float, paying: bool) -> tuple[float, float, float]:
    """Factor, offset and wait of exercise at step i."""
    if paying:
        return nodes[FACTOR + i], nodes[OFFSET + i], nodes[WAIT + i]
    return 1.0, -strike, 0.0


@njit(**OPTIONS)
def premiums(
    spot: np.ndarray,
    strike: np.ndarray,
    years: np.ndarray,
    rate: np.ndarray,
    carry: np.ndarray,
    volatility: np.ndarray,
    sign: np.ndarray,
    steps: np.ndarray,
    first_dividend: np.ndarray,
    last_dividend: np.ndarray,
    ex_years: np.ndarray,
    cash: np.ndarray,
    start: int,
    stop: int,
    out: np.ndarray,
) -> None:
    """Premiums of contracts `start` to `stop`, `steps` odd: fills the rows value, delta, gamma and charm of `out`."""
    nodes = np.zeros(ROWS * ROW)
    slopes = np.zeros((2, 2))
    for row in range(start, stop):
        n, x, k, s = steps[row], spot[row], strike[row], sign[row]
        step = years[row] / n
        deviation = volatility[row] * math.sqrt(years[row])
        d2 = (math.log(x / k) + carry[row] * years[row]) / deviation - 0.5 * deviation
        p, q = _peizer_pratt(d2, n), _peizer_pratt(d2 + deviation, n)
        growth = math.exp(carry[row] * step)
        u, d = growth * q / p, growth * (1.0 - q) / (1.0 - p)
        discount = math.exp(-rate[row] * step)
        down, odds = discount * (1.0 - p), p / (1.0 - p)
        paying = last_dividend[row] > first_dividend[row]
        if paying:
            _fill_exercise_terms(
                nodes, ex_years, cash, first_dividend[row], last_dividend[row], k, s, rate[row], carry[row], step, n
            )

        low, fall = x * d**n, 1.0 / d
        _plant(nodes, n, low, u / d, s, k)
        low *= fall
        rise, unit = 1.0 / down, s / down  # unit: one dollar of exercise in the units of the nodes
        factor, offset, wait = _terms(nodes, n - 1, k, paying)
        _roll_back(nodes, n - 1, odds, unit * low * factor, unit * offset)
        if wait > 0.0:
            spread = volatility[row] * math.sqrt(wait)
            _decide_later(nodes, n - 1, unit * low * factor, unit * offset, spread)
        for i in range(n - 3, -1, -2):
            if i % RESCALE_EVERY == 0:
                _rescale(nodes, i + 2, s / unit)
                unit = s
            late_factor, late_offset, late_wait = _terms(nodes, i + 1, k, paying)
            factor, offset, wait = _terms(nodes, i, k, paying)
            low *= fall
            unit *= rise
            late_slope, late_offset = unit * low * late_factor, unit * late_offset
            low *= fall
            unit *= rise
            slope, offset = unit * low * factor, unit * offset
            if wait == 0.0 and late_wait == 0.0:
                _roll_back_twice(nodes, i, odds, late_slope, late_offset, slope, offset)
            else:
                _roll_back(nodes, i + 1, odds, late_slope, late_offset)
                _decide_later(nodes, i + 1, late_slope, late_offset, volatility[row] * math.sqrt(late_wait))
                _roll_back(nodes, i, odds, slope, offset)
                _decide_later(nodes, i, slope, offset, volatility[row] * math.sqrt(wait))
            if i == 4 or i == 2:
                at = i // 2 - 1
                x0, x1, x2 = low * nodes[GRID + at], low * nodes[GRID + at + 1], low * nodes[GRID + at + 2]
                dollar = s / unit
                y0 = dollar * (nodes[AMERICAN + at] - nodes[EUROPEAN + at])
                y1 = dollar * (nodes[AMERICAN + at + 1] - nodes[EUROPEAN + at + 1])
                y2 = dollar * (nodes[AMERICAN + at + 2] - nodes[EUROPEAN + at + 2])
                f01, f12 = (y1 - y0) / (x1 - x0), (y2 - y1) / (x2 - x1)
                bend = (f12 - f01) / (x2 - x0)
                slopes[at, 0], slopes[at, 1] = f01 + bend * (2.0 * x - x0 - x1), 2.0 * bend
        drift = (slopes[1, 0] - slopes[0, 0]) / (2.0 * step)
        out[0, row] = (nodes[AMERICAN] - nodes[EUROPEAN]) * s / unit
        out[1, row] = slopes[0, 0] - 2.0 * step * drift
        out[2, row] = slopes[0, 1]
        out[3, row] = drift
