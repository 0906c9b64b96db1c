from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta
from typing import Any

import msgspec
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flowlake.insiders.amendments import amended, in_force, superseded
from flowlake.insiders.prices import MARKET, check_prices
from flowlake.insiders.signals import event_insiders, insider_signals
from flowlake.insiders.tables import Filed, Frames, merge
from flowlake.insiders.trades import build_trades
from flowlake.schemas import UTC_TIME
from flowlake_tests.insiders.builders import ACCEPTED, document, filed, frames, owner, purchase, sale

DAY = date(2026, 3, 3)
NOBODY = pl.DataFrame(schema=MARKET)
LATER = ACCEPTED + timedelta(days=400)


def market(*closes: tuple[date, float], ticker: str = "ACME", volume: float = 1e6) -> pl.DataFrame:
    return pl.DataFrame([(day, ticker, close, volume) for day, close in closes], schema=MARKET, orient="row")


def trades_of(tables: Frames, prices: pl.DataFrame = NOBODY) -> pl.DataFrame:
    return build_trades(tables["insider_transactions"], tables["insider_filings"], tables["insider_owners"], prices)


def row_of(trades: pl.DataFrame, number: int) -> dict[str, Any]:
    return trades.filter(pl.col("accession") == f"0000000101-26-{number:06d}").row(0, named=True)


def bought(number: int, cik: int, on: date, accepted_at: datetime, **changes: Any) -> Filed:
    return filed(number, document(purchase(transaction_date=on, **changes), owners=(owner(cik),)), accepted_at)


# Prices.


def checked(price: float | None, shares: float = 1000.0, close: float = 20.0, volume: float = 1e6) -> dict[str, Any]:
    tables = frames(filed(1, document(purchase(price_per_share=price, shares=shares))))
    return trades_of(tables, market((DAY, close), volume=volume)).row(0, named=True)


def test_a_price_near_the_close_is_believed():
    found = checked(21.0)
    assert (found["price_quality"], found["price"], found["value_usd"]) == ("ok", 21.0, 21_000.0)


def test_a_total_typed_as_a_price_becomes_a_price_again():
    found = checked(180_000.0, shares=131_387.0, close=1.4)
    assert found["price_quality"] == "total_as_price"
    assert found["value_usd"] == pytest.approx(180_000.0)


def test_one_total_typed_as_a_price_does_not_become_most_of_all_purchases():
    ordinary = [bought(n, 9000 + n, DAY, ACCEPTED) for n in range(1, 51)]
    typo = bought(99, 9999, DAY, ACCEPTED, shares=131_387.0, price_per_share=2_900_000.0)
    found = trades_of(frames(*ordinary, typo), market((DAY, 20.0)))
    assert found["value_usd"].sum() == pytest.approx(50 * 20_000 + 2_900_000)


@pytest.mark.parametrize(("price", "quality"), [(200.0, "implausible"), (None, "absent"), (0.0, "absent")])
def test_a_price_that_is_none_gives_no_value(price, quality):
    found = checked(price)
    assert (found["price_quality"], found["price"], found["value_usd"]) == (quality, None, None)


def test_more_shares_than_the_market_traded_were_not_bought_in_it():
    found = checked(20.0, shares=50_000.0, volume=10_000.0)
    assert (found["price_quality"], found["volume_share"], found["value_usd"]) == ("exceeds_volume", 5.0, None)


def test_without_a_market_price_a_huge_value_is_not_believed():
    tables = frames(filed(1, document(purchase(price_per_share=180_000.0, shares=131_387.0))))
    assert trades_of(tables)["price_quality"].to_list() == ["unchecked_large"]


def test_a_close_that_was_not_yet_public_at_the_acceptance_is_not_used():
    noon = datetime(2026, 3, 3, 17, tzinfo=UTC)
    tables = frames(filed(1, document(purchase(price_per_share=20.0)), noon))
    closes = market((date(2026, 3, 2), 19.0), (DAY, 200.0))
    assert trades_of(tables, closes)["market_price"].to_list() == [19.0]


def test_checking_prices_keeps_rows_and_order():
    trades = pl.DataFrame(
        {
            "ticker": ["B", None, "A"],
            "transaction_date": [DAY, DAY, None],
            "shares": [1.0, 2.0, 3.0],
            "price_per_share": [1.0, 1.0, 1.0],
            "available_at": [ACCEPTED] * 3,
        },
        schema_overrides={"available_at": UTC_TIME},
    )
    assert check_prices(trades, NOBODY)["shares"].to_list() == [1.0, 2.0, 3.0]


# Context.


def test_who_trades_in_the_same_month_every_year_is_routine():
    past = [bought(n, 9001, date(2022 + n, 3, 10), datetime(2022 + n, 3, 11, 20, tzinfo=UTC)) for n in (1, 2, 3)]
    found = trades_of(frames(*past, bought(9, 9001, DAY, ACCEPTED)))
    assert row_of(found, 9)["regularity"] == "routine"
    assert row_of(found, 3)["regularity"] == "unclassified"


def test_who_trades_every_year_in_other_months_is_opportunistic():
    past = [bought(n, 9001, date(2022 + n, 5, 10), datetime(2022 + n, 5, 11, 20, tzinfo=UTC)) for n in (1, 2, 3)]
    assert row_of(trades_of(frames(*past, bought(9, 9001, DAY, ACCEPTED))), 9)["regularity"] == "opportunistic"


def test_a_history_that_was_filed_later_does_not_make_a_routine_trader():
    years = [bought(n, 9001, date(2022 + n, 3, 10), datetime(2022 + n, 3, 11, 20, tzinfo=UTC)) for n in (1, 2)]
    late = bought(3, 9001, date(2025, 3, 10), ACCEPTED + timedelta(hours=1))
    assert row_of(trades_of(frames(*years, late, bought(9, 9001, DAY, ACCEPTED))), 9)["regularity"] == "unclassified"


def test_the_first_buyer_of_a_cluster_sees_no_others_and_the_third_sees_two():
    filings = [bought(n, 9000 + n, DAY, ACCEPTED + timedelta(days=n)) for n in (1, 2, 3)]
    found = trades_of(frames(*filings))
    assert [row_of(found, n)["other_buyers"] for n in (1, 2, 3)] == [0, 1, 2]


def test_the_same_insider_filing_twice_is_no_cluster():
    found = trades_of(frames(*[bought(n, 9001, DAY, ACCEPTED + timedelta(days=n)) for n in (1, 2)]))
    assert row_of(found, 2)["other_buyers"] == 0


def _chain(cik: int, number: int, hours: int, **changes: Any) -> Filed:
    who = owner(cik, is_director=False, is_ten_percent_owner=True)
    block = purchase(shares=123_456.0, direct_indirect="I", shares_owned_following=987_654.0, **changes)
    return filed(number, document(block, owners=(who,)), ACCEPTED + timedelta(hours=hours))


def test_the_same_block_filed_by_each_entity_of_a_chain_counts_once():
    found = trades_of(frames(_chain(9001, 1, 0), _chain(9002, 2, 1), _chain(9003, 3, 2)))
    assert found["is_chain_repeat"].to_list() == [False, True, True]
    assert found["other_buyers"].to_list() == [0, 1, 1]


def test_two_directors_who_buy_the_same_round_lot_are_two_insiders():
    filings = [bought(n, 9000 + n, DAY, ACCEPTED + timedelta(hours=n)) for n in (1, 2)]
    assert trades_of(frames(*filings))["is_chain_repeat"].to_list() == [False, False]


def test_size_is_measured_against_the_holding_before_the_trade():
    tables = frames(filed(1, document(purchase(shares=1000.0, shares_owned_following=5000.0), sale(2, shares=1000.0))))
    assert trades_of(tables).sort("row_number")["holding_change"].to_list() == [0.25, pytest.approx(1000 / 6000)]


@pytest.mark.parametrize(
    ("traded", "late"),
    [(date(2026, 3, 2), 0), (date(2026, 2, 27), 1), (date(2026, 2, 20), 6), (date(2026, 3, 9), None)],
)
def test_lateness_counts_business_days_beyond_two(traded, late):
    found = trades_of(frames(filed(1, document(purchase(transaction_date=traded)))))
    assert found["days_late"].to_list() == [late]


def test_a_deemed_execution_date_starts_the_clock():
    row = purchase(transaction_date=date(2026, 2, 2), deemed_execution_date=DAY)
    assert trades_of(frames(filed(1, document(row))))["days_late"].to_list() == [0]


def test_joint_filers_share_one_row_with_the_most_senior_role():
    who = (owner(9001), owner(9002, is_officer=True, officer_title="Chief Financial Officer"))
    found = trades_of(frames(filed(1, document(purchase(), owners=who))))
    assert (found.height, found["role"][0], found["owner_cik"][0]) == (1, "cfo", "0000009001")


# Amendments.


def amendment(number: int, *rows: Any, at: datetime, original: date | None = date(2026, 3, 4)) -> Filed:
    return filed(number, document(*rows, form_type="4/A", date_of_original_submission=original), at)


def standing(tables: Frames, as_of: datetime = LATER) -> list[tuple[str, int]]:
    rows = in_force(tables["insider_transactions"], tables["insider_filings"], as_of)
    return [(accession[-6:], row) for accession, row in rows.select("accession", "row_number").iter_rows()]


ORIGINAL = filed(1, document(purchase(), purchase(2, price_per_share=21.0)))
AMENDED_AT = ACCEPTED + timedelta(days=2)


def test_an_amendment_that_restates_the_table_replaces_all_of_it():
    tables = frames(ORIGINAL, amendment(2, purchase(shares=900.0), purchase(2, code="S"), at=AMENDED_AT))
    assert standing(tables) == [("000002", 1), ("000002", 2)]


def test_a_shorter_amendment_replaces_the_rows_it_names():
    original = filed(1, document(purchase(), sale(2), sale(3, transaction_date=date(2026, 3, 2))))
    tables = frames(original, amendment(2, purchase(shares=900.0), at=AMENDED_AT))
    assert standing(tables) == [("000001", 2), ("000001", 3), ("000002", 1)]


def test_before_the_amendment_the_original_stands():
    tables = frames(ORIGINAL, amendment(2, purchase(), purchase(2), at=AMENDED_AT))
    assert standing(tables, AMENDED_AT) == [("000001", 1), ("000001", 2)]


def test_nothing_is_erased():
    tables = frames(ORIGINAL, amendment(2, purchase(), purchase(2), at=AMENDED_AT))
    assert tables["insider_transactions"].height == 4


def test_an_amendment_that_is_read_before_its_original_gives_the_same():
    second = amendment(2, purchase(), purchase(2), at=AMENDED_AT)
    first_then_second = merge(merge({}, frames(ORIGINAL)), frames(second))
    second_then_first = merge(merge({}, frames(second)), frames(ORIGINAL))
    assert standing(first_then_second) == standing(second_then_first) == [("000002", 1), ("000002", 2)]


def test_a_second_amendment_replaces_the_first():
    third = amendment(3, purchase(), purchase(2), at=AMENDED_AT + timedelta(days=1))
    tables = frames(ORIGINAL, amendment(2, purchase(), purchase(2), at=AMENDED_AT), third)
    assert standing(tables) == [("000003", 1), ("000003", 2)]


@pytest.mark.parametrize(
    "other",
    [
        {"owners": (owner(8888),)},
        {"issuer_cik": "0000000202"},
        {"form_type": "5/A"},
        {"date_of_original_submission": date(2026, 2, 2)},
    ],
)
def test_an_amendment_of_something_else_replaces_nothing(other):
    filing = msgspec.structs.replace(amendment(2, purchase(), purchase(2), at=AMENDED_AT).document, **other)
    assert len(standing(frames(ORIGINAL, filed(2, filing, AMENDED_AT)))) == 4


def test_without_a_date_the_period_of_report_finds_the_original():
    tables = frames(ORIGINAL, amendment(2, purchase(), purchase(2), at=AMENDED_AT, original=None))
    assert standing(tables) == [("000002", 1), ("000002", 2)]


def test_of_two_originals_of_a_day_the_one_of_the_same_period_is_amended():
    other = filed(5, document(purchase(transaction_date=date(2026, 3, 2)), period_of_report=date(2026, 3, 2)))
    tables = frames(ORIGINAL, other, amendment(6, purchase(), purchase(2), at=AMENDED_AT))
    assert standing(tables) == [("000005", 1), ("000006", 1), ("000006", 2)]


# Signals, and nothing before its time.


def signals_of(tables: Frames, session: date) -> pl.DataFrame:
    return insider_signals(trades_of(tables), tables["insider_transactions"], tables["insider_filings"], session)


def test_three_buyers_within_the_window_are_a_cluster():
    tables = frames(*[bought(n, 9000 + n, DAY, ACCEPTED + timedelta(hours=n)) for n in (1, 2, 3)])
    found = signals_of(tables, date(2026, 3, 6)).row(0, named=True)
    assert found["ticker"] == "ACME"
    assert (found["buyers"], found["cluster_buyers"], found["is_cluster_buy"]) == (3, 3, True)
    assert (found["purchase_value_usd"], found["net_purchase_ratio"]) == (60_000.0, 1.0)


def test_planned_sales_are_counted_apart():
    rows = (sale(), sale(2, footnotes=()))
    tables = frames(filed(1, document(*rows, aff10b5_one=True)), filed(2, document(sale(), owners=(owner(9002),))))
    found = signals_of(tables, date(2026, 3, 6)).row(0, named=True)
    assert (found["sales"], found["planned_sales"], found["sellers"]) == (1, 2, 1)


def test_a_filing_accepted_after_the_close_belongs_to_the_next_session():
    tables = frames(filed(1, document(purchase())))
    assert signals_of(tables, date(2026, 3, 4)).is_empty()
    assert signals_of(tables, date(2026, 3, 5)).height == 1


def test_a_purchase_that_an_amendment_took_back_does_not_count_from_then_on():
    taken_back = amendment(2, purchase(code="J"), purchase(2, code="J"), at=AMENDED_AT)
    tables = frames(ORIGINAL, taken_back)
    assert signals_of(tables, date(2026, 3, 6))["buyers"].to_list() == [1]
    assert signals_of(tables, date(2026, 3, 9)).is_empty()


def events(*moments: datetime) -> pl.DataFrame:
    return pl.DataFrame(
        {
            "session": [moment.date() for moment in moments],
            "event_id": [f"e{number}" for number in range(len(moments))],
            "ticker": ["ACME"] * len(moments),
            "available_at": list(moments),
            "origin": ["simulated"] * len(moments),
        },
        schema_overrides={"available_at": UTC_TIME},
    )


def beside(tables: Frames, *moments: datetime) -> pl.DataFrame:
    filings, transactions = tables["insider_filings"], tables["insider_transactions"]
    return event_insiders(events(*moments), transactions, filings, trades_of(tables))


def test_an_event_sees_the_transactions_of_its_ticker_by_class():
    rows = (purchase(), sale(2), purchase(3, code="M", price_per_share=5.0))
    found = beside(frames(filed(1, document(*rows))), ACCEPTED + timedelta(days=1))
    assert dict(found.select("transaction_class", "shares").iter_rows()) == {
        "exercise": 1000.0,
        "open_market_purchase": 1000.0,
        "open_market_sale": 1000.0,
    }


def test_an_event_does_not_see_a_filing_of_its_own_moment():
    tables = frames(filed(1, document(purchase())))
    assert beside(tables, ACCEPTED, ACCEPTED + timedelta(seconds=1))["event_id"].to_list() == ["e1"]


def test_an_event_sees_the_original_until_the_amendment_is_known():
    tables = frames(ORIGINAL, amendment(2, purchase(shares=1.0), purchase(2, shares=1.0), at=AMENDED_AT))
    found = beside(tables, AMENDED_AT, AMENDED_AT + timedelta(seconds=1))
    assert found["shares"].to_list() == [2000.0, 2.0]


CLOSE = datetime(2026, 3, 6, 21, tzinfo=UTC)


@st.composite
def histories(draw: st.DrawFn) -> list[Filed]:
    """Purchases, sales and amendments of a few insiders around one session, some of them after its close."""
    filings: list[Filed] = []
    for number in range(1, draw(st.integers(1, 7)) + 1):
        moment = CLOSE + timedelta(hours=draw(st.integers(-60, 40)), seconds=number)
        is_amendment = draw(st.booleans())
        day = draw(st.sampled_from([date(2026, 3, 2), DAY]))
        build = draw(st.sampled_from([purchase, sale]))
        shares = float(draw(st.sampled_from([100, 200])))
        rows = [build(1, transaction_date=day, shares=shares)]
        changes: dict[str, Any] = {"form_type": "4/A"} if is_amendment else {}
        who = (owner(draw(st.integers(9001, 9003)), is_ten_percent_owner=draw(st.booleans())),)
        filings.append(filed(number, document(*rows, owners=who, period_of_report=day, **changes), moment))
    return filings


def _poisoned(filings: Sequence[Filed], as_of: datetime) -> list[Filed]:
    """The same history, with everything from `as_of` on garbled."""
    garbled = purchase(shares=1e9, price_per_share=1e6, transaction_date=date(2026, 3, 2))
    return [
        filing
        if filing.accepted_at < as_of
        else _with_document(filing, msgspec.structs.replace(filing.document, transactions=(garbled,)))
        for filing in filings
    ]


def _with_document(filing: Filed, changed: Any) -> Filed:
    return Filed(filing.accession, filing.accepted_at, changed, filing.sha256, filing.origin)


@given(histories())
@settings(max_examples=30, deadline=None)
def test_a_garbled_future_changes_nothing_that_was_visible_before(history):
    closes = market((date(2026, 3, 2), 20.0), (DAY, 20.0))
    future = market((date(2026, 3, 6), 9e9), (date(2026, 3, 9), 9e9))
    present = [filing for filing in history if filing.accepted_at < CLOSE]
    results = []
    for filings, prices in (
        (present, closes),
        (history, closes),
        (_poisoned(history, CLOSE), pl.concat([closes, future])),
    ):
        tables = frames(*filings)
        transactions, listed = tables["insider_transactions"], tables["insider_filings"]
        trades = trades_of(tables, prices)
        results.append(
            (
                trades.filter(pl.col("available_at") < CLOSE),
                insider_signals(trades, transactions, listed, date(2026, 3, 6)),
                event_insiders(events(CLOSE), transactions, listed, trades),
                in_force(transactions, listed, CLOSE),
            )
        )
    for others in results[1:]:
        for expected, found in zip(results[0], others, strict=True):
            assert expected.equals(found)


@given(histories(), st.randoms(use_true_random=False))
@settings(max_examples=25, deadline=None)
def test_the_order_of_arrival_plays_no_part(history, random):
    shuffled = list(history)
    random.shuffle(shuffled)
    one: Frames = {}
    for filing in shuffled:
        one = merge(one, frames(filing))
    whole = frames(*history)
    for name, frame in whole.items():
        assert one[name].equals(frame), name
    assert superseded(one["insider_transactions"], amended(one["insider_filings"])).equals(
        superseded(whole["insider_transactions"], amended(whole["insider_filings"]))
    )
