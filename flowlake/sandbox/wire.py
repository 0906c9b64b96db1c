"""Frames to the vendor's JSON: one expression per row shape, rendered by polars, a string per row.

The vendor leaves a field out where it has no value, and an object out where it has no fields. `encode` gives that to
every shape: nulls (and the NaN that JSON cannot say) disappear, then the objects they leave empty.
"""

from __future__ import annotations

import polars as pl

from flowlake.sandbox.plans import Plan

Fields = dict[str, pl.Expr]

_NULLS = ((r',"\w+":null', ""), (r'\{"\w+":null,?', "{"))
_EMPTY_OBJECTS = ((r',"\w+":\{\}', ""), (r'\{"\w+":\{\},?', "{"))


def encode(frame: pl.DataFrame, row: pl.Expr) -> list[str]:
    """JSON text of the struct `row` for each row of `frame`, without null fields and empty objects.

    The patterns cannot match inside a string value: there JSON escapes the quotation mark they begin with.
    """
    present = _without_null_columns(frame.select(row.alias("row")).unnest("row"))
    if not present.width:
        return ["{}"] * frame.height
    text = present.to_struct("row").struct.json_encode()
    for sign, patterns in (("null", _NULLS), ("{}", _EMPTY_OBJECTS)):
        # Looking for the sign costs a tenth of the patterns it spares (measured).
        if text.str.contains(sign, literal=True).any():
            for pattern, replacement in patterns:
                text = text.str.replace_all(pattern, replacement)
    return text.to_list()


def _without_null_columns(frame: pl.DataFrame) -> pl.DataFrame:
    """`frame` less the fields, and fields of objects, that no row has: cheaper here than in every row's text."""
    kept: list[pl.Series] = []
    for column in frame:
        if isinstance(column.dtype, pl.Struct):
            fields = _without_null_columns(column.struct.unnest())
            kept += [fields.to_struct(column.name)] if fields.width else []
        elif column.null_count() < len(column):
            kept.append(column)
    return pl.DataFrame(kept)


def chain_rows(frame: pl.DataFrame, *, plan: Plan, stocks_plan: Plan | None, is_index: bool) -> list[str]:
    """Rows of the option-chain snapshot: columns of RAW_OPTION_SNAPSHOTS in, fields of the plan out."""
    entitled = plan.value
    quote = pl.col("bid").is_not_null() | pl.col("ask").is_not_null()
    traded = pl.col("last_price").is_not_null()
    midpoint = (pl.col("bid") + pl.col("ask")) / 2
    premium = [midpoint] * entitled.quotes + [pl.col("last_price")] * entitled.trades + [pl.col("day_close")]
    side = pl.when(pl.col("contract_type") == "put").then(-1.0).otherwise(1.0)
    break_even = pl.col("strike") + side * pl.coalesce(premium)
    fields: Fields = {
        "break_even_price": break_even,
        "day": _object(
            open=pl.col("day_open"),
            high=pl.col("day_high"),
            low=pl.col("day_low"),
            close=pl.col("day_close"),
            volume=_whole("day_volume"),
            vwap=pl.col("day_vwap"),
            last_updated=_nanoseconds("day_updated_at"),
        ),
        "details": _object(
            contract_type=pl.col("contract_type"),
            exercise_style=pl.col("exercise_style"),
            expiration_date=pl.col("expiration"),
            shares_per_contract=_whole("shares_per_contract"),
            strike_price=pl.col("strike"),
            ticker=pl.col("contract"),
        ),
        "greeks": _object(**{name: pl.col(name) for name in ("delta", "gamma", "theta", "vega")}),
        "implied_volatility": pl.col("implied_volatility"),
        "open_interest": _whole("open_interest"),
        "underlying_asset": _underlying_asset(break_even, stocks_plan, is_index),
    }
    if entitled.quotes:
        fields["last_quote"] = _object(
            ask=pl.col("ask"),
            ask_size=_whole("ask_size"),
            bid=pl.col("bid"),
            bid_size=_whole("bid_size"),
            last_updated=_nanoseconds("quote_at"),
            midpoint=midpoint,
            timeframe=pl.when(quote).then(pl.lit(plan.timeframe)),
        )
    if entitled.trades:
        fields["last_trade"] = _object(
            price=pl.col("last_price"),
            size=_whole("last_size"),
            sip_timestamp=_nanoseconds("last_trade_at"),
            timeframe=pl.when(traded).then(pl.lit(plan.timeframe)),
        )
    return encode(frame, _object(**fields))


def _underlying_asset(break_even: pl.Expr, stocks_plan: Plan | None, is_index: bool) -> pl.Expr:
    ticker = pl.concat_str(pl.lit("I:"), pl.col("underlying")) if is_index else pl.col("underlying")
    if stocks_plan is None:
        return _object(ticker=ticker, timeframe=pl.lit("DELAYED"))
    price = pl.col("underlying_price")
    return _object(
        change_to_break_even=break_even - price,
        last_updated=_nanoseconds("underlying_at"),
        **{"value" if is_index else "price": price},
        ticker=ticker,
        timeframe=pl.lit(stocks_plan.timeframe),
    )


def stock_rows(frame: pl.DataFrame, *, plan: Plan) -> list[str]:
    """Rows of the full-market stock snapshot: columns of RAW_STOCK_SNAPSHOTS in."""
    updated = _nanoseconds("updated_at")
    change = pl.col("close") - pl.col("previous_close")
    fields: Fields = {
        "ticker": pl.col("ticker"),
        "todaysChange": change,
        "todaysChangePerc": change / pl.col("previous_close") * 100,
        "updated": updated,
        "day": _object(**_bar()),
        "prevDay": _object(c=pl.col("previous_close")),
    }
    if plan.value.trades:
        fields["lastTrade"] = _object(
            p=pl.col("last_price"), t=pl.when(pl.col("last_price").is_not_null()).then(updated)
        )
    if plan.value.quotes:
        quoted = pl.col("bid").is_not_null() | pl.col("ask").is_not_null()
        fields["lastQuote"] = _object(P=pl.col("ask"), p=pl.col("bid"), t=pl.when(quoted).then(updated))
    return encode(frame, _object(**fields))


def bar_rows(frame: pl.DataFrame) -> list[str]:
    """Aggregates: open, high, low, close, volume, vwap, transactions, `t` (ms), and the ticker `T` if there is one."""
    fields = _bar() | {"n": _whole("transactions"), "t": pl.col("t")}
    if "T" in frame.columns:
        fields = {"T": pl.col("T")} | fields
    return encode(frame, _object(**fields))


def contract_rows(frame: pl.DataFrame) -> list[str]:
    """Rows of the option-contracts reference."""
    letter = {"american": "A", "european": "E", "bermudan": "B"}
    cfi = pl.concat_str(
        pl.lit("O"),
        pl.col("contract_type").replace_strict({"call": "C", "put": "P"}, default="M"),
        pl.col("exercise_style").replace_strict(letter, default="X"),
        pl.lit("SPS"),
    )
    row = _object(
        cfi=cfi,
        contract_type=pl.col("contract_type"),
        exercise_style=pl.col("exercise_style"),
        expiration_date=pl.col("expiration"),
        primary_exchange=pl.lit("BATO"),
        shares_per_contract=_whole("shares_per_contract"),
        strike_price=pl.col("strike"),
        ticker=pl.col("contract"),
        underlying_ticker=pl.col("underlying"),
    )
    return encode(frame, row)


def ticker_rows(frame: pl.DataFrame, *, details: bool = False) -> list[str]:
    """Rows of the tickers reference; `details` adds what only the page of one ticker says."""
    fields: Fields = {
        "ticker": pl.col("ticker"),
        "name": pl.col("name"),
        "market": pl.col("market"),
        "locale": pl.lit("us"),
        "primary_exchange": pl.col("primary_exchange"),
        "type": pl.col("type"),
        "active": pl.lit(True),
        "currency_name": pl.when(pl.col("market") == "stocks").then(pl.lit("usd")),
        "cik": pl.col("cik"),
    }
    if details:
        fields["market_cap"] = pl.col("market_cap")
    return encode(frame, _object(**fields))


def split_rows(frame: pl.DataFrame) -> list[str]:
    """Rows of the splits reference."""
    row = _object(
        execution_date=pl.col("execution_date"),
        id=pl.col("id"),
        split_from=pl.col("split_from"),
        split_to=pl.col("split_to"),
        ticker=pl.col("ticker"),
    )
    return encode(frame, row)


def dividend_rows(frame: pl.DataFrame) -> list[str]:
    """Rows of the cash-dividends reference."""
    row = _object(
        cash_amount=pl.col("cash_amount"),
        currency=pl.lit("USD"),
        declaration_date=pl.col("declaration_date"),
        dividend_type=pl.lit("CD"),
        ex_dividend_date=pl.col("ex_dividend_date"),
        frequency=_whole("frequency"),
        id=pl.col("id"),
        pay_date=pl.col("pay_date"),
        ticker=pl.col("ticker"),
    )
    return encode(frame, row)


def _object(**fields: pl.Expr) -> pl.Expr:
    return pl.struct(*(value.alias(name) for name, value in fields.items()))


def _bar() -> Fields:
    letters = {"o": "open", "h": "high", "l": "low", "c": "close", "v": "volume", "vw": "vwap"}
    return {letter: pl.col(column) for letter, column in letters.items()}


def _whole(column: str) -> pl.Expr:
    return pl.col(column).cast(pl.Int64, strict=False)


def _nanoseconds(column: str) -> pl.Expr:
    # Integers all the way: nanoseconds of today exceed 2^53 and would lose digits as JSON floats.
    return pl.col(column).dt.epoch("ns")
