"""The score: a sum of capped log-likelihood ratios, one per factor, calibrated as a whole on trailing sessions.

A factor's value becomes u, the share of comparable trailing sides at least as extreme: uniform where nothing happened.
Its log-likelihood ratio is a rising curve of -ln u, capped. The curves of all factors were fitted together, so that
evidence seen by several of them is not counted several times (`flowlake.evaluate.fit`); `model.json` beside this module
holds them with what they were fitted on. The sum is still not read as odds: it gets its own empirical p-value, from
which score, conviction and false-alarm rates follow.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from datetime import date

import numpy as np
import polars as pl

from flowlake import calendar, schemas
from flowlake.detect import context, findings, model, null, volume
from flowlake.detect.findings import Row
from flowlake.schemas.detection import FACTOR, LINE

CAP = model.CAP
"""Largest contribution of one factor, in nats: no single number decides."""

LARGEST_SHOWN = 1e9
"""Odds beyond this say no more."""

FULL_UNIVERSE = 6_000
CONVICTIONS = (("EXTREME", 1.0), ("HIGH", 5.0), ("MEDIUM", 20.0), ("LOW", 60.0))
"""Largest number of false alarms a day over a universe of `FULL_UNIVERSE`; a smaller universe scales them down."""

UNSETTLED_P = 1.01 * CONVICTIONS[-1][1] / FULL_UNIVERSE
"""Smallest p-value while a lake is younger than `SETTLED_SESSIONS`."""

SCORE_DECADES = 5.0
CLASS_SHARE = 0.85
CLASS_QUANTILE = 0.97
CLASS_WEIGHT = 50.0
"""Totals of an activity class are lowered by this share of how far its upper tail (this quantile) stands beyond the
market's; a class counts as its trailing rows against this many. Between 0 (one list over the market, most of it quiet
names, where trades of a given size are seen best) and 1 (every class the same share of alarms): of 0.5, 0.7, 0.85 and 1
the smallest at which no class had twice its share of p <= 0.05 on the undisturbed sessions of the fit."""

LEVEL_QUANTILE = 0.9
LEVEL_NAMES = 20.0
"""Totals of a session are lowered by how far its level (this quantile of its totals, as its names against this many)
stands above that of the trailing sessions: on a day on which much is unusual everywhere, one name's share of it is no
news. Of 0.8, 0.9 and 0.95 any served alike on the sessions of the fit."""

SMALLEST_SHAPE = -0.5
"""A sum of capped parts is bounded, so its tail may be lighter than exponential."""

SETTLED_SESSIONS = 8
"""Trailing sessions with totals before which no p-value reaches LOW: in a lake's first weeks the sides' own habits are
still being learnt, and totals grow as they are (on the recorded sessions twice the alarms promised)."""

LISTED_SHARE = 0.05
LISTED_RANKS = 50
"""Underlyings written down besides those with an anomaly: the most unusual 5 %, and the first 50 whatever p."""
CONTRACTS_SHOWN = 8


@dataclass(frozen=True)
class Factor:
    """One factor: evidence column, how to say it, base of its logarithm.

    `lowers` marks factors that can only speak against: their value is multiplied by a weight at or below 0.
    """

    column: str
    text: str
    base: float | None = None
    lowers: bool = False

    def contribution(self, fitted: model.Model | None = None) -> pl.Expr:
        """Log-likelihood ratio from `{column}_u` (or the value, if it only lowers); 0 where it was not measured."""
        fitted = fitted or model.load()
        if self.lowers:
            return (pl.col(self.column) * fitted.lowering.get(self.column, 0.0)).clip(-CAP, 0.0).fill_null(0.0)
        return fitted.curve(self.column, pl.col(f"{self.column}_u"), pl.col("activity"))

    def say(self, value: float) -> str:
        """`value` in words, logarithms undone."""
        shown = value if self.base is None else min(self.base**value, LARGEST_SHOWN)
        return self.text.format(value=shown)


FACTORS = (
    Factor("volume_surprise", "lines like the leading one trade this much 1 time in {value:,.0f}", 10.0),
    Factor("open_interest_surprise", "positions opened the session before are a 1 in {value:,.0f} case", 10.0),
    Factor("ladder_surprise", "neighbouring lines together are a 1 in {value:,.0f} case", 10.0),
    Factor("series_surprise", "one series is {value:.1f} root deviances above the chain's usual day"),
    Factor("short_otm_share", "{value:.0%} of the excess volume is short-dated and out of the money"),
    Factor("premium_ratio", "excess premium is {value:,.2f} times the chain's usual day", 10.0),
    Factor("volume_oi_ratio", "leading line traded {value:,.2f} times its open interest", 10.0),
    Factor("dominance", "leading line's excess is {value:,.2f} times the chain's usual day", 10.0),
    Factor("concentration", "leading line is {value:.0%} of the chain's volume"),
    Factor("iv_change", "implied volatility of the hit lines moved {value:+.1%} against the chain"),
    Factor("iv_expansion", "near-dated implied volatility is {value:.2f} times the session before's", math.e),
    Factor("call_put_tilt", "side's share of volume is {value:+.0%} against usual"),
    Factor("liquidity_surge", "chain traded {value:,.2f} times its usual volume", 10.0),
    Factor("quietness", "the stock's own move is {value:.1f} (0 is none) in usual daily moves"),
    Factor("region_excess_share", "{value:.0%} of the excess volume is out of the money, 2 to 130 days"),
    Factor("opened_share", "leading line opened {value:.0%} of the session before's volume"),
    Factor("liquidity_surge_own", "chain's volume is {value:+.1f} of its own deviations from its habit"),
    Factor("region_share_own", "share of volume out of the money is {value:+.1f} own deviations from habit"),
    Factor("region_surprise_own", "unusual lines out of the money are {value:+.1f} own deviations from habit"),
    Factor("region_leader_own", "most unusual line out of the money is {value:+.1f} own deviations from habit"),
    Factor("volume_oi_ratio_own", "volume over open interest of the leading line is {value:+.1f} own deviations away"),
    Factor("build_own", "positions built over five sessions are {value:+.1f} own deviations from habit"),
    Factor("leading_build_own", "leading line's openings of five sessions are {value:+.1f} own deviations from habit"),
    Factor("opened_share_own", "share of volume the leading line opened is {value:+.1f} own deviations from habit"),
    Factor("excess_share_own", "leading line's share of the excess is {value:+.1f} own deviations from habit"),
    Factor("call_put_tilt_own", "side's share of volume is {value:+.1f} own deviations from habit"),
    Factor("leading_iv_change_own", "leading line's implied volatility moved {value:+.1f} own deviations"),
    Factor("spread_share", "{value:.0%} of the excess looks like a spread", lowers=True),
    Factor("roll_share", "{value:.0%} of the excess looks like a roll", lowers=True),
    Factor("deep_share", "{value:.0%} of the excess is deep in the money, as dividend trades are", lowers=True),
    Factor("new_listing_share", "{value:.0%} of the excess is in contracts just listed", lowers=True),
    Factor("other_side", "{value:,.0f} unusual lines on the other side of the chain", 10.0, lowers=True),
    Factor("is_put", "puts: known cases bought calls 33 times of 37", lowers=True),
)
"""Every factor of the score. What the fit gave no weight is still measured and shown with a contribution of 0."""


def model_id(fitted: model.Model | None = None) -> str:
    """Version of the score: a hash over every parameter, so that a changed parameter shows on the event."""
    own = {
        "class": [CLASS_SHARE, CLASS_QUANTILE, CLASS_WEIGHT], "level": [LEVEL_QUANTILE, LEVEL_NAMES],
        "convictions": CONVICTIONS, "universe": FULL_UNIVERSE,
    }  # fmt: skip
    return (fitted or model.load()).identity(own)


def contributions(fitted: model.Model | None = None) -> dict[str, pl.Expr]:
    """Each factor's part of the total by its column."""
    return {factor.column: factor.contribution(fitted) for factor in FACTORS}


def weigh(sides: pl.DataFrame, known: pl.DataFrame | None = None) -> pl.DataFrame:
    """`sides` (from `sides.compare`) with `{column}_llr` per factor and `llr_total`, null where no null existed yet.

    `known` (from `context.collected`) lowers the total of an underlying by what is publicly known about it.
    """
    known = context.collected(None) if known is None else known
    sides = sides.join(known, on="underlying", how="left", maintain_order="left").with_columns(
        pl.col("known").fill_null([]), pl.col("context_llr").fill_null(0.0)
    )
    sides = sides.with_columns(is_put=(pl.col("right") == "P").cast(pl.Float64))
    parts = {f"{column}_llr": part for column, part in contributions().items()}
    # Rounded to 1e-6 nats so that the parts shown add up to the total shown, whatever the order of summation.
    weighed = sides.with_columns(**parts).with_columns(pl.col("^.*_llr$").round(6))
    judged = pl.col("volume_surprise_u").is_not_null()
    total = pl.sum_horizontal(*parts, "context_llr").round(6)
    return weighed.with_columns(llr_total=pl.when(judged).then(total))


def rank_underlyings(sides: pl.DataFrame, trailing: pl.DataFrame) -> pl.DataFrame:
    """The stronger side of each judged underlying, ranked, with p_value, q_value, score and conviction.

    `trailing` is TICKER_STATISTICS of earlier sessions: the null is the larger `llr_total` of the two sides of each of
    their underlyings (see `total_p_values`). With fewer than `SETTLED_SESSIONS` of them underlyings are ranked, and
    none is an alarm.
    """
    judged = sides.filter(pl.col("llr_total").is_not_null())
    stronger = judged.sort("underlying", "llr_total", "right", descending=[False, True, False]).unique(
        "underlying", keep="first", maintain_order=True
    )
    totals = trailing.group_by("session", "underlying").agg(pl.col("activity").first(), total=pl.col("llr_total").max())
    totals = totals.drop_nulls("total").sort("session", "underlying")
    today = stronger.select("underlying", "activity", total="llr_total")
    p_value, n = total_p_values(today, totals, today)
    if totals["session"].n_unique() < SETTLED_SESSIONS:
        p_value = np.maximum(p_value, UNSETTLED_P)
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


def total_p_values(
    today: pl.DataFrame, trailing: pl.DataFrame, market: pl.DataFrame | None
) -> tuple[np.ndarray, np.ndarray]:
    """P-values of the totals of `today` among those of `trailing`, and how many those are.

    All frames have underlying, activity, total, `trailing` also session. `market` is all of the session's underlyings,
    which `today` may be a part of: what is common to a session is taken off (`LEVEL_QUANTILE`; with None it stays, in
    trailing sessions too). Each class is lowered by its part: how much of the false alarms it gets is a choice
    (`CLASS_SHARE`), how many there are is not.
    """
    totals, null_totals = today["total"].to_numpy(), trailing["total"].to_numpy()
    if market is not None:
        common, here = _common(trailing, market)
        totals, null_totals = totals - here, null_totals - common
    null_activity, activity = trailing["activity"].to_numpy(), today["activity"].to_numpy()
    lowered = {label: CLASS_SHARE * excess for label, excess in _class_tails(null_totals, null_activity).items()}

    def comparable(values: np.ndarray, classes: np.ndarray) -> np.ndarray:
        return values - np.array([lowered.get(int(label), 0.0) for label in classes])

    one = np.zeros(len(totals), dtype=np.int8), np.zeros(len(null_totals), dtype=np.int8)
    return null.empirical_p_values(
        comparable(totals, activity), one[0], comparable(null_totals, null_activity), one[1], 1, SMALLEST_SHAPE
    )


def _common(trailing: pl.DataFrame, market: pl.DataFrame) -> tuple[np.ndarray, float]:
    """How far the level of each row's session, and that of `market`, stand above the usual level.

    A snapshot may hold a part of the market: it is compared with what is usual for the same names.
    """
    sessions = _levels(trailing)
    common = sessions.select("session", above=_above(sessions["level"].median()))
    rows = trailing.join(common, on="session", maintain_order="left")
    same = _levels(trailing.join(market, on="underlying", how="semi"))["level"].median()
    here = _levels(market.with_columns(session=pl.lit("now"))).select(_above(same).fill_null(0.0))
    return rows["above"].to_numpy(), float(here.to_series().sum())


def _above(usual: object) -> pl.Expr:
    return (pl.col("level") - pl.lit(usual, pl.Float64)) * pl.col("names") / (pl.col("names") + LEVEL_NAMES)


def _levels(totals: pl.DataFrame) -> pl.DataFrame:
    """Per session its level and number of names."""
    return totals.group_by("session").agg(level=pl.col("total").quantile(LEVEL_QUANTILE, "lower"), names=pl.len())


def _class_tails(totals: np.ndarray, activity: np.ndarray) -> dict[int, float]:
    """How far each class's `CLASS_QUANTILE` stands beyond the market's, shrunk to 0 where the class is small."""
    if not len(totals):
        return {}
    market = np.quantile(totals, CLASS_QUANTILE)
    tails = {int(label): totals[activity == label] for label in np.unique(activity)}
    return {
        label: float((np.quantile(own, CLASS_QUANTILE) - market) * len(own) / (len(own) + CLASS_WEIGHT))
        for label, own in tails.items()
    }


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
        if _is_shown(factor, event)
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


def _is_shown(factor: Factor, event: Row) -> bool:
    if factor.lowers:
        return event[f"{factor.column}_llr"] != 0.0
    return event[factor.column] is not None and event[f"{factor.column}_u"] is not None


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
