"""Congressional disclosures (periodic transaction reports under the STOCK Act) to the lake's table.

Amounts are disclosed as ranges and stay ranges. What counts as known is the disclosure, up to 45 days after the trade
and often later; a source without disclosure dates is known only from when it was first seen.
"""

from __future__ import annotations

from datetime import datetime
from typing import Literal

import polars as pl

from flowlake.calendar import NEW_YORK
from flowlake.insiders.symbols import normalise
from flowlake.insiders.tables import start_of_day
from flowlake.schemas import UTC_TIME, table

Chamber = Literal["house", "senate"]

DISCLOSURES = pl.Schema(
    {
        "disclosure_date": pl.String,
        "transaction_date": pl.String,
        "owner": pl.String,
        "ticker": pl.String,
        "asset_description": pl.String,
        "asset_type": pl.String,
        "type": pl.String,
        "amount": pl.String,
        "member": pl.String,
        "district": pl.String,
        "ptr_link": pl.String,
    }
)
"""Disclosures as published, both chambers under the same names; what a chamber lacks is null."""

EARLIEST_YEAR = 2008
"""Years before are typing errors ('0021', '0201'); the STOCK Act is of 2012, and old trades are disclosed late."""

_OWNERS = {
    "self": "self",
    "joint": "joint",
    "spouse": "spouse",
    "dependent": "dependent",
    "child": "dependent",
}
_TYPES = {
    "purchase": "purchase",
    "sale_full": "sale",
    "sale (full)": "sale",
    "sale": "sale",
    "sale_partial": "partial_sale",
    "sale (partial)": "partial_sale",
    "exchange": "exchange",
}
_TICKER = r"^[A-Z]{1,5}(?:\.[A-Z])?$"
_MONEY = r"\$\s*([\d,]+)"


def normalise_disclosures(raw: pl.DataFrame, chamber: Chamber, seen_at: datetime, origin: str) -> pl.DataFrame:
    """`congress_trades` from rows of the schema `DISCLOSURES`.

    `seen_at` (aware) is when the list was read: rows without a disclosure date are known from then, and a disclosure
    date after it cannot be right. Rows that are equal in all they say are one row: the sources repeat them.
    """
    rows = (
        raw.unique(maintain_order=True)
        .with_columns(pl.all().str.strip_chars().replace({"": None, "--": None, "N/A": None, "Unknown": None}))
        .with_columns(
            _traded=_date(pl.col("transaction_date")),
            _disclosed=_date(pl.col("disclosure_date")),
            _low=_bound(0),
            _high=_bound(1),
            _ticker=_ticker(),
        )
    )
    seen = pl.lit(seen_at).cast(UTC_TIME)
    seen_on = pl.lit(seen_at.astimezone(NEW_YORK).date())
    dated = pl.col("_disclosed").is_not_null() & (pl.col("_disclosed") <= seen_on)
    year = pl.col("_traded").dt.year()
    plausible = (year >= EARLIEST_YEAR) & (pl.col("_traded") <= pl.coalesce("_disclosed", seen_on))
    open_ended = pl.col("amount").str.contains(r"(?i)\+|over")
    is_single = pl.col("_high").is_null()
    shaped = rows.select(
        disclosed_on=pl.when(dated).then("_disclosed").otherwise(seen_on),
        chamber=pl.lit(chamber),
        disclosure_id=_disclosure_id(),
        member=_member(),
        district="district",
        owner=pl.col("owner").str.to_lowercase().replace_strict(_OWNERS, default="unknown"),
        ticker=pl.when(pl.col("_ticker").str.contains(_TICKER)).then("_ticker"),
        ticker_quality=pl.when(pl.col("_ticker").is_null())
        .then(pl.lit("absent"))
        .when(pl.col("_ticker").str.contains(_TICKER))
        .then(pl.lit("ok"))
        .otherwise(pl.lit("unlisted_form")),
        asset=_plain_text("asset_description"),
        asset_type="asset_type",
        transaction_class=pl.col("type").str.to_lowercase().replace_strict(_TYPES, default="unknown"),
        transaction_date=pl.when(plausible).then("_traded"),
        amount_low="_low",
        amount_high=pl.when(~(open_ended & is_single)).then(pl.coalesce("_high", _upper_of_band())),
        amount_text=pl.col("amount").fill_null(""),
        link="ptr_link",
        known_by=pl.when(dated).then(pl.lit("disclosure_date")).otherwise(pl.lit("observation")),
        problems=_problems(plausible),
        event_time=start_of_day(pl.when(plausible).then("_traded")),
        available_at=pl.when(dated).then(pl.min_horizontal(_end_of(pl.col("_disclosed")), seen)).otherwise(seen),
        origin=pl.lit(origin),
    )
    return table("congress_trades").conform(
        shaped.with_columns(row_number=pl.int_range(1, pl.len() + 1).over("disclosure_id"))
    )


def merge_disclosures(existing: pl.DataFrame, arrived: pl.DataFrame) -> pl.DataFrame:
    """All disclosures of `arrived` that are new, and of `existing` all: what was seen first keeps its date.

    Rows are the same when they say the same about the same trade, wherever they stand in the list.
    """
    said = ["chamber", "disclosure_id", "member", "owner", "ticker", "asset", "transaction_class"]
    said += ["transaction_date", "amount_text"]
    together = (
        pl.concat([existing, arrived]).unique(said, keep="first", maintain_order=True).sort("available_at", *said)
    )
    return table("congress_trades").conform(
        together.with_columns(row_number=pl.int_range(1, pl.len() + 1).over("chamber", "disclosure_id"))
    )


def _date(text: pl.Expr) -> pl.Expr:
    return pl.coalesce(
        text.str.to_date("%Y-%m-%d", strict=False),
        text.str.to_date("%m/%d/%Y", strict=False),
    )


def _bound(position: int) -> pl.Expr:
    amounts = pl.col("amount").str.extract_all(_MONEY)
    return amounts.list.get(position, null_on_oob=True).str.replace_all(r"[$,\s]", "").cast(pl.Float64, strict=False)


def _upper_of_band() -> pl.Expr:
    """Some rows lost the upper end ('$1,001 -'); the bands are fixed by the form, so the lower end names it."""
    bands = {1001.0: 15_000.0, 15_001.0: 50_000.0, 50_001.0: 100_000.0, 100_001.0: 250_000.0}
    bands |= {250_001.0: 500_000.0, 500_001.0: 1_000_000.0, 1_000_001.0: 5_000_000.0}
    bands |= {5_000_001.0: 25_000_000.0, 25_000_001.0: 50_000_000.0}
    return pl.col("_low").replace_strict(bands, default=None, return_dtype=pl.Float64)


def _ticker() -> pl.Expr:
    """The symbol in flowlake's spelling; classes of preferred shares stand after '$' in the House data."""
    return normalise(pl.col("ticker").str.replace(r"\$", ".PR"))


def _member() -> pl.Expr:
    return pl.col("member").fill_null("").str.replace(r"^(?:Hon\.|Mr\.|Mrs\.|Ms\.|Dr\.)\s+", "").str.strip_chars()


def _disclosure_id() -> pl.Expr:
    last = pl.col("ptr_link").str.strip_chars_end("/").str.split("/").list.last()
    return last.str.replace(r"\.[A-Za-z]+$", "").str.to_lowercase().fill_null("unknown")


def _plain_text(column: str) -> pl.Expr:
    return (
        pl.col(column)
        .str.replace_all(r"<[^>]*>", " ")
        .str.replace_all("&amp;", "&", literal=True)
        .str.replace_all(r"\s+", " ")
        .str.strip_chars()
    )


def _end_of(day: pl.Expr) -> pl.Expr:
    return start_of_day(day + pl.duration(days=1))


def _problems(plausible: pl.Expr) -> pl.Expr:
    impossible = pl.when(~plausible.fill_null(False)).then(
        pl.format("transaction_date: {}", pl.col("transaction_date").fill_null("absent"))
    )
    unclear = pl.when(pl.col("amount").is_not_null() & pl.col("_low").is_null()).then(
        pl.format("amount: {}", pl.col("amount"))
    )
    return pl.concat_list(impossible, unclear).list.drop_nulls()
