"""Alarms promised and alarms seen: every conviction level is a number of false alarms a day, and this counts them.

The sessions counted are what was observed, labelled by nobody. Alarms with a cause are among them, so a ratio somewhat
above 1 is no fault; far above it, the null no longer describes the market, and far below it, alarms are held back.
"""

from __future__ import annotations

from datetime import date

import polars as pl

from flowlake import calendar, schemas
from flowlake.detect.scoring import CONVICTIONS, FULL_UNIVERSE
from flowlake.settings import CalibrationSettings

ACTIVITY = ("under 1,000 a day", "1,000 to 10,000 a day", "10,000 to 100,000 a day", "over 100,000 a day")
"""Names of `buckets.ticker_class`: usual option contracts a session of the underlying."""

OVERALL = "all"
HOLDS, UNDECIDED, TOO_MANY, TOO_FEW = "holds", "undecided", "too many", "too few"

QQ_LADDER = (0.0001, 0.0002, 0.0005, 0.001, 0.002, 0.003, 0.005, 0.01, 0.02, 0.03, 0.05)
"""p-values of CALIBRATION_QQ; all underlyings up to the last one are written down as events."""


def poisson_interval(count: int) -> tuple[float, float]:
    """Garwood's exact 95 % interval of a Poisson mean (Biometrika 28, 1936)."""
    from scipy.special import gammaincinv

    low = float(gammaincinv(count, 0.025)) if count else 0.0
    return low, float(gammaincinv(count + 1, 0.975))


def calibration(
    session: date, events: pl.DataFrame, statistics: pl.DataFrame, settings: CalibrationSettings | None = None
) -> pl.DataFrame:
    """CALIBRATION of `session`: per conviction level (with those above it) and activity class, promised and seen.

    `events` is SCORED_EVENTS and `statistics` TICKER_STATISTICS of the counted sessions up to this one, later ones are
    left out. A session counts once its underlyings were ranked. Intervals take alarms as independent; where they come
    in clusters they are too narrow, so the verdict is 'too many' or 'too few' only if the ratio is outside the band of
    `settings` and the interval excludes 1.
    """
    table, settings = schemas.table("calibration"), settings or CalibrationSettings()
    events, judged = _counted(session, events, statistics)
    if not (judged["session"] == session).any():
        return table.empty()
    alarms = events.join(judged, on=["session", "underlying"], how="inner")
    counted = (_with_overall(_tally(judged)), _with_overall(_tally(alarms, "conviction")))
    rows = _levels(session, *counted)
    bounds = [poisson_interval(count) for count in rows["observed"]]
    rows = rows.with_columns(
        low=pl.Series([low for low, _ in bounds], dtype=pl.Float64),
        high=pl.Series([high for _, high in bounds], dtype=pl.Float64),
    ).with_columns(
        pl.when(pl.col("nominal") > 0).then(pl.col(counted) / pl.col("nominal")).alias(name)
        for name, counted in (("ratio", "observed"), ("ratio_low", "low"), ("ratio_high", "high"))
    )
    stamp = _stamp(session, statistics)
    told = rows.with_columns(verdict=_verdict(settings), event_time=pl.lit(calendar.session_close(session)))
    return table.conform(told.join(stamp, how="cross", maintain_order="left").select(table.schema.names()))


def quantiles(session: date, events: pl.DataFrame, statistics: pl.DataFrame) -> pl.DataFrame:
    """CALIBRATION_QQ of `session` over the same sessions as `calibration`: how many p-values were at most each rung."""
    table = schemas.table("calibration_qq")
    events, judged = _counted(session, events, statistics)
    if not (judged["session"] == session).any():
        return table.empty()
    ladder = pl.DataFrame({"p": QQ_LADDER})
    seen = (
        ladder.join(events.select("p_value"), how="cross")
        .group_by("p")
        .agg(observed=(pl.col("p_value") <= pl.col("p")).sum().cast(pl.Int32))
    )
    rows = ladder.join(seen, on="p", how="left").with_columns(
        pl.col("observed").fill_null(0), nominal=pl.col("p") * judged.height
    )
    return table.conform(rows.join(_stamp(session, statistics), how="cross").select(table.schema.names()))


def _counted(session: date, events: pl.DataFrame, statistics: pl.DataFrame) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Events, and the underlyings that were ranked with their activity, of the sessions up to `session` with both."""
    ranked = events.filter(pl.col("session") <= session)
    judged = (
        statistics.filter(pl.col("llr_total").is_not_null())
        .join(ranked.select("session").unique(), on="session", how="semi")
        .unique(["session", "underlying"])
        .select("session", "underlying", pl.col("activity").cast(pl.String))
        .with_columns(pl.col("activity").replace({str(n): name for n, name in enumerate(ACTIVITY)}))
        .sort("session", "underlying")
    )
    return ranked, judged


def _tally(frame: pl.DataFrame, *by: str) -> pl.DataFrame:
    return frame.group_by("session", "activity", *by).agg(n=pl.len().cast(pl.Int64))


def _with_overall(tally: pl.DataFrame) -> pl.DataFrame:
    return pl.concat([tally, tally.with_columns(activity=pl.lit(OVERALL))])


def _levels(session: date, judged: pl.DataFrame, alarms: pl.DataFrame) -> pl.DataFrame:
    """One row per level and activity class: promised and seen, in the session and in all."""
    today = pl.col("session") == session
    base = judged.group_by("activity").agg(
        sessions=pl.col("session").n_unique(), judged=pl.col("n").sum(), judged_session=pl.col("n").filter(today).sum()
    )
    parts: list[pl.DataFrame] = []
    for place, (level, false_alarms) in enumerate(CONVICTIONS):
        at_least = [name for name, _ in CONVICTIONS[: place + 1]]
        seen = alarms.filter(pl.col("conviction").is_in(at_least)).group_by("activity")
        counts = seen.agg(observed=pl.col("n").sum(), observed_session=pl.col("n").filter(today).sum())
        share = false_alarms / FULL_UNIVERSE
        parts.append(
            base.join(counts, on="activity", how="left").with_columns(
                pl.col("observed", "observed_session").fill_null(0),
                level=pl.lit(level),
                nominal=pl.col("judged") * share,
                nominal_session=pl.col("judged_session") * share,
            )
        )
    return pl.concat(parts).sort("level", "activity")


def _verdict(settings: CalibrationSettings) -> pl.Expr:
    return (
        pl.when((pl.col("ratio") > settings.highest_ratio) & (pl.col("ratio_low") > 1))
        .then(pl.lit(TOO_MANY))
        .when((pl.col("ratio") < settings.lowest_ratio) & (pl.col("ratio_high") < 1))
        .then(pl.lit(TOO_FEW))
        .when(pl.col("ratio").is_between(settings.lowest_ratio, settings.highest_ratio))
        .then(pl.lit(HOLDS))
        .otherwise(pl.lit(UNDECIDED))
    )


def _stamp(session: date, statistics: pl.DataFrame) -> pl.DataFrame:
    of_session = statistics.filter(pl.col("session") == session)
    return of_session.select(
        pl.lit(session).alias("session"), pl.col("available_at").max(), pl.col("origin").min()
    ).head(1)
