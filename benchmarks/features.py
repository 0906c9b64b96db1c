"""Features of one session, by universe size: seconds and peak memory, against pandas and against DuckDB.

    python -m benchmarks.features [--underlyings 6000] [--contracts-per 266] [--sample 150] [--skip-as-of]

The chain is that of `benchmarks.detection` with volatilities and Greeks of the Black formula; stocks have 252 sessions,
the feature table 126 of history. Three comparisons in the same run:

- all 121 features, against the seven of one family (concentration and put/call) by pandas groupby-apply on a sample of
  underlyings, extrapolated in proportion to underlyings; pandas is given fewer features, so the ratio is a lower bound;
- those same features by our module and by one DuckDB statement over the whole chain, whose results must agree;
- the as-of snapshot by DuckDB's ASOF join, against polars' join_asof.
"""

from __future__ import annotations

import argparse
import resource
import time
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import numpy as np
import polars as pl

from benchmarks.detection import SESSION, chain, contract_table
from flowlake import calendar, schemas
from flowlake.features import asof
from flowlake.features.concentration import concentration_features
from flowlake.features.definitions import FEATURE_NAMES
from flowlake.features.flow import HISTORY, FlowInputs, flow_features
from flowlake.features.lines import chain_lines
from flowlake.features.stock import STOCKS
from flowlake.options.black import normal_density, normal_distribution

KNOWN = calendar.session_close(SESSION) + timedelta(minutes=20)
AGREE = 1e-9


def priced_chain(underlyings: int, per: int) -> pl.DataFrame:
    """OPTION_CHAINS whose volatilities, prices and Greeks hang together."""
    contracts = contract_table(underlyings, per)
    frame = chain(SESSION, contracts, np.random.default_rng(1))
    rng = np.random.default_rng(2)
    years = np.maximum(frame["dte"].to_numpy(), 1) / 365.0
    strike, call = frame["strike"].to_numpy(), (frame["right"] == "C").to_numpy()
    iv = np.maximum(0.4 + 0.3 * np.log(100.0 / strike) + rng.normal(0, 0.01, frame.height), 0.05)
    deviation = iv * np.sqrt(years)
    d1 = np.log(100.0 / strike) / deviation + deviation / 2
    density = normal_density(d1)
    delta = normal_distribution(d1) - ~call
    value = 100.0 * normal_distribution(d1) - strike * normal_distribution(d1 - deviation)
    price = np.maximum(np.round(np.where(call, value, value - 100.0 + strike), 2), 0.01)
    return frame.with_columns(
        pl.Series("price", price),
        pl.Series("years", years),
        pl.Series("implied_volatility", iv).cast(pl.Float32),
        pl.Series("vendor_iv", iv + rng.normal(0, 0.005, frame.height)).cast(pl.Float32),
        pl.Series("delta", delta).cast(pl.Float32),
        pl.Series("gamma", density / (100.0 * deviation)).cast(pl.Float32),
        pl.Series("vega", density * np.sqrt(years)).cast(pl.Float32),
        forward=pl.lit(100.0),
        discount=pl.lit(1.0),
        forward_source=pl.lit("parity"),
        available_at=pl.lit(KNOWN),
    )


def inputs_of(chains: pl.DataFrame) -> FlowInputs:
    """Everything else a session needs, of the same universe."""
    rng, names = np.random.default_rng(4), chains["underlying"].unique().sort()
    names = pl.concat([names, pl.Series("underlying", ["SPY"])])
    days = [*calendar.trailing_sessions(SESSION, 251), SESSION]
    shape = (len(days), len(names))
    closes = 100 * np.exp(np.cumsum(rng.normal(0, 0.02, shape), axis=0))
    grid = pl.DataFrame({"session": days}).join(names.to_frame(), how="cross")
    known = pl.col("session").replace_strict({day: calendar.session_close(day) + timedelta(minutes=20) for day in days})
    prices = grid.with_columns(
        pl.Series("close", closes.ravel()), pl.Series("volume", rng.lognormal(12, 1, closes.size)), available_at=known
    ).with_columns(open="close", vwap="close", high=pl.col("close") * 1.01, low=pl.col("close") * 0.99)
    stocks = prices.rename({"underlying": "ticker"}).select(pl.col(n).cast(d) for n, d in STOCKS.items())
    past = grid.filter(pl.col("session").is_in(days[-127:-1])).with_columns(
        available_at=known, option_stock_ratio=pl.lit(0.02), iv_30=pl.lit(0.4)
    )
    surface = _surface([SESSION], names, rng)
    return FlowInputs(
        session=SESSION,
        event_time=calendar.session_close(SESSION),
        chains=chains,
        surface=surface,
        earlier_surfaces=_surface(days[-6:-1], names, rng),
        contract_baselines=_contract_baselines(chains, rng),
        ticker_baselines=_ticker_baselines(names),
        stocks=stocks,
        history=past.select(pl.col(n).cast(d) for n, d in HISTORY.items()),
    )


def _filled(table: str, frame: pl.DataFrame) -> pl.DataFrame:
    declared = schemas.table(table)
    plain = {pl.Boolean: False, pl.String: "simulated"}
    absent = [
        pl.lit(None if c.nullable else plain.get(c.dtype, 0)).cast(c.dtype).alias(c.name)
        for c in declared.columns
        if c.name not in frame.columns
    ]
    return declared.conform(frame.with_columns(absent))


def _surface(days: list, names: pl.Series, rng: np.random.Generator) -> pl.DataFrame:
    grid = pl.DataFrame({"session": days}).join(names.to_frame(), how="cross")
    grid = grid.join(pl.DataFrame({"tenor_days": [7, 30, 60, 90]}), how="cross")
    levels = pl.Series("atm_volatility", rng.normal(0.4, 0.05, grid.height))
    return _filled("iv_surface", grid.with_columns(levels, risk_reversal_25=pl.lit(-0.02), available_at=pl.lit(KNOWN)))


def _contract_baselines(chains: pl.DataFrame, rng: np.random.Generator) -> pl.DataFrame:
    before = (chains["open_interest"] + rng.integers(-20, 20, chains.height)).clip(lower_bound=0)
    frame = chains.select("session", "contract_id", "underlying", "available_at", previous_volume="volume")
    old = {"listing_age": pl.lit(40), "volume_n_20": pl.lit(20), "volume_zero_days_20": pl.lit(9)}
    return _filled("contract_baselines", frame.with_columns(before.alias("previous_open_interest"), **old))


def _ticker_baselines(names: pl.Series) -> pl.DataFrame:
    means = {f"{what}_20": pl.lit(1000.0) for what in ("volume_mean", "call_volume_mean", "put_volume_mean")}
    counts = {"n_20": pl.lit(20), "n_60": pl.lit(60), "volume_mean_60": pl.lit(1e3), "volume_std_60": pl.lit(5e2)}
    known = {"session": pl.lit(SESSION), "available_at": pl.lit(KNOWN)}
    return _filled("ticker_baselines", names.to_frame().with_columns(**means, **counts, **known))


SQL = """
WITH premiums AS (
    SELECT underlying, expiration, "right", volume, coalesce(volume * price * multiplier, 0) AS premium FROM chain
), totals AS (
    SELECT underlying, sum(volume) AS volume, sum(premium) AS premium,
        sum(volume) FILTER (WHERE "right" = 'P') AS puts, sum(volume) FILTER (WHERE "right" = 'C') AS calls,
        max(volume) AS top_volume, max(premium) AS top_premium
    FROM premiums GROUP BY underlying
), squares AS (
    SELECT underlying, sum((p.premium / t.premium) ** 2) AS premium_squares, sum((p.volume / t.volume) ** 2) AS squares
    FROM premiums p JOIN totals t USING (underlying) WHERE t.volume > 0 GROUP BY underlying
), expirations AS (
    SELECT underlying, max(premium) AS top_expiration FROM (
        SELECT underlying, expiration, sum(premium) AS premium FROM premiums GROUP BY ALL
    ) GROUP BY underlying
)
SELECT underlying, puts / nullif(calls, 0) AS put_call_ratio, puts / nullif(t.volume, 0) AS put_share,
    premium_squares AS premium_herfindahl, squares AS volume_herfindahl,
    top_premium / nullif(t.premium, 0) AS top_line_premium_share,
    top_volume / nullif(t.volume, 0) AS top_line_volume_share,
    top_expiration / nullif(t.premium, 0) AS top_expiration_premium_share
FROM totals t LEFT JOIN squares USING (underlying) LEFT JOIN expirations USING (underlying) ORDER BY underlying
"""
SUBSET = (
    "put_call_ratio",
    "put_share",
    "premium_herfindahl",
    "volume_herfindahl",
    "top_line_premium_share",
    "top_line_volume_share",
    "top_expiration_premium_share",
)


def by_duckdb(chains: pl.DataFrame) -> pl.DataFrame:
    """The subset as one SQL statement over the whole chain."""
    import duckdb

    with duckdb.connect() as connection:
        connection.execute("SET threads = 2")
        connection.register("chain", chains.to_arrow())
        return connection.sql(SQL).pl()


def by_pandas(chains: pl.DataFrame) -> None:
    """The subset ticker by ticker, as notebooks do it."""
    import pandas as pd

    columns = ["underlying", "expiration", "right", "volume", "price", "multiplier"]
    frame = chains.select(columns).to_pandas()

    def one(group: Any) -> pd.Series:
        premium = (group["volume"] * group["price"] * group["multiplier"]).fillna(0.0)
        volume, total = group["volume"].sum(), premium.sum()
        puts, calls = (group.loc[group["right"] == side, "volume"].sum() for side in "PC")
        return pd.Series(
            {
                "put_call_ratio": puts / calls if calls else np.nan,
                "put_share": puts / volume if volume else np.nan,
                "premium_herfindahl": ((premium / total) ** 2).sum() if total else np.nan,
                "volume_herfindahl": ((group["volume"] / volume) ** 2).sum() if volume else np.nan,
                "top_line_premium_share": premium.max() / total if total else np.nan,
                "top_line_volume_share": group["volume"].max() / volume if volume else np.nan,
                "top_expiration_premium_share": premium.groupby(group["expiration"]).sum().max() / total
                if total
                else np.nan,
            }
        )

    frame.groupby("underlying")[columns[1:]].apply(one)


def timed(work: Callable[[], object], repeats: int = 3) -> tuple[float, float, object]:
    """Best wall and CPU seconds of `repeats` runs, and the last result."""
    walls, busy, result = [], [], None
    for _ in range(repeats):
        started, cpu = time.perf_counter(), time.process_time()
        result = work()
        walls.append(time.perf_counter() - started)
        busy.append(time.process_time() - cpu)
    return min(walls), min(busy), result


def main() -> None:
    """Print the three comparisons and the peak memory."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--underlyings", type=int, default=6000)
    parser.add_argument("--contracts-per", type=int, default=266)
    parser.add_argument("--sample", type=int, default=150)
    parser.add_argument("--skip-as-of", action="store_true")
    arguments = parser.parse_args()
    chains = priced_chain(arguments.underlyings, arguments.contracts_per)
    inputs = inputs_of(chains)
    print(f"{chains.height:,} contracts, {arguments.underlyings:,} underlyings, {len(FEATURE_NAMES)} features")
    wall, cpu, result = timed(lambda: flow_features(inputs))
    features = result["options_flow_features"]  # pyright: ignore[reportIndexIssue]
    print(f"all features: {wall:.2f} s wall, {cpu:.2f} CPU s")
    _compare_subset(chains, cpu, arguments.sample)
    if not arguments.skip_as_of:
        _compare_as_of(features)
    print(f"peak memory {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024:,.0f} MB (generation included)")


def _compare_subset(chains: pl.DataFrame, whole_cpu: float, sample: int) -> None:
    names = chains["underlying"].unique().sort()
    few = chains.filter(pl.col("underlying").is_in(names.sample(min(sample, len(names)), seed=1).implode()))
    _, pandas_cpu, _ = timed(lambda: by_pandas(few), repeats=1)
    extrapolated = pandas_cpu * len(names) / few["underlying"].n_unique()
    print(
        f"pandas groupby-apply, {len(SUBSET)} features of {few['underlying'].n_unique()} underlyings: "
        f"{pandas_cpu:.2f} CPU s, in proportion {extrapolated:.1f} CPU s for all: "
        f"{extrapolated / whole_cpu:.1f} times what all {len(FEATURE_NAMES)} features take here"
    )
    lines = chain_lines(chains, None)
    wall, cpu, ours = timed(lambda: concentration_features(lines))
    sql_wall, sql_cpu, theirs = timed(lambda: by_duckdb(chains))
    print(
        f"concentration family: {wall:.2f} s wall, {cpu:.2f} CPU s; one DuckDB statement (with put/call): "
        f"{sql_wall:.2f} s wall, {sql_cpu:.2f} CPU s"
    )
    joined = ours.join(theirs, on="underlying", suffix="_sql")  # pyright: ignore[reportAttributeAccessIssue]
    worst = max(float((joined[n] - joined[f"{n}_sql"]).abs().max() or 0.0) for n in SUBSET[2:])
    print(f"largest difference between the two: {worst:.1e} ({'agree' if worst < AGREE else 'DISAGREE'})")
    if worst >= AGREE:
        raise SystemExit(1)


def _compare_as_of(features: pl.DataFrame) -> None:
    days = calendar.trailing_sessions(SESSION, 30)
    moment = calendar.session_close(days[-1]) + timedelta(minutes=21)
    stamped = [
        features.with_columns(
            session=pl.lit(day), available_at=pl.lit(calendar.session_close(day) + timedelta(minutes=20))
        )
        for day in days
    ]
    facts = pl.concat(stamped).select("underlying", "session", "available_at", *FEATURE_NAMES)
    spine = asof.spine(features["underlying"], moment)
    wall, cpu, ours = timed(lambda: asof.latest_known(spine, facts))
    ordered = facts.sort("available_at")
    other_wall, other_cpu, theirs = timed(
        lambda: spine.sort("as_of").join_asof(
            ordered,
            left_on="as_of",
            right_on="available_at",
            by="underlying",
            allow_exact_matches=False,
            check_sortedness=False,
        )
    )
    same = ours.height == theirs.height and set(ours["session"]) == set(theirs["session"])  # pyright: ignore[reportAttributeAccessIssue,reportIndexIssue]
    print(
        f"as-of snapshot of {facts.height:,} rows: DuckDB {wall:.2f} s wall, {cpu:.2f} CPU s; polars join_asof (rows "
        f"sorted before) {other_wall:.2f} s wall, {other_cpu:.2f} CPU s; {'same sessions' if same else 'DIFFERENT'}"
    )


if __name__ == "__main__":
    main()
