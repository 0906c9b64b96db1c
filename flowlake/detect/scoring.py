"""The score: a sum of capped log-likelihood ratios, one per factor, calibrated as a whole on trailing sessions.

A factor's value becomes u, the share of comparable trailing sides at least as extreme. Under the null u is uniform;
under the alternative it is taken as Beta(a, 1) with a < 1, so its log-likelihood ratio is log a + (a - 1) log u, the
calibrator of Sellke, Bayarri and Berger (The American Statistician 55, 2001). Factors depend on each other, so the sum
is not read as odds: it gets its own empirical p-value, from which score, conviction and false-alarm rates follow.
"""

from __future__ import annotations

import hashlib
import json
import math
from dataclasses import dataclass
from datetime import date

import numpy as np
import polars as pl

from flowlake import calendar, schemas
from flowlake.detect import context, findings, null, volume
from flowlake.detect.findings import Row
from flowlake.schemas.detection import FACTOR, LINE

CAP = 3.0
"""Largest contribution of one factor, in nats: no single number decides."""

LARGEST_SHOWN = 1e9
"""Odds beyond this say no more."""

FULL_UNIVERSE = 6_000
CONVICTIONS = (("EXTREME", 1.0), ("HIGH", 5.0), ("MEDIUM", 20.0), ("LOW", 60.0))
"""Largest number of false alarms a day over a universe of `FULL_UNIVERSE`; a smaller universe scales them down."""

SCORE_DECADES = 5.0
SMALLEST_CLASS = 400
LISTED_SHARE = 0.05
LISTED_RANKS = 50
"""Underlyings written down besides those with an anomaly: the most unusual 5 %, and the first 50 whatever p."""
CONTRACTS_SHOWN = 8


@dataclass(frozen=True)
class Factor:
    """One factor: evidence column, a of Beta(a, 1) (smaller trusts it more), how to say it, base of its logarithm."""

    column: str
    strength: float
    text: str
    base: float | None = None

    def contribution(self, u: pl.Expr) -> pl.Expr:
        """Log-likelihood ratio of `u`, capped at `CAP` either way; 0 where the factor could not be measured."""
        ratio = np.log(self.strength) + (self.strength - 1.0) * u.log()
        return ratio.clip(-CAP, CAP).fill_null(0.0)

    def say(self, value: float) -> str:
        """`value` in words, logarithms undone."""
        shown = value if self.base is None else min(self.base**value, LARGEST_SHOWN)
        return self.text.format(value=shown)


FACTORS = (
    Factor("volume_surprise", 0.45, "lines like the leading one trade this much 1 time in {value:,.0f}", 10.0),
    Factor("open_interest_surprise", 0.60, "positions opened the session before are a 1 in {value:,.0f} case", 10.0),
    Factor("ladder_surprise", 0.70, "neighbouring lines together are a 1 in {value:,.0f} case", 10.0),
    Factor("series_surprise", 0.30, "one series is {value:.1f} root deviances above the chain's usual day"),
    Factor("short_otm_share", 0.50, "{value:.0%} of the excess volume is short-dated and out of the money"),
    Factor("premium_ratio", 0.70, "excess premium is {value:,.2f} times the chain's usual day", 10.0),
    Factor("volume_oi_ratio", 0.40, "leading line traded {value:,.2f} times its open interest", 10.0),
    Factor("dominance", 0.45, "leading line's excess is {value:,.2f} times the chain's usual day", 10.0),
    Factor("concentration", 0.50, "leading line is {value:.0%} of the chain's volume"),
    Factor("iv_change", 0.75, "implied volatility of the hit lines moved {value:+.1%} against the chain"),
    Factor("iv_expansion", 0.70, "near-dated implied volatility is {value:.2f} times the session before's", math.e),
    Factor("call_put_tilt", 0.50, "side's share of volume is {value:+.0%} against usual"),
    Factor("liquidity_surge", 0.60, "chain traded {value:,.2f} times its usual volume", 10.0),
    Factor("quietness", 0.90, "the stock's own move is {value:.1f} (0 is none) in usual daily moves"),
)


def model_id() -> str:
    """Version of the score: a hash over every parameter, so that a changed parameter shows on the event."""
    parameters = {
        "factors": [(factor.column, factor.strength) for factor in FACTORS],
        "cap": CAP,
        "convictions": CONVICTIONS,
        "universe": FULL_UNIVERSE,
    }
    return "llr-1-" + hashlib.sha256(json.dumps(parameters, sort_keys=True).encode()).hexdigest()[:8]


def weigh(sides: pl.DataFrame, known: pl.DataFrame | None = None) -> pl.DataFrame:
    """`sides` (from `sides.compare`) with `{column}_llr` per factor and `llr_total`, null where no null existed yet.

    `known` (from `context.collected`) lowers the total of an underlying by what is publicly known about it.
    """
    known = context.collected(None) if known is None else known
    sides = sides.join(known, on="underlying", how="left", maintain_order="left").with_columns(
        pl.col("known").fill_null([]), pl.col("context_llr").fill_null(0.0)
    )
    contributions = {f"{f.column}_llr": f.contribution(pl.col(f"{f.column}_u")) for f in FACTORS}
    # Rounded to 1e-6 nats so that the parts shown add up to the total shown, whatever the order of summation.
    weighed = sides.with_columns(**contributions).with_columns(pl.col("^.*_llr$").round(6))
    judged = pl.col("volume_surprise_u").is_not_null()
    total = pl.sum_horizontal(*contributions, "context_llr").round(6)
    return weighed.with_columns(llr_total=pl.when(judged).then(total))


def rank_underlyings(sides: pl.DataFrame, trailing: pl.DataFrame) -> pl.DataFrame:
    """The stronger side of each judged underlying, ranked, with p_value, q_value, score and conviction.

    `trailing` is TICKER_STATISTICS of earlier sessions: the null is the larger `llr_total` of the two sides of each of
    their underlyings, in the same activity class.
    """
    judged = sides.filter(pl.col("llr_total").is_not_null())
    stronger = judged.sort("underlying", "llr_total", "right", descending=[False, True, False]).unique(
        "underlying", keep="first", maintain_order=True
    )
    totals = trailing.group_by("session", "underlying").agg(pl.col("activity").first(), pl.col("llr_total").max())
    totals = totals.drop_nulls("llr_total").sort("session", "underlying")
    p_value, n = null.empirical_p_values(
        stronger["llr_total"].to_numpy(),
        stronger["activity"].to_numpy(),
        totals["llr_total"].to_numpy(),
        totals["activity"].to_numpy(),
        SMALLEST_CLASS,
    )
    ranked = (
        stronger.with_columns(p_value=pl.Series(p_value, dtype=pl.Float64), score_null_n=pl.Series(n))
        .filter(pl.col("score_null_n") > 0)
        .sort("p_value", "llr_total", "underlying", descending=[False, True, False])
    )
    universe = ranked.height
    false_alarms = pl.col("p_value") * universe
    return ranked.with_row_index("rank", offset=1).with_columns(
        q_value=pl.Series(benjamini_hochberg(ranked["p_value"].to_numpy()), dtype=pl.Float64),
        universe=pl.lit(universe, dtype=pl.Int32),
        expected_false_alarms_per_day=false_alarms,
        score=1.0 + 9.0 * (-pl.col("p_value").log10() / SCORE_DECADES).clip(0.0, 1.0),
        conviction=_conviction(pl.col("p_value")),
    )


def _conviction(p_value: pl.Expr) -> pl.Expr:
    level = pl.lit("NONE")
    for name, false_alarms in reversed(CONVICTIONS):
        level = pl.when(p_value <= false_alarms / FULL_UNIVERSE).then(pl.lit(name)).otherwise(level)
    return level


def benjamini_hochberg(ascending: np.ndarray) -> np.ndarray:
    """q-values of ascending p-values (Benjamini and Hochberg, JRSS B 57, 1995)."""
    m = len(ascending)
    raw = ascending * m / np.arange(1, m + 1)
    return np.minimum(np.minimum.accumulate(raw[::-1])[::-1], 1.0)


def score_events(
    session: date, lines: pl.DataFrame, sides: pl.DataFrame, trailing: pl.DataFrame, anomalies: pl.DataFrame
) -> pl.DataFrame:
    """SCORED_EVENTS of `session`: underlyings with an anomaly or among the most unusual, ranked among all judged.

    `sides` comes from `weigh`; `anomalies` holds the rows of all algorithms (underlying, right, algorithm).
    """
    table = schemas.table("scored_events")
    ranked = rank_underlyings(sides, trailing)
    algorithms = anomalies.group_by("underlying").agg(pl.col("algorithm").unique().sort().alias("algorithms"))
    events = (
        ranked.join(algorithms, on="underlying", how="left")
        .with_columns(pl.col("algorithms").fill_null([]))
        .filter(
            (pl.col("algorithms").list.len() > 0)
            | (pl.col("p_value") <= LISTED_SHARE)
            | (pl.col("rank") <= LISTED_RANKS)
        )
    )
    if events.is_empty():
        return table.empty()
    contracts = _leading_lines(lines, events)
    events = (
        events.join(contracts, on="underlying", how="left")
        .with_columns(pl.col("contracts", "annotations").fill_null([]))
        .with_columns(annotations=pl.col("annotations").list.concat("known"))
        .sort("rank")
        .with_columns(
            session=pl.lit(session),
            event_id=findings.event_id(pl.col("underlying"), session),
            direction=findings.direction(),
            null_n=pl.col("score_null_n"),
            expected_volume=pl.col("usual_volume"),
            status=pl.lit("provisional"),
            model_id=pl.lit(model_id()),
            event_time=pl.lit(calendar.session_close(session)),
        )
    )
    records = events.to_dicts()
    factors = [_factor_breakdown(record) for record in records]
    explanations = [_explain(record, parts) for record, parts in zip(records, factors, strict=True)]
    events = events.with_columns(
        pl.Series("factors", factors, dtype=pl.List(FACTOR)), pl.Series("explanation", explanations, dtype=pl.String)
    )
    return table.conform(events.select(list(table.schema)))


def _leading_lines(lines: pl.DataFrame, events: pl.DataFrame) -> pl.DataFrame:
    """Per event: the most prominent lines of its side, and what may explain them away."""
    inside = (
        lines.join(events.select("underlying", "right"), on=["underlying", "right"], how="semi")
        .with_columns(prominence=findings.prominence(volume.p_value(), volume.excess()))
        .filter(pl.col("prominence") > 0)
        .sort("underlying", "prominence", "contract_id", descending=[False, True, False])
        .group_by("underlying", maintain_order=True)
        .head(CONTRACTS_SHOWN)
        .with_columns(
            expected=pl.col("volume_expected"),
            p_value=pl.col("volume_p"),
            implied_volatility=pl.col("implied_volatility").cast(pl.Float64),
            premium_usd=pl.col("volume") * pl.col("price") * pl.col("multiplier"),
        )
        .with_columns(notes=findings.notes())
    )
    return inside.group_by("underlying", maintain_order=True).agg(
        pl.struct(list(LINE.to_schema())).alias("contracts"),
        pl.col("premium_usd").sum(),
        pl.col("notes").explode().drop_nulls().unique().sort().alias("annotations"),
    )


def _factor_breakdown(event: Row) -> list[Row]:
    parts = [
        {
            "factor": factor.column,
            "value": event[factor.column],
            "contribution": event[f"{factor.column}_llr"],
            "text": factor.say(event[factor.column]),
        }
        for factor in FACTORS
        if event[factor.column] is not None and event[f"{factor.column}_u"] is not None
    ]
    parts += [
        {
            "factor": f"known: {note}",
            "value": 1.0,
            "contribution": -context.lowering(note),
            "text": f"publicly known: {note}",
        }
        for note in event["known"]
        if context.lowering(note)
    ]
    return sorted(parts, key=lambda part: (-part["contribution"], part["factor"]))


def _explain(event: Row, factors: list[Row]) -> str:
    reasons = (
        "; ".join(part["text"] for part in factors[:3] if part["contribution"] > 0) or "no single factor stands out"
    )
    rate = event["expected_false_alarms_per_day"]
    return (
        f"{event['underlying']} {findings.SIDE[event['right']]}s are statistically unusual ({event['direction']}): "
        f"{reasons}. Among {event['universe']:,} underlyings about {rate:.2g} a day look like this without cause; it "
        f"says nothing about who traded or why."
    )
