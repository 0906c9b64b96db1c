"""Recorded sessions keep what was recorded, leave absent what was not, and never offer the holiday copies."""

from __future__ import annotations

from datetime import date, datetime, timedelta
from pathlib import Path

import polars as pl
import pytest

from flowlake import calendar
from flowlake.sandbox.market import MARKET_COLUMNS_NOT_SERVED, Market, UnknownSession
from flowlake.sandbox.recorded import RecordedMarket, RecordingMissing
from flowlake.schemas.market import RAW_OPTION_SNAPSHOTS, RAW_STOCK_SNAPSHOTS

THURSDAY, JUNETEENTH, MONDAY = date(2026, 6, 18), date(2026, 6, 19), date(2026, 6, 22)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two invented sessions and the copy of the first that was stored under the holiday between them."""
    (tmp_path / "option_chains").mkdir()
    (tmp_path / "stocks").mkdir()
    line = {
        "ticker": "Zzt", "expiration": date(2026, 6, 26), "right": "C", "strike": 12.5, "price": 0.4, "delta": 0.3,
        "volume": 0, "iv": 55.0, "oi": 10,
    }  # fmt: skip
    rows = [
        {"date": THURSDAY, **line},
        {"date": THURSDAY, **line, "right": "P", "volume": 7, "iv": 0.0, "oi": 3},
        {"date": THURSDAY, **line, "expiration": THURSDAY, "volume": 2},
        {"date": JUNETEENTH, **line},
        {"date": MONDAY, **line, "ticker": "ZZT", "volume": 4, "oi": 12},
        {"date": MONDAY, **line, "volume": 1, "oi": 12},
        {"date": MONDAY, **line, "expiration": THURSDAY, "volume": 2},
    ]
    pl.DataFrame(rows).with_columns(
        pl.col("strike", "price", "iv").cast(pl.Decimal(9, 2)), pl.col("delta").cast(pl.Decimal(4, 2))
    ).write_parquet(tmp_path / "option_chains/contracts.parquet")
    pl.DataFrame(
        [{"date": str(day), "ticker": "Zzt", "spot": 12.0} for day in (THURSDAY, JUNETEENTH, MONDAY)]
    ).write_parquet(tmp_path / "option_chains/underlyings.parquet")
    pl.DataFrame(
        [
            {"session_date": day, "symbol": "YYA/B", "exch": "nyse", "lastsale": 110.0, "pctchange": 10.0,
             "volume": 1_000, "market_cap_musd": 5.0}
            for day in (THURSDAY, JUNETEENTH, MONDAY)
        ]
    ).write_parquet(tmp_path / "stocks/daily.parquet")  # fmt: skip
    return tmp_path


def test_holiday_copies_are_not_sessions_and_are_refused_by_name(folder: Path) -> None:
    market: Market = RecordedMarket(folder)
    assert market.sessions() == [THURSDAY, MONDAY]
    with pytest.raises(UnknownSession, match="Juneteenth"):
        market.contracts(JUNETEENTH)
    with pytest.raises(UnknownSession, match="Juneteenth"):
        market.chain(datetime.combine(JUNETEENTH, calendar.CLOSE, calendar.NEW_YORK))


def test_a_session_that_was_not_recorded_is_refused(folder: Path) -> None:
    with pytest.raises(UnknownSession, match="2026-06-17"):
        RecordedMarket(folder).chain(calendar.session_close(date(2026, 6, 17)))


def test_frames_have_the_served_columns_and_absent_fields_stay_null(folder: Path) -> None:
    market = RecordedMarket(folder)
    chain, stocks = (ask(calendar.session_close(THURSDAY)) for ask in (market.chain, market.stocks))
    for frame, table in ((chain, RAW_OPTION_SNAPSHOTS), (stocks, RAW_STOCK_SNAPSHOTS)):
        assert dict(frame.schema) == {n: t for n, t in table.schema.items() if n not in MARKET_COLUMNS_NOT_SERVED}
    for absent in ("bid", "ask", "gamma", "theta", "vega", "day_open", "day_vwap", "last_trade_at"):
        assert chain[absent].is_null().all()
    assert market.dividends(MONDAY).is_empty()


def test_volume_belongs_to_the_session_only_where_there_was_some(folder: Path) -> None:
    chain = RecordedMarket(folder).chain(calendar.session_close(THURSDAY))
    quiet = chain.filter(pl.col("contract") == "O:ZZT260626C00012500").row(0, named=True)
    traded = chain.filter(pl.col("contract") == "O:ZZT260626P00012500").row(0, named=True)
    assert quiet["day_close"] == 0.4 and quiet["day_volume"] is None and quiet["day_updated_at"] is None
    assert traded["day_volume"] == 7
    assert traded["day_updated_at"].astimezone(calendar.NEW_YORK).date() == THURSDAY
    assert quiet["implied_volatility"] == 0.55 and traded["implied_volatility"] is None
    assert quiet["underlying_price"] == 12.0


def test_two_spellings_are_one_contract_and_expired_ones_are_gone(folder: Path) -> None:
    chain = RecordedMarket(folder).chain(calendar.session_close(MONDAY))
    assert chain["contract"].to_list() == ["O:ZZT260626C00012500"]
    assert chain["day_volume"].to_list() == [4.0]


def test_the_morning_shows_yesterday_with_new_open_interest_and_without_the_expired(folder: Path) -> None:
    market = RecordedMarket(folder)
    morning = market.chain(calendar.session_open(MONDAY) - timedelta(minutes=30))
    assert morning["contract"].to_list() == ["O:ZZT260626C00012500", "O:ZZT260626P00012500"]
    assert morning["open_interest"].to_list() == [12.0, 3.0]
    assert morning["day_volume"].to_list() == [None, 7.0]
    midday = market.chain(calendar.session_close(MONDAY) - timedelta(minutes=1))
    assert midday.equals(morning)


def test_stocks_come_from_the_list_and_funds_from_the_chain_recording(folder: Path) -> None:
    market = RecordedMarket(folder)
    stocks = market.stocks(calendar.session_close(MONDAY))
    assert stocks.select("ticker", "close", "previous_close", "volume").rows() == [
        ("YYA.B", 110.0, 100.0, 1_000.0),
        ("ZZT", 12.0, None, None),
    ]
    kinds = market.tickers(MONDAY).select("ticker", "type", "primary_exchange", "market_cap").rows()
    assert kinds == [("YYA.B", "CS", "XNYS", 5e6), ("ZZT", "ETF", None, None)]
    assert market.stock_bars(THURSDAY, MONDAY)["session"].unique().sort().to_list() == [THURSDAY, MONDAY]


def test_splits_are_known_from_their_announcement(folder: Path) -> None:
    assert "CRWD" not in RecordedMarket(folder).splits(date(2026, 7, 1))["ticker"].to_list()
    assert "CRWD" in RecordedMarket(folder).splits(date(2026, 7, 2))["ticker"].to_list()
    (folder / "corporate_actions.csv").write_text(
        "ticker,execution_date,split_from,split_to,announced\nZZT,2026-06-22,1,3,2026-06-10\n"
    )
    assert RecordedMarket(folder).splits(date(2026, 6, 10)).rows() == [("ZZT", MONDAY, 1.0, 3.0)]
    assert RecordedMarket(folder).splits(date(2026, 6, 9)).is_empty()


def test_a_folder_that_is_no_recording_names_the_missing_file(tmp_path: Path) -> None:
    with pytest.raises(RecordingMissing, match=r"contracts\.parquet"):
        RecordedMarket(tmp_path)


@pytest.mark.real_data
def test_the_real_recording_has_47_sessions_of_unique_unexpired_contracts(shared_data: Path) -> None:
    market = RecordedMarket(shared_data)
    assert len(market.sessions()) == 47
    for copy in (date(2026, 5, 25), date(2026, 6, 19), date(2026, 7, 3)):
        with pytest.raises(UnknownSession):
            market.contracts(copy)
    session = date(2026, 7, 13)
    chain = market.chain(calendar.session_close(session))
    assert chain.height > 200_000
    assert not chain["contract"].is_duplicated().any()
    assert (chain["expiration"] >= session).all()
    assert chain["underlying_price"].null_count() == 0


@pytest.mark.real_data
def test_the_real_build_up_is_there_and_confirmed_next_morning(shared_data: Path) -> None:
    market = RecordedMarket(shared_data)
    line = pl.col("contract") == "O:PYPL260717C00050000"
    evening = market.chain(calendar.session_close(date(2026, 7, 13))).filter(line)
    morning = market.chain(calendar.session_open(date(2026, 7, 14))).filter(line)
    assert evening.select("day_volume", "open_interest").row(0) == (36_259.0, 27_950.0)
    assert morning["open_interest"].item() == 42_535.0
