"""A whole market snapshot: quotes to forwards to volatility and Greeks to Parquet.

    python -m benchmarks.snapshot_greeks [--contracts 1600000]

Simulated: 4,000 underlyings of ten expirations, half of them paying quarterly dividends, 4 % of the contracts European
index options; quotes are American prices on a smile, with penny and nickel ticks. Timed: time to expiration,
de-Americanised forwards, volatility and Greeks (American where exercise can matter), Parquet in the lake's format. The
timed part runs in a process of its own, whose peak memory is printed.
"""

from __future__ import annotations

import argparse
import resource
import subprocess
import sys
import tempfile
import time
from datetime import UTC, date, datetime
from pathlib import Path

import numpy as np
import polars as pl

from flowlake.options import implied_forwards, price_chain, time_to_expiration
from flowlake.options.american import Contracts, american_price
from flowlake.options.engine import available_threads, premiums
from flowlake.options.forwards import KEYS
from flowlake.options.schedule import dividend_schedule

SESSION = date(2026, 8, 14)
NOW = datetime(2026, 8, 14, 19, 45, tzinfo=UTC)
RATE = 0.043
DAYS = (7, 14, 21, 35, 63, 98, 154, 217, 343, 525)
STRIKES = 20


def market(contracts: int, seed: int = 5) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Quotes of the whole market, and the dividends known."""
    rng = np.random.default_rng(seed)
    # Low prices make strikes coincide: a few more names make up for it.
    names = max(round(1.07 * contracts / (len(DAYS) * STRIKES * 2)), 4)
    stocks = pl.DataFrame(
        {
            "underlying": [f"U{k:04d}" for k in range(names)],
            "spot": np.round(np.exp(rng.uniform(np.log(8), np.log(500), names)), 2),
            "level": rng.uniform(0.15, 0.9, names),
            "yield_": np.where(rng.random(names) < 0.5, rng.uniform(0.005, 0.04, names), 0.0),
            "first_ex": rng.integers(2, 90, names),
            "index": rng.random(names) < 0.04,
        }
    )
    expirations = pl.DataFrame({"days": DAYS}).with_columns(
        expiration=pl.lit(SESSION) + pl.duration(days=pl.col("days"))
    )
    frame = (
        stocks.join(expirations, how="cross")
        .join(pl.DataFrame({"step": np.linspace(-1.8, 1.8, STRIKES)}), how="cross")
        .join(pl.DataFrame({"right": ["C", "P"]}), how="cross")
    )
    width = pl.col("level") * (pl.col("days") / 365).sqrt()
    frame = frame.with_columns(
        root="underlying",
        strike=(pl.col("spot") * (pl.col("step") * width).exp() * 2).round().clip(0.5) / 2,
        volatility=pl.col("level") * (1 - 0.06 * pl.col("step") + 0.03 * pl.col("step") ** 2),
        exercise_style=pl.when("index").then(pl.lit("european")).otherwise(pl.lit("american")),
    ).unique(["underlying", "expiration", "strike", "right"], keep="first", maintain_order=True)
    dividends = pl.concat(
        stocks.filter((pl.col("yield_") > 0) & ~pl.col("index")).select(
            ticker="underlying",
            effective_on=pl.lit(SESSION) + pl.duration(days=pl.col("first_ex") + 91 * quarter),
            cash_amount=(pl.col("yield_") * pl.col("spot") / 4).round(2),
        )
        for quarter in range(6)
    )
    return _quoted(frame, dividends, rng), dividends


def _quoted(frame: pl.DataFrame, dividends: pl.DataFrame, rng: np.random.Generator) -> pl.DataFrame:
    frame = frame.hstack(time_to_expiration(frame["expiration"], frame["root"], NOW).select("years"))
    spot, strike, years, volatility = (frame[name].to_numpy() for name in ("spot", "strike", "years", "volatility"))
    discount = np.exp(-RATE * years)
    schedule = dividend_schedule(frame, SESSION, dividends)
    escrow, _ = schedule.present_values(np.full(frame.height, RATE))
    is_call = (frame["right"] == "C").to_numpy()
    contracts = Contracts.of(spot, (spot - escrow) / discount, strike, years, discount, is_call, schedule)
    value = american_price(contracts, volatility, steps=np.full(frame.height, 51), premiums=premiums())
    width = np.maximum(0.02, 0.03 * value + 0.0005 * spot) * rng.uniform(0.5, 1.5, frame.height)
    tick = np.where(value < 3, 0.01, 0.05)
    bid = np.maximum(np.floor((value - width / 2) / tick) * tick, 0.0).round(2)
    ask = (np.ceil((value + width / 2) / tick) * tick).round(2)
    columns = ("underlying", "root", "expiration", "strike", "right", "spot", "exercise_style")
    return frame.select(*columns, pl.Series("bid", bid), pl.Series("ask", ask)).with_columns(
        price=pl.when(pl.col("bid") > 0).then((pl.col("bid") + pl.col("ask")) / 2)
    )


def run(folder: Path) -> None:
    """The timed part; prints its own stages."""
    warm = pl.read_parquet(folder / "quotes.parquet", n_rows=400)
    dividends = pl.read_parquet(folder / "dividends.parquet")
    started = time.perf_counter()
    _pipeline(warm, dividends, folder / "warm.parquet", lambda name: None)
    print(f"{'import and first answer (kernels cached on disk)':<52}{time.perf_counter() - started:>8.2f} s")
    quotes = pl.read_parquet(folder / "quotes.parquet")
    clock = [(time.perf_counter(), time.process_time())]

    def stage(name: str, since: int = -1) -> None:
        now = (time.perf_counter(), time.process_time())
        print(f"{name:<52}{now[0] - clock[since][0]:>8.2f} s wall{now[1] - clock[since][1]:>8.2f} s CPU")
        clock.append(now)

    priced = _pipeline(quotes, dividends, folder / "chain.parquet", stage)
    stage("whole snapshot", since=0)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    print(f"{'peak memory':<52}{peak:>8.2f} GB")
    counts = priced.group_by("iv_status").len().sort("len", descending=True)
    print("status: " + ", ".join(f"{label} {count / priced.height:.2%}" for label, count in counts.iter_rows()))


def _pipeline(quotes: pl.DataFrame, dividends: pl.DataFrame, path: Path, stage) -> pl.DataFrame:
    chain = quotes.hstack(time_to_expiration(quotes["expiration"], quotes["root"], NOW))
    stage("time to expiration")
    forwards = implied_forwards(chain, SESSION, dividends=dividends)
    chain = chain.join(forwards.select(*KEYS, "forward", "discount"), on=KEYS, how="left", maintain_order="left")
    stage(f"forwards of {forwards.height:,} expirations, de-Americanised")
    priced = price_chain(chain, SESSION, dividends=dividends)
    stage(f"volatility and Greeks of {priced.height:,} contracts")
    floats = ("implied_volatility", "delta", "gamma", "theta", "vega", "rho", "vanna", "charm", "iv_bound")
    priced.with_columns(pl.col(floats).cast(pl.Float32)).write_parquet(
        path, compression="zstd", compression_level=3, row_group_size=32_768
    )
    stage("Parquet")
    return priced


def main() -> None:
    """Make the market, then run the timed part in a fresh process."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--contracts", type=int, default=1_600_000)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.folder:
        run(arguments.folder)
        return
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        quotes, dividends = market(arguments.contracts)
        quotes.write_parquet(folder / "quotes.parquet")
        dividends.write_parquet(folder / "dividends.parquet")
        print(
            f"{quotes.height:,} contracts, {quotes['underlying'].n_unique():,} underlyings, {available_threads()} cores"
        )
        sys.stdout.flush()
        command = [sys.executable, "-m", "benchmarks.snapshot_greeks", "--folder", name]
        subprocess.run(command, check=True)


if __name__ == "__main__":
    main()
