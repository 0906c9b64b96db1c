"""Option chains: what is believed, what is not, and what it is called then."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flowlake.calendar import NotASession
from flowlake.options.chains import (
    ChainBuild,
    Flag,
    WrongSession,
    build_chains,
    build_chains_from_bars,
    has_flag,
)
from flowlake.options.splits import split_underlyings, splits_between
from flowlake.quality import evaluate
from flowlake.schemas.market import CHAIN_QUARANTINE, RAW_OPTION_SNAPSHOTS
from flowlake.schemas.options import CONTRACTS, OPTION_CHAINS
from flowlake_tests.quality.rows import CLOSE, LATER, SESSION, YESTERDAY, market, raw_options, raw_stocks, split


def build(*changes: dict, **context) -> ChainBuild:
    context.setdefault("known_contracts", CONTRACTS.empty())
    return build_chains(raw_options(*changes), session=SESSION, **context)


def only(*changes: dict, **context) -> dict:
    """The one chain row that `changes` of the standard row become, with its flags as a `Flag`."""
    built = build(*changes, **context)
    assert built.quarantine.is_empty(), built.quarantine["reason"].to_list()
    row = built.chains.row(0, named=True) if built.chains.height == 1 else pytest.fail(str(built.chains))
    return {**row, "flags": Flag(row["flags"])}


def test_a_complete_row_keeps_its_facts_and_gains_our_volatility():
    row = only({}, stocks=raw_stocks(AAPL=1.0))
    assert row["flags"] == Flag.ASSUMED_RATE
    assert (row["volume"], row["open_interest"], row["spot"]) == (40, 1000, 203.0)
    assert (row["price"], row["price_source"]) == (pytest.approx(10.0), "mid")
    assert row["spread"] == pytest.approx(0.4)
    assert (row["right"], row["strike"], row["dte"], row["multiplier"]) == ("C", 200.0, 37, 100.0)
    assert row["iv_status"] == "ok"
    assert 0.2 < row["implied_volatility"] < 0.5
    assert 0.5 < row["delta"] < 0.8
    assert row["vendor_iv"] == pytest.approx(0.3)
    assert row["basis"] == "snapshot"


@pytest.mark.parametrize(
    ("updated_at", "flag"), [(YESTERDAY, Flag.STALE_BAR), (None, Flag.UNDATED_BAR)], ids=["older", "undated"]
)
def test_volume_counts_only_from_a_bar_of_this_session(updated_at, flag):
    row = only({"day_updated_at": updated_at, "bid": None, "ask": None})
    assert (row["volume"], row["vwap"], row["price"], row["price_source"]) == (0, None, None, None)
    assert row["last"] == 9.9
    assert row["last_session"] == (updated_at.date() if updated_at else None)
    assert row["iv_status"] == "no_price"
    assert flag in row["flags"]


def test_a_bar_belongs_to_its_new_york_date_not_its_utc_date():
    after_midnight_utc = datetime(2026, 6, 11, 1, 0, tzinfo=UTC)
    assert only({"day_updated_at": after_midnight_utc, "available_at": after_midnight_utc})["volume"] == 40
    midnight_new_york = datetime(2026, 6, 10, 4, 0, tzinfo=UTC)
    assert only({"day_updated_at": midnight_new_york})["volume"] == 40


@pytest.mark.parametrize(
    ("quote", "flag"),
    [
        ({"bid": 10.3, "ask": 10.2}, Flag.CROSSED_QUOTE),
        ({"bid": 10.2, "ask": 10.2}, Flag.CROSSED_QUOTE),
        ({"bid": 0.0, "ask": 10.2}, Flag.ONE_SIDED_QUOTE),
        ({"bid": None, "ask": 10.2}, Flag.ONE_SIDED_QUOTE),
        ({"bid": 9.8, "ask": None}, Flag.ONE_SIDED_QUOTE),
        ({"quote_at": YESTERDAY}, Flag.STALE_QUOTE),
    ],
)
def test_an_unusable_quote_has_no_mid_and_the_last_trade_of_the_session_stands_in(quote, flag):
    row = only(quote)
    assert (row["mid"], row["spread"]) == (None, None)
    assert (row["price"], row["price_source"]) == (9.9, "last")
    assert row["flags"] == flag | Flag.LAST_PRICE | Flag.ASSUMED_RATE


def test_no_quote_at_all_is_a_plan_without_quotes_not_a_bad_quote():
    row = only({"bid": None, "ask": None, "quote_at": None})
    assert row["flags"] == Flag.LAST_PRICE | Flag.ASSUMED_RATE


@pytest.mark.parametrize("iv", [0.0, -1.0, 25.0])
def test_a_placeholder_volatility_is_null_and_flagged(iv):
    row = only({"implied_volatility": iv})
    assert row["vendor_iv"] is None
    assert Flag.PLACEHOLDER_IV in row["flags"]


def test_an_absent_volatility_is_no_placeholder():
    assert Flag.PLACEHOLDER_IV not in only({"implied_volatility": None})["flags"]


def test_an_impossible_vendor_delta_is_null_and_flagged():
    row = only({"delta": 1.5})
    assert row["vendor_delta"] is None
    assert Flag.BAD_VENDOR_DELTA in row["flags"]


def test_unknown_open_interest_stays_unknown():
    row = only({"open_interest": None})
    assert row["open_interest"] is None
    assert Flag.NO_OPEN_INTEREST in row["flags"]


def test_open_interest_seen_on_a_later_day_may_be_the_next_sessions_and_is_not_used():
    row = only({"observed_at": CLOSE + timedelta(hours=16), "available_at": CLOSE + timedelta(hours=17)})
    assert row["open_interest"] is None
    assert Flag.LATE_OPEN_INTEREST | Flag.NO_OPEN_INTEREST in row["flags"]
    same_evening = only({"observed_at": CLOSE + timedelta(hours=7), "available_at": CLOSE + timedelta(hours=7)})
    assert same_evening["open_interest"] == 1000


def test_not_a_number_is_the_same_as_absent():
    row = only({"bid": float("nan"), "ask": float("inf"), "open_interest": float("nan"), "delta": float("nan")})
    assert (row["bid"], row["ask"], row["open_interest"], row["vendor_delta"]) == (None, None, None, None)


def test_spot_falls_back_to_the_stock_snapshot_and_then_to_nothing():
    without = {"underlying_price": None}
    row = only(without, stocks=raw_stocks(AAPL=202.0))
    assert row["spot"] == 202.0
    assert Flag.SPOT_FROM_STOCKS in row["flags"]
    row = only(without, stocks=raw_stocks(MSFT=400.0))
    assert (row["spot"], row["iv_status"], row["moneyness"]) == (None, "no_forward", None)
    assert Flag.NO_SPOT in row["flags"]


def test_one_underlying_has_one_spot_the_newest():
    old = {"contract": "O:AAPL260717P00200000", "contract_type": "put", "underlying_price": 150.0}
    chains = build({}, {**old, "underlying_at": YESTERDAY}).chains
    assert chains["spot"].to_list() == [203.0, 203.0]


def test_call_and_put_quotes_give_the_forward_by_parity():
    put = {"contract": "O:AAPL260717P00200000", "contract_type": "put", "delta": -0.4, "bid": 6.8, "ask": 7.2}
    chains = build({}, put).chains
    assert chains["forward_source"].unique().to_list() == ["parity"]
    assert chains["forward"][0] == pytest.approx(203.0, abs=0.1)
    assert chains.filter(has_flag(Flag.ASSUMED_RATE)).is_empty()
    assert chains["implied_volatility"].max() == pytest.approx(chains["implied_volatility"].min(), abs=0.001)


def test_a_quote_that_gives_no_mid_does_not_move_the_forward():
    stale_put = {"contract": "O:AAPL260717P00200000", "contract_type": "put", "delta": -0.4, "bid": 1.0, "ask": 1.2}
    chains = build({}, {**stale_put, "quote_at": YESTERDAY}).chains
    assert chains["forward_source"].unique().to_list() == ["carry"]


def test_of_a_contract_sent_twice_the_newest_row_is_kept_whatever_the_order():
    older = {"open_interest": 900.0, "day_updated_at": CLOSE - timedelta(minutes=5)}
    for rows in ([older, {}], [{}, older]):
        row = only(*rows)
        assert row["open_interest"] == 1000
        assert Flag.DUPLICATE in row["flags"]


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"contract": "AAPL260717C00200000"}, "contract symbol is not readable"),
        ({"contract": "O:AAPL260717C000200000"}, "contract symbol is not readable"),
        ({"underlying": ""}, "underlying is not known"),
        ({"strike": 0.0}, "strike is not positive"),
        ({"contract": "O:AAPL260717C00000000", "strike": None}, "strike is not positive"),
        ({"strike": 201.0}, "contract symbol disagrees with the contract's details"),
        ({"expiration": date(2026, 7, 24)}, "contract symbol disagrees with the contract's details"),
        ({"contract_type": "put"}, "contract symbol disagrees with the contract's details"),
        ({"contract_type": "other"}, "contract symbol disagrees with the contract's details"),
        ({"contract": "O:AAPL260609C00200000", "expiration": date(2026, 6, 9)}, "contract has expired"),
        ({"contract": "O:AAPL990717C00200000", "expiration": None}, "expiration is beyond the exchange calendar"),
        ({"shares_per_contract": 0.0}, "multiplier is not positive"),
        ({"day_volume": -1.0}, "volume is not a count"),
        ({"open_interest": 1e12}, "open interest is not a count"),
    ],
)
def test_an_impossible_row_goes_to_quarantine_with_its_reason(change, reason):
    built = build(change, {})
    assert built.chains.height == 1
    assert built.quarantine["reason"].to_list() == [reason]
    assert built.quarantine["contract"].to_list() == [change.get("contract", "O:AAPL260717C00200000")]
    kept = pl.Series(built.quarantine["row"]).str.json_decode(pl.Struct({"day_close": pl.Float64}))
    assert kept.struct.field("day_close").to_list() == [9.9]


def test_a_contract_that_expires_today_is_part_of_the_chain():
    row = only({"contract": "O:AAPL260610C00200000", "expiration": SESSION})
    assert (row["dte"], row["iv_status"]) == (0, "expired")


def test_rows_of_another_session_are_refused():
    with pytest.raises(WrongSession, match="2026-06-09"):
        build({"session": date(2026, 6, 9)})


def test_a_day_on_which_the_exchange_is_closed_has_no_chain():
    holiday = date(2026, 6, 19)
    with pytest.raises(NotASession, match="Juneteenth"):
        build_chains(raw_options({"session": holiday}), session=holiday, known_contracts=CONTRACTS.empty())


def test_an_adjusted_contract_is_named_and_not_priced():
    row = only({"contract": "O:AAPL1260717C00200000", "shares_per_contract": 150.0})
    assert (row["is_adjusted"], row["root"], row["multiplier"]) == (True, "AAPL1", 150.0)
    assert (row["forward"], row["moneyness"], row["iv_status"]) == (None, None, "no_forward")


def test_an_index_weekly_is_european_and_not_adjusted_where_the_vendor_does_not_say():
    row = only({"underlying": "SPX", "contract": "O:SPXW260717C00200000", "exercise_style": None})
    assert (row["is_adjusted"], row["exercise_style"]) == (False, "european")
    assert only({"exercise_style": None})["exercise_style"] == "american"


def test_a_snapshot_taken_next_morning_measures_time_from_the_close():
    at_close, next_morning = only({}), only({"observed_at": CLOSE + timedelta(hours=16)})
    assert next_morning["years"] == at_close["years"]


def test_an_empty_snapshot_is_an_empty_chain():
    built = build_chains(RAW_OPTION_SNAPSHOTS.empty(), session=SESSION, known_contracts=CONTRACTS.empty())
    assert (built.chains.height, built.quarantine.height, built.new_contracts.height) == (0, 0, 0)


def test_every_row_carries_the_split_of_its_session():
    actions = split("AAPL", SESSION, 1, 4)
    assert Flag.SPLIT in only({}, actions=actions)["flags"]
    assert Flag.SPLIT not in only({}, actions=split("MSFT", SESSION, 1, 4))["flags"]


# --- contract ids ---------------------------------------------------------------------------------------------------


def test_new_contracts_are_numbered_densely_in_the_order_of_the_chain():
    built = build_chains(market(3, 4), session=SESSION, known_contracts=CONTRACTS.empty())
    assert built.chains["contract_id"].to_list() == list(range(12))
    assert built.new_contracts["first_session"].unique().to_list() == [SESSION]


def test_a_rerun_and_another_order_of_rows_give_the_same_bytes():
    raw = market(3, 4)
    first = build_chains(raw, session=SESSION, known_contracts=CONTRACTS.empty())
    for known in (CONTRACTS.empty(), first.new_contracts):
        again = build_chains(raw.reverse(), session=SESSION, known_contracts=known)
        assert again.chains.equals(first.chains)
        assert again.new_contracts.equals(first.new_contracts)


def test_known_contracts_keep_their_ids_and_new_ones_follow():
    first = build_chains(market(2, 3), session=SESSION, known_contracts=CONTRACTS.empty())
    tomorrow = date(2026, 6, 11)
    raw = market(3, 4, session=tomorrow)
    second = build_chains(raw, session=tomorrow, known_contracts=first.new_contracts)
    ids = second.chains.join(first.new_contracts, on="contract")
    assert (ids["contract_id"] == ids["contract_id_right"]).all()
    assert second.new_contracts["contract_id"].to_list() == list(range(6, 12))


def test_a_contract_that_a_rerun_no_longer_sees_keeps_its_id():
    first = build_chains(market(1, 3), session=SESSION, known_contracts=CONTRACTS.empty())
    again = build_chains(market(1, 2), session=SESSION, known_contracts=first.new_contracts)
    assert again.new_contracts.equals(first.new_contracts)


# --- rebuilt from daily bars ----------------------------------------------------------------------------------------

BARS = pl.DataFrame(
    {
        "contract": ["O:AAPL260717C00200000", "O:ZZZ260717C00010000"],
        "open": [9.0, 1.0],
        "high": [10.0, 1.0],
        "low": [9.0, 1.0],
        "close": [9.9, 1.0],
        "volume": [40.0, 5.0],
        "vwap": [9.7, 1.0],
    }
)
LISTED = pl.DataFrame(
    {
        "contract": ["O:AAPL260717C00200000", "O:AAPL260717P00200000"],
        "underlying": ["AAPL", "AAPL"],
        "shares_per_contract": [100.0, 100.0],
    }
)


def test_a_missed_session_is_rebuilt_from_daily_bars_without_open_interest():
    built = build_chains_from_bars(
        BARS,
        LISTED,
        session=SESSION,
        known_contracts=CONTRACTS.empty(),
        available_at=LATER + timedelta(days=3),
        origin="simulated",
        stocks=raw_stocks(AAPL=203.0),
    )
    call, put = built.chains.sort("right").iter_rows(named=True)
    assert (call["volume"], call["price"], call["price_source"], call["iv_status"]) == (40, 9.9, "last", "ok")
    assert (put["volume"], put["price"], put["iv_status"]) == (0, None, "no_price")
    assert built.chains["open_interest"].null_count() == 2
    assert built.chains["basis"].unique().to_list() == ["aggregates"]
    assert built.chains.filter(has_flag(Flag.FROM_AGGREGATES)).height == 2
    assert built.chains["available_at"].unique().to_list() == [LATER + timedelta(days=3)]
    assert built.quarantine["reason"].to_list() == ["underlying is not known"]


# --- splits ---------------------------------------------------------------------------------------------------------


def test_a_split_is_not_compared_on_its_day_nor_on_the_day_open_interest_is_restated():
    executed, next_session, after_that = date(2026, 6, 12), date(2026, 6, 15), date(2026, 6, 16)
    actions = split("KLAC", executed, 1, 10)
    assert split_underlyings(actions, date(2026, 6, 11)).is_empty()
    assert split_underlyings(actions, executed).rows() == [("KLAC", 10.0)]
    assert split_underlyings(actions, next_session).rows() == [("KLAC", 10.0)]
    assert split_underlyings(actions, after_that).is_empty()


def test_splits_of_one_ticker_multiply_and_dividends_are_no_splits():
    actions = pl.concat([split("A", SESSION, 1, 2), split("A", date(2026, 6, 9), 3, 1), split("B", SESSION, 1, 0)])
    both = splits_between(actions, date(2026, 6, 8), SESSION)
    assert both["ticker"].to_list() == ["A"]
    assert both["split_factor"][0] == pytest.approx(2 / 3)
    assert splits_between(actions.with_columns(kind=pl.lit("dividend")), date(2026, 6, 8), SESSION).is_empty()
    assert splits_between(None, date(2026, 6, 8), SESSION).is_empty()


# --- any input ------------------------------------------------------------------------------------------------------

numbers = st.one_of(st.none(), st.floats(allow_nan=True, allow_infinity=True))
times = st.one_of(
    st.none(), st.datetimes(datetime(2026, 6, 1), datetime(2026, 6, 12)).map(lambda t: t.replace(tzinfo=UTC))
)
contracts = st.one_of(
    st.sampled_from(["O:AAPL260717C00200000", "O:AAPL260717P00190000", "O:AAPL1260717C00200000"]), st.text(max_size=25)
)
wild_rows = st.fixed_dictionaries(
    {
        "contract": contracts,
        "contract_type": st.sampled_from([None, "call", "put", "other"]),
        "expiration": st.none(),
        **dict.fromkeys(("day_updated_at", "quote_at", "underlying_at", "last_trade_at"), times),
        **dict.fromkeys(
            (
                *("strike", "shares_per_contract", "day_close", "day_volume", "day_vwap", "open_interest"),
                *("implied_volatility", "delta", "bid", "ask", "underlying_price"),
            ),
            numbers,
        ),
    }
)


@settings(max_examples=40, deadline=None)
@given(st.lists(wild_rows, min_size=1, max_size=6))
def test_whatever_the_vendor_sends_no_row_is_lost_and_every_chain_row_is_sound(rows):
    raw = raw_options(*rows)
    built = build_chains(raw, session=SESSION, known_contracts=CONTRACTS.empty())
    assert built.chains["contract"].is_unique().all()
    assert {*raw["contract"]} == {*built.chains["contract"], *built.quarantine["contract"]}
    for table, frame in ((OPTION_CHAINS, built.chains), (CHAIN_QUARANTINE, built.quarantine)):
        broken = [o for o in evaluate(table, frame, session=SESSION, contracts=built.new_contracts) if not o.passed]
        assert broken == []
