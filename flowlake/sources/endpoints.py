"""The rows of the REST endpoints flowlake reads, declared field by field.

Source: vendor OpenAPI document of 2026-07-08. Almost everything is optional in practice (plans differ, untraded
contracts have no bar), so only what identifies a row is required here.
"""

from __future__ import annotations

from datetime import date

from flowlake.sources.parse import Count, Field, Instant, RowSpec


def _unused(*paths: str) -> tuple[Field, ...]:
    return tuple(Field(path, type=object) for path in paths)


CHAIN = RowSpec(
    "chain",
    (
        Field("details.ticker", "contract", str, required=True),
        Field("details.contract_type", "contract_type", str),
        Field("details.exercise_style", "exercise_style", str),
        Field("details.expiration_date", "expiration", date),
        Field("details.strike_price", "strike"),
        Field("details.shares_per_contract", "shares_per_contract"),
        Field("day.open", "day_open"),
        Field("day.high", "day_high"),
        Field("day.low", "day_low"),
        Field("day.close", "day_close"),
        Field("day.volume", "day_volume"),
        Field("day.vwap", "day_vwap"),
        Field("day.last_updated", "day_updated_at", Instant),
        Field("open_interest", "open_interest"),
        Field("implied_volatility", "implied_volatility"),
        Field("greeks.delta", "delta"),
        Field("greeks.gamma", "gamma"),
        Field("greeks.theta", "theta"),
        Field("greeks.vega", "vega"),
        Field("last_quote.bid", "bid"),
        Field("last_quote.ask", "ask"),
        Field("last_quote.bid_size", "bid_size"),
        Field("last_quote.ask_size", "ask_size"),
        Field("last_quote.last_updated", "quote_at", Instant),
        Field("last_trade.price", "last_price"),
        Field("last_trade.size", "last_size"),
        Field("last_trade.sip_timestamp", "last_trade_at", Instant),
        Field("underlying_asset.price", "underlying_price"),
        Field("underlying_asset.value", "underlying_value"),
        Field("underlying_asset.last_updated", "underlying_at", Instant),
        Field("underlying_asset.timeframe", "underlying_timeframe", str),
        Field("last_quote.timeframe", "quote_timeframe", str),
        Field("last_trade.timeframe", "trade_timeframe", str),
        *_unused("break_even_price", "fmv", "fmv_last_updated", "day.previous_close", "day.change"),
        *_unused("day.change_percent", "last_quote.bid_exchange", "last_quote.ask_exchange", "last_quote.midpoint"),
        *_unused("last_trade.exchange", "last_trade.conditions", "last_trade.decimal_size"),
        *_unused("underlying_asset.ticker", "underlying_asset.change_to_break_even"),
    ),
)
"""`/v3/snapshot/options/{underlying}`."""

STOCKS = RowSpec(
    "stocks",
    (
        Field("ticker", "ticker", str, required=True),
        Field("day.o", "open"),
        Field("day.h", "high"),
        Field("day.l", "low"),
        Field("day.c", "close"),
        Field("day.v", "volume"),
        Field("day.vw", "vwap"),
        Field("prevDay.c", "previous_close"),
        Field("lastTrade.p", "last_price"),
        Field("lastQuote.p", "bid"),
        Field("lastQuote.P", "ask"),
        Field("updated", "updated_at", Instant),
        *_unused("todaysChange", "todaysChangePerc", "min", "fmv", "day.dv", "day.otc", "prevDay.o", "prevDay.h"),
        *_unused("prevDay.l", "prevDay.v", "prevDay.vw", "prevDay.dv", "prevDay.otc", "lastTrade.c", "lastTrade.i"),
        *_unused("lastTrade.s", "lastTrade.ds", "lastTrade.t", "lastTrade.x", "lastQuote.s", "lastQuote.S"),
        *_unused("lastQuote.t"),
    ),
    results="tickers",
)
"""`/v2/snapshot/locale/us/markets/stocks/tickers`."""

CONTRACTS = RowSpec(
    "contracts",
    (
        Field("ticker", "contract", str, required=True),
        Field("underlying_ticker", "underlying", str, required=True),
        Field("contract_type", "contract_type", str),
        Field("exercise_style", "exercise_style", str),
        Field("expiration_date", "expiration", date),
        Field("strike_price", "strike"),
        Field("shares_per_contract", "shares_per_contract"),
        *_unused("primary_exchange", "cfi", "correction", "additional_underlyings"),
    ),
)
"""`/v3/reference/options/contracts`."""

BARS = RowSpec(
    "bars",
    (
        Field("o", "open"),
        Field("h", "high"),
        Field("l", "low"),
        Field("c", "close"),
        Field("v", "volume"),
        Field("vw", "vwap"),
        Field("n", "transactions", Count),
        Field("t", "window_start", Instant, required=True),
        *_unused("otc", "dv"),
    ),
    may_lack_results=True,
)
"""`/v2/aggs/ticker/{ticker}/range/...`: no rows means no trades, and the key is then absent."""

GROUPED = RowSpec(
    "grouped",
    (Field("T", "ticker", str, required=True), *BARS.fields),
    may_lack_results=True,
)
"""`/v2/aggs/grouped/locale/us/market/stocks/{date}`."""

SPLITS = RowSpec(
    "splits",
    (
        Field("ticker", "ticker", str, required=True),
        Field("execution_date", "effective_on", date, required=True),
        Field("split_from", "split_from", required=True),
        Field("split_to", "split_to", required=True),
        *_unused("id"),
    ),
)
"""`/v3/reference/splits`."""

DIVIDENDS = RowSpec(
    "dividends",
    (
        Field("ticker", "ticker", str, required=True),
        Field("ex_dividend_date", "effective_on", date, required=True),
        Field("cash_amount", "cash_amount", required=True),
        Field("declaration_date", "declared_on", date),
        *_unused("id", "dividend_type", "frequency", "pay_date", "record_date", "currency"),
    ),
)
"""`/v3/reference/dividends`."""
