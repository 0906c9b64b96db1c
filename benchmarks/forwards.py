"""Error of implied forwards on simulated American chains whose dividends and borrow are known.

    python benchmarks/forwards.py [--chains 25]

Chains have quarterly cash dividends, penny quotes with spreads and noise; prices are Leisen-Reimer trees of 401 steps.
Printed: RMS error in basis points of spot by maturity, for European parity and for de-Americanised parity without and
with the dividend calendar.
"""

from __future__ import annotations

import argparse
from datetime import UTC, date, datetime, timedelta

import numpy as np
import polars as pl

from flowlake.options import implied_forwards
from flowlake.options.american import Contracts, american_price
from flowlake.options.engine import premiums
from flowlake.options.forwards import ROUNDS
from flowlake.options.schedule import dividend_schedule

SESSION = date(2026, 8, 14)
NOW = datetime(2026, 8, 14, 20, tzinfo=UTC)
MATURITIES = (7, 30, 91, 182, 365, 730)
RATE = 0.043
TRUTH_STEPS = 401


def simulated_chains(chains: int, borrow: float, seed: int) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Quotes of `chains` underlyings over all maturities (with the true forward), and their dividends."""
    rng = np.random.default_rng(seed)
    rows, paid = [], []
    for k in range(chains):
        ticker, spot = f"T{k:03d}", float(np.exp(rng.uniform(np.log(20), np.log(400))))
        volatility, dividend_yield = rng.uniform(0.2, 0.6), rng.uniform(0.005, 0.04)
        first = int(rng.integers(3, 90))
        paid += [(ticker, SESSION + timedelta(days=first + 91 * q), dividend_yield * spot / 4) for q in range(9)]
        tick = 0.5 if spot < 50 else 2.5 if spot < 200 else 5.0
        strikes = np.unique(np.round(spot * np.exp(np.linspace(-0.3, 0.3, 25)) / tick) * tick)
        for days in MATURITIES:
            smile = volatility * (1 - 0.25 * np.log(strikes / spot))
            for right in "CP":
                rows.append(
                    pl.DataFrame({"strike": strikes, "volatility": smile}).with_columns(
                        underlying=pl.lit(ticker),
                        expiration=pl.lit(SESSION + timedelta(days=days)),
                        settles_at=pl.lit(NOW + timedelta(days=days)),
                        years=pl.lit(days / 365.0),
                        right=pl.lit(right),
                        spot=pl.lit(spot),
                        exercise_style=pl.lit("american"),
                    )
                )
    frame = pl.concat(rows)
    dividends = pl.DataFrame(paid, schema=["ticker", "effective_on", "cash_amount"], orient="row")
    return _quoted(frame, dividends, borrow, rng), dividends


def _quoted(frame: pl.DataFrame, dividends: pl.DataFrame, borrow: float, rng: np.random.Generator) -> pl.DataFrame:
    spot, strike, years = (frame[name].to_numpy() for name in ("spot", "strike", "years"))
    discount = np.exp(-RATE * years)
    schedule = dividend_schedule(frame, SESSION, dividends)
    escrow, _ = schedule.present_values(np.full(frame.height, RATE))
    forward = (spot - escrow) * np.exp((RATE - borrow) * years)
    contracts = Contracts.of(spot, forward, strike, years, discount, (frame["right"] == "C").to_numpy(), schedule)
    steps = np.full(frame.height, TRUTH_STEPS, dtype=np.int64)
    value = american_price(contracts, frame["volatility"].to_numpy(), steps=steps, premiums=premiums())
    width = np.maximum(0.01, 0.02 * value + 0.0004 * spot) * rng.uniform(0.5, 1.5, frame.height)
    middle = value + 0.2 * width * rng.standard_normal(frame.height)
    bid, ask = np.floor((middle - width / 2) * 100) / 100, np.ceil((middle + width / 2) * 100) / 100
    return frame.with_columns(pl.Series("bid", bid), pl.Series("ask", ask), pl.Series("true_forward", forward))


def errors(quotes: pl.DataFrame, dividends: pl.DataFrame | None, rounds: int) -> dict[int, float]:
    """RMS error in basis points of spot by days to expiration."""
    implied = implied_forwards(quotes, SESSION, rate=RATE, dividends=dividends, rounds=rounds)
    truth = quotes.group_by("underlying", "expiration").agg(pl.col("true_forward").first())
    joined = implied.join(truth, on=["underlying", "expiration"])
    table = joined.group_by(days=(pl.col("expiration") - SESSION).dt.total_days()).agg(
        rms=((pl.col("forward") - pl.col("true_forward")) / pl.col("spot") * 1e4).pow(2).mean().sqrt()
    )
    return dict(table.iter_rows())


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--chains", type=int, default=25, help="underlyings per row of the table")
    chains = parser.parse_args().chains
    print(f"RMS error of the forward in basis points of spot, {chains} underlyings, seed 7")
    print(f"{'method':<52}{'borrow':>8}" + "".join(f"{f'{days} d':>8}" for days in MATURITIES))
    for borrow in (0.0, 0.06):
        quotes, dividends = simulated_chains(chains, borrow, seed=7)
        methods = {
            "European parity, weighted median": (None, 0),
            "de-Americanised, no dividend calendar": (None, ROUNDS),
            "de-Americanised, dividends known, residual = borrow": (dividends, ROUNDS),
        }
        for name, (known, rounds) in methods.items():
            row = errors(quotes, known, rounds)
            print(f"{name:<52}{borrow:>8.0%}" + "".join(f"{row[days]:>8.1f}" for days in MATURITIES))


if __name__ == "__main__":
    main()
