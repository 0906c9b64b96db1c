"""Black-76 in 40 digits, the oracle of the pricing tests."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import mpmath as mp
import numpy as np

DIGITS = 40


@dataclass(frozen=True)
class Case:
    """One European option in doubles; rate and carry follow from them."""

    spot: float
    forward: float
    strike: float
    years: float
    discount: float
    is_call: bool
    volatility: float

    @property
    def out_of_the_money(self) -> bool:
        return self.is_call == (self.strike >= self.forward)

    def rate(self) -> mp.mpf:
        return -mp.log(mp.mpf(self.discount)) / mp.mpf(self.years)

    def carry(self) -> mp.mpf:
        return mp.log(mp.mpf(self.forward) / mp.mpf(self.spot)) / mp.mpf(self.years)


def forward_price(forward, strike, years, discount, is_call, volatility) -> mp.mpf:
    """Discounted Black-76 value of mpmath numbers."""
    s = volatility * mp.sqrt(years)
    d1 = mp.log(forward / strike) / s + s / 2
    call = forward * mp.ncdf(d1) - strike * mp.ncdf(d1 - s)
    if is_call:
        return discount * call
    return discount * (strike * mp.ncdf(s - d1) - forward * mp.ncdf(-d1))


def price(case: Case) -> float:
    """The price, rounded once."""
    with mp.workdps(DIGITS):
        forward, strike, years = mp.mpf(case.forward), mp.mpf(case.strike), mp.mpf(case.years)
        value = forward_price(forward, strike, years, mp.mpf(case.discount), case.is_call, mp.mpf(case.volatility))
        return float(value)


def spot_price(case: Case, spot, years, volatility, rate, carry) -> mp.mpf:
    """Value as a function of spot, time, volatility, rate and carry (F = S e^{bT}, D = e^{-rT})."""
    forward, discount = spot * mp.exp(carry * years), mp.exp(-rate * years)
    return forward_price(forward, mp.mpf(case.strike), years, discount, case.is_call, volatility)


def random_cases(count: int, seed: int) -> list[Case]:
    """Spots 5-600, moneyness 0.5-2, half a day to 2.5 years, volatility 0.05-3, log-uniform; prices above 1e-250."""
    rng = np.random.default_rng(seed)
    cases: list[Case] = []
    while len(cases) < count:
        spot, moneyness, years, volatility = np.exp(
            rng.uniform(np.log([5, 0.5, 0.5 / 365, 0.05]), np.log([600, 2.0, 2.5, 3.0]))
        ).tolist()
        if rng.random() < 0.5:  # uniform moneyness alone would leave few prices that a market could quote
            reach = volatility * years**0.5
            moneyness = float(np.clip(np.exp(rng.normal() * reach), 0.5, 2.0))
        rate, dividend_yield = 0.043, float(rng.choice([0.0, 0.013, 0.05]))
        discount = float(np.exp(-rate * years))
        forward = spot * float(np.exp((rate - dividend_yield) * years))
        case = Case(spot, forward, spot * moneyness, years, discount, bool(rng.random() < 0.5), volatility)
        if case.out_of_the_money and price(case) < 1e-250:
            continue
        cases.append(case)
    return cases


def arrays(cases: list[Case]) -> dict[str, Any]:
    """Columns of the cases under the argument names of the pricing functions."""
    return {
        name: np.array([getattr(case, name) for case in cases])
        for name in ("forward", "strike", "years", "discount", "is_call")
    }
