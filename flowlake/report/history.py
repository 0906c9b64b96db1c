"""The history page: events over time, names that recur, what followed, and whether the alarms keep their promise."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import polars as pl
from markupsafe import Markup

from flowlake.detect.scoring import CONVICTIONS
from flowlake.report import charts
from flowlake.report.html import About, counted, number, render

SCORE_BINS = (1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 8.0, 10.01)
"""Lower edges of the score bins of the outcomes, and the upper edge of the last."""

SMALLEST_BIN = 5
"""Events below which a bin shows its count and no interval."""

RECURRING = 25
"""Names of the table of recurring ones."""

_LARGEST_RATIO = 5.0
_Z95 = 1.959964


@dataclass(frozen=True)
class HistoryPage:
    """Everything the page shows.

    `events` holds session, event_id, underlying, score, conviction, direction, universe and origin of `scored_events`;
    `outcomes`, `statuses` and `rules` are rows of `event_outcomes`, `event_status` and `rule_alarms`; `calibration` is
    its newest session.
    """

    events: pl.DataFrame
    outcomes: pl.DataFrame
    statuses: pl.DataFrame
    calibration: pl.DataFrame
    rules: pl.DataFrame

    @property
    def origin(self) -> str:
        """Where the newest events came from."""
        return (
            self.events.row(self.events["session"].arg_max(), named=True)["origin"] if self.events.height else "unknown"
        )


def render_history(page: HistoryPage) -> str:
    """The history page as one self-contained HTML document."""
    sessions = page.events["session"].unique().sort().to_list()
    named = page.events.filter(pl.col("conviction") != "NONE")
    about = About(
        kind="history",
        title="History and patterns",
        origin=page.origin,
        session=str(sessions[-1]) if sessions else "",
        names=(),
        summary=f"{counted(named.height, 'event')}, names that recur, outcomes, calibration",
    )
    scored = outcome_bins(page.events, page.outcomes)
    horizons = sorted(scored["horizon_sessions"].unique().to_list())
    context = {
        "sessions": sessions,
        "total": named.height,
        "picture": events_picture(page.events),
        "recurring": recurring(page.events, page.statuses).to_dicts(),
        "bins": scored.to_dicts(),
        "outcome_pictures": [(horizon, _outcome_picture(scored, horizon)) for horizon in horizons],
        "calibration": _all_activity(page.calibration).sort(_by_conviction("level")).to_dicts(),
        "calibration_picture": calibration_picture(page.calibration),
        "rules": rule_means(page.rules).to_dicts(),
        "statuses": _status_counts(page.statuses),
        "levels": [level for level, _ in CONVICTIONS],
    }
    return render("history.html.j2", about, context)


def events_picture(events: pl.DataFrame) -> Markup:
    """Events of each session stacked by conviction."""
    days = events["session"].unique().sort().to_list()
    counts = {(day, level): n for day, level, n in events.group_by("session", "conviction").len().iter_rows()}
    series = [
        charts.Series(level, [counts.get((day, level), 0) for day in days], level, "bars")
        for level, _ in reversed(CONVICTIONS)
    ]
    panel = charts.Panel("Events a session", series, lambda value: number(value, 0), from_zero=True)
    named = events.filter(pl.col("conviction") != "NONE").height
    return charts.time_panels(
        days, [panel] if named else [], "Events over time by conviction", f"{named} events in {len(days)} sessions"
    )


def recurring(events: pl.DataFrame, statuses: pl.DataFrame) -> pl.DataFrame:
    """Names by how often they reached a level: events, sessions between, highest score, last session, confirmed."""
    confirmed = statuses.filter(pl.col("status") == "confirmed").select("event_id", confirmed=pl.lit(1))
    return (
        events.filter(pl.col("conviction") != "NONE")
        .join(confirmed, on="event_id", how="left")
        .group_by("underlying")
        .agg(
            count=pl.len(),
            best=pl.col("score").max(),
            bullish=(pl.col("direction") == "bullish").sum(),
            bearish=(pl.col("direction") == "bearish").sum(),
            confirmed=pl.col("confirmed").sum(),
            first=pl.col("session").min(),
            last=pl.col("session").max(),
        )
        .sort("count", "best", "underlying", descending=[True, True, False])
        .head(RECURRING)
    )


def outcome_bins(events: pl.DataFrame, outcomes: pl.DataFrame) -> pl.DataFrame:
    """What followed, by horizon and score bin: events, mean signed return in deviations and the share that moved with
    the event, each with a 95 % interval (normal for the mean, Wilson for the share), null below `SMALLEST_BIN`."""
    known = outcomes.filter(pl.col("z").is_not_null()).join(events.select("event_id", "score"), on="event_id")
    edge = pl.lit(None, pl.Float64)
    for low in SCORE_BINS[:-1]:
        edge = pl.when(pl.col("score") >= low).then(pl.lit(low)).otherwise(edge)
    n, p = pl.col("n"), pl.col("hit")
    middle = (p + _Z95**2 / (2 * n)) / (1 + _Z95**2 / n)
    reach = _Z95 / (1 + _Z95**2 / n) * (p * (1 - p) / n + _Z95**2 / (4 * n**2)).sqrt()
    enough = n >= SMALLEST_BIN
    half = _Z95 * pl.col("sd") / n.sqrt()
    return (
        known.with_columns(low_edge=edge)
        .group_by("horizon_sessions", "low_edge")
        .agg(
            n=pl.len().cast(pl.Int64),
            mean=pl.col("z").mean(),
            sd=pl.col("z").std(),
            hit=(pl.col("signed_return") > 0).mean(),
            mean_return=pl.col("signed_return").mean(),
        )
        .with_columns(
            mean_low=pl.when(enough).then(pl.col("mean") - half),
            mean_high=pl.when(enough).then(pl.col("mean") + half),
            hit_low=pl.when(enough).then(middle - reach),
            hit_high=pl.when(enough).then(middle + reach),
            label=pl.col("low_edge").map_elements(_bin_name, return_dtype=pl.String),
        )
        .sort("horizon_sessions", "low_edge")
    )


def _bin_name(low: float) -> str:
    high = SCORE_BINS[SCORE_BINS.index(low) + 1]
    return f"score {low:g} to {math.floor(high):g}"


def _outcome_picture(bins: pl.DataFrame, horizon: int) -> Markup:
    rows = [
        charts.Interval(row["label"], row["mean"], row["mean_low"], row["mean_high"], None, f"{row['n']:,} events")
        for row in bins.filter(pl.col("horizon_sessions") == horizon).iter_rows(named=True)
        if row["n"] >= SMALLEST_BIN
    ]
    plural = "s" if horizon != 1 else ""
    title = f"Signed move after {horizon} session{plural} by score, in trailing deviations"
    return charts.interval_chart(rows, title, lambda value: f"{value:+.2f}", zero=0.0)


def calibration_picture(calibration: pl.DataFrame) -> Markup:
    """Observed over promised alarms by level, with the exact interval; the tick is the promise (1)."""
    found = {row["level"]: row for row in _all_activity(calibration).to_dicts()}
    rows = [
        charts.Interval(
            f"{level} or above",
            row["ratio"],
            row["ratio_low"],
            row["ratio_high"],
            1.0,
            f"{row['observed']} seen, {row['nominal']:.1f} promised",
        )
        for level, _ in CONVICTIONS
        if (row := found.get(level)) and row["ratio"] is not None
    ]
    title = "Alarms seen over alarms promised, by conviction"
    return charts.interval_chart(rows, title, lambda value: f"{value:.1f}×", zero=0.0, top=_LARGEST_RATIO)


def rule_means(rules: pl.DataFrame) -> pl.DataFrame:
    """Mean number of underlyings a session that each plain rule, and each conviction level, would have told about."""
    return (
        rules.sort("session")
        .group_by("kind", "rule", maintain_order=True)
        .agg(
            pl.col("description").last(),
            sessions=pl.len(),
            alarms=pl.col("underlyings").mean(),
            universe=pl.col("universe").mean(),
        )
        .sort(pl.col("kind") == "conviction", _by_conviction("rule"), -pl.col("alarms"), "rule")
    )


def _by_conviction(column: str) -> pl.Expr:
    """Sorts the most convinced first; what is no conviction level comes last."""
    return pl.col(column).replace_strict({level: at for at, (level, _) in enumerate(CONVICTIONS)}, default=99)


def _all_activity(calibration: pl.DataFrame) -> pl.DataFrame:
    return calibration.filter(pl.col("activity") == "all")


def _status_counts(statuses: pl.DataFrame) -> list[dict[str, Any]]:
    """How many events of each conviction were confirmed, withdrawn or left unclear by the next morning's OI."""
    if statuses.is_empty():
        return []
    counts = {(level, status): n for level, status, n in statuses.group_by("conviction", "status").len().iter_rows()}
    return [
        {"level": level} | {status: counts.get((level, status), 0) for status in ("confirmed", "withdrawn", "unclear")}
        for level, _ in CONVICTIONS
    ]
