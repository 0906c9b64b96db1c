"""Features of recorded real sessions: finite, in range, like the market, blind to what came later."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, date, datetime, time
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from polars.testing import assert_frame_equal

from flowlake import calendar
from flowlake.calendar import NEW_YORK
from flowlake.detect.baselines import contract_baselines, ticker_baselines
from flowlake.features.definitions import FEATURE_NAMES
from flowlake.features.flow import FlowInputs, flow_features
from flowlake.features.lookahead import lookahead_violations
from flowlake.features.stock import STOCKS
from flowlake.options import implied_surface
from flowlake.options.chains import build_chains
from flowlake.schemas.options import CONTRACTS, IV_SURFACE
from flowlake_tests.quality.test_real_sessions import raw_session

pytestmark = [pytest.mark.slow, pytest.mark.real_data]

SESSION = date(2026, 7, 30)
SESSIONS = [*calendar.trailing_sessions(SESSION, 12), SESSION]
WATCHED = ("AAPL", "MSFT", "NVDA", "TSLA", "META", "KO", "JPM", "PYPL", "SPY", "QQQ", "IWM")


def known(day: date) -> datetime:
    return datetime.combine(day, time(16), NEW_YORK).astimezone(UTC)


def stock_rows(shared_data: Path) -> pl.DataFrame:
    daily = pl.read_parquet(shared_data / "stocks" / "daily.parquet").filter(pl.col("session_date") <= SESSION)
    close = pl.col("lastsale").cast(pl.Float64)
    rows = daily.filter(pl.col("session_date").is_in([*calendar.trailing_sessions(SESSION, 251), SESSION])).select(
        session="session_date",
        ticker="symbol",
        close=close,
        volume="volume",
        vwap=close,
        available_at=pl.col("session_date").dt.combine(time(20)).dt.replace_time_zone("UTC"),
    )
    absent = [pl.lit(None).alias(name) for name in STOCKS.names() if name not in rows.columns]
    return rows.with_columns(absent).select(pl.col(name).cast(dtype) for name, dtype in STOCKS.items())


@pytest.fixture(scope="module")
def inputs(shared_data: Path) -> FlowInputs:
    contracts = CONTRACTS.empty()
    chains: dict[date, pl.DataFrame] = {}
    for day in SESSIONS:
        raw = raw_session(shared_data, day).filter(pl.col("underlying").is_in(WATCHED))
        build = build_chains(raw, session=day, known_contracts=contracts)
        contracts = pl.concat([contracts, build.new_contracts.select(contracts.columns)])
        chains[day] = build.chains
    past = {day: chain.lazy() for day, chain in chains.items() if day < SESSION}

    def surface(day: date) -> pl.DataFrame:
        found = implied_surface(chains[day]).with_columns(session=pl.lit(day), available_at=pl.lit(known(day)))
        return IV_SURFACE.conform(found.with_columns(origin=pl.lit("recorded")).select(IV_SURFACE.schema.names()))

    return FlowInputs(
        session=SESSION,
        event_time=known(SESSION),
        chains=chains[SESSION],
        surface=surface(SESSION),
        earlier_surfaces=pl.concat([surface(day) for day in SESSIONS[-6:-1]]),
        contract_baselines=contract_baselines(SESSION, chains[SESSION], past),
        ticker_baselines=ticker_baselines(SESSION, chains[SESSION], past),
        stocks=stock_rows(shared_data),
    )


@pytest.fixture(scope="module")
def features(inputs: FlowInputs) -> pl.DataFrame:
    return flow_features(inputs)["options_flow_features"]


def test_every_underlying_has_a_row_and_no_value_is_infinite(features: pl.DataFrame):
    assert set(features["underlying"]) == set(WATCHED)
    floats = features.select(pl.selectors.float())
    assert floats.select(pl.all().is_infinite().sum() + pl.all().is_nan().sum()).sum_horizontal().item() == 0


RANGES = {
    "put_call_ratio": (0.05, 20),
    "put_share": (0, 1),
    "otm_put_call_ratio": (0.01, 50),
    "opening_put_share": (0, 1),
    "short_otm_call_share": (0, 1),
    "new_listing_share": (0, 1),
    "woken_line_share": (0, 0.5),
    "option_volume_ratio_20": (0.1, 10),
    "iv_30": (0.05, 1.5),
    "iv_30_change_1": (-0.3, 0.3),
    "iv_skew": (-0.1, 0.3),
    "premium_herfindahl": (0, 1),
    "top_line_volume_share": (0, 1),
    "opening_share": (0, 1),
    "oi_build_share": (0, 1),
    "max_pain_distance": (-0.5, 0.5),
    "zero_gamma_distance": (-0.25, 0.25),
    "put_delta_notional_usd": (-1e12, 0),
    "rsi_14": (0, 100),
    "realised_volatility_20": (0.03, 2.0),
    "sma_50_distance": (-0.6, 0.6),
}


@pytest.mark.parametrize("name", RANGES)
def test_values_lie_where_a_market_puts_them(name: str, features: pl.DataFrame):
    values = features[name].drop_nulls()
    low, high = RANGES[name]
    assert len(values) >= features.height // 2, f"{name} is known for {len(values)} of {features.height}"
    assert values.is_between(low, high).all(), values.to_list()


def test_calls_and_puts_agree_on_volatility_in_the_middle(features: pl.DataFrame):
    assert features["iv_spread_pairs"].min() > 10  # pyright: ignore[reportOperatorIssue]
    middle = features["iv_spread"].median()
    assert isinstance(middle, float)
    assert abs(middle) < 0.02


def test_volumes_are_those_of_the_recording(features: pl.DataFrame, shared_data: Path):
    recorded = (
        pl.scan_parquet(shared_data / "option_chains" / "contracts.parquet")
        .filter((pl.col("date") == SESSION) & (pl.col("ticker") == "AAPL") & (pl.col("expiration") >= SESSION))
        .select(pl.col("volume").cast(pl.Int64).filter(pl.col("right") == side).sum().alias(side) for side in "CP")
        .collect()
        .row(0)
    )
    assert features.filter(pl.col("underlying") == "AAPL").select("call_volume", "put_volume").row(0) == recorded


def test_indicators_of_a_real_stock_equal_a_plain_loop(features: pl.DataFrame, inputs: FlowInputs):
    closes = inputs.stocks.filter(pl.col("ticker") == "AAPL").sort("session")["close"].to_list()
    changes = np.diff(closes)
    gain, loss = np.maximum(changes, 0)[:14].mean(), np.maximum(-changes, 0)[:14].mean()
    for change in changes[14:]:
        gain, loss = (13 * gain + max(change, 0)) / 14, (13 * loss + max(-change, 0)) / 14
    found = features.filter(pl.col("underlying") == "AAPL")
    assert found["rsi_14"].to_list() == pytest.approx([100 * gain / (gain + loss)])
    assert found["sma_50_distance"].to_list() == pytest.approx([closes[-1] / np.mean(closes[-50:]) - 1])


def test_nothing_in_a_row_was_known_later(features: pl.DataFrame, inputs: FlowInputs):
    today = inputs.stocks.filter(pl.col("session") == SESSION).rename({"ticker": "underlying"})
    made_from = {"option_chains": inputs.chains, "iv_surface": inputs.surface, "raw_stock_snapshots": today}
    assert lookahead_violations(features, made_from).is_empty()


def test_the_next_sessions_stocks_garbled_change_nothing(features: pl.DataFrame, inputs: FlowInputs):
    later = inputs.stocks.filter(pl.col("session") == SESSION).with_columns(
        session=pl.lit(calendar.next_session(SESSION)), close=pl.lit(1.0), available_at=pl.lit(known(date(2026, 7, 31)))
    )
    again = flow_features(replace(inputs, stocks=pl.concat([inputs.stocks, later])))["options_flow_features"]
    assert_frame_equal(again.select(FEATURE_NAMES), features.select(FEATURE_NAMES), check_exact=True)
