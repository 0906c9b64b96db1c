import math
from collections.abc import Sequence
from datetime import UTC, date, datetime

import orjson
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from flowlake.sources.endpoints import BARS, CHAIN, DIVIDENDS, GROUPED, STOCKS
from flowlake.sources.parse import MalformedBody, UnexpectedShape, decode_page, to_frame, unix_time
from flowlake_tests.sources.helpers import chain_row


def page(rows: Sequence[object], **envelope: object) -> bytes:
    return orjson.dumps({"status": "OK", "request_id": "r", "results": rows} | envelope)


def test_every_field_of_a_chain_row_arrives_in_its_column():
    decoded = decode_page(CHAIN, page([chain_row()]))
    row = to_frame(CHAIN, decoded.columns).row(0, named=True)
    assert row["contract"] == "O:F260717C00012000"
    assert (row["contract_type"], row["exercise_style"]) == ("call", "american")
    assert (row["expiration"], row["strike"], row["shares_per_contract"]) == (date(2026, 7, 17), 12.0, 100.0)
    assert (row["day_open"], row["day_high"], row["day_low"], row["day_close"]) == (0.4, 0.6, 0.4, 0.5)
    assert (row["day_volume"], row["day_vwap"], row["open_interest"]) == (7.0, 0.51, 1234.0)
    assert (row["delta"], row["gamma"], row["theta"], row["vega"]) == (0.5, -3e-10, -0.01, 0.02)
    assert (row["bid"], row["ask"], row["bid_size"], row["ask_size"]) == (0.49, 0.51, 3.0, 4.0)
    assert (row["last_price"], row["last_size"], row["implied_volatility"]) == (0.5, 1.0, 0.4)
    assert row["underlying_price"] == 12.1
    assert row["underlying_timeframe"] == "DELAYED"
    assert row["quote_at"] == datetime(2026, 6, 17, 19, 59, 59, tzinfo=UTC)
    assert row["last_trade_at"] == datetime(2026, 6, 17, 19, 59, 58, tzinfo=UTC)


def test_nanoseconds_beyond_two_to_the_53_stay_exact():
    stamp = 1_781_726_399_123_456_789
    row = chain_row(last_quote={"last_updated": stamp})
    assert decode_page(CHAIN, page([row])).columns["quote_at"] == [stamp]


def test_a_row_of_a_lower_plan_has_nulls_where_fields_are_absent():
    row = {"details": {"ticker": "O:F260717C00012000"}, "day": {}, "greeks": None}
    decoded = decode_page(CHAIN, page([row]))
    frame = to_frame(CHAIN, decoded.columns)
    assert frame.select(pl.exclude("contract").is_null().all()).row(0) == (True,) * (frame.width - 1)
    assert decoded.rejected == ()


def test_an_unknown_field_is_counted_and_does_no_harm():
    rows = [chain_row(), chain_row(surprise=1, day={"close": 1.0, "auction": 2})]
    decoded = decode_page(CHAIN, page(rows))
    assert decoded.unknown_fields == {"surprise": 1, "day.auction": 1}
    assert decoded.columns["day_close"] == [0.5, 1.0]


@pytest.mark.parametrize(
    ("change", "place"),
    [
        ({"open_interest": "many"}, "open_interest"),
        ({"day": {"volume": "7"}}, "day.volume"),
        ({"day": ["not", "an", "object"]}, "day"),
        ({"details": {"contract_type": "call"}}, "details"),
        ({"details": {"ticker": "O:X", "expiration_date": "17/07/2026"}}, "details.expiration_date"),
        ({"last_quote": {"last_updated": 2**63}}, "last_quote.last_updated"),
        ({"last_quote": {"last_updated": -5}}, "last_quote.last_updated"),
    ],
)
def test_a_row_of_the_wrong_type_is_rejected_with_the_place_and_the_others_stay(change: dict, place: str):
    good, bad = chain_row("O:F260717C00012000"), chain_row("O:F260717C00013000") | change
    decoded = decode_page(CHAIN, page([good, bad, good]))
    assert decoded.columns["contract"] == ["O:F260717C00012000"] * 2
    (rejected,) = decoded.rejected
    assert rejected.reason.endswith(f"`$.{place}`")
    assert orjson.loads(rejected.row) == bad


def test_a_rejected_row_is_named_by_its_ticker_where_that_can_be_read():
    decoded = decode_page(CHAIN, page([chain_row(open_interest="x"), 7, {"details": 3}]))
    assert [each.ticker for each in decoded.rejected] == ["O:F260717C00012000", None, None]


def test_names_that_differ_only_in_case_do_not_mix():
    body = orjson.dumps(
        {"status": "OK", "tickers": [{"ticker": "A", "lastQuote": {"p": 1.0, "P": 2.0, "s": 3, "S": 4}}]}
    )
    columns = decode_page(STOCKS, body).columns
    assert (columns["bid"], columns["ask"]) == ([1.0], [2.0])


def test_a_delayed_answer_is_a_good_one():
    assert decode_page(BARS, page([{"t": 1}], status="DELAYED")).rows == 1


def test_aggregates_without_results_are_no_trades():
    body = orjson.dumps({"ticker": "AAPL", "queryCount": 0, "resultsCount": 0, "status": "OK", "request_id": "r"})
    assert decode_page(BARS, body).rows == 0
    assert decode_page(GROUPED, body).rows == 0


def test_a_chain_without_results_is_an_error_and_not_an_empty_chain():
    with pytest.raises(UnexpectedShape, match="no 'results'"):
        decode_page(CHAIN, b'{"status":"OK","request_id":"r"}')


@pytest.mark.parametrize("status", ["ERROR", "NOT_FOUND", None])
def test_another_status_inside_a_200_is_an_error(status: str | None):
    with pytest.raises(UnexpectedShape, match="status"):
        decode_page(CHAIN, page([], status=status))


def test_an_empty_next_url_is_the_end():
    assert decode_page(CHAIN, page([], next_url="")).next_url is None


def test_a_numeric_request_id_is_read_as_text():
    assert decode_page(CHAIN, page([], request_id=1)).request_id == "1"


@given(st.integers(min_value=1))
def test_a_page_cut_anywhere_is_malformed(at: int):
    body = page([chain_row(), chain_row(unknown=1)])
    with pytest.raises(MalformedBody):
        decode_page(CHAIN, body[: at % len(body)])


def test_html_is_malformed():
    with pytest.raises(MalformedBody):
        decode_page(CHAIN, b"<html>502 Bad Gateway</html>")


@given(st.binary(max_size=200))
def test_any_bytes_either_decode_or_raise_one_of_two_errors(body: bytes):
    try:
        decode_page(CHAIN, body)
    except (MalformedBody, UnexpectedShape):
        return


_JSON = st.recursive(
    st.none() | st.booleans() | st.floats() | st.integers(-(2**63), 2**64 - 1) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["ticker", "day", "o", "t"]), inner),
    max_leaves=8,
)


@given(st.lists(st.dictionaries(st.sampled_from(["details", "day", "open_interest", "other"]), _JSON), max_size=6))
def test_every_row_is_either_kept_or_rejected(rows: list[dict]):
    decoded = decode_page(CHAIN, page(rows))
    assert decoded.rows + len(decoded.rejected) == len(rows)
    assert all(len(values) == decoded.rows for values in decoded.columns.values())
    assert to_frame(CHAIN, decoded.columns).height == decoded.rows


@given(st.datetimes(datetime(1990, 1, 1), datetime(2200, 1, 1)), st.sampled_from([10**3, 10**6, 10**9]))
def test_milli_micro_and_nanoseconds_are_told_apart_by_magnitude(moment: datetime, per_second: int):
    moment = moment.replace(microsecond=moment.microsecond // 1000 * 1000, tzinfo=UTC)
    milliseconds = round((moment - datetime(1970, 1, 1, tzinfo=UTC)).total_seconds() * 1000)
    frame = pl.DataFrame({"t": [milliseconds * (per_second // 1000)]}).select(unix_time("t"))
    assert frame["t"].to_list() == [moment]


def test_an_absent_or_zero_time_is_null():
    frame = pl.DataFrame({"t": [0, None]}, schema={"t": pl.Int64}).select(unix_time("t"))
    assert frame["t"].to_list() == [None, None]


def test_a_dividend_needs_its_date_and_amount():
    decoded = decode_page(DIVIDENDS, page([{"ticker": "F", "ex_dividend_date": "2026-06-01"}]))
    assert decoded.rows == 0
    assert "cash_amount" in decoded.rejected[0].reason


def test_no_number_is_changed_on_its_way():
    values = [0.1, 1e-12, 123456789.123456, 5e300, -0.0, 2.0**53]
    decoded = decode_page(CHAIN, page([chain_row(implied_volatility=value) for value in values]))
    got = to_frame(CHAIN, decoded.columns)["implied_volatility"].to_list()
    assert [math.copysign(1, a) * abs(a) for a in got] == values
