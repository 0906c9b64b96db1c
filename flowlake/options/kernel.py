"""The Black-76 solver of `flowlake.options.black`, compiled: the same algorithm on blocks of 128 contracts.

Importing this module imports numba; only `flowlake.options.engine` does, on first use. Compiled code is cached on disk.

What makes it fast, and what a change must keep (`flowlake_tests/options/test_kernel.py` counts vector instructions):
every loop runs over exactly `LANES` contracts and touches one buffer at constant offsets, so that LLVM can prove the
rows distinct and vectorise; branches are selects; exponential and logarithm are written with bit operations, because
calls into the C library do not vectorise. A contract whose step has settled is frozen, so that no result depends on
its neighbours in the block. Only the serial kernel is compiled (parallel ones take 10 s); threads share the rows.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numba import njit, types
from numba.extending import intrinsic

from flowlake.options.black import LARGEST_VOLATILITY_ERROR, MAX_STEPS, STEP_TOLERANCE
from flowlake.options.coefficients import BACHELIER, CORRECTION, CORRECTION_LIMITS, MILLS, MILLS_CENTRE
from flowlake.options.status import Status

LANES = 128
OPTIONS: dict[str, Any] = {"nogil": True, "cache": True, "error_model": "numpy", "fastmath": {"contract"}}

OK, NO_PRICE, NO_FORWARD = float(Status.OK), float(Status.NO_PRICE), float(Status.NO_FORWARD)
EXPIRED, BELOW_INTRINSIC = float(Status.EXPIRED), float(Status.BELOW_INTRINSIC)
ABOVE_BOUND, IMPRECISE = float(Status.ABOVE_BOUND), float(Status.IMPRECISE)

# Rows of the block's buffer, as offsets.
PRICE, FORWARD, STRIKE, YEARS, DISCOUNT, SIGN, SPOT = (LANES * row for row in range(7))
STATUS, TARGET, LOG_MONEYNESS, DEVIATION, SETTLED, ROUNDING = (LANES * row for row in range(7, 13))
EVALUATED, MILLS_A, MILLS_B, DENSITY = (LANES * row for row in range(13, 17))
VOLATILITY, DELTA, GAMMA, THETA, VEGA, RHO, VANNA, CHARM = (LANES * row for row in range(17, 25))
ROWS = 25

LARGEST = 1.7e308
SQRT_HALF_PI = math.sqrt(0.5 * math.pi)
ONE_OVER_SQRT_2PI = 1.0 / math.sqrt(2.0 * math.pi)
EPSILON = float(np.finfo(np.float64).eps)

LN2_HIGH, LN2_LOW = 6.93147180369123816490e-01, 1.90821492927058770002e-10
LOG2_E = 1.4426950408889634
ROUNDER = 6755399441055744.0  # 1.5 * 2^52: adding it leaves the nearest integer in the low bits
TWO_52 = 4503599627370496.0
EXPONENT_OF_TWO_52 = 0x4330000000000000
MANTISSA = 0x000FFFFFFFFFFFFF
HALF_EXPONENT = 0x3FE0000000000000
# Coefficients of the logarithm in FreeBSD's msun, e_log.c (Sun Microsystems 1993).
LOG_1, LOG_2, LOG_3 = 6.666666666666735130e-01, 3.999999999940941908e-01, 2.857142874366239149e-01
LOG_4, LOG_5 = 2.222219843214978396e-01, 1.818357216161805012e-01
LOG_6, LOG_7 = 1.531383769920937332e-01, 1.479819860511658591e-01
EXP_COEFFICIENTS = tuple(1.0 / math.factorial(n) for n in range(13))


@intrinsic
def _bits(typing_context: Any, value: Any) -> Any:
    """The 64 bits of a float as an integer."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.bitcast(arguments[0], context.get_value_type(types.int64))

    return types.int64(types.float64), generate


@intrinsic
def _float(typing_context: Any, value: Any) -> Any:
    """The float with these 64 bits."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.bitcast(arguments[0], context.get_value_type(types.float64))

    return types.float64(types.int64), generate


@njit(forceinline=True, **OPTIONS)
def _exp(x: float) -> float:
    """exp(x) for -700 <= x <= 700."""
    shifted = x * LOG2_E + ROUNDER
    n = shifted - ROUNDER
    r = (x - n * LN2_HIGH) - n * LN2_LOW
    r2 = r * r
    even, odd = EXP_COEFFICIENTS[12], EXP_COEFFICIENTS[11]
    even = even * r2 + EXP_COEFFICIENTS[10]
    odd = odd * r2 + EXP_COEFFICIENTS[9]
    even = even * r2 + EXP_COEFFICIENTS[8]
    odd = odd * r2 + EXP_COEFFICIENTS[7]
    even = even * r2 + EXP_COEFFICIENTS[6]
    odd = odd * r2 + EXP_COEFFICIENTS[5]
    even = even * r2 + EXP_COEFFICIENTS[4]
    odd = odd * r2 + EXP_COEFFICIENTS[3]
    even = even * r2 + EXP_COEFFICIENTS[2]
    odd = odd * r2 + EXP_COEFFICIENTS[1]
    even = even * r2 + EXP_COEFFICIENTS[0]
    total = odd * r + even
    return total * _float((_bits(shifted) << 52) + (1023 << 52))  # pyright: ignore[reportCallIssue]


@njit(forceinline=True, **OPTIONS)
def _log(x: float) -> float:
    """ln(x) for normal positive x."""
    bits = _bits(x)  # pyright: ignore[reportCallIssue]
    raised = ((bits >> 52) & 0x7FF) | EXPONENT_OF_TWO_52
    exponent = _float(raised) - (TWO_52 + 1022.0)  # pyright: ignore[reportCallIssue]
    halved = (bits & MANTISSA) | HALF_EXPONENT  # in [0.5, 1)
    mantissa = _float(halved)  # pyright: ignore[reportCallIssue]
    low = mantissa < 0.7071067811865476
    mantissa = 2.0 * mantissa if low else mantissa
    exponent = exponent - 1.0 if low else exponent
    f = mantissa - 1.0
    s = f / (2.0 + f)
    z = s * s
    series = z * (LOG_1 + z * (LOG_2 + z * (LOG_3 + z * (LOG_4 + z * (LOG_5 + z * (LOG_6 + z * LOG_7))))))
    half_square = 0.5 * f * f
    return exponent * LN2_HIGH - ((half_square - (s * (half_square + series) + exponent * LN2_LOW)) - f)


@njit(forceinline=True, **OPTIONS)
def _mills(z: float, inverse: float) -> float:
    """(1 - Phi(z)) / phi(z) for z >= 0, given 1 / (z + MILLS_CENTRE).

    Written out, because a loop over coefficients would not be unrolled, and in independent chains, because the
    processor would wait for one long one.
    """
    t = (z - MILLS_CENTRE) * inverse
    t2 = t * t
    t4 = t2 * t2
    y0, y1, y2, y3 = MILLS[20], MILLS[21], MILLS[22], MILLS[19]
    y0 = y0 * t4 + MILLS[16]
    y1 = y1 * t4 + MILLS[17]
    y2 = y2 * t4 + MILLS[18]
    y0 = y0 * t4 + MILLS[12]
    y1 = y1 * t4 + MILLS[13]
    y2 = y2 * t4 + MILLS[14]
    y3 = y3 * t4 + MILLS[15]
    y0 = y0 * t4 + MILLS[8]
    y1 = y1 * t4 + MILLS[9]
    y2 = y2 * t4 + MILLS[10]
    y3 = y3 * t4 + MILLS[11]
    y0 = y0 * t4 + MILLS[4]
    y1 = y1 * t4 + MILLS[5]
    y2 = y2 * t4 + MILLS[6]
    y3 = y3 * t4 + MILLS[7]
    y0 = y0 * t4 + MILLS[0]
    y1 = y1 * t4 + MILLS[1]
    y2 = y2 * t4 + MILLS[2]
    y3 = y3 * t4 + MILLS[3]
    y = (y3 * t + y2) * t2 + (y1 * t + y0)
    return y * inverse


@njit(forceinline=True, **OPTIONS)
def _guess(target: float, smaller: float, larger: float) -> float:
    """`flowlake.options.black._guess`."""
    mean = math.sqrt(larger * smaller)
    scale = 1.0 / mean
    beta = target * smaller * scale
    distance = (larger - smaller) * scale
    straddle = 2.0 * beta + distance
    half_log = 0.5 * _log(1.0 + distance / beta)
    floored = half_log if half_log > 1e-8 else 1e-8
    squared = distance / (straddle * floored)
    r = math.sqrt(squared if half_log > 1e-8 else 1.0)
    y = BACHELIER[10]
    y = y * r + BACHELIER[9]
    y = y * r + BACHELIER[8]
    y = y * r + BACHELIER[7]
    y = y * r + BACHELIER[6]
    y = y * r + BACHELIER[5]
    y = y * r + BACHELIER[4]
    y = y * r + BACHELIER[3]
    y = y * r + BACHELIER[2]
    y = y * r + BACHELIER[1]
    y = y * r + BACHELIER[0]
    bachelier = straddle * SQRT_HALF_PI * r * y
    u = bachelier * bachelier
    u = u if u < CORRECTION_LIMITS[0] else CORRECTION_LIMITS[0]
    v = distance * distance
    v = v if v < CORRECTION_LIMITS[1] else CORRECTION_LIMITS[1]
    y = CORRECTION[5][0]
    c = CORRECTION[4][1]
    c = c * v + CORRECTION[4][0]
    y = y * u + c
    c = CORRECTION[3][2]
    c = c * v + CORRECTION[3][1]
    c = c * v + CORRECTION[3][0]
    y = y * u + c
    c = CORRECTION[2][3]
    c = c * v + CORRECTION[2][2]
    c = c * v + CORRECTION[2][1]
    c = c * v + CORRECTION[2][0]
    y = y * u + c
    c = CORRECTION[1][4]
    c = c * v + CORRECTION[1][3]
    c = c * v + CORRECTION[1][2]
    c = c * v + CORRECTION[1][1]
    c = c * v + CORRECTION[1][0]
    y = y * u + c
    c = CORRECTION[0][5]
    c = c * v + CORRECTION[0][4]
    c = c * v + CORRECTION[0][3]
    c = c * v + CORRECTION[0][2]
    c = c * v + CORRECTION[0][1]
    c = c * v + CORRECTION[0][0]
    y = y * u + c
    return bachelier * y


@njit(**OPTIONS)
def _load(block: np.ndarray, row: int, values: np.ndarray, start: int, count: int) -> None:
    """Copy `count` values into a row of the block and fill it up with ones."""
    for i in range(count):
        block[row + i] = values[start + i]
    for i in range(count, LANES):
        block[row + i] = 1.0


@njit(**OPTIONS)
def _prepare(block: np.ndarray) -> None:
    """Status from the inputs, normalised time value, log-moneyness, first guess.

    Lanes without a solution get harmless numbers, so that they neither trap nor delay the others.
    """
    for i in range(LANES):
        price, forward, strike = block[PRICE + i], block[FORWARD + i], block[STRIKE + i]
        years, discount = block[YEARS + i], block[DISCOUNT + i]
        priced = (price > 0.0) & (price < LARGEST)
        carried = (forward > 0.0) & (forward < LARGEST) & (strike > 0.0) & (strike < LARGEST)
        carried &= (discount > 0.0) & (discount < LARGEST)
        alive = (years > 0.0) & (years < LARGEST)
        status = OK if priced else NO_PRICE
        status = status if carried else NO_FORWARD
        status = status if alive else EXPIRED

        smaller = forward if forward < strike else strike
        larger = forward if forward >= strike else strike
        inverse_smaller = 1.0 / smaller
        undiscounted = price / discount
        parity = block[SIGN + i] * (forward - strike)
        intrinsic = parity if parity > 0.0 else 0.0
        target = (undiscounted - intrinsic) * inverse_smaller
        bounded = BELOW_INTRINSIC if target <= 0.0 else (ABOVE_BOUND if target >= 1.0 else OK)
        status = bounded if status == OK else status

        solvable = status == OK
        smaller = smaller if solvable else 1.0
        larger = larger if solvable else 1.0
        target = target if solvable else 0.1
        block[STATUS + i] = status
        block[TARGET + i] = target
        block[LOG_MONEYNESS + i] = _log(larger / smaller)
        block[DEVIATION + i] = _guess(target, smaller, larger)
        block[ROUNDING + i] = EPSILON * (undiscounted + intrinsic) * inverse_smaller
        block[SETTLED + i] = 0.0


@njit(**OPTIONS)
def _step(block: np.ndarray) -> int:
    """One Householder step of every unsettled lane; how many have not settled after it.

    Divisions are what this loop waits for: reciprocals of products serve several quotients at once.
    """
    moving = 0
    for i in range(LANES):
        s, k, target = block[DEVIATION + i], block[LOG_MONEYNESS + i], block[TARGET + i]
        inverse = 1.0 / s
        ratio = k * inverse
        a, b = ratio - 0.5 * s, ratio + 0.5 * s
        outside = a >= 0.0
        exponent = -0.5 * a * a
        density = _exp(exponent if exponent > -700.0 else -700.0) * ONE_OVER_SQRT_2PI
        size = a if outside else -a
        shifted_a, shifted_b = size + MILLS_CENTRE, b + MILLS_CENTRE
        both = 1.0 / (shifted_a * shifted_b)
        mills_a, mills_b = _mills(size, both * shifted_b), _mills(b, both * shifted_a)
        sum_or_difference = (mills_a - mills_b) if outside else (mills_a + mills_b)
        part = density * sum_or_difference
        upper = (not outside) & (target > 0.5)
        value = part if outside | upper else 1.0 - part
        aim = (1.0 - target) if upper else target
        # first = over / under is the slope of the log price; outside, the density cancels before it can underflow.
        over = 1.0 if outside else (-density if upper else density)
        under = sum_or_difference if outside else value
        product = over * under
        reciprocal = 1.0 / (product * aim)
        gap = _log(value * product * reciprocal)
        shared = aim * reciprocal
        first = over * over * shared
        h2 = a * b * inverse - first
        slant = ratio * inverse
        h3 = h2 * h2 - first * h2 - 3.0 * slant * slant - 0.25
        newton = gap * under * under * shared
        step = newton * (1.0 - 0.5 * newton * h2) / (1.0 - newton * h2 + newton * newton * h3 / 6.0)
        moved = s - step
        moved = moved if moved > 0.25 * s else 0.25 * s
        moved = moved if moved < 4.0 * s else 4.0 * s
        frozen = block[SETTLED + i] > 0.5
        small = (step if step > 0.0 else -step) <= STEP_TOLERANCE * s
        block[DEVIATION + i] = s if frozen else moved
        block[EVALUATED + i] = block[EVALUATED + i] if frozen else s
        block[MILLS_A + i] = block[MILLS_A + i] if frozen else mills_a
        block[MILLS_B + i] = block[MILLS_B + i] if frozen else mills_b
        block[DENSITY + i] = block[DENSITY + i] if frozen else density
        block[SETTLED + i] = 1.0 if frozen | small else 0.0
        moving += 0 if frozen | small else 1
    return moving


@njit(**OPTIONS)
def _finish(block: np.ndarray) -> None:
    """Volatility where its price determines it; Greeks from the quantities of the last step."""
    for i in range(LANES):
        root_years = math.sqrt(block[YEARS + i] if block[YEARS + i] > 0.0 else 1.0)
        inverse_root = 1.0 / root_years
        density = block[DENSITY + i]
        vague = block[ROUNDING + i] * inverse_root > LARGEST_VOLATILITY_ERROR * density
        unsolved = vague | (block[SETTLED + i] < 0.5)
        status = block[STATUS + i]
        status = IMPRECISE if (status == OK) & unsolved else status
        block[STATUS + i] = status
        block[VOLATILITY + i] = block[DEVIATION + i] * inverse_root if status == OK else math.nan

    for i in range(LANES):
        forward, strike, spot = block[FORWARD + i], block[STRIKE + i], block[SPOT + i]
        years, discount, sign = block[YEARS + i], block[DISCOUNT + i], block[SIGN + i]
        s, density_a = block[EVALUATED + i], block[DENSITY + i]
        volatility = block[VOLATILITY + i]
        above = strike >= forward
        small_ratio = (forward if above else strike) / (strike if above else forward)
        density_b = density_a * small_ratio
        inverse_s, inverse_years, root_years = 1.0 / s, 1.0 / years, math.sqrt(years)
        ratio_k = block[LOG_MONEYNESS + i] * inverse_s
        a, b = ratio_k - 0.5 * s, ratio_k + 0.5 * s
        tail_b = density_b * block[MILLS_B + i]
        tail_a = density_a * block[MILLS_A + i]
        tail_a = tail_a if a >= 0.0 else 1.0 - tail_a

        call = sign > 0.0
        exercise_1 = (tail_a if call else tail_a - 1.0) if above else (1.0 - tail_b if call else -tail_b)
        exercise_2 = (tail_b if call else tail_b - 1.0) if above else (1.0 - tail_a if call else -tail_a)
        density = density_a if above else density_b
        d2 = -b if above else a
        ratio = forward / spot
        rate, carry = -_log(discount) * inverse_years, _log(ratio) * inverse_years
        spot_density = discount * ratio * density
        delta = discount * ratio * exercise_1
        value = discount * (forward * exercise_1 - strike * exercise_2)
        forward_density = discount * forward * density
        decay = carry * discount * forward * exercise_1 - rate * value
        decay += 0.5 * forward_density * s * inverse_years
        solved = block[STATUS + i] == OK
        blank = 0.0 if solved else math.nan
        block[DELTA + i] = delta + blank
        block[GAMMA + i] = spot_density * inverse_s / spot + blank
        block[THETA + i] = -decay * (1.0 / 365.0) + blank
        block[VEGA + i] = forward_density * root_years * 0.01 + blank
        block[RHO + i] = discount * strike * exercise_2 * years * 0.01 + blank
        block[VANNA + i] = -spot_density * d2 / volatility * 0.01 + blank
        shift = carry * inverse_s - 0.5 * d2 * inverse_years
        block[CHARM + i] = ((rate - carry) * delta - spot_density * shift) * (1.0 / 365.0) + blank


@njit(**OPTIONS)
def solve(
    price: np.ndarray,
    forward: np.ndarray,
    strike: np.ndarray,
    years: np.ndarray,
    discount: np.ndarray,
    sign: np.ndarray,
    spot: np.ndarray,
    start: int,
    stop: int,
    status: np.ndarray,
    out: np.ndarray,
) -> None:
    """Solve rows `start` to `stop`: `status` (uint8) and the rows of `out` (8, n), volatility and the seven Greeks.

    `sign` is 1 for calls and -1 for puts (int8); every other input is float64.
    """
    block = np.empty(ROWS * LANES)
    for first in range(start, stop, LANES):
        count = min(LANES, stop - first)
        _load(block, PRICE, price, first, count)
        _load(block, FORWARD, forward, first, count)
        _load(block, STRIKE, strike, first, count)
        _load(block, YEARS, years, first, count)
        _load(block, DISCOUNT, discount, first, count)
        _load(block, SIGN, sign, first, count)
        _load(block, SPOT, spot, first, count)
        _prepare(block)
        for _ in range(MAX_STEPS):
            if _step(block) == 0:
                break
        _finish(block)
        for i in range(count):
            status[first + i] = np.uint8(block[STATUS + i])
        for row in range(8):
            for i in range(count):
                out[row, first + i] = block[VOLATILITY + row * LANES + i]
