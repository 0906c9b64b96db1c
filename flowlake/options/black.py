"""European options on a forward (Black 1976): implied volatility and Greeks in NumPy alone.

The solver works on the out-of-the-money side, where the price is all time value. With k = |ln(F/K)|, total deviation
s = sigma sqrt(T), a = k/s - s/2, b = k/s + s/2 and the Mills ratio R, the undiscounted time value over min(F, K) is

    c(s) = phi(a) [R(a) - R(b)]            for a >= 0
    c(s) = 1 - phi(a) [R(-a) + R(b)]       for a < 0,        dc/ds = phi(a),

so that the logarithm of the price and its first three derivatives cost one exponential, one logarithm and two
rational polynomials. A fitted guess (relative error 1e-4) and two steps of Householder's third-order method on the
log price (Jaeckel, "Let's be rational", Wilmott 2015, iterates likewise) reach machine precision.
`flowlake.options.kernel` is the same algorithm, compiled.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from flowlake.options.coefficients import BACHELIER, CORRECTION, CORRECTION_LIMITS, MILLS, MILLS_CENTRE
from flowlake.options.status import Status

FloatArray = npt.NDArray[np.float64]
BoolArray = npt.NDArray[np.bool_]

DAYS_PER_YEAR = 365.0
STEP_TOLERANCE = 1e-11
"""Relative step after which the solver stops; the next one would be its fourth power."""
MAX_STEPS = 40
LARGEST_VOLATILITY_ERROR = 1e-6
"""A volatility that the rounding of its price moves further than this is not reported."""

_SQRT_2PI = np.sqrt(2.0 * np.pi)
_SQRT_HALF_PI = np.sqrt(0.5 * np.pi)
_BLOCK = 8192  # rows whose temporaries stay in the second-level cache


class Greeks(NamedTuple):
    """Sensitivities of the option's value in dollars per share.

    `delta` to spot; `gamma` per dollar of spot; `theta` per calendar day; `vega` per volatility point (0.01); `rho`
    per percentage point of the rate with dividends and borrow held; `vanna` change of delta per volatility point;
    `charm` change of delta per calendar day.
    """

    delta: FloatArray
    gamma: FloatArray
    theta: FloatArray
    vega: FloatArray
    rho: FloatArray
    vanna: FloatArray
    charm: FloatArray


def mills_ratio(z: FloatArray) -> FloatArray:
    """(1 - Phi(z)) / phi(z) for z >= 0, relative error below 1e-15."""
    shifted = z + MILLS_CENTRE
    t = (z - MILLS_CENTRE) / shifted
    total = np.full_like(t, MILLS[-1])
    for coefficient in MILLS[-2::-1]:
        total *= t
        total += coefficient
    return total / shifted


def normal_density(z: FloatArray) -> FloatArray:
    """phi(z), the standard normal density."""
    return np.exp(-0.5 * z * z) / _SQRT_2PI


def normal_distribution(z: FloatArray) -> FloatArray:
    """Phi(z), the standard normal distribution function."""
    tail = normal_density(z) * mills_ratio(np.abs(z))
    return np.where(z < 0, tail, 1.0 - tail)


def black_price(
    iv: FloatArray, forward: FloatArray, strike: FloatArray, years: FloatArray, discount: FloatArray, is_call: BoolArray
) -> FloatArray:
    """Discounted Black-76 value in dollars per share, of volatility `iv` (annualised, decimal)."""
    deviation = iv * np.sqrt(years)
    log_moneyness = np.abs(np.log(forward / strike))
    time_value = np.minimum(forward, strike) * _time_value(log_moneyness, deviation)
    intrinsic = np.maximum(np.where(is_call, forward - strike, strike - forward), 0.0)
    return discount * (intrinsic + time_value)


def implied_volatility(
    price: FloatArray,
    forward: FloatArray,
    strike: FloatArray,
    years: FloatArray,
    discount: FloatArray,
    is_call: BoolArray,
) -> tuple[FloatArray, npt.NDArray[np.uint8]]:
    """Black-76 volatility (annualised, decimal; NaN where unsolved) and `Status` of every contract.

    Prices in dollars per share, `years` to settlement, `discount` the factor to it. Nothing raises on bad rows.
    """
    volatility = np.full(price.shape, np.nan)
    status = np.zeros(price.shape, dtype=np.uint8)
    for start in range(0, price.size, _BLOCK):
        rows = slice(start, start + _BLOCK)
        volatility[rows], status[rows] = _solve_block(
            price[rows], forward[rows], strike[rows], years[rows], discount[rows], is_call[rows]
        )
    return volatility, status


def greeks(
    iv: FloatArray,
    forward: FloatArray,
    strike: FloatArray,
    years: FloatArray,
    discount: FloatArray,
    is_call: BoolArray,
    spot: FloatArray,
) -> Greeks:
    """Greeks of European options (Haug, "The Complete Guide to Option Pricing Formulas", 2007, chapter 2).

    The carry ln(forward / spot) / years and the rate -ln(discount) / years are held constant. NaN in, NaN out.
    """
    out = Greeks(*(np.empty(iv.shape) for _ in Greeks._fields))
    for start in range(0, iv.size, _BLOCK):
        rows = slice(start, start + _BLOCK)
        values = _greeks_block(
            iv[rows], forward[rows], strike[rows], years[rows], discount[rows], is_call[rows], spot[rows]
        )
        for target, value in zip(out, values, strict=True):
            target[rows] = value
    return out


def classify(
    price: FloatArray, forward: FloatArray, strike: FloatArray, years: FloatArray, discount: FloatArray
) -> npt.NDArray[np.uint8]:
    """`Status` as far as the inputs alone tell it: `OK`, `NO_PRICE`, `NO_FORWARD` or `EXPIRED`."""
    status = np.zeros(price.shape, dtype=np.uint8)
    usable = np.isfinite(forward) & np.isfinite(strike) & np.isfinite(discount)
    usable &= (forward > 0) & (strike > 0) & (discount > 0)
    status[~(np.isfinite(price) & (price > 0))] = Status.NO_PRICE
    status[~usable] = Status.NO_FORWARD
    status[~(np.isfinite(years) & (years > 0))] = Status.EXPIRED
    return status


@np.errstate(all="ignore")  # rows without a solution run through the arithmetic and are masked by status
def _solve_block(
    price: FloatArray,
    forward: FloatArray,
    strike: FloatArray,
    years: FloatArray,
    discount: FloatArray,
    is_call: BoolArray,
) -> tuple[FloatArray, npt.NDArray[np.uint8]]:
    status = classify(price, forward, strike, years, discount)
    undiscounted = price / discount
    intrinsic = np.maximum(np.where(is_call, forward - strike, strike - forward), 0.0)
    smaller, larger = np.minimum(forward, strike), np.maximum(forward, strike)
    target = (undiscounted - intrinsic) / smaller
    open_rows = status == Status.OK
    status[open_rows & ~(target > 0)] = Status.BELOW_INTRINSIC
    status[open_rows & (target >= 1)] = Status.ABOVE_BOUND

    volatility = np.full(price.shape, np.nan)
    rows = np.flatnonzero(status == Status.OK)
    if rows.size == 0:
        return volatility, status
    log_moneyness = np.abs(np.log(forward[rows] / strike[rows]))
    deviation, slope = _deviation(target[rows], log_moneyness, smaller[rows], larger[rows])

    rounding = np.finfo(float).eps * (undiscounted[rows] + intrinsic[rows]) / smaller[rows] / slope
    root_years = np.sqrt(years[rows])
    precise = (rounding / root_years <= LARGEST_VOLATILITY_ERROR) & np.isfinite(deviation)
    status[rows[~precise]] = Status.IMPRECISE
    volatility[rows[precise]] = deviation[precise] / root_years[precise]
    return volatility, status


def _deviation(
    target: FloatArray, log_moneyness: FloatArray, smaller: FloatArray, larger: FloatArray
) -> tuple[FloatArray, FloatArray]:
    """Total deviation at which the time value is `target`, and the slope of the time value there."""
    deviation = _guess(target, smaller, larger)
    slope = np.zeros_like(target)
    active = np.arange(target.size)
    for _ in range(MAX_STEPS):
        step, slope[active] = _householder_step(deviation[active], log_moneyness[active], target[active])
        moved = np.clip(deviation[active] - step, 0.25 * deviation[active], 4.0 * deviation[active])
        settled = np.abs(step) <= STEP_TOLERANCE * deviation[active]
        deviation[active] = moved
        active = active[~settled]
        if active.size == 0:
            return deviation, slope
    deviation[active] = np.nan
    return deviation, slope


def _guess(target: FloatArray, smaller: FloatArray, larger: FloatArray) -> FloatArray:
    """Bachelier deviation of the price, carried to the lognormal one by a polynomial in both squares."""
    beta = target * np.sqrt(smaller / larger)
    distance = (larger - smaller) / np.sqrt(larger * smaller)
    straddle = 2.0 * beta + distance
    half_log = 0.5 * np.log1p(distance / beta)
    root = np.sqrt(np.where(half_log > 1e-8, distance / straddle / np.maximum(half_log, 1e-8), 1.0))
    bachelier = straddle * _SQRT_HALF_PI * root * _polynomial(BACHELIER, root)
    u = np.minimum(bachelier * bachelier, CORRECTION_LIMITS[0])
    v = np.minimum(distance * distance, CORRECTION_LIMITS[1])
    return bachelier * _polynomial([_polynomial(row, v) for row in CORRECTION], u)


def _polynomial(coefficients: Sequence[float] | Sequence[FloatArray], x: FloatArray) -> FloatArray:
    """Horner's rule, lowest coefficient first."""
    total = np.zeros_like(x) + coefficients[-1]
    for coefficient in coefficients[-2::-1]:
        total = total * x + coefficient
    return total


def _householder_step(s: FloatArray, k: FloatArray, target: FloatArray) -> tuple[FloatArray, FloatArray]:
    """One third-order step on the log price (or on the log of its distance to 1 in the upper half), and dc/ds."""
    a, b = k / s - 0.5 * s, k / s + 0.5 * s
    density = normal_density(a)
    outside = a >= 0
    mills_a, mills_b = mills_ratio(np.abs(a)), mills_ratio(b)
    part = density * np.where(outside, mills_a - mills_b, mills_a + mills_b)
    upper = ~outside & (target > 0.5)
    value = np.where(outside | upper, part, 1.0 - part)
    gap = np.log(value / np.where(upper, 1.0 - target, target))
    first = np.where(upper, -density, density) / value
    curvature = a * b / s
    h2 = curvature - first
    h3 = h2 * h2 - first * h2 - 3.0 * (k / (s * s)) ** 2 - 0.25
    newton = gap / first
    return newton * (1.0 - 0.5 * newton * h2) / (1.0 - newton * h2 + newton * newton * h3 / 6.0), density


def _time_value(k: FloatArray, s: FloatArray) -> FloatArray:
    """Undiscounted time value over min(forward, strike)."""
    a, b = k / s - 0.5 * s, k / s + 0.5 * s
    outside = a >= 0
    mills_a, mills_b = mills_ratio(np.abs(a)), mills_ratio(b)
    part = normal_density(a) * np.where(outside, mills_a - mills_b, mills_a + mills_b)
    return np.where(outside, part, 1.0 - part)


@np.errstate(all="ignore")
def _greeks_block(
    iv: FloatArray,
    forward: FloatArray,
    strike: FloatArray,
    years: FloatArray,
    discount: FloatArray,
    is_call: BoolArray,
    spot: FloatArray,
) -> Greeks:
    root_years = np.sqrt(years)
    s = iv * root_years
    d1 = np.log(forward / strike) / s + 0.5 * s
    d2 = d1 - s
    sign = np.where(is_call, 1.0, -1.0)
    exercise_1, exercise_2 = sign * normal_distribution(sign * d1), sign * normal_distribution(sign * d2)
    density = normal_density(d1)
    ratio = forward / spot
    rate, carry = -np.log(discount) / years, np.log(ratio) / years

    delta = discount * ratio * exercise_1
    gamma = discount * ratio * density / (spot * s)
    value = discount * (forward * exercise_1 - strike * exercise_2)
    decay = -rate * value + discount * forward * (exercise_1 * carry + 0.5 * density * iv / root_years)
    vega = discount * forward * density * root_years
    rho = discount * strike * exercise_2 * years
    vanna = -discount * ratio * density * d2 / iv
    charm = -(carry - rate) * delta - discount * ratio * density * (carry / s - 0.5 * d2 / years)
    return Greeks(delta, gamma, -decay / DAYS_PER_YEAR, vega / 100.0, rho / 100.0, vanna / 100.0, charm / DAYS_PER_YEAR)
