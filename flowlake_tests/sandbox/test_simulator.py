"""The simulated market keeps the promises of `Market` and of a market: order, bounds, prices, time, splits, secrecy."""

from __future__ import annotations

import subprocess
import sys
from datetime import date, datetime, timedelta
from functools import cache
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flowlake import calendar
from flowlake.sandbox.market import MARKET_COLUMNS_NOT_SERVED, Market, UnknownSession
from flowlake.sandbox.simulator import BadSimulatorConfig, Simulator, SimulatorConfig, simulate
from flowlake.schemas.market import RAW_OPTION_SNAPSHOTS, RAW_STOCK_SNAPSHOTS

CONFIG = SimulatorConfig(underlyings=24, sessions=12, seed=11, history_sessions=70)


@cache
def market() -> Simulator:
    return simulate(CONFIG)


@cache
def closing_chain(index: int) -> pl.DataFrame:
    return with_volume(market().chain(calendar.session_close(market().sessions()[index])), index)


def with_volume(chain: pl.DataFrame, index: int) -> pl.DataFrame:
    session = market().sessions()[index]
    bar = pl.col("day_updated_at").dt.convert_time_zone("America/New_York").dt.date()
    return chain.with_columns(volume=pl.when(bar == session).then("day_volume").otherwise(0.0))


def digest(frame: pl.DataFrame) -> int:
    return int(frame.hash_rows(seed=1).sum())


sessions_of_the_window = st.integers(0, CONFIG.sessions - 1)


def test_it_is_a_market_with_the_sessions_asked_for() -> None:
    simulated: Market = market()
    assert simulated.origin == "simulated"
    assert simulated.sessions() == CONFIG.window()
    assert all(calendar.is_session(day) for day in simulated.sessions())


def test_chains_and_stocks_have_the_served_columns_of_the_raw_tables_sorted() -> None:
    chain = market().chain(calendar.session_close(market().sessions()[0]))
    stocks = market().stocks(calendar.session_close(market().sessions()[0]))
    for frame, table in ((chain, RAW_OPTION_SNAPSHOTS), (stocks, RAW_STOCK_SNAPSHOTS)):
        expected = {n: t for n, t in table.schema.items() if n not in MARKET_COLUMNS_NOT_SERVED}
        assert dict(frame.schema) == expected
    assert chain.equals(chain.sort("underlying", "contract"))
    assert not chain["contract"].is_duplicated().any()
    assert stocks["ticker"].is_sorted() and not stocks["ticker"].is_in(["SPX"]).any()


@settings(max_examples=8, deadline=None)
@given(index=sessions_of_the_window)
def test_reference_contracts_are_exactly_the_contracts_of_the_chain(index: int) -> None:
    listed = market().contracts(market().sessions()[index])
    assert listed["contract"].to_list() == closing_chain(index)["contract"].to_list()


@settings(max_examples=12, deadline=None)
@given(index=st.integers(0, CONFIG.sessions - 2))
def test_open_interest_changes_by_no_more_than_the_volume_of_the_session(index: int) -> None:
    today, tomorrow = closing_chain(index), closing_chain(index + 1)
    split_names = market().splits(date.max)["ticker"]
    both = today.join(tomorrow.select("contract", later="open_interest"), on="contract").filter(
        ~pl.col("underlying").is_in(split_names.to_list())
    )
    assert both.height > 1_000
    assert (both["later"] >= 0).all()
    assert ((both["later"] - both["open_interest"]).abs() <= both["volume"]).all()


@settings(max_examples=15, deadline=None)
@given(index=sessions_of_the_window, minutes=st.lists(st.integers(0, 390), min_size=2, max_size=2))
def test_volume_only_grows_through_the_day(index: int, minutes: list[int]) -> None:
    session = market().sessions()[index]
    opened = calendar.session_open(session)
    early, late = (
        with_volume(market().chain(opened + timedelta(minutes=m)), index).select("contract", "volume", "open_interest")
        for m in sorted(minutes)
    )
    both = early.join(late, on="contract", suffix="_late", validate="1:1")
    assert both.height == early.height == late.height
    assert (both["volume"] <= both["volume_late"]).all()
    assert (both["open_interest"] == both["open_interest_late"]).all()


@settings(max_examples=10, deadline=None)
@given(index=sessions_of_the_window, minute=st.integers(1, 390))
def test_quotes_bracket_and_bars_are_consistent(index: int, minute: int) -> None:
    chain = market().chain(calendar.session_open(market().sessions()[index]) + timedelta(minutes=minute))
    assert (chain["bid"] >= 0).all() and (chain["bid"] <= chain["ask"]).all() and (chain["ask"] > 0).all()
    bars = chain.drop_nulls("day_close")
    low, high = bars["day_low"], bars["day_high"]
    for name in ("day_open", "day_close", "day_vwap"):
        assert ((low <= bars[name] + 1e-4) & (bars[name] <= high + 1e-4)).all(), name
    assert (bars["day_volume"] >= 1).all()
    assert (bars["last_trade_at"] <= bars["quote_at"]).all()


@settings(max_examples=10, deadline=None)
@given(index=sessions_of_the_window)
def test_calls_fall_and_puts_rise_in_strike_within_their_spreads(index: int) -> None:
    chain = closing_chain(index).filter(pl.col("shares_per_contract") == 100)
    line = chain.with_columns(root=pl.col("contract").str.slice(2).str.replace(r"\d.*$", "")).sort(
        "root", "expiration", "contract_type", "strike"
    )
    beside = line.with_columns(
        pl.col("bid", "ask").shift(-1).over("root", "expiration", "contract_type").name.prefix("next_")
    ).drop_nulls("next_bid")
    call = beside.filter(pl.col("contract_type") == "call")
    put = beside.filter(pl.col("contract_type") == "put")
    assert (call["next_bid"] <= call["ask"]).all()
    assert (put["bid"] <= put["next_ask"]).all()


def test_american_contracts_are_never_offered_below_intrinsic_value() -> None:
    chain = closing_chain(4).filter(pl.col("exercise_style") == "american", pl.col("shares_per_contract") == 100)
    sign = pl.when(pl.col("contract_type") == "call").then(1.0).otherwise(-1.0)
    short = chain.filter(pl.col("ask") < sign * (pl.col("underlying_price") - pl.col("strike")) - 0.011)
    assert short.is_empty()


def test_untraded_contracts_show_the_bar_of_the_session_they_last_traded_in() -> None:
    before, after = closing_chain(5), closing_chain(6)
    quiet = after.filter(pl.col("volume") == 0).join(before, on="contract", suffix="_before")
    known = quiet.filter(pl.col("day_close_before").is_not_null())
    assert known.height > 100
    bar = ["day_open", "day_high", "day_low", "day_close", "day_volume", "day_vwap", "day_updated_at", "last_trade_at"]
    for name in bar:
        assert known[name].eq_missing(known[f"{name}_before"]).all(), name


def test_before_the_open_yesterday_is_shown_with_this_mornings_open_interest() -> None:
    session = market().sessions()[6]
    morning = datetime.combine(session, datetime.min.time(), calendar.NEW_YORK)
    published = market().chain(morning.replace(hour=8))
    unpublished = market().chain(morning.replace(hour=5))
    today = closing_chain(6).select("contract", fresh="open_interest")
    assert published["quote_at"].max() == calendar.session_close(market().sessions()[5])
    assert (published["expiration"] >= session).all()
    joined = published.join(today, on="contract")
    assert joined.height > 1_000 and (joined["open_interest"] == joined["fresh"]).all()
    old = unpublished.join(closing_chain(5).select("contract", old="open_interest"), on="contract")
    assert (old["open_interest"] == old["old"]).all()


def test_any_order_of_questions_gives_the_same_bytes() -> None:
    moments = [calendar.session_open(day) + timedelta(minutes=m) for day in CONFIG.window()[:6:2] for m in (100, 390)]
    forward, backward = simulate(CONFIG), simulate(CONFIG)
    first = [digest(forward.chain(at)) for at in moments]
    second = [digest(backward.chain(at)) for at in reversed(moments)]
    assert first == second[::-1]
    assert digest(forward.stocks(moments[0])) == digest(backward.stocks(moments[0]))


def test_another_process_gives_the_same_bytes_and_another_seed_does_not() -> None:
    program = (
        "from flowlake import calendar; from flowlake.sandbox.simulator import SimulatorConfig, simulate;"
        "m = simulate(SimulatorConfig(underlyings=24, sessions=12, seed=11, history_sessions=70));"
        "print(int(m.chain(calendar.session_close(m.sessions()[3])).hash_rows(seed=1).sum()))"
    )
    elsewhere = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    at = calendar.session_close(market().sessions()[3])
    assert int(elsewhere.stdout) == digest(market().chain(at))
    other = simulate(SimulatorConfig(underlyings=24, sessions=12, seed=12, history_sessions=70))
    assert digest(other.chain(at)) != digest(market().chain(at))


def test_a_cache_folder_gives_the_same_bytes_to_the_next_process(tmp_path) -> None:
    config = SimulatorConfig(underlyings=24, sessions=12, seed=11, history_sessions=70, cache_dir=tmp_path)
    at = calendar.session_close(market().sessions()[4])
    expected = digest(market().chain(at))
    assert digest(simulate(config).chain(at)) == expected
    kept = sorted(path.name for path in tmp_path.rglob("*.parquet"))
    assert len(kept) == 5
    assert digest(simulate(config).chain(at)) == expected


def test_a_cache_of_another_market_is_not_mixed_in(tmp_path) -> None:
    at = calendar.session_close(market().sessions()[1])
    for seed in (11, 12):
        plain = SimulatorConfig(underlyings=24, sessions=12, seed=seed, history_sessions=70)
        cached = SimulatorConfig(underlyings=24, sessions=12, seed=seed, history_sessions=70, cache_dir=tmp_path)
        assert digest(simulate(cached).chain(at)) == digest(simulate(plain).chain(at))


def test_a_forward_split_divides_strikes_and_multiplies_open_interest() -> None:
    split = (
        market()
        .splits(market().sessions()[-1])
        .filter(pl.col("execution_date").is_in(market().sessions()), pl.col("split_to") > 1)
    )
    ticker, day, ratio = split["ticker"][0], split["execution_date"][0], split["split_to"][0]
    index = market().sessions().index(day)
    morning = datetime.combine(day, datetime.min.time(), calendar.NEW_YORK).replace(hour=8)
    held = market().chain(morning).filter(pl.col("underlying") == ticker, pl.col("expiration") > day)
    after = closing_chain(index).filter(pl.col("underlying") == ticker)
    moved = held.with_columns(strike=(pl.col("strike") / ratio).round(2)).join(
        after, on=["expiration", "strike", "contract_type"], suffix="_new"
    )
    assert moved.height == held.height > 20
    assert moved["open_interest_new"].sum() == held["open_interest"].sum() * ratio
    drift = (moved["delta"] - moved["delta_new"]).abs().drop_nulls().to_numpy()
    assert np.median(drift) < 0.2


def test_a_reverse_split_moves_contracts_to_a_numbered_root_with_fewer_shares() -> None:
    split = (
        market()
        .splits(market().sessions()[-1])
        .filter(pl.col("execution_date").is_in(market().sessions()), pl.col("split_from") > 1)
    )
    ticker, day, ratio = split["ticker"][0], split["execution_date"][0], split["split_from"][0]
    after = closing_chain(market().sessions().index(day)).filter(pl.col("underlying") == ticker)
    adjusted = after.filter(pl.col("shares_per_contract") != 100)
    assert adjusted.height > 10
    assert adjusted["contract"].str.starts_with(f"O:{ticker}1").all()
    assert (adjusted["shares_per_contract"] == 100 / ratio).all()
    assert after.filter(pl.col("shares_per_contract") == 100).height > 10


def test_index_options_are_european_with_weekly_root_and_open_settled_monthlies() -> None:
    spx = closing_chain(0).filter(pl.col("underlying") == "SPX")
    roots = spx.select(pl.col("contract").str.extract(r"^O:([A-Z]+)\d").unique().sort()).to_series().to_list()
    assert roots == ["SPX", "SPXW"]
    assert spx["exercise_style"].unique().to_list() == ["european"]


def test_fund_and_index_move_together() -> None:
    bars = market().stock_bars(market().sessions()[0], market().sessions()[-1]).filter(pl.col("ticker") == "SPY")
    index = closing_chain(11).filter(pl.col("underlying") == "SPX")["underlying_price"][0]
    assert bars["close"][-1] == pytest.approx(index / 10, rel=0.02)


def test_dividends_are_declared_ahead_and_splits_announced_ahead() -> None:
    last = market().sessions()[-1]
    dividends = market().dividends(last)
    assert (dividends["declaration_date"] <= last).all()
    assert (dividends["declaration_date"] < dividends["ex_dividend_date"]).all()
    first_split = market().splits(date.max).sort("execution_date").row(-1, named=True)
    eve = calendar.previous_session(first_split["execution_date"])
    assert first_split["ticker"] in market().splits(eve)["ticker"].to_list()


def test_option_bars_are_the_traded_contracts_of_the_session() -> None:
    traded = closing_chain(3).filter(pl.col("volume") > 0)
    bars = market().option_bars(market().sessions()[3])
    assert sorted(traded["contract"].to_list()) == bars["contract"].to_list()
    assert bars["volume"].sum() == traded["volume"].sum()


def test_most_contract_days_of_ordinary_names_are_empty_and_counts_are_overdispersed() -> None:
    chain = closing_chain(2).filter(~pl.col("underlying").is_in(["SPX", "SPY", "QQQ", "IWM"]))
    volume = chain["volume"].to_numpy()
    assert 0.5 < (volume == 0).mean() < 0.95
    assert volume.var() > 5 * volume.mean()


def test_the_truth_is_not_reachable_through_the_market_interface() -> None:
    offered = {name for name in vars(Market) if not name.startswith("_")}
    assert offered == {
        "origin", "sessions", "stocks", "chain", "tickers", "contracts", "stock_bars", "option_bars", "splits",
        "dividends",
    }  # fmt: skip
    session = market().sessions()[8]
    at = calendar.session_close(session)
    frames = [
        market().stocks(at), market().chain(at), market().tickers(session), market().contracts(session),
        market().stock_bars(session, session), market().option_bars(session), market().splits(session),
        market().dividends(session),
    ]  # fmt: skip
    told = {name for frame in frames for name in frame.columns}
    assert not told & {"episode_id", "kind", "informed", "opening_share", "news_session", "decoy_note"}


def test_every_injected_print_is_in_the_volume_of_its_contract_and_session(tmp_path) -> None:
    truth = market().truth()
    assert truth["informed"].any() and not truth["informed"].all()
    sessions = market().sessions()
    assert (truth["session"] >= sessions[CONFIG.warmup()]).all()
    for session in truth["session"].unique().sort().to_list():
        chain = closing_chain(sessions.index(session))
        day = truth.filter(pl.col("session") == session).group_by("contract").agg(pl.col("contracts").sum())
        joined = day.join(chain.select("contract", "volume"), on="contract", how="left")
        assert (joined["volume"] >= joined["contracts"]).all()
    market().write_truth(tmp_path / "truth.parquet")
    assert pl.read_parquet(tmp_path / "truth.parquet").equals(truth)


def test_informed_episodes_end_before_their_news_and_the_stock_gaps_their_way() -> None:
    truth = market().truth().filter("informed").unique("episode_id", maintain_order=True)
    for row in truth.iter_rows(named=True):
        assert row["last_session"] < row["news_session"]
        bars = (
            market().stock_bars(row["last_session"], row["news_session"]).filter(pl.col("ticker") == row["underlying"])
        )
        gap = bars["open"][-1] / bars["close"][0] - 1
        assert np.sign(gap) == row["direction"]


def test_a_market_without_episodes_has_an_empty_truth() -> None:
    null = simulate(SimulatorConfig(underlyings=20, sessions=6, informed_episodes=0, decoys=0, history_sessions=70))
    assert null.truth().is_empty()


def test_days_outside_the_window_are_refused_by_name() -> None:
    before = calendar.previous_session(market().sessions()[0])
    with pytest.raises(UnknownSession, match=str(before)):
        market().chain(calendar.session_close(before))
    with pytest.raises(UnknownSession, match="2030-01-02"):
        market().contracts(date(2030, 1, 2))


@pytest.mark.parametrize("wrong", [{"underlyings": 19}, {"underlyings": 6_001}, {"sessions": 0}, {"decoys": -1}])
def test_impossible_sizes_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(BadSimulatorConfig):
        SimulatorConfig(**wrong)


def test_importing_the_simulator_stays_light() -> None:
    program = (
        "import sys, flowlake.sandbox.simulator;"
        "print([m for m in ('scipy', 'pandas', 'numba', 'dagster', 'httpx') if m in sys.modules])"
    )
    assert subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout == "[]\n"


def test_on_a_closed_day_the_session_before_is_shown() -> None:
    friday = next(day for day in market().sessions() if day.weekday() == 4)
    saturday = datetime.combine(friday + timedelta(days=1), calendar.OPEN, calendar.NEW_YORK)
    shown = market().chain(saturday)
    kept = closing_chain(market().sessions().index(friday)).filter(pl.col("expiration") > friday).drop("volume")
    assert shown.equals(kept)


def test_scheduled_decoys_trade_the_evening_before_their_event() -> None:
    busy = simulate(SimulatorConfig(underlyings=60, sessions=20, seed=3, informed_episodes=0, decoys=12))
    truth = busy.truth()
    capture = truth.filter(pl.col("kind") == "dividend_capture")
    dividends = busy.dividends(busy.sessions()[-1])
    assert not capture.is_empty()
    for underlying, session in capture.select("underlying", "session").unique().rows():
        ex_days = dividends.filter(pl.col("ticker") == underlying)["ex_dividend_date"].to_list()
        assert calendar.next_session(session) in ex_days
    assert set(truth["kind"]) >= {"roll", "hedge", "newsletter", "spread"}
