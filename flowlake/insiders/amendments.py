"""Amendments: which rows an amended filing still says, as known at a moment.

Nothing is erased: original and amendment both stay in the lake with their own `available_at`, and what supersedes what
is worked out from the filings known at the moment asked about. The order in which filings arrived in the lake plays no
part.
"""

from __future__ import annotations

from datetime import datetime

import polars as pl

_GROUP = ("form_table", "security_title", "transaction_date", "code", "acquired_disposed", "direct_indirect")


def known(frame: pl.DataFrame, as_of: datetime) -> pl.DataFrame:
    """Rows whose filing was public strictly before `as_of` (an aware datetime)."""
    return frame.filter(pl.col("available_at") < as_of)


def amended(filings: pl.DataFrame) -> pl.DataFrame:
    """Pairs of a filing and an amendment of it: accession, amended_by, amended_at.

    An amendment belongs to the earlier filings of the same form, issuer and an owner in common that were filed on the
    date it names as the original's. Where it names none, or several were filed that day, the period of report decides.
    An earlier amendment of the same original is amended too.
    """
    base = filings.select(
        "accession",
        "issuer_cik",
        "is_amendment",
        "period_of_report",
        "date_of_original_submission",
        "available_at",
        form=pl.col("form_type").str.head(1),
        owner=pl.col("owner_ciks"),
        # What a filing is an edition of: its own filing date, or the date of the original it amends.
        edition=pl.when("is_amendment").then("date_of_original_submission").otherwise("filed_on"),
    ).explode("owner")
    pairs = (
        base.filter("is_amendment")
        .join(base, on=["issuer_cik", "owner", "form"], how="inner", suffix="_old")
        .filter((pl.col("accession") != pl.col("accession_old")) & _is_before())
        .with_columns(
            same_period=(pl.col("period_of_report") == pl.col("period_of_report_old")).fill_null(False),
            same_edition=(pl.col("edition") == pl.col("edition_old")).fill_null(False),
        )
        .filter(pl.col("same_edition") | (pl.col("edition").is_null() & pl.col("same_period")))
        .with_columns(period_decides=pl.col("same_period").any().over("accession"))
        .filter(pl.col("same_period") | ~pl.col("period_decides"))
    )
    return (
        pairs.select(accession="accession_old", amended_by="accession", amended_at="available_at")
        .unique()
        .sort("accession", "amended_at", "amended_by")
    )


def superseded(transactions: pl.DataFrame, pairs: pl.DataFrame) -> pl.DataFrame:
    """Rows of `transactions` that an amendment replaced: accession, form_table, row_number, superseded_at.

    An amendment that states at least as many rows of a table as the original restates it whole. A shorter one replaces
    the rows it names: those with the same security, date, code, direction and ownership.
    """
    counts = transactions.group_by("accession", "form_table").len()
    restated = (
        pairs.join(counts, on="accession", how="inner")
        .join(
            counts.rename({"accession": "amended_by", "len": "len_new"}),
            on=["amended_by", "form_table"],
            how="inner",
        )
        .filter(pl.col("len_new") >= pl.col("len"))
        .select("accession", "form_table", "amended_at")
    )
    rows = transactions.select("accession", "row_number", *_GROUP)
    whole = rows.join(restated, on=["accession", "form_table"], how="inner")
    named = (
        rows.join(pairs, on="accession", how="inner")
        .join(
            rows.select(*_GROUP, amended_by="accession").unique(),
            on=["amended_by", *_GROUP],
            how="semi",
            nulls_equal=True,
        )
        .drop("amended_by")
    )
    return (
        pl.concat([whole.select(_SUPERSEDED), named.select(_SUPERSEDED)])
        .group_by("accession", "form_table", "row_number")
        .agg(superseded_at=pl.col("amended_at").min())
        .sort("accession", "form_table", "row_number")
    )


def in_force(transactions: pl.DataFrame, filings: pl.DataFrame, as_of: datetime) -> pl.DataFrame:
    """The transaction rows that stood at `as_of`: known before it, and not superseded by what was known before it."""
    visible = known(transactions, as_of)
    replaced = superseded(visible, amended(known(filings, as_of)))
    return visible.join(replaced, on=["accession", "form_table", "row_number"], how="anti").sort(
        "accession", "form_table", "row_number"
    )


def _is_before() -> pl.Expr:
    """The other filing came first; those of the same second go by accession, so that no two amend each other."""
    earlier = pl.col("available_at_old") < pl.col("available_at")
    tied = pl.col("available_at_old") == pl.col("available_at")
    return earlier | (tied & (pl.col("accession_old") < pl.col("accession")))


_SUPERSEDED = ("accession", "form_table", "row_number", "amended_at")
