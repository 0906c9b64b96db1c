"""The implied-volatility surface, prices and Greeks on it, and the quotes market makers show round them.

Prices are Black-76 on the forward (spot less the present value of known dividends, grown at the flat rate) for every
contract; those of American exercise are held at or above intrinsic value but carry no further early-exercise premium.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from flowlake.sandbox.simulator.config import RISK_FREE_RATE

Floats = np.ndarray

_REVERSION = 2.5
"""Speed, per year, at which short volatility returns to its long-run level."""


@dataclass(frozen=True)
class Smile:
    """Slope and curvature of implied volatility in standardised log-moneyness, per contract or scalar."""

    slope: Floats
    curvature: Floats


@dataclass(frozen=True)
class Valuation:
    """Model value and Greeks per contract, in the schema's units; `price` includes the intrinsic floor."""

    price: Floats
    delta: Floats
    gamma: Floats
    theta: Floats
    vega: Floats


def at_the_money(short: Floats, long: Floats, years: Floats, releases: Floats, release_move: Floats) -> Floats:
    """At-the-money volatility for `years`: mean-reverting variance plus `releases` jumps of `release_move`."""
    decay = np.where(years > 1e-6, -np.expm1(-_REVERSION * years) / (_REVERSION * np.maximum(years, 1e-6)), 1.0)
    diffuse = long**2 + (short**2 - long**2) * decay
    # A release within the hour would be an infinite rate of variance: count it over at least a day.
    jump = releases * release_move**2 / np.maximum(years, 1 / 365)
    return np.sqrt(diffuse + jump)


def smile_volatility(atm: Floats, forward: Floats, strike: Floats, years: Floats, smile: Smile) -> Floats:
    """Implied volatility at `strike`: a bounded slope and hyperbolic wings, mild enough for calls to fall in strike."""
    x = np.log(strike / forward) / (atm * np.sqrt(np.maximum(years, 1 / 365)))
    bent = x / np.sqrt(1 + (x / 2.5) ** 2)
    wings = np.sqrt(1 + x**2) - 1
    return np.clip(atm * (1 + smile.slope * bent + smile.curvature * wings), 0.03, 6.0)


def value(
    is_put: np.ndarray,
    spot: Floats,
    forward: Floats,
    strike: Floats,
    years: Floats,
    volatility: Floats,
    american: np.ndarray,
) -> Valuation:
    """Black (1976) value and Greeks; `spot` only sets the intrinsic floor and the unit of delta."""
    from scipy.special import ndtr

    years = np.maximum(years, 1.0 / 525_600)
    discount = np.exp(-RISK_FREE_RATE * years)
    deviation = volatility * np.sqrt(years)
    d1 = np.log(forward / strike) / deviation + 0.5 * deviation
    d2 = d1 - deviation
    sign = np.where(is_put, -1.0, 1.0)
    n1, n2 = ndtr(sign * d1), ndtr(sign * d2)
    european = discount * sign * (forward * n1 - strike * n2)
    floor = np.where(american, np.maximum(sign * (spot - strike), 0.0), 0.0)
    density = np.exp(-0.5 * d1**2) / np.sqrt(2 * np.pi)
    grown = discount * forward / spot
    vega = discount * forward * density * np.sqrt(years)
    theta = -discount * forward * density * volatility / (2 * np.sqrt(years)) + RISK_FREE_RATE * european
    return Valuation(
        price=np.maximum(np.maximum(european, floor), 0.0),
        delta=sign * n1 * grown,
        gamma=density * grown / (spot * deviation),
        theta=theta / 365.0,
        vega=vega / 100.0,
    )


def quotes(price: Floats, spot: Floats, illiquidity: Floats) -> tuple[Floats, Floats]:
    """Bid and ask round `price`: wider for illiquid names, on penny, nickel or dime ticks, bid <= price <= ask.

    `illiquidity` runs from 0 (index funds) to 1 (names that hardly trade).
    """
    width = 0.01 + price * (0.004 + 0.09 * illiquidity**2) + 0.0012 * spot * illiquidity
    penny = illiquidity < 0.45
    tick = np.where(
        price < 3.0, np.where(penny, 0.01, 0.05), np.where(illiquidity < 0.1, 0.01, np.where(penny, 0.05, 0.10))
    )
    # The epsilon keeps a price that sits on a tick there in spite of binary fractions.
    bid = np.floor((price - width / 2) / tick + 1e-9) * tick
    ask = np.ceil((price + width / 2) / tick - 1e-9) * tick
    bid = np.round(np.maximum(bid, 0.0), 2)
    return bid, np.round(np.maximum(np.maximum(ask, bid + tick), tick), 2)
