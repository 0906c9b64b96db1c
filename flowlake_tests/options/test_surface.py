"""The surface read off a priced chain."""

from __future__ import annotations

from datetime import date, timedelta

import numpy as np
import polars as pl
import pytest

from flowlake.options import black_price, greeks
from flowlake.options.surface import SCHEMA, TENORS, fit_smiles, implied_surface

SESSION = date(2026, 8, 14)
DAYS = (14, 35, 70, 126)
ATM, SKEW, CURVE = 0.32, -0.05, 0.02


def chain(*, days: tuple[int, ...] = DAYS, spread: float = 0.05, level=lambda years: ATM) -> pl.DataFrame:
    """A chain whose smile is exactly the fitted form: atm + skew z + curve z^2."""
    parts = []
    for day in days:
        years, forward = day / 365, 100.0
        atm = level(years)
        z = np.linspace(-2.2, 2.2, 23)
        strike = forward * np.exp(z * atm * np.sqrt(years))
        volatility = atm + SKEW * z + CURVE * z * z
        for right in ("C", "P"):
            terms = (np.full(23, forward), strike, np.full(23, years), np.full(23, 0.99), np.full(23, right == "C"))
            parts.append(
                pl.DataFrame(
                    {
                        "strike": strike,
                        "implied_volatility": volatility,
                        "price": black_price(volatility, *terms),
                        "vega": greeks(volatility, *terms, np.full(23, 100.0)).vega,
                    }
                ).with_columns(
                    underlying=pl.lit("ABC"),
                    expiration=pl.lit(SESSION + timedelta(days=day)),
                    years=pl.lit(years),
                    right=pl.lit(right),
                    forward=pl.lit(forward),
                    spread=pl.lit(spread),
                )
            )
    return pl.concat(parts)


def test_an_exact_smile_is_read_exactly():
    smile = fit_smiles(chain(days=(35,))).row(0, named=True)
    assert smile["atm_volatility"] == pytest.approx(ATM, abs=1e-4)
    root = np.sqrt(35 / 365)

    def at_delta(side: float) -> float:
        sigma = ATM
        for _ in range(50):
            z = (side * 0.6744897501960817 * sigma * root + 0.5 * sigma**2 * root**2) / (ATM * root)
            sigma = ATM + SKEW * z + CURVE * z * z
        return sigma

    call, put = at_delta(1.0), at_delta(-1.0)
    assert smile["risk_reversal_25"] == pytest.approx(call - put, abs=5e-4)
    assert smile["butterfly_25"] == pytest.approx((call + put) / 2 - ATM, abs=5e-4)


def test_every_underlying_has_one_row_per_tenor_in_the_declared_columns():
    surface = implied_surface(chain())
    assert surface.schema == SCHEMA
    assert surface["tenor_days"].to_list() == list(TENORS)
    assert surface["atm_volatility"].to_numpy() == pytest.approx(ATM, abs=1e-3)


def test_variance_is_linear_in_time_between_expirations():
    surface = implied_surface(chain(level=lambda years: np.sqrt(0.04 + 0.01 / years)))
    at_sixty = surface.filter(pl.col("tenor_days") == 60)
    years = 60 / 365
    expected = np.sqrt(0.04 + 0.01 / years)
    assert at_sixty["atm_volatility"][0] == pytest.approx(expected, rel=2e-3)
    assert at_sixty["term_slope"][0] == pytest.approx(-0.01 / years**2 / (2 * expected), rel=0.03)


def test_one_wild_quote_does_not_move_the_level():
    frame = chain(days=(35,))
    nearest = frame["strike"].to_list()[10]
    wild = frame.with_columns(
        implied_volatility=pl.when(pl.col("strike") == nearest).then(1.5).otherwise("implied_volatility")
    )
    assert fit_smiles(wild)["atm_volatility"][0] == pytest.approx(ATM, abs=0.015)


def test_what_the_chain_does_not_say_is_null():
    far = implied_surface(chain(days=(300,)))
    assert far["atm_volatility"].null_count() == len(TENORS)
    one_sided = chain(days=(35,)).filter(pl.col("strike") > 99.0)
    smile = fit_smiles(one_sided)
    assert smile["atm_volatility"].null_count() == 0
    assert smile["risk_reversal_25"].null_count() == 1


def test_a_chain_without_volatility_has_no_surface():
    empty = chain(days=(35,)).with_columns(implied_volatility=pl.lit(None, pl.Float64))
    assert implied_surface(empty).height == 0
    assert implied_surface(empty).schema == SCHEMA
