"""What the algorithms share: sides first, contracts inside flagged sides second, rows that explain themselves."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from datetime import date
from typing import Any

import polars as pl

from flowlake import calendar, schemas
from flowlake.schemas.detection import FACTOR

Row = dict[str, Any]

FLAGGED_SHARE = 0.05
"""A side is flagged where at most this share of comparable trailing sides was as extreme."""

LINES_PER_SIDE = 10
ANNOTATED_SPLIT_SESSIONS = 20

SIDE = {"C": "call", "P": "put"}
DIRECTION = {"C": "bullish", "P": "bearish"}

SOLD_IV_CHANGE = -0.02
"""IV of the hit lines fell this far against the chain: more likely sold than bought, so no direction is claimed."""


def prominence(p_value: pl.Expr, excess: pl.Expr) -> pl.Expr:
    """How much a line stands out: excess contracts x -ln p x leverage weight; -1 where it could not be judged.

    A small oddity and a large ordinary line exist in every chain; one line that is both does not.
    """
    surprise = -p_value.clip(1e-300, 1.0).log()
    return (excess.clip(0.0) * pl.col("weight") * surprise).fill_null(-1.0)


def leading_line(p_value: pl.Expr, excess: pl.Expr) -> pl.Expr:
    """Index (for an aggregation) of the most prominent line."""
    return prominence(p_value, excess).arg_max()


def leading_surprise(lines: pl.DataFrame, p_value: pl.Expr, excess: pl.Expr, name: str) -> pl.DataFrame:
    """Per underlying and right: `name`, -log10 of the leading line's `p_value`; null where nothing could be judged.

    How many lines competed is not corrected for here: the statistic is compared with the same of trailing sessions.
    """
    surprise = -p_value.clip(1e-300, 1.0).log10()
    return lines.group_by("underlying", "right", maintain_order=True).agg(
        surprise.get(leading_line(p_value, excess)).clip(0.0).alias(name)
    )


def flagged_sides(sides: pl.DataFrame, statistic: str) -> pl.DataFrame:
    """Sides whose `statistic` is unusual: underlying, right, ticker_p_value, ticker_null_n, iv_change, annotations."""
    return sides.filter(pl.col(f"{statistic}_u") <= FLAGGED_SHARE, pl.col(statistic) > 0).select(
        "underlying",
        "right",
        "iv_change",
        ticker_p_value=f"{statistic}_u",
        ticker_null_n=pl.col(f"{statistic}_n").cast(pl.Int64),
    )


def flagged_lines(lines: pl.DataFrame, sides: pl.DataFrame, p_value: pl.Expr, statistic: str) -> pl.DataFrame:
    """The unusual lines of flagged sides: the best one, and up to `LINES_PER_SIDE` that pass Bonferroni at 5 %."""
    inside = lines.with_columns(p_value=p_value).join(
        flagged_sides(sides, statistic), on=["underlying", "right"], how="inner"
    )
    side = ["underlying", "right"]
    return (
        inside.with_columns(tested=pl.col("p_value").count().over(side))
        .filter(pl.col("p_value") < 1.0)
        .sort(*side, "p_value", "contract_id")
        .with_columns(place=pl.int_range(pl.len()).over(side))
        .filter((pl.col("place") == 0) | (pl.col("p_value") * pl.col("tested") <= FLAGGED_SHARE))
        .filter(pl.col("place") < LINES_PER_SIDE)
    )


def anomaly_rows(
    rows: pl.DataFrame, algorithm: str, explain: Callable[[Row], str], *, of_previous_session: bool = False
) -> pl.DataFrame:
    """`rows` (lines with observed, expected, statistic, p-values) as a conforming table `anomalies_{algorithm}`."""
    table = schemas.table(f"anomalies_{algorithm}")
    if rows.is_empty():
        return table.empty()
    session: date = rows["session"][0]
    described = calendar.previous_session(session) if of_previous_session else session
    contracts = pl.col("observed") * pl.col("multiplier")
    measured = rows.with_columns(
        algorithm=pl.lit(algorithm),
        event_id=event_id(pl.col("underlying"), session),
        event_time=pl.lit(calendar.session_close(described)),
        direction=direction(),
        premium_usd=contracts * pl.col("price"),
        delta_notional_usd=contracts * pl.col("delta") * pl.col("spot"),
        vega_notional_usd=contracts * pl.col("vega").cast(pl.Float64),
        implied_volatility=pl.col("implied_volatility").cast(pl.Float64),
        annotations=notes(),
    )
    # Sentences are for people and only flagged rows get one, so a loop over them is cheap.
    records = measured.to_dicts()
    texts = pl.Series("explanation", [explain(record) for record in records], dtype=pl.String)
    factors = pl.Series("factors", [_measures(record) for record in records], dtype=pl.List(FACTOR))
    return table.conform(measured.with_columns(texts, factors).select(list(table.schema)))


def _measures(row: Row) -> list[Row]:
    """The numbers behind an anomaly; only the score weighs them, so they contribute nothing here."""
    measures = [
        ("deviation", row["statistic"], f"{row['observed']:,.0f} observed, {row['expected']:,.0f} expected"),
        ("volume_oi_ratio", _ratio(row["volume"], row["open_interest"]), "volume over open interest at the start"),
        ("premium_usd", row["premium_usd"], "contracts times price times multiplier"),
        ("delta_notional_usd", row["delta_notional_usd"], "shares the contracts move like, times spot"),
        ("vega_notional_usd", row["vega_notional_usd"], "dollars per volatility point"),
        (
            "iv_change",
            row["iv_change"],
            "implied volatility of the hit lines against the chain, since the session before",
        ),
    ]
    return [
        {"factor": name, "value": value, "contribution": None, "text": text}
        for name, value, text in measures
        if value is not None
    ]


def _ratio(volume: int, open_interest: int | None) -> float | None:
    return volume / open_interest if open_interest else None


def event_id(underlying: pl.Expr, session: date) -> pl.Expr:
    """The id shared by everything said about `underlying` on `session`: 16 hexadecimal digits."""

    def digest(names: pl.Series) -> pl.Series:
        keys = (f"{session.isoformat()}|{name}" for name in names)
        return pl.Series([hashlib.sha256(key.encode()).hexdigest()[:16] for key in keys], dtype=pl.String)

    return underlying.map_batches(digest, return_dtype=pl.String, is_elementwise=True)


def direction() -> pl.Expr:
    """What bought lines of the row's `right` would profit from; 'neutral' where `iv_change` says they were sold."""
    bought = pl.col("right").replace_strict(DIRECTION, return_dtype=pl.String)
    return pl.when(pl.col("iv_change").fill_null(0.0) <= SOLD_IV_CHANGE).then(pl.lit("neutral")).otherwise(bought)


def notes() -> pl.Expr:
    """What makes a line less surprising than it looks."""
    return pl.concat_list(
        pl.when(pl.col("sessions_since_split") < ANNOTATED_SPLIT_SESSIONS).then(pl.lit("split")),
        pl.when("new_listing").then(pl.lit("new listing")),
        pl.when("index_or_etf").then(pl.lit("index or ETF")),
        pl.when("spread_look_alike").then(pl.lit("spread look-alike")),
        pl.when("roll_look_alike").then(pl.lit("roll look-alike")),
    ).list.drop_nulls()


def line_name(row: Row) -> str:
    """'PYPL 17 Jul 2026 50 call'."""
    return f"{row['underlying']} {row['expiration']:%-d %b %Y} {row['strike']:g} {SIDE[row['right']]}"


def frequency(p_value: float) -> str:
    """A p-value in words: '1 time in 1,200'."""
    if p_value >= 0.5:
        return "most of the time"
    times = 1.0 / max(p_value, 1e-9)
    return f"1 time in {times:,.0f}" if times < 1e6 else "less than 1 time in a million"
