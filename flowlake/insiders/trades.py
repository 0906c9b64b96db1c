"""Open-market trades in context: who, how regular, how large, how late, and who else; as known at acceptance.

Every figure of a row uses only filings that were public before the row's own. Sources: routine and opportunistic
traders, Cohen, Malloy and Pomorski, "Decoding Inside Information", Journal of Finance 67 (2012), section I; two
business days to file, SEC Rule 16a-3(g).
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import date, timedelta
from functools import cache

import polars as pl

from flowlake import calendar
from flowlake.insiders.classify import PURCHASES, SALES
from flowlake.insiders.prices import check_prices
from flowlake.insiders.roles import seniority
from flowlake.schemas import table

CLUSTER_DAYS = 30
"""`other_buyers` looks back this many days."""
HISTORY_YEARS = 3
BUSINESS_DAYS_TO_FILE = 2
CHAIN_DAYS = 30
"""The entities of a chain report the same block within days of each other."""

_KEY = ("accession", "form_table", "row_number")
_BLOCK = (
    "issuer_cik",
    "form_table",
    "security_title",
    "transaction_date",
    "code",
    "acquired_disposed",
    "shares",
    "price_per_share",
    "shares_owned_following",
)


def build_trades(
    transactions: pl.DataFrame,
    filings: pl.DataFrame,
    owners: pl.DataFrame,
    market: pl.DataFrame,
    arrived: Callable[[pl.Expr], pl.Expr] | None = None,
) -> pl.DataFrame:
    """`insider_trades` of the open-market purchases and sales in `transactions`.

    `transactions`, `filings` and `owners` hold the rows to describe and the history before them; `arrived`, applied to
    the column filed_on, says which rows to return (default: all). Rows of the future change nothing. `market` has the
    schema `flowlake.insiders.prices.MARKET`.
    """
    trades = _open_market(transactions, filings, owners)
    wanted = trades if arrived is None else trades.filter(arrived(pl.col("filed_on")))
    described = (
        check_prices(wanted, market)
        .with_columns(holding_change=_holding_change(), days_late=_days_late())
        .join(_chain_repeats(trades), on=_KEY, how="left")
        .join(_regularity(wanted, trades), on=_KEY, how="left")
        .join(_other_buyers(wanted, trades), on=_KEY, how="left")
        .join(_since_last_purchase(wanted, trades), on=_KEY, how="left")
        .join(_owner_history(wanted, filings), on=_KEY, how="left")
        .with_columns(
            pl.col("is_chain_repeat").fill_null(False),
            pl.col("other_buyers").fill_null(0),
            pl.col("history_days").fill_null(0),
            pl.col("regularity").fill_null("unclassified"),
        )
    )
    declared = table("insider_trades")
    return declared.conform(described.select(declared.schema.names()))


def _open_market(transactions: pl.DataFrame, filings: pl.DataFrame, owners: pl.DataFrame) -> pl.DataFrame:
    traded = transactions.filter(pl.col("transaction_class").is_in([*PURCHASES, *SALES]))
    first = owners.filter(pl.col("position") == 1).select("accession", "owner_cik")
    facts = owners.group_by("accession").agg(
        role=pl.col("role").sort_by(seniority(pl.col("role"))).first(),
        has_ten_percent_owner=pl.col("is_ten_percent_owner").any(),
    )
    return (
        traded.join(filings.select("accession", "ticker", filing_form=pl.col("form_type")), on="accession", how="inner")
        .join(first, on="accession", how="inner")
        .join(facts, on="accession", how="inner")
        .sort("available_at", *_KEY)
    )


def _holding_change() -> pl.Expr:
    """Shares against the holding before the trade; null where there was none or it is unknown."""
    after, shares = pl.col("shares_owned_following"), pl.col("shares")
    before = pl.when(pl.col("acquired_disposed") == "A").then(after - shares).otherwise(after + shares)
    return pl.when(before > 0).then(shares / before)


@cache
def _closed_days() -> tuple[date, ...]:
    """Days on which nothing is due: exchange holidays, and the two federal ones on which the exchange trades.

    Good Friday is a business day of the SEC, so lateness across it is understated by a day rather than alleged.
    """
    years = {day.year for day in calendar.holidays()}
    columbus = (min(d for d in _october(year) if d.weekday() == 0 and d.day > 7) for year in years)
    veterans = (date(year, 11, 11) for year in years)
    observed = (day + timedelta(days={5: -1, 6: 1}.get(day.weekday(), 0)) for day in veterans)
    return tuple(sorted({*calendar.holidays(), *columbus, *observed}))


def _october(year: int) -> list[date]:
    return [date(year, 10, day) for day in range(1, 32)]


def _days_late() -> pl.Expr:
    """Business days beyond the deadline of a Form 4; null for other forms and where the dates make no sense."""
    executed = pl.coalesce("deemed_execution_date", "transaction_date")
    taken = pl.business_day_count(executed, "filed_on", holidays=_closed_days())
    is_form_4 = pl.col("filing_form") == "4"
    return pl.when(is_form_4 & (executed <= pl.col("filed_on"))).then((taken - BUSINESS_DAYS_TO_FILE).clip(0))


def _chain_repeats(trades: pl.DataFrame) -> pl.DataFrame:
    """Rows that repeat a block another filing reported before: same security, day, direction, shares, price and
    holding.

    Two directors may buy the same number at the same price; a chain shows in a 10 % owner or indirect ownership among
    the filings up to this one.
    """
    in_chain = pl.col("has_ten_percent_owner") | (pl.col("direct_indirect") == "I").fill_null(False)
    first_accession = pl.col("accession").first().over(_BLOCK)
    first_seen = pl.col("available_at").first().over(_BLOCK)
    return (
        trades.filter(pl.all_horizontal(pl.col("shares", "shares_owned_following").is_not_null()))
        .sort("available_at", *_KEY)
        .with_columns(
            is_chain_repeat=(pl.col("accession") != first_accession)
            & (pl.col("available_at") - first_seen <= timedelta(days=CHAIN_DAYS))
            & in_chain.cast(pl.Int8).cum_max().over(_BLOCK).cast(pl.Boolean)
        )
        .select(*_KEY, "is_chain_repeat")
    )


def _regularity(wanted: pl.DataFrame, trades: pl.DataFrame) -> pl.DataFrame:
    """'routine' or 'opportunistic' for owners with a trade in each of the three calendar years before."""
    # A month counts from the first filing that reported a trade in it; prolific sellers have thousands of rows a year.
    history = trades.group_by(
        "issuer_cik",
        "owner_cik",
        traded_year=pl.col("transaction_date").dt.year(),
        traded_month=pl.col("transaction_date").dt.month(),
    ).agg(known_at=pl.col("available_at").min())
    year, month = pl.col("transaction_date").dt.year(), pl.col("transaction_date").dt.month()
    in_month = pl.col("traded_month") == month
    return (
        wanted.select(*_KEY, "issuer_cik", "owner_cik", "transaction_date", "available_at")
        .join(history, on=["issuer_cik", "owner_cik"], how="inner")
        .filter(
            (pl.col("known_at") < pl.col("available_at")) & (year - pl.col("traded_year")).is_between(1, HISTORY_YEARS)
        )
        .group_by(_KEY)
        .agg(
            years=pl.col("traded_year").n_unique(),
            years_in_month=pl.col("traded_year").filter(in_month).n_unique(),
        )
        .filter(pl.col("years") == HISTORY_YEARS)
        .select(
            *_KEY,
            regularity=pl.when(pl.col("years_in_month") == HISTORY_YEARS)
            .then(pl.lit("routine"))
            .otherwise(pl.lit("opportunistic")),
        )
    )


def _purchases(trades: pl.DataFrame) -> pl.DataFrame:
    return trades.filter(pl.col("transaction_class") == "open_market_purchase")


def _other_buyers(wanted: pl.DataFrame, trades: pl.DataFrame) -> pl.DataFrame:
    """Other insiders of the issuer whose purchases became known in the days before; the first buyer has 0."""
    repeats = _chain_repeats(trades).filter("is_chain_repeat")
    others = (
        _purchases(trades)
        .join(repeats, on=_KEY, how="anti")
        .select("issuer_cik", other="owner_cik", known_at="available_at")
        .unique()
    )
    age = pl.col("available_at") - pl.col("known_at")
    return (
        _purchases(wanted)
        .select(*_KEY, "issuer_cik", "owner_cik", "available_at")
        .join(others, on="issuer_cik", how="inner")
        .filter((pl.col("other") != pl.col("owner_cik")) & (age > timedelta(0)) & (age <= timedelta(days=CLUSTER_DAYS)))
        .group_by(_KEY)
        .agg(other_buyers=pl.col("other").n_unique())
    )


def _since_last_purchase(wanted: pl.DataFrame, trades: pl.DataFrame) -> pl.DataFrame:
    before = (
        _purchases(trades)
        .group_by("issuer_cik", "owner_cik", bought_on="transaction_date")
        .agg(known_at=pl.col("available_at").min())
    )
    return (
        wanted.select(*_KEY, "issuer_cik", "owner_cik", "transaction_date", "available_at")
        .join(before, on=["issuer_cik", "owner_cik"], how="inner")
        .filter((pl.col("known_at") < pl.col("available_at")) & (pl.col("bought_on") <= pl.col("transaction_date")))
        .group_by(_KEY)
        .agg(days_since_purchase=(pl.col("transaction_date") - pl.col("bought_on")).dt.total_days().min())
    )


def _owner_history(wanted: pl.DataFrame, filings: pl.DataFrame) -> pl.DataFrame:
    """Days since the first filing of the owner about the issuer that the lake knows."""
    first = (
        filings.select("issuer_cik", "available_at", owner_cik="owner_ciks")
        .explode("owner_cik")
        .group_by("issuer_cik", "owner_cik")
        .agg(first_seen=pl.col("available_at").min())
    )
    return wanted.join(first, on=["issuer_cik", "owner_cik"], how="inner").select(
        *_KEY, history_days=(pl.col("available_at") - pl.col("first_seen")).dt.total_days()
    )
