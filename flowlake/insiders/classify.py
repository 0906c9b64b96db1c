"""What kind of transaction a row is: one pure function of code, direction, plan and table, computed once.

Source of the codes: SEC Form 4, General Instruction 8. Planned and discretionary trades are never merged: what follows
them differs in sign.
"""

from __future__ import annotations

import polars as pl

CLASSES = (
    "open_market_purchase",
    "planned_purchase",
    "open_market_sale",
    "planned_sale",
    "exercise",
    "award",
    "tax_withholding",
    "gift",
    "issuer_disposition",
    "derivative_trade",
    "inconsistent",
    "other",
)
"""Classes of transactions; 'inconsistent' is a purchase marked as disposed or a sale marked as acquired."""

PURCHASES = ("open_market_purchase", "planned_purchase")
SALES = ("open_market_sale", "planned_sale")

_SIMPLE = {
    "M": "exercise",
    "C": "exercise",
    "X": "exercise",
    "O": "exercise",
    "A": "award",
    "F": "tax_withholding",
    "G": "gift",
    "D": "issuer_disposition",
}


def transaction_class() -> pl.Expr:
    """The class of a row, from columns code, acquired_disposed, plan_10b5_1, form_table and equity_swap.

    Purchases and sales of derivatives and through equity swaps are 'derivative_trade': their price is no price of the
    share. A row without coding is 'other'.
    """
    code, direction = pl.col("code"), pl.col("acquired_disposed")
    bought, sold = code == "P", code == "S"
    contradicts = (bought & (direction == "D")) | (sold & (direction == "A"))
    off_table = (pl.col("form_table") == "derivative") | pl.col("equity_swap").fill_null(False)
    return (
        pl.when(contradicts)
        .then(pl.lit("inconsistent"))
        .when((bought | sold) & off_table)
        .then(pl.lit("derivative_trade"))
        .when(bought & pl.col("plan_10b5_1"))
        .then(pl.lit("planned_purchase"))
        .when(bought)
        .then(pl.lit("open_market_purchase"))
        .when(sold & pl.col("plan_10b5_1"))
        .then(pl.lit("planned_sale"))
        .when(sold)
        .then(pl.lit("open_market_sale"))
        .otherwise(code.replace_strict(_SIMPLE, default="other", return_dtype=pl.String))
    )
