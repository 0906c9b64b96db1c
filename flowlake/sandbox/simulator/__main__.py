"""Measure the simulated market: `python -m flowlake.sandbox.simulator --check --underlyings 6000`."""

from __future__ import annotations

import argparse
import resource
import time

import polars as pl

from flowlake import calendar
from flowlake.sandbox.simulator import SimulatorConfig, simulate

ZERO_SHARE = (0.60, 0.75)
"""Contract-days without a trade, of the whole market."""
BARCHART_HITS = (800, 1_200)
"""Contracts a day that pass Barchart's published rule on its page for stocks, which leaves out funds and indices."""


def volume_today(chain: pl.DataFrame, session: object) -> pl.DataFrame:
    """`chain` with `volume`: the day bar's contracts where the bar is of `session`, else 0."""
    bar = pl.col("day_updated_at").dt.convert_time_zone("America/New_York").dt.date()
    return chain.with_columns(volume=pl.when(bar == session).then("day_volume").otherwise(0.0))


def barchart_hits(chain: pl.DataFrame) -> pl.DataFrame:
    """Rows that pass Barchart's unusual-activity rule: volume > 500, OI > 100, last > 0.10, volume / OI >= 1.25."""
    return chain.filter(
        pl.col("volume") > 500,
        pl.col("open_interest") > 100,
        pl.col("day_close") > 0.10,
        pl.col("volume") >= 1.25 * pl.col("open_interest"),
    )


def main() -> None:
    """Simulate, print one line per session and how the averages stand to the public facts."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="compare with public facts (whole-market sizes only)")
    parser.add_argument("--underlyings", type=int, default=60)
    parser.add_argument("--sessions", type=int, default=10)
    parser.add_argument("--seed", type=int, default=7)
    options = parser.parse_args()
    config = SimulatorConfig(
        underlyings=options.underlyings, sessions=options.sessions, seed=options.seed, informed_episodes=0, decoys=0
    )
    began = time.perf_counter()
    market = simulate(config)
    print(f"built in {time.perf_counter() - began:.1f} s")
    rows = []
    for session in market.sessions():
        began = time.perf_counter()
        chain = volume_today(market.chain(calendar.session_close(session)), session)
        stocks = market.tickers(session).filter(pl.col("type") == "CS")["ticker"]
        hits = barchart_hits(chain).filter(pl.col("underlying").is_in(stocks.to_list()))
        rows.append((chain.height, chain.filter(pl.col("volume") == 0).height / chain.height, hits.height))
        traded, held = (chain[name].to_numpy().sum() / 1e6 for name in ("volume", "open_interest"))
        print(
            f"{session}  contracts {chain.height:>9,}  zero volume {rows[-1][1]:.3f}  traded {traded:6.2f} M  "
            f"open {held:6.1f} M  Barchart hits {hits.height:>5} in {hits['underlying'].n_unique():>4} stocks  "
            f"{time.perf_counter() - began:5.2f} s",
            flush=True,
        )
    count = len(rows)
    contracts, zero, hits_mean = (sum(row[k] for row in rows) / count for k in range(3))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
    means = f"{contracts:,.0f} contracts, zero {zero:.3f}, Barchart {hits_mean:.0f}"
    print(f"mean of {count} sessions: {means}; peak memory {peak:.2f} GB")
    if options.check:
        _verdict("zero-volume share", zero, ZERO_SHARE)
        _verdict("Barchart hits a day", hits_mean, BARCHART_HITS)


def _verdict(what: str, measured: float, bounds: tuple[float, float]) -> None:
    inside = bounds[0] <= measured <= bounds[1]
    print(f"{'ok  ' if inside else 'OFF '} {what}: {measured:.3g}, expected {bounds[0]:g} to {bounds[1]:g}")


if __name__ == "__main__":
    main()
