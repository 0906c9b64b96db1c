"""Insider activity per ticker and day, and beside scored events: what was known at the moment, nothing later."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, timedelta

import polars as pl

from flowlake import calendar
from flowlake.insiders.amendments import amended, in_force, superseded
from flowlake.insiders.roles import SENIOR_ROLES
from flowlake.schemas import UTC_TIME, table

_KEY = ("accession", "form_table", "row_number")
_YEARS_WITHOUT = 3 * 365


@dataclass(frozen=True)
class Windows:
    """How far signals look back, and what makes a cluster of buyers."""

    signal_days: int = 30
    cluster_days: int = 14
    cluster_buyers: int = 3


def insider_signals(
    trades: pl.DataFrame,
    transactions: pl.DataFrame,
    filings: pl.DataFrame,
    session: date,
    windows: Windows | None = None,
) -> pl.DataFrame:
    """`insider_signals` of `session`: trades that became known in the window before its close and stood at the close.

    A row that an amendment known by then superseded does not count, nor does a block repeated along a chain of
    entities.
    """
    limits = windows or Windows()
    as_of = calendar.session_close(session)
    recent = pl.col("available_at") >= as_of - timedelta(days=limits.signal_days)
    standing = in_force(transactions.filter(recent), filings, as_of).select(_KEY)
    counted = (
        trades.filter(recent & (pl.col("available_at") < as_of) & ~pl.col("is_chain_repeat"))
        .drop_nulls("ticker")
        .join(standing, on=_KEY, how="semi")
    )
    in_cluster = pl.col("available_at") >= as_of - timedelta(days=limits.cluster_days)
    bought = pl.col("transaction_class") == "open_market_purchase"
    sold = pl.col("transaction_class") == "open_market_sale"
    planned = pl.col("transaction_class") == "planned_sale"
    new_again = (pl.col("history_days") >= _YEARS_WITHOUT) & (
        pl.col("days_since_purchase").fill_null(_YEARS_WITHOUT) >= _YEARS_WITHOUT
    )
    owner, value = pl.col("owner_cik"), pl.col("value_usd")
    signals = counted.group_by("ticker").agg(
        purchases=bought.sum(),
        buyers=owner.filter(bought).n_unique(),
        opportunistic_buyers=owner.filter(bought & (pl.col("regularity") != "routine")).n_unique(),
        senior_buyers=owner.filter(bought & pl.col("role").is_in(SENIOR_ROLES)).n_unique(),
        purchase_value_usd=value.filter(bought).sum(),
        sales=sold.sum(),
        sellers=owner.filter(sold).n_unique(),
        sale_value_usd=value.filter(sold).sum(),
        planned_sales=planned.sum(),
        planned_sale_value_usd=value.filter(planned).sum(),
        cluster_buyers=owner.filter(bought & in_cluster).n_unique(),
        first_purchase_in_years=(bought & new_again).any(),
        largest_holding_change=pl.col("holding_change").filter(bought).max(),
        largest_volume_share=pl.col("volume_share").filter(bought).max(),
        late_filings=pl.col("accession").filter(pl.col("days_late") > 0).n_unique(),
        event_time=pl.col("available_at").max(),
        origin=pl.col("origin").max(),
    )
    both = pl.col("purchase_value_usd") + pl.col("sale_value_usd")
    return table("insider_signals").conform(
        signals.with_columns(
            session=pl.lit(session),
            is_cluster_buy=pl.col("cluster_buyers") >= limits.cluster_buyers,
            net_purchase_ratio=pl.when(both > 0).then((pl.col("purchase_value_usd") - pl.col("sale_value_usd")) / both),
            available_at=pl.lit(as_of).cast(UTC_TIME),
        )
    )


def event_insiders(
    events: pl.DataFrame,
    transactions: pl.DataFrame,
    filings: pl.DataFrame,
    trades: pl.DataFrame,
    *,
    days: int = 90,
) -> pl.DataFrame:
    """`event_insiders`: for every event, the transactions of its ticker known in the `days` before it, by class.

    `events` has session, event_id, ticker, available_at and origin. Known means accepted strictly before the event's
    `available_at`; rows superseded by then and repeats along a chain are left out, whether the amendment came later is
    not.
    """
    replaced = superseded(transactions, amended(filings))
    values = trades.select(*_KEY, "value_usd", "is_chain_repeat")
    known_rows = (
        transactions.join(filings.select("accession", "ticker", "owner_ciks"), on="accession", how="inner")
        .drop_nulls("ticker")
        .join(values, on=_KEY, how="left")
        .join(replaced, on=_KEY, how="left")
        .filter(~pl.col("is_chain_repeat").fill_null(False))
        .select(
            "ticker",
            "transaction_class",
            "transaction_date",
            "shares",
            "value_usd",
            "superseded_at",
            owner=pl.col("owner_ciks").list.first(),
            filed_at="available_at",
        )
    )
    joined = events.select("session", "event_id", "ticker", "available_at", "origin").join(
        known_rows, on="ticker", how="inner"
    )
    age = pl.col("available_at") - pl.col("filed_at")
    stands = pl.col("superseded_at").is_null() | (pl.col("superseded_at") >= pl.col("available_at"))
    found = (
        joined.filter((age > timedelta(0)) & (age <= timedelta(days=days)) & stands)
        .group_by("session", "event_id", "ticker", "transaction_class", "available_at", "origin")
        .agg(
            transactions=pl.len(),
            owners=pl.col("owner").n_unique(),
            shares=pl.col("shares").sum(),
            value_usd=pl.col("value_usd").sum(),
            newest_transaction=pl.col("transaction_date").max(),
            newest_known_at=pl.col("filed_at").max(),
        )
    )
    return table("event_insiders").conform(found)
