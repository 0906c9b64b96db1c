"""A whole session's features: complete, the same for either cadence, blind to what became known later."""

from __future__ import annotations

from dataclasses import replace
from datetime import date, timedelta

import numpy as np
import polars as pl
import pytest
from polars.testing import assert_frame_equal

from flowlake import calendar
from flowlake.features.definitions import FEATURE_NAMES
from flowlake.features.flow import HISTORY, FlowInputs, flow_features
from flowlake.features.stock import STOCKS
from flowlake.schemas.features import INTRADAY_FLOW_FEATURES
from flowlake.schemas.options import IV_SURFACE, OPTION_CHAINS
from flowlake_tests.factories import frame
from flowlake_tests.features.chains import KNOWN, SESSION, contract

NAMES = ("A", "SPY")
BEFORE = calendar.trailing_sessions(SESSION, 230)


def chain(**facts) -> pl.DataFrame:
    rows = []
    for name in NAMES:
        for strike in (90.0, 94.0, 100.0, 106.0, 110.0):
            for right in "CP":
                row = contract(right, strike, underlying=name, volume=10, open_interest=50, price=2.0)
                greeks = {"implied_volatility": 0.3, "delta": 0.5, "gamma": 0.01, "vega": 0.1}
                rows.append(row | greeks | facts | {"contract_id": len(rows), "contract": f"{name}{strike}{right}"})
    return frame(OPTION_CHAINS, rows)


def surfaces(days: list[date], level: float, known=KNOWN) -> pl.DataFrame:
    rows = [
        {"session": day, "underlying": name, "tenor_days": tenor, "atm_volatility": level, "available_at": known}
        for day in days
        for name in NAMES
        for tenor in (7, 30, 60, 90)
    ]
    return frame(IV_SURFACE, rows)


def stocks() -> pl.DataFrame:
    days = [*BEFORE, SESSION]
    rng = np.random.default_rng(3)
    closes = 100 * np.exp(np.cumsum(rng.normal(0, 0.01, len(days))))
    known = [calendar.session_close(day) + timedelta(minutes=20) for day in days]
    one = pl.DataFrame({"session": days, "available_at": known, "close": closes, "volume": 1e6})
    prices = {name: pl.col("close") for name in ("open", "vwap")} | {
        "high": pl.col("close") * 1.01,
        "low": pl.col("close") * 0.99,
    }
    both = pl.concat([one.with_columns(ticker=pl.lit(name), **prices) for name in NAMES])
    return both.select(pl.col(name).cast(dtype) for name, dtype in STOCKS.items())


def history() -> pl.DataFrame:
    days = BEFORE[-126:]
    known = [calendar.session_close(day) + timedelta(minutes=20) for day in days]
    rows = pl.DataFrame({"session": days, "available_at": known, "option_stock_ratio": 0.01, "iv_30": 0.25})
    both = pl.concat([rows.with_columns(underlying=pl.lit(name)) for name in NAMES])
    return both.select(pl.col(name).cast(dtype) for name, dtype in HISTORY.items())


@pytest.fixture(scope="module")
def inputs() -> FlowInputs:
    return FlowInputs(
        session=SESSION,
        event_time=calendar.session_close(SESSION),
        chains=chain(),
        surface=surfaces([SESSION], 0.3),
        earlier_surfaces=surfaces(BEFORE[-5:], 0.28, KNOWN - timedelta(days=1)),
        stocks=stocks(),
        history=history(),
    )


def features(inputs: FlowInputs) -> pl.DataFrame:
    return flow_features(inputs)["options_flow_features"]


def test_there_is_one_row_for_every_underlying_of_the_chain(inputs: FlowInputs):
    found = features(inputs)
    assert found["underlying"].to_list() == list(NAMES)
    assert set(found["available_at"]) == {KNOWN}
    assert found["option_volume"].to_list() == [100, 100]
    assert found["iv_30_change_1"].to_list() == pytest.approx([0.02, 0.02])
    assert found["iv_30_percentile_60"].to_list() == [1.0, 1.0]


def test_history_that_is_there_is_used_and_what_is_not_is_null(inputs: FlowInputs):
    found = features(inputs).row(0, named=True)
    for name in ("sma_200_distance", "rsi_14", "macd_histogram", "realised_volatility_60", "market_above_sma_200"):
        assert found[name] is not None, name
    for name in ("events_volume", "insider_buyers", "congress_sales_90", "option_volume_ratio_20", "oi_change"):
        assert found[name] is None, name


def test_a_row_is_known_when_the_last_of_its_own_inputs_was(inputs: FlowInputs):
    later = KNOWN + timedelta(minutes=7)
    today = pl.when(pl.col("session") == SESSION).then(pl.lit(later)).otherwise(pl.col("available_at"))
    moved = replace(inputs, stocks=inputs.stocks.with_columns(available_at=today))
    assert set(features(moved)["available_at"]) == {later}


def late(frame: pl.DataFrame, columns: list[str], *, cut: bool) -> pl.DataFrame:
    """Odd sessions before the described one arrive only tomorrow: garbled, or cut off."""
    odd = (pl.col("session") < SESSION) & (pl.col("session").dt.ordinal_day() % 2 == 1)
    if cut:
        return frame.filter(~odd)
    tomorrow = pl.lit(KNOWN + timedelta(days=1)).cast(frame.schema["available_at"])
    wrong = [pl.when(odd).then(-7.0).otherwise(pl.col(name)).alias(name) for name in columns]
    return frame.with_columns(*wrong, available_at=pl.when(odd).then(tomorrow).otherwise(pl.col("available_at")))


def test_history_that_arrives_later_garbled_or_not_at_all_gives_the_same_bytes(inputs: FlowInputs):
    """A session that was missed and filled in from bars afterwards must not change what was known that evening."""
    columns = {"stocks": ["close", "volume"], "history": ["iv_30", "option_stock_ratio"]}
    columns |= {"earlier_surfaces": ["atm_volatility"]}
    poisoned, truncated = (
        replace(inputs, **{name: late(getattr(inputs, name), named, cut=cut) for name, named in columns.items()})
        for cut in (False, True)
    )
    assert_frame_equal(features(poisoned), features(truncated), check_exact=True)
    assert not features(poisoned).equals(features(inputs))


def test_rows_in_another_order_give_the_same_bytes(inputs: FlowInputs):
    shuffled = {
        name: getattr(inputs, name).sample(fraction=1.0, shuffle=True, seed=5)
        for name in ("chains", "surface", "earlier_surfaces", "stocks", "history")
    }
    for name, found in flow_features(replace(inputs, **shuffled)).items():
        assert_frame_equal(found, flow_features(inputs)[name], check_exact=True)


def test_a_chain_within_the_session_gives_the_same_features(inputs: FlowInputs):
    snapshot = KNOWN - timedelta(minutes=20)
    within = replace(inputs, chains=inputs.chains.with_columns(snapshot=pl.lit(snapshot)))
    intraday = flow_features(within, INTRADAY_FLOW_FEATURES)["intraday_flow_features"]
    assert set(intraday["snapshot"]) == {snapshot}
    assert_frame_equal(intraday.select(FEATURE_NAMES), features(inputs).select(FEATURE_NAMES), check_exact=True)


def test_gamma_by_strike_adds_up_to_the_underlyings_total(inputs: FlowInputs):
    both = flow_features(inputs)
    summed = both["gamma_exposure_by_strike"].group_by("underlying").agg(pl.col("gamma_exposure_usd").sum())
    joined = both["options_flow_features"].join(summed, on="underlying", suffix="_summed")
    assert joined["gamma_exposure_usd"].to_list() == pytest.approx(joined["gamma_exposure_usd_summed"].to_list())


def test_an_empty_chain_gives_empty_tables(inputs: FlowInputs):
    found = flow_features(replace(inputs, chains=OPTION_CHAINS.empty()))
    assert {name: rows.height for name, rows in found.items()} == {
        "options_flow_features": 0,
        "gamma_exposure_by_strike": 0,
    }
