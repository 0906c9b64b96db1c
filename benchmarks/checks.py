"""What the two tiers of checks cost, beside loading the table and beside the same demands made of Great Expectations.

One simulated chain is repeated to the size asked for. Measured in one process, the first pass of each discarded:
loading the columns the checks read; tier 1, every row rule in one scan; the incidents, beside a session before;
tier 2, the suite over this session and its trailing ones; and Great Expectations alone on all rows with expectations
that demand what the row rules demand as far as it can say it.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import polars as pl

from flowlake import calendar
from flowlake.options.chains import build_chains
from flowlake.quality import evaluate, incidents
from flowlake.quality.shapes import TRAILING
from flowlake.quality.suites import OPTION_CHAINS as SUITE
from flowlake.quality.suites import judge
from flowlake.schemas.options import CONTRACTS, OPTION_CHAINS

SESSION = date(2026, 6, 12)


def chain(rows: int) -> pl.DataFrame:
    """Table option_chains of `rows` rows: a simulated session repeated under other underlyings."""
    from flowlake.sandbox.simulator import SimulatorConfig, simulate

    market = simulate(SimulatorConfig(underlyings=40, sessions=3, last_session=SESSION, seed=3))
    base = _chains(market)
    copies = -(-rows // base.height)
    repeated = [
        base.with_columns(
            contract_id=(pl.col("contract_id") + number * base.height).cast(pl.Int32),
            underlying=pl.lit(_name(number)) + pl.col("underlying").str.slice(0, 3),
        ).with_columns(root=pl.col("underlying"))
        for number in range(copies)
    ]
    return pl.concat(repeated).head(rows).with_columns(contract=_symbol())


def _chains(market) -> pl.DataFrame:
    from pydantic import SecretStr

    from flowlake.sandbox.server import SandboxServer
    from flowlake.settings import ApiSettings
    from flowlake.sources.polygon import BlockingPolygonClient

    with SandboxServer(market, keys=("sandbox",)) as server:
        settings = ApiSettings(base_url=server.base_url, replay=True, requests_per_second=100_000)
        with BlockingPolygonClient(settings, SecretStr("sandbox")) as client:
            at = calendar.session_close(SESSION) + timedelta(minutes=20)
            names = client.list_underlyings(SESSION, as_of=at)
            raw = client.fetch_chains(SESSION, names, as_of=at).frame
    return build_chains(raw, session=SESSION, known_contracts=CONTRACTS.empty()).chains


def _name(number: int) -> str:
    return chr(65 + number // 26 % 26) + chr(65 + number % 26)


def _symbol() -> pl.Expr:
    strike = (pl.col("strike") * 1000).round().cast(pl.Int64).cast(pl.String).str.zfill(8)
    return pl.lit("O:") + pl.col("root") + pl.col("expiration").dt.strftime("%y%m%d") + pl.col("right") + strike


def great_expectations_alone(rows: pl.DataFrame) -> None:
    """The row rules, as far as Great Expectations can say them, on all rows."""
    import great_expectations as gx
    import great_expectations.expectations as classes

    expect: Any = classes  # its type stubs export nothing

    context = gx.get_context(mode="ephemeral")
    context.variables.progress_bars = {"globally": False}  # pyright: ignore[reportAttributeAccessIssue]
    asset = context.data_sources.add_pandas("all").add_dataframe_asset("rows")
    definition = asset.add_batch_definition_whole_dataframe("whole")
    required = [column.name for column in OPTION_CHAINS.columns if not column.nullable]
    suite = gx.ExpectationSuite(
        name="rows",
        expectations=[
            *(expect.ExpectColumnValuesToNotBeNull(column=name) for name in required),
            expect.ExpectColumnValuesToBeUnique(column="contract_id"),
            expect.ExpectColumnValuesToBeInSet(column="right", value_set=["C", "P"]),
            expect.ExpectColumnValuesToBeInSet(column="origin", value_set=["vendor", "recorded", "simulated"]),
            expect.ExpectColumnValuesToMatchRegex(column="contract", regex=r"^O:[A-Z]{1,6}[0-9]{6}[CP][0-9]{8}$"),
            expect.ExpectColumnValuesToBeBetween(column="strike", min_value=0, strict_min=True),
            expect.ExpectColumnValuesToBeBetween(column="volume", min_value=0),
            expect.ExpectColumnValuesToBeBetween(column="open_interest", min_value=0),
            expect.ExpectColumnValuesToBeBetween(column="vendor_iv", min_value=0, max_value=10),
            expect.ExpectColumnValuesToBeBetween(column="vendor_delta", min_value=-1, max_value=1),
            expect.ExpectColumnValuesToBeBetween(column="gamma", min_value=-0.001),
            expect.ExpectColumnValuesToBeBetween(column="vega", min_value=-0.001),
            expect.ExpectColumnPairValuesAToBeGreaterThanB(column_A="ask", column_B="bid", or_equal=True),
            expect.ExpectColumnPairValuesAToBeGreaterThanB(column_A="expiration", column_B="session", or_equal=True),
        ],
    )
    columns = {*required, "open_interest", "vendor_iv", "vendor_delta", "gamma", "vega", "ask", "bid"}
    frame = rows.select(name for name in rows.columns if name in columns).to_pandas()
    definition.get_batch({"dataframe": frame}).validate(suite, result_format="SUMMARY")


def seconds(work: Callable[[], object], repeats: int) -> float:
    """Median CPU seconds of `work`, its first pass left out."""
    work()
    taken = []
    for _ in range(repeats):
        started = time.process_time()
        work()
        taken.append(time.process_time() - started)
    return sorted(taken)[len(taken) // 2]


def main() -> int:
    """Print the table; 1 where both tiers together cost more than Great Expectations alone."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--rows", type=int, default=300_000)
    options.add_argument("--repeats", type=int, default=3)
    asked = options.parse_args()
    today = chain(asked.rows)
    before = calendar.previous_session(SESSION)
    yesterday = today.with_columns(session=pl.lit(before), volume=pl.col("volume") + 1)
    profiles = [SUITE.profile(day, today) for day in calendar.trailing_sessions(SESSION, TRAILING)]
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "chain.parquet"
        today.write_parquet(file)
        steps = {
            "load the table": lambda: pl.read_parquet(file),
            "tier 1: row rules": lambda: evaluate(OPTION_CHAINS, [file], session=SESSION),
            "tier 1: incidents": lambda: incidents.compare_sessions(
                today, yesterday, session=SESSION, min_coverage=0.95
            ),
            "tier 2: suite": lambda: judge(SUITE, [*profiles, SUITE.profile(SESSION, today)], [SESSION]),
            "Great Expectations alone": lambda: great_expectations_alone(today),
        }
        taken = {name: seconds(work, asked.repeats) for name, work in steps.items()}
    load, alone = taken["load the table"], taken["Great Expectations alone"]
    print(f"{today.height:,} rows of option_chains, {today['underlying'].n_unique():,} underlyings; CPU seconds")
    for name, value in taken.items():
        print(f"  {name:26}{value:8.2f} s  {value / load:6.1f} x loading  {value / alone:6.2f} x GX alone")
    both = sum(value for name, value in taken.items() if name.startswith("tier"))
    print(f"  {'both tiers':26}{both:8.2f} s  {both / load:6.1f} x loading  {both / alone:6.2f} x GX alone")
    return 0 if both < alone else 1


if __name__ == "__main__":
    raise SystemExit(main())
