"""American options with dated cash dividends: Leisen-Reimer trees on the escrowed stock, European control variate.

The stock is split into the present value of the dividends still to be paid before expiration (the escrow) and a
lognormal rest that carries the volatility; exercising yields stock and dividends. The tree values only the early
exercise premium, American less European on the same tree, and the European value is exact (`flowlake.options.black`):

    value = Black(forward) + premium,    premium = tree(American) - tree(European).

Sources: Leisen and Reimer, "Binomial models for option valuation", Applied Mathematical Finance 3 (1996), with the
Peizer-Pratt inversion 2; Hull and White, "The use of the control variate technique", JFQA 23 (1988); Hull, "Options,
Futures and Other Derivatives", for the escrow. Extrapolation in the number of steps is not used: with exercise on
ex-dates it was measured to be worse than the tree itself.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from flowlake.options import black
from flowlake.options.black import DAYS_PER_YEAR, BoolArray, FloatArray, Greeks
from flowlake.options.status import Status

IntArray = npt.NDArray[np.int64]

SHORT_STEPS, LONG_STEPS = 51, 101
LONG_YEARS = 60.0 / DAYS_PER_YEAR
"""Contracts that live longer get the finer tree."""
LARGEST_STEPS = 2001
TREE_ERROR = 5e-6
"""Of the strike: what a price must exceed immediate exercise by, or the tree's own error would be its volatility."""
PREMIUM_ERROR, VAGUE_POINTS = 1e-3, 5.0
"""A relative error of the premium that moves the volatility by more points than this makes it imprecise."""

SMALLEST_VOLATILITY, LARGEST_VOLATILITY = 1e-3, 20.0
_START = 0.3  # where the European price has no volatility to start from
_MAX_TREES = 30
_FARTHEST = 30.0  # deviations
_BUMP = 0.02  # relative, of the volatility
_RATE_BUMP = 1e-3
UNDECIDED = 6.0  # deviations within which the later decision is open
_BLOCK = 256  # contracts whose NumPy trees stay in the second-level cache


@dataclass(frozen=True)
class Schedule:
    """Cash dividends in slices: row i of a batch gets `cash[first[i]:last[i]]`, ex after `ex_years[...]` years."""

    first: IntArray
    last: IntArray
    ex_years: FloatArray
    cash: FloatArray

    def rows(self, index: IntArray) -> Schedule:
        """The slices of some rows; the dividends themselves are shared."""
        return replace(self, first=self.first[index], last=self.last[index])

    def present_values(self, rate: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Present value of every row's dividends, and the same weighted by their years (its slope in -rate)."""
        value, weighted = np.zeros(rate.shape), np.zeros(rate.shape)
        for k in range(int((self.last - self.first).max(initial=0))):
            paying = np.flatnonzero(self.first + k < self.last)
            at = self.first[paying] + k
            present = self.cash[at] * np.exp(-rate[paying] * self.ex_years[at])
            value[paying] += present
            weighted[paying] += present * self.ex_years[at]
        return value, weighted


@dataclass(frozen=True)
class Contracts:
    """A batch of options, one array element each; `spot` is cum dividends, `escrow` what will be paid before expiry."""

    spot: FloatArray
    escrow: FloatArray
    escrow_slope: FloatArray
    strike: FloatArray
    years: FloatArray
    rate: FloatArray
    carry: FloatArray
    is_call: BoolArray
    dividends: Schedule

    @classmethod
    def of(
        cls,
        spot: FloatArray,
        forward: FloatArray,
        strike: FloatArray,
        years: FloatArray,
        discount: FloatArray,
        is_call: BoolArray,
        dividends: Schedule,
    ) -> Contracts:
        """From market quantities: what the forward says beyond rate and dividends is the carry of the rest (borrow)."""
        rate = -np.log(discount) / years
        escrow, slope = dividends.present_values(rate)
        carry = np.log(forward / (spot - escrow)) / years
        return cls(spot, escrow, slope, strike, years, rate, carry, is_call, dividends)

    def rows(self, index: IntArray) -> Contracts:
        """Some of the contracts."""
        arrays = {
            name: getattr(self, name)[index]
            for name in ("spot", "escrow", "escrow_slope", "strike", "years", "rate", "carry", "is_call")
        }
        return Contracts(**arrays, dividends=self.dividends.rows(index))

    def with_rate_raised(self, by: float) -> Contracts:
        """The same contracts at a higher rate: dividends and borrow held."""
        rate = self.rate + by
        escrow, slope = self.dividends.present_values(rate)
        return replace(self, rate=rate, carry=self.carry + by, escrow=escrow, escrow_slope=slope)

    @property
    def lognormal(self) -> FloatArray:
        """The stock without the dividends still to be paid."""
        return self.spot - self.escrow

    @property
    def forward(self) -> FloatArray:
        """Forward price to expiration."""
        return self.lognormal * np.exp(self.carry * self.years)

    @property
    def discount(self) -> FloatArray:
        """Discount factor to expiration."""
        return np.exp(-self.rate * self.years)


@dataclass(frozen=True)
class Premium:
    """Early exercise premium and its derivatives: to spot, twice to spot, and of delta to time (per year)."""

    value: FloatArray
    delta: FloatArray
    gamma: FloatArray
    charm: FloatArray

    def rows(self, index: IntArray | BoolArray) -> Premium:
        """Some of the rows."""
        return Premium(self.value[index], self.delta[index], self.gamma[index], self.charm[index])


PremiumFunction = Callable[[Contracts, FloatArray, IntArray], Premium]


def default_steps(contracts: Contracts) -> IntArray:
    """Tree steps by time to expiration."""
    return np.where(contracts.years > LONG_YEARS, LONG_STEPS, SHORT_STEPS).astype(np.int64)


def exercise_matters(contracts: Contracts, volatility: FloatArray) -> BoolArray:
    """Where early exercise can be worth anything.

    Puts: when money earns interest. Calls: when a dividend goes ex before expiration, or when the borrow earned by
    the stock could exceed the interest on the strike somewhere within five deviations of the spot.
    """
    reach = contracts.lognormal * np.exp(5.0 * volatility * np.sqrt(contracts.years))
    borrow = contracts.rate - contracts.carry
    call = (contracts.escrow > 0) | ((borrow > 0) & (borrow * reach > contracts.rate * contracts.strike))
    return np.where(contracts.is_call, call, contracts.rate > 0)


def american_price(
    contracts: Contracts, volatility: FloatArray, *, steps: IntArray | None = None, premiums: PremiumFunction
) -> FloatArray:
    """Value in dollars per share at `volatility`, never below immediate exercise."""
    steps = default_steps(contracts) if steps is None else steps
    european = black.black_price(
        volatility, contracts.forward, contracts.strike, contracts.years, contracts.discount, contracts.is_call
    )
    return np.maximum(european + premiums(contracts, volatility, steps).value, _exercise(contracts))


@np.errstate(all="ignore")  # rows without a solution run through the arithmetic and are masked by status
def solve(
    price: FloatArray,
    contracts: Contracts,
    european_iv: FloatArray,
    premiums: PremiumFunction,
    *,
    with_greeks: bool = True,
) -> tuple[FloatArray, npt.NDArray[np.uint8], Greeks]:
    """Volatility, `Status` and Greeks of American options whose inputs are all finite and positive.

    `european_iv` is the European volatility of the same price (NaN where there is none): as the premium is never
    negative it bounds the American one from above, and the search starts there. Without `with_greeks` they stay NaN,
    and volatilities are not tested for how much the trees' error moves them.
    """
    status = np.zeros(price.shape, dtype=np.uint8)
    sign = np.where(contracts.is_call, 1.0, -1.0)
    held_to_expiry = contracts.discount * sign * (contracts.forward - contracts.strike)
    least = np.maximum(_exercise(contracts), held_to_expiry)
    status[price <= least + TREE_ERROR * contracts.strike] = Status.BELOW_INTRINSIC
    status[price >= np.where(contracts.is_call, contracts.spot, contracts.strike)] = Status.ABOVE_BOUND
    volatility = np.full(price.shape, np.nan)
    greeks = Greeks(*(np.full(price.shape, np.nan) for _ in Greeks._fields))
    rows = np.flatnonzero(status == Status.OK)
    if rows.size == 0:
        return volatility, status, greeks

    batch = contracts.rows(rows)
    steps = default_steps(batch)
    solved, evaluated, premium = _search(price[rows], batch, european_iv[rows], steps, premiums)
    found = np.flatnonzero(np.isfinite(solved))
    status[np.delete(rows, found)] = Status.IMPRECISE
    volatility[rows[found]] = solved[found]
    if not with_greeks:
        return volatility, status, greeks
    premium = premium.rows(found)
    values = _greeks(batch.rows(found), solved[found], evaluated[found], premium, steps[found], premiums)
    for target, value in zip(greeks, values, strict=True):
        target[rows[found]] = value
    vague = rows[found[VAGUE_POINTS * values.vega <= PREMIUM_ERROR * premium.value]]
    status[vague] = Status.IMPRECISE
    for array in (volatility, *greeks):
        array[vague] = np.nan
    return volatility, status, greeks


def _exercise(contracts: Contracts) -> FloatArray:
    sign = np.where(contracts.is_call, 1.0, -1.0)
    return np.maximum(sign * (contracts.spot - contracts.strike), 0.0)


def _search(
    price: FloatArray, contracts: Contracts, seed: FloatArray, steps: IntArray, premiums: PremiumFunction
) -> tuple[FloatArray, FloatArray, Premium]:
    """Root of value(volatility) = price by a bracketed secant on the premium, exact slope of the European part.

    Returns the root (NaN where none was found), the last volatility a tree was grown at, and its premium.
    """
    n = price.size
    volatility = np.where(np.isfinite(seed), np.clip(seed, SMALLEST_VOLATILITY, LARGEST_VOLATILITY), _START)
    low = _floor(contracts)
    volatility = np.maximum(volatility, low)
    high = np.where(np.isfinite(seed), volatility, LARGEST_VOLATILITY)
    root, evaluated = np.full(n, np.nan), volatility.copy()
    previous, previous_value = np.full(n, np.nan), np.zeros(n)
    premium = Premium(*(np.zeros(n) for _ in range(4)))
    active = np.arange(n)
    for _ in range(_MAX_TREES):
        batch, sigma = contracts.rows(active), volatility[active]
        latest = premiums(batch, sigma, steps[active])
        for name in ("value", "delta", "gamma", "charm"):
            getattr(premium, name)[active] = getattr(latest, name)
        evaluated[active] = sigma

        european, vega = _price_and_vega(batch, sigma)
        gap = european + latest.value - price[active]
        low[active] = np.where(gap < 0, sigma, low[active])
        high[active] = np.where(gap > 0, np.minimum(sigma, high[active]), high[active])
        change = sigma - previous[active]
        sloped = np.abs(change) > 1e-6
        slope = vega + np.where(sloped, (latest.value - previous_value[active]) / change, 0.0)
        proposal = sigma - gap / slope
        # The bracket's ends are roots themselves where the premium vanishes; rounding must not put them outside.
        inside = (slope > 0) & (proposal >= low[active] * (1 - 1e-9)) & (proposal <= high[active] * (1 + 1e-9))
        proposal = np.where(inside, proposal, np.sqrt(low[active] * high[active]))
        # A secant step of relative size x leaves an error of order x times the step before it; a first step knows only
        # the European slope, and leaves the share of the premium in it.
        small = np.abs(proposal - sigma) <= np.where(sloped, 1e-3, 1e-5) * sigma
        done = (inside & small) | (gap == 0)
        root[active[done]] = np.where(gap == 0, sigma, proposal)[done]
        previous[active], previous_value[active] = sigma, latest.value
        volatility[active] = proposal
        active = active[~done & (high[active] > low[active] * (1 + 1e-9))]
        if active.size == 0:
            break
    return root, evaluated, premium


def _floor(contracts: Contracts) -> FloatArray:
    """Smallest volatility a tree can be grown at: its probabilities saturate some 40 deviations from the strike."""
    distance = np.abs(np.log(contracts.lognormal / contracts.strike) + contracts.carry * contracts.years)
    return np.maximum(SMALLEST_VOLATILITY, distance / (_FARTHEST * np.sqrt(contracts.years)))


def _price_and_vega(contracts: Contracts, volatility: FloatArray) -> tuple[FloatArray, FloatArray]:
    """European value, and its slope in volatility (per 1.00)."""
    forward, root_years = contracts.forward, np.sqrt(contracts.years)
    value = black.black_price(
        volatility, forward, contracts.strike, contracts.years, contracts.discount, contracts.is_call
    )
    s = volatility * root_years
    d1 = np.log(forward / contracts.strike) / s + 0.5 * s
    return value, contracts.discount * forward * black.normal_density(d1) * root_years


def _greeks(
    contracts: Contracts,
    volatility: FloatArray,
    evaluated: FloatArray,
    premium: Premium,
    steps: IntArray,
    premiums: PremiumFunction,
) -> Greeks:
    """Exact European Greeks plus those of the premium.

    Premium: delta, gamma and charm from the tree's first nodes, theta from the pricing equation, vega, vanna and rho
    from one bumped tree each. Holding the stock, the escrow grows at the rate, so that the lognormal rest shrinks.
    """
    european = black.greeks(
        volatility,
        contracts.forward,
        contracts.strike,
        contracts.years,
        contracts.discount,
        contracts.is_call,
        contracts.lognormal,
    )
    up = premiums(contracts, evaluated * (1.0 + _BUMP), steps)
    dearer = premiums(contracts.with_rate_raised(_RATE_BUMP), evaluated, steps)
    bump = evaluated * _BUMP
    x, rate = contracts.lognormal, contracts.rate
    shrinkage = -rate * contracts.escrow

    delta = european.delta + premium.delta
    gamma = european.gamma + premium.gamma
    drift = rate * premium.value - contracts.carry * x * premium.delta
    drift -= 0.5 * (volatility * x) ** 2 * premium.gamma
    theta = european.theta + (drift + shrinkage * delta) / DAYS_PER_YEAR
    vega = european.vega + (up.value - premium.value) / bump / 100.0
    vanna = european.vanna + (up.delta - premium.delta) / bump / 100.0
    rho = european.rho + contracts.escrow_slope * european.delta / 100.0
    rho += (dearer.value - premium.value) / _RATE_BUMP / 100.0
    charm = european.charm + (premium.charm + shrinkage * gamma) / DAYS_PER_YEAR
    return Greeks(delta, gamma, theta, vega, rho, vanna, charm)


@np.errstate(all="ignore")
def numpy_premiums(contracts: Contracts, volatility: FloatArray, steps: IntArray) -> Premium:
    """Premium of every contract, trees grown side by side; `flowlake.options.tree` is the compiled twin."""
    out = np.empty((4, volatility.size))
    for count in np.unique(steps):
        rows = np.flatnonzero(steps == count)
        for start in range(0, rows.size, _BLOCK):
            block = rows[start : start + _BLOCK]
            out[:, block] = _grow(contracts.rows(block), volatility[block], int(count))
    return Premium(*out)


def _grow(contracts: Contracts, volatility: FloatArray, n: int) -> FloatArray:
    x, strike = contracts.lognormal[:, None], contracts.strike[:, None]
    sign = np.where(contracts.is_call, 1.0, -1.0)[:, None]
    step = (contracts.years / n)[:, None]
    deviation = (volatility * np.sqrt(contracts.years))[:, None]
    d2 = (np.log(x / strike) + contracts.carry[:, None] * n * step) / deviation - 0.5 * deviation
    p, q = _peizer_pratt(d2, n), _peizer_pratt(d2 + deviation, n)
    growth = np.exp(contracts.carry[:, None] * step)
    u, d = growth * q / p, growth * (1.0 - q) / (1.0 - p)
    discount = np.exp(-contracts.rate[:, None] * step)
    up, down = discount * p, discount * (1.0 - p)
    factor, offset, wait = _exercise_terms(contracts, n)

    grid = (u / d) ** np.arange(n + 1)
    american = np.maximum(sign * (x * d**n * grid - strike), 0.0)
    european = american.copy()
    slopes: dict[int, tuple[FloatArray, FloatArray]] = {}
    for i in range(n - 1, -1, -1):
        stock = x * d**i * grid[:, : i + 1]
        exercised = sign * (factor[:, i : i + 1] * stock + offset[:, i : i + 1])
        held = up * american[:, 1:] + down * american[:, :-1]
        american = _decide(held, exercised, stock, volatility, wait[:, i])
        european = up * european[:, 1:] + down * european[:, :-1]
        if i in (2, 4):
            middle = slice(i // 2 - 1, i // 2 + 2)
            slopes[i] = _parabola(stock[:, middle].T, (american - european)[:, middle].T, x[:, 0])
    drift = (slopes[4][0] - slopes[2][0]) / (2.0 * step[:, 0])
    delta = slopes[2][0] - 2.0 * step[:, 0] * drift
    return np.stack([american[:, 0] - european[:, 0], delta, slopes[2][1], drift])


def _parabola(x: FloatArray, y: FloatArray, at: FloatArray) -> tuple[FloatArray, FloatArray]:
    """First and second derivative at `at` of the parabola through three points."""
    first, second = (y[1] - y[0]) / (x[1] - x[0]), (y[2] - y[1]) / (x[2] - x[1])
    bend = (second - first) / (x[2] - x[0])
    return first + bend * (2.0 * at - x[0] - x[1]), 2.0 * bend


def _exercise_terms(contracts: Contracts, n: int) -> tuple[FloatArray, FloatArray, FloatArray]:
    """What exercise is worth at every time step, as sign * (factor * lognormal rest + offset).

    Ordinarily factor is 1 and offset the escrow less the strike. Calls are best exercised right before, puts right
    after an ex-date, which falls between steps: at the step before it, doing so is offered instead where it is worth
    more. For calls the third array says how many years later that is (else 0): they decide only then, while a put
    that waits may still exercise any time after. Without this the tree loses the interest of part of a step, and
    decides too early: its largest errors with dividends.
    """
    step = (contracts.years / n)[:, None]
    times = step * np.arange(n + 1)
    strike, rate, carry = contracts.strike[:, None], contracts.rate[:, None], contracts.carry[:, None]
    sign = np.where(contracts.is_call, 1.0, -1.0)[:, None]
    dividends = contracts.dividends
    escrow, wait, due = np.zeros(times.shape), np.zeros(times.shape), np.zeros(times.shape)
    for k in range(int((dividends.last - dividends.first).max(initial=0))):
        rows = np.flatnonzero(dividends.first + k < dividends.last)
        at = dividends.first[rows] + k
        left = dividends.ex_years[at][:, None] - times[rows]
        present = dividends.cash[at][:, None] * np.exp(-rate[rows] * left)
        escrow[rows] += np.where(left > 0, present, 0.0)
        imminent = (left > 0) & (left <= step[rows])
        wait[rows] = np.where(imminent, left, wait[rows])
        due[rows] += np.where(imminent, present, 0.0)
    factor = np.exp((carry - rate) * wait)
    now, later = escrow - strike, escrow - np.where(sign < 0, due, 0.0) - strike * np.exp(-rate * wait)
    better = sign * (factor * strike + later) > sign * (strike + now)
    return np.where(better, factor, 1.0), np.where(better, later, now), np.where(better & (sign > 0), wait, 0.0)


def _decide(
    held: FloatArray, exercised: FloatArray, stock: FloatArray, volatility: FloatArray, wait: FloatArray
) -> FloatArray:
    """Value of holding or exercising, decided `wait` years later.

    The difference of the two moves with the stock, by the slope between its neighbours; until the decision it is
    normal to first order, and E max(f, 0) = f Phi(f / w) + w phi(f / w). Where there is no wait, the larger.
    """
    value = np.maximum(held, exercised)
    rows = np.flatnonzero(wait > 0)
    if rows.size == 0 or held.shape[1] < 3:
        return value
    gain, x = (held - exercised)[rows], stock[rows]
    slope = np.abs(gain[:, 2:] - gain[:, :-2]) / (x[:, 2:] - x[:, :-2])
    width = slope * x[:, 1:-1] * (volatility[rows] * np.sqrt(wait[rows]))[:, None]
    inner = gain[:, 1:-1]
    near = np.abs(inner) < UNDECIDED * width
    scaled = inner / np.where(near, width, 1.0)
    smooth = inner * black.normal_distribution(scaled) + width * black.normal_density(scaled)
    value[rows, 1:-1] = np.where(near, exercised[rows, 1:-1] + smooth, value[rows, 1:-1])
    return value


def _peizer_pratt(z: FloatArray, n: int) -> FloatArray:
    """Probability of the Peizer-Pratt inversion 2."""
    scaled = z / (n + 1.0 / 3.0 + 0.1 / (n + 1.0))
    return 0.5 + np.copysign(0.5 * np.sqrt(1.0 - np.exp(-scaled * scaled * (n + 1.0 / 6.0))), z)
