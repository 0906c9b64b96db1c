"""What makes a line less surprising than it looks: spreads, rolls, indexes and funds."""

from __future__ import annotations

import polars as pl

LARGEST_P = 0.01
MIN_VOLUME = 100
SIZE_TOLERANCE = 0.02
"""Lines count as legs of one trade only if both are unusual, of some size, and within 2 % of each other."""

_FUNDS = (
    "ARKK BITO DIA EEM EFA EWC EWG EWH EWJ EWT EWU EWW EWY EWZ FAS FAZ FXI GDX GDXJ GLD HYG IBIT IEF IWM IYR KRE KWEB "
    "LABU LQD MSTU NVDL QQQ SH SLV SMH SOXL SOXS SOXX SPXL SPXS SPXU SPY SQQQ TLT TNA TQQQ TSLL TZA UNG UPRO USO UVXY "
    "VIXY VOO VXX XBI XLB XLC XLE XLF XLI XLK XLP XLRE XLU XLV XLY XOP XRT"
)
FUNDS = frozenset(_FUNDS.split())
"""The most active exchange-traded products: no company insider knows their news."""


def annotate(lines: pl.DataFrame) -> pl.DataFrame:
    """`lines` (with `volume_p`) plus the booleans spread_look_alike, roll_look_alike and index_or_etf."""
    legs = lines.filter(pl.col("volume_p") <= LARGEST_P, pl.col("volume") >= MIN_VOLUME)
    spreads = _near_equal(legs, ["underlying", "expiration"])
    rolls = _near_equal(legs, ["underlying", "right"]).join(spreads, on="contract_id", how="anti")
    return lines.with_columns(
        spread_look_alike=pl.col("contract_id").is_in(spreads["contract_id"].implode()),
        roll_look_alike=pl.col("contract_id").is_in(rolls["contract_id"].implode()),
        index_or_etf=(pl.col("exercise_style") == "european") | pl.col("underlying").is_in(list(FUNDS)),
    )


def _near_equal(legs: pl.DataFrame, together: list[str]) -> pl.DataFrame:
    """Contract ids of lines that have a partner of nearly the same volume within `together`."""
    ordered = legs.sort(*together, "volume", "contract_id")
    volume = pl.col("volume").cast(pl.Float64)
    below = volume.shift(1).over(together)
    above = volume.shift(-1).over(together)
    return ordered.filter(
        ((volume - below) <= SIZE_TOLERANCE * volume) | ((above - volume) <= SIZE_TOLERANCE * volume)
    ).select("contract_id")
