"""Trading symbols: cleaning what people type, and finding the ticker of a filing.

The key is the issuer's CIK. The filing's own symbol, cleaned, is the ticker as of the filing date; the SEC's
CIK-to-ticker map says what the issuer is called today and lists several tickers for many issuers, the common stock
first.
"""

from __future__ import annotations

from typing import Literal, get_args

import polars as pl

Quality = Literal["confirmed", "renamed", "unmapped", "from_map", "none"]
"""'confirmed': typed and among the CIK's tickers. 'renamed': typed, but the map has other tickers for the CIK.
'unmapped': typed, and the CIK is not in the map (delisted, funds). 'from_map': nothing usable was typed; the map's
first entry. 'none': neither."""

QUALITIES: tuple[str, ...] = get_args(Quality)

COMPANY_TICKERS = pl.Schema({"cik": pl.String, "ticker": pl.String, "name": pl.String, "position": pl.Int32})
"""The SEC's map: CIK (ten digits), ticker with '.' before a class, name, 0-based position in the file."""

_NOT_A_SYMBOL = ("NONE", "NA", "N", "A", "NULL", "TBD", "PRIVATE", "NOT", "APPLICABLE", "NO", "SYMBOL", "PENDING")
_EXCHANGES = (
    r"\b(?:NYSE(?:\s*(?:AMERICAN|ARCA|MKT))?|NASDAQ(?:\s*(?:GS|GM|CM))?|AMEX|OTC(?:QB|QX|BB|PK)?|TSXV?|CBOE)\s*:"
)
_NOT_APPLICABLE = r"\bN\s*/\s*A\b"
_SYMBOL = r"^[A-Z]{1,5}(?:\.[A-Z]{1,3})?$"


def normalise(symbol: pl.Expr) -> pl.Expr:
    """One symbol in flowlake's spelling: upper case, a class after '.', e.g. 'brk/b' and 'BRK-B' -> 'BRK.B'."""
    return symbol.str.to_uppercase().str.strip_chars().str.replace(r"^([A-Z]{1,5})[-/. ]([A-Z]{1,3})$", "${1}.${2}")


def candidates(typed: pl.Expr) -> pl.Expr:
    """The usable symbols in a field as typed, in order: list of strings, empty where there is none.

    Exchange prefixes, brackets and 'N/A' go; several symbols in one field are separated.
    """
    text = (
        typed.fill_null("")
        .str.to_uppercase()
        .str.replace_all(_NOT_APPLICABLE, " ")
        .str.replace_all(_EXCHANGES, " ")
        .str.replace_all(r"""["'()\[\]{}$*]""", " ")
        .str.replace_all(r"\bAND\b|[;,|&\n\t]", ",")
        .str.replace_all(r"\b([A-Z]{1,5})\s*[/.-]\s*([A-Z]{1,2})\b", "${1}.${2}")
        .str.replace_all(r"/", ",")
        .str.replace_all(r"\s+", ",")
    )
    return text.str.split(",").list.eval(
        pl.element().filter(pl.element().str.contains(_SYMBOL) & ~pl.element().is_in(_NOT_A_SYMBOL))
    )


def resolve(filings: pl.DataFrame, tickers: pl.DataFrame) -> pl.DataFrame:
    """`filings` (issuer_cik, issuer_symbol) with `ticker` and `ticker_quality`, row order kept.

    `tickers` has the schema `COMPANY_TICKERS`. Of several typed symbols the one that stands first in the map is taken.
    """
    ranked = tickers.sort("position").unique("ticker", keep="first", maintain_order=True)
    first = ranked.unique("cik", keep="first", maintain_order=True).select(
        issuer_cik="cik", _first="ticker", _mapped=pl.lit(True)
    )
    typed = filings.select("issuer_cik", _row=pl.int_range(pl.len()), _typed=candidates(pl.col("issuer_symbol")))
    best = (
        typed.explode("_typed")
        .drop_nulls("_typed")
        .with_columns(_order=pl.int_range(pl.len()).over("_row"))
        .join(
            ranked.select(issuer_cik="cik", _typed="ticker", _position="position"),
            on=["issuer_cik", "_typed"],
            how="left",
        )
        .sort("_row", pl.col("_position").fill_null(2**31 - 1), "_order")
        .unique("_row", keep="first", maintain_order=True)
        .select("_row", "_typed", _confirmed=pl.col("_position").is_not_null())
    )
    joined = (
        typed.drop("_typed")
        .join(best, on="_row", how="left")
        .join(first, on="issuer_cik", how="left")
        .sort("_row")
        .select(
            ticker=pl.coalesce("_typed", "_first"),
            ticker_quality=pl.when("_confirmed")
            .then(pl.lit("confirmed"))
            .when(pl.col("_typed").is_not_null() & pl.col("_mapped"))
            .then(pl.lit("renamed"))
            .when(pl.col("_typed").is_not_null())
            .then(pl.lit("unmapped"))
            .when(pl.col("_mapped"))
            .then(pl.lit("from_map"))
            .otherwise(pl.lit("none")),
        )
    )
    return filings.with_columns(joined)
