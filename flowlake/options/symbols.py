"""OCC option symbols: read from the right, built back, and recognised as adjusted.

Grammar (vendor form): `O:` + root of 1 to 6 letters or digits + `YYMMDD` + `C` or `P` + strike x 1000 in 8 digits. The
root may end in a digit (`K1250117C00050000` is root `K1`, expiring 2025-01-17), so only the last 15 characters have
fixed places and everything is read from there. All functions build polars expressions; nothing loops over contracts.
"""

from __future__ import annotations

from typing import Final

import polars as pl

SYMBOL_PATTERN: Final = r"^O:[A-Z0-9]{1,6}[0-9]{6}[CP][0-9]{8}$"
"""What a readable contract ticker looks like; its date may still be impossible."""

INDEX_ROOTS: Final[dict[str, str]] = {"SPXW": "SPX", "NDXP": "NDX", "RUTW": "RUT", "VIXW": "VIX", "XEO": "OEX"}
"""Roots of index weeklies, p.m.-settled and European series: not their underlying's, yet not adjusted."""

EUROPEAN_ROOTS: Final = (
    *("SPX", "SPXW", "XSP", "NDX", "NDXP", "XND", "RUT", "RUTW", "MRUT", "VIX", "VIXW", "DJX", "XEO"),
    *("RUI", "RLG", "RLV"),
)
"""Roots of index options that cannot be exercised early, for rows on which the vendor does not say."""

STANDARD_MULTIPLIER: Final = 100.0
"""Shares a standard contract delivers."""


def _text(column: str | pl.Expr) -> pl.Expr:
    return pl.col(column) if isinstance(column, str) else column


def parse_symbol(contract: str | pl.Expr = "contract") -> list[pl.Expr]:
    """Expressions `root` (String), `expiration` (Date), `right` ('C'/'P') and `strike` (Float64, USD per share).

    All four are null where the symbol does not fit the grammar or names a day that does not exist. Two-digit years are
    of this century.
    """
    symbol = _text(contract)
    readable = pl.when(symbol.str.contains(SYMBOL_PATTERN)).then(symbol)
    expiration = (pl.lit("20") + readable.str.slice(-15, 6)).str.to_date("%Y%m%d", strict=False)
    whole = pl.when(expiration.is_not_null()).then(symbol)
    return [
        whole.str.head(-15).str.slice(2).alias("root"),
        expiration.alias("expiration"),
        whole.str.slice(-9, 1).alias("right"),
        (whole.str.slice(-8).cast(pl.Int32) / 1000.0).alias("strike"),
    ]


def parse_symbols(frame: pl.DataFrame, contract: str = "contract") -> pl.DataFrame:
    """`frame` with columns root, expiration, right, strike read from its column `contract`; see `parse_symbol`."""
    return frame.with_columns(parse_symbol(contract))


def build_symbol(
    root: str | pl.Expr = "root",
    expiration: str | pl.Expr = "expiration",
    right: str | pl.Expr = "right",
    strike: str | pl.Expr = "strike",
) -> pl.Expr:
    """The contract ticker of a root, expiration, right ('C'/'P') and strike (USD per share, to a tenth of a cent).

    Null where any part is null or the strike is not between 0.001 and 99,999.999, which eight digits cannot carry.
    """
    thousandths = (_text(strike) * 1000).round(0).cast(pl.Int64, strict=False)
    digits = pl.when(thousandths.is_between(1, 99_999_999)).then(thousandths).cast(pl.String).str.zfill(8)
    day = _text(expiration).dt.to_string("%y%m%d")
    return pl.concat_str(pl.lit("O:"), _text(root), day, _text(right), digits).alias("contract")


def occ_root(underlying: str | pl.Expr = "underlying") -> pl.Expr:
    """The root a standard contract of `underlying` has: upper case, no punctuation, no `I:` (`BRK.B` -> `BRKB`)."""
    return _text(underlying).str.strip_prefix("I:").str.to_uppercase().str.replace_all("[^A-Z0-9]", "")


def is_adjusted(
    root: str | pl.Expr = "root", underlying: str | pl.Expr = "underlying", multiplier: str | pl.Expr = "multiplier"
) -> pl.Expr:
    """Whether a corporate action changed what the contract delivers.

    True where the multiplier is not 100 or the root is not the underlying's own (`AAPL1` on AAPL); the weeklies of
    `INDEX_ROOTS` are not adjusted. An adjusted contract must not be priced or compared as if it delivered 100 shares.
    """
    series = _text(root).replace(INDEX_ROOTS)
    return ((_text(multiplier) != STANDARD_MULTIPLIER) | (series != occ_root(underlying))).alias("is_adjusted")
