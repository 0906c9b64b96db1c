"""Baselines, four detectors and the score on one session, at two sizes of universe: seconds, peak memory, linearity.

    python -m benchmarks.detection [--underlyings 600 1200] [--contracts-per 266] [--sessions 60]

Chains are random but have the market's shape: lognormal activity, about 72 % of contract-days without a trade. 6,000
underlyings make 1.6 million contracts a session; trailing sessions are held as Parquet in a temporary folder and read
as the pipeline reads them. Each size is measured in a process of its own, which has generated nothing. The full size
is `--underlyings 3000 6000`.
"""

from __future__ import annotations

import argparse
import resource
import subprocess
import sys
import tempfile
import time
from datetime import date, timedelta
from pathlib import Path

import numpy as np
import polars as pl

from flowlake import calendar, schemas
from flowlake.detect.baselines import contract_baselines, ticker_baselines
from flowlake.detect.pipeline import Detection, detect_session

SESSION = date(2026, 6, 30)
CALIBRATED = 5


def contract_table(underlyings: int, per: int) -> pl.DataFrame:
    """Contracts of every underlying: `per` lines over six expirations, both rights."""
    strikes = max(per // 12, 1)
    expirations = [SESSION + timedelta(days=n) for n in (3, 10, 17, 45, 80, 200)]
    names = pl.DataFrame({"underlying": [f"U{n:05d}" for n in range(underlyings)]})
    frame = (
        names.join(pl.DataFrame({"expiration": expirations}), how="cross")
        .join(pl.DataFrame({"strike": np.linspace(60, 140, strikes)}), how="cross")
        .join(pl.DataFrame({"right": ["C", "P"]}), how="cross")
        .sort("underlying", "expiration", "strike", "right")
        .with_row_index("contract_id")
    )
    sign = pl.when(pl.col("right") == "C").then(1.0).otherwise(-1.0)
    delta = (0.5 - 1.3 * (pl.col("strike") / 100.0).log() * sign).clip(0.01, 0.99)
    return frame.with_columns(pl.col("contract_id").cast(pl.Int32), delta=(sign * delta).cast(pl.Float32))


def chain(day: date, contracts: pl.DataFrame, rng: np.random.Generator) -> pl.DataFrame:
    """A random OPTION_CHAINS session over `contracts`."""
    n = contracts.height
    ticker = contracts["underlying"].rle_id().to_numpy()
    scale = np.random.default_rng(0).lognormal(1.2, 2.2, ticker[-1] + 1)
    near = np.exp(-6.0 * np.abs(np.abs(contracts["delta"].to_numpy()) - 0.4))
    volume = rng.poisson(np.minimum(scale[ticker] * near * rng.gamma(0.25, 4.0, n), 1e6)).astype(np.int32)
    table = schemas.table("option_chains")
    frame = contracts.with_columns(
        pl.Series("volume", volume),
        pl.Series("open_interest", rng.poisson(200, n).astype(np.int32)),
        pl.Series("implied_volatility", rng.normal(0.4, 0.02, n).astype(np.float32)),
        session=pl.lit(day),
        contract=pl.format("O:{}{}", "underlying", "contract_id"),
        root=pl.col("underlying"),
        multiplier=pl.lit(100.0),
        exercise_style=pl.lit("american"),
        is_adjusted=pl.lit(False),
        price=pl.lit(1.0),
        spot=pl.lit(100.0),
        iv_status=pl.lit("ok"),
        dte=(pl.col("expiration") - day).dt.total_days(),
        years=pl.lit(0.1),
        trading_minutes=pl.lit(0),
        moneyness=pl.col("strike") / 100.0,
        vega=pl.lit(0.1),
        flags=pl.lit(0),
        basis=pl.lit("snapshot"),
        observed_at=pl.lit(calendar.session_close(day)),
        available_at=pl.lit(calendar.session_close(day)),
        origin=pl.lit("simulated"),
    )
    absent = [
        pl.lit(None, dtype=dtype).alias(name) for name, dtype in table.schema.items() if name not in frame.columns
    ]
    return table.conform(frame.with_columns(absent))


def main() -> None:
    """Print seconds per stage for the last sessions of each size, peak memory, and the cost per contract."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--underlyings", type=int, nargs="+", default=[600, 1200])
    parser.add_argument("--contracts-per", type=int, default=266)
    parser.add_argument("--sessions", type=int, default=60)
    parser.add_argument("--measure", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.measure:
        _measure_folder(arguments.measure)
        return
    per_contract = [_size(count, arguments.contracts_per, arguments.sessions) for count in arguments.underlyings]
    first, last = per_contract[0], per_contract[-1]
    if len(per_contract) > 1:
        print(
            f"CPU seconds per million contracts: {first:.2f} at {arguments.underlyings[0]:,} underlyings, {last:.2f} "
            f"at {arguments.underlyings[-1]:,}; ratio {last / first:.2f} (1 is linear)"
        )


def _size(underlyings: int, per: int, sessions: int) -> float:
    """Generate one size, measure it in a child process; CPU seconds per million contracts, quickest session."""
    contracts = contract_table(underlyings, per)
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        for n, day in enumerate([*calendar.trailing_sessions(SESSION, sessions), SESSION]):
            frame = chain(day, contracts, np.random.default_rng(n))
            frame.write_parquet(folder / f"{day}.parquet", row_group_size=32_768)
        untraded = pl.scan_parquet(folder / f"{SESSION}.parquet").select((pl.col("volume") == 0).mean())
        print(
            f"{contracts.height:,} contracts, {underlyings:,} underlyings, {untraded.collect().item():.0%} untraded, "
            f"{sessions + 1} sessions",
            flush=True,
        )
        command = [sys.executable, "-m", "benchmarks.detection", "--measure", str(folder)]
        printed = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    print(printed, end="", flush=True)
    quickest = min(float(line.split("(")[1].split(" CPU")[0]) for line in printed.splitlines() if "CPU s" in line)
    return quickest / contracts.height * 1e6


def _measure_folder(folder: Path) -> None:
    """Measure the last sessions of a generated folder, each calibrated on those before it."""
    days = sorted(date.fromisoformat(path.stem) for path in folder.glob("*.parquet"))
    found: list[Detection] = []
    for day in days[-CALIBRATED:]:
        found.append(_measure(day, folder, days, found))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f"peak memory {peak:,.0f} MB; {found[-1].scored_events.height} events")


def _measure(day: date, folder: Path, days: list[date], found: list[Detection]) -> Detection:
    trailing = {past: pl.scan_parquet(folder / f"{past}.parquet") for past in days if past < day}
    chains = pl.read_parquet(folder / f"{day}.parquet")
    started, busy = time.perf_counter(), time.process_time()
    lines = contract_baselines(day, chains, trailing)
    contracts_done = time.perf_counter()
    tickers = ticker_baselines(day, chains, trailing)
    tickers_done = time.perf_counter()
    bins = pl.concat([schemas.table("calibration_bins").empty(), *(one.calibration_bins for one in found)])
    statistics = pl.concat([schemas.table("ticker_statistics").empty(), *(one.ticker_statistics for one in found)])
    result = detect_session(day, chains, lines, tickers, bins, statistics)
    ended = time.perf_counter()
    print(
        f"{day}: contract baselines {contracts_done - started:.2f} s, "
        f"ticker baselines {tickers_done - contracts_done:.2f} s, "
        f"detectors and score {ended - tickers_done:.2f} s, total {ended - started:.2f} s "
        f"({time.process_time() - busy:.2f} CPU s)"
    )
    return result


if __name__ == "__main__":
    main()
