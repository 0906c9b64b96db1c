"""Detection within a session: what traded so far, against what is usual by this time of day.

The machinery is that of a whole session (`flowlake.detect.pipeline`). Before a snapshot is judged, what was usual is
cut down to the share of a day that is usually traded by then, and the null is what snapshots of the same time recorded
on earlier sessions. A lake that has too few of those yet is judged by whole days: a line then has to exceed a whole
day's usual volume, and what a part of a day makes look extreme (who trades first has the whole chain) does not count.

Open interest is booked overnight, so it says nothing new during a session; its algorithm belongs to the day's record.
An event keeps the id of its underlying and session all day, which is also that of the end-of-day event: what an alert
said at 10:30 is updated, not repeated.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime

import numpy as np
import polars as pl

from flowlake import calendar, schemas
from flowlake.detect import buckets, expectation, open_interest
from flowlake.detect.pipeline import Detection, detect_lines
from flowlake.settings import IntradayDetectionSettings

DAY_MINUTES = 390
"""Minutes of a regular session; early closes are stretched to it."""

BURST_MINUTES = 39.0
OPENING_BURST, CLOSING_BURST = 2.5, 1.0
"""The assumed day: an even flow, to which the open adds 2.5 times and the close once its rate, decaying over 39
minutes. Set by hand beside one real day (seven underlyings, 2020-12-17); measured profiles replace it."""

SMALLEST_SHARE = 0.01
"""Nothing is expected of the first seconds, but dividing by nothing explains nothing."""

WHOLE_DAY_FACTOR = 1.0
"""Against whole days the rest of the chain may raise what is expected, never lower it: at 10:00 no chain is asleep."""

UNMEASURED_BY_DAYS = ("concentration", "call_put_tilt", "quietness", "region_share", "excess_share")
"""Evidence that is more extreme the less of the day has passed."""

WHOLE_DAY_NOTE = "compared with whole days"

_STAGED = ("calibration_bins", "ticker_statistics")
_SHOWN = ("anomalies_volume", "anomalies_multi_strike", "anomalies_low_volume", "scored_events")

_PROFILE = pl.Schema(
    {"activity": pl.Int8, "minute": pl.Int16, "share": pl.Float64, "sessions": pl.Int16, "source": pl.String}
)


@dataclass(frozen=True)
class History:
    """What earlier sessions recorded: histograms of contract statistics, and the evidence of every side.

    Of the same time of day: INTRADAY_CALIBRATION_BINS and INTRADAY_TICKER_STATISTICS of the snapshots at that time. Of
    whole days: CALIBRATION_BINS and TICKER_STATISTICS. Empty frames where there is nothing yet.
    """

    bins: pl.DataFrame
    statistics: pl.DataFrame

    @property
    def ranked_sessions(self) -> int:
        """Sessions whose sides have a total to be ranked among."""
        return self.statistics.filter(pl.col("llr_total").is_not_null())["session"].n_unique()


@dataclass(frozen=True)
class SnapshotDetection:
    """What the detection of one snapshot writes, table by table."""

    intraday_calibration_bins: pl.DataFrame
    intraday_ticker_statistics: pl.DataFrame
    intraday_anomalies_volume: pl.DataFrame
    intraday_anomalies_multi_strike: pl.DataFrame
    intraday_anomalies_low_volume: pl.DataFrame
    intraday_scored_events: pl.DataFrame

    def tables(self) -> dict[str, pl.DataFrame]:
        """Frames by the name of the lake table they belong to."""
        return dict(vars(self))


def detect_snapshot(
    snapshot: datetime,
    chains: pl.DataFrame,
    contract_baselines: pl.DataFrame,
    ticker_baselines: pl.DataFrame,
    profile: pl.DataFrame,
    same_time: History,
    whole_days: History,
    settings: IntradayDetectionSettings | None = None,
    *,
    known: pl.DataFrame | None = None,
) -> SnapshotDetection:
    """Run the volume algorithms and the score on the trading of a session up to `snapshot` (an aware datetime).

    `chains` is INTRADAY_CHAINS of the snapshot: volumes so far. `contract_baselines` and `ticker_baselines` are those
    of the session, for which the functions of `flowlake.detect.baselines` need only a chain that names the contracts:
    the first snapshot's, once a day; contracts listed later are judged among new listings. `profile` comes from
    `volume_profile`. `same_time` is the history of this time of day, `whole_days` that of closes; both strictly before
    the session (`FutureData`), over `pipeline.CALIBRATION_SESSIONS` sessions. The rows of the two null tables are
    always those of the same-time comparison, so that they can be the null of later sessions; events come from it once
    `settings.same_time_sessions` earlier sessions were ranked at this time, and from whole days until then. `known` as
    for `detect_session`.
    """
    settings = settings or IntradayDetectionSettings()
    session = calendar.require_session(snapshot.astimezone(calendar.NEW_YORK).date())
    lines = _volume_lines(chains, contract_baselines, ticker_baselines)
    by_now = rescaled(lines, expected_share(profile, snapshot))
    found = detect_lines(session, by_now, chains, same_time.bins, same_time.statistics, known=known)
    ranked = same_time.ranked_sessions
    shown = found if ranked >= settings.same_time_sessions else _against_days(session, lines, chains, whole_days, known)
    compared = (
        f" It is compared with the same time on {ranked} earlier sessions."
        if shown is found
        else " It is compared with whole days, which understates it, until "
        f"{settings.same_time_sessions} earlier sessions have a snapshot at this time ({ranked} have)."
    )
    told = f" Counted up to {snapshot.astimezone(calendar.NEW_YORK):%H:%M} New York.{compared}"
    notes = [] if shown is found else [WHOLE_DAY_NOTE]
    staged = {name: _intraday(getattr(found, name), name, snapshot) for name in _STAGED}
    results = {name: _intraday(_told(getattr(shown, name), told, notes), name, snapshot) for name in _SHOWN}
    return SnapshotDetection(**{f"intraday_{name}": frame for name, frame in (staged | results).items()})


def _volume_lines(chains: pl.DataFrame, contracts: pl.DataFrame, tickers: pl.DataFrame) -> pl.DataFrame:
    """The testable contracts without what they opened the day before, which was judged when the day began."""
    lines = expectation.lines(chains, contracts, tickers)
    return lines.with_columns(opened=pl.lit(None, dtype=lines.schema["opened"]))


def _against_days(
    session: date, lines: pl.DataFrame, chains: pl.DataFrame, days: History, known: pl.DataFrame | None
) -> Detection:
    return detect_lines(
        session,
        lines,
        chains,
        days.bins,
        days.statistics,
        smallest_factor=WHOLE_DAY_FACTOR,
        unmeasured=(*UNMEASURED_BY_DAYS, open_interest.STATISTIC),
        known=known,
    )


def _told(frame: pl.DataFrame, sentence: str, notes: list[str]) -> pl.DataFrame:
    told = frame.with_columns(explanation=pl.col("explanation") + sentence)
    return told.with_columns(annotations=pl.concat_list("annotations", pl.lit(notes, dtype=pl.List(pl.String))))


def _intraday(frame: pl.DataFrame, name: str, snapshot: datetime) -> pl.DataFrame:
    """`frame` of an end-of-day table as rows of its intraday counterpart."""
    table = schemas.table(f"intraday_{name}")
    moment = pl.lit(snapshot).cast(schemas.UTC_TIME)
    stamped = frame.with_columns(snapshot=moment)
    if "event_time" in frame.columns:
        stamped = stamped.with_columns(event_time=moment)
    return table.conform(stamped.select(table.schema.names()))


def rescaled(lines: pl.DataFrame, shares: pl.DataFrame) -> pl.DataFrame:
    """`lines` with every usual daily amount cut down to the part of a day in `shares` (activity, share).

    Counts that vary with a common random rate keep their dispersion in a part of the day, so the variance in excess of
    the mean shrinks with the square of the share. `ticker_day_mean` stays that of a day.
    """
    share = pl.col("share")
    mean = pl.col("volume_mean_20")
    excess = (pl.col("volume_std_20") ** 2 - mean).clip(0.0)
    cut = lines.with_columns(activity=buckets.ticker_class(pl.col("ticker_day_mean"))).join(
        shares.select("activity", "share"), on="activity", how="left", maintain_order="left"
    )
    usual = ("profile_volume_mean", "ticker_volume_mean", "ticker_call_mean", "ticker_put_mean", "ticker_premium_mean")
    return cut.with_columns(
        mean * share, *(pl.col(name) * share for name in usual), volume_std_20=(mean * share + excess * share**2).sqrt()
    ).drop("activity", "share")


# --- how a day's volume arrives ---------------------------------------------------------------------------------------


def assumed_share(minute: np.ndarray) -> np.ndarray:
    """Share of a day's volume traded by `minute` of a regular session (0 to 390): even, with bursts at both ends."""
    x, width = np.clip(minute, 0, DAY_MINUTES) / DAY_MINUTES, BURST_MINUTES / DAY_MINUTES
    opening = OPENING_BURST * width * (1.0 - np.exp(-x / width))
    closing = CLOSING_BURST * width * (np.exp(-(1.0 - x) / width) - np.exp(-1.0 / width))
    whole = 1.0 + (OPENING_BURST + CLOSING_BURST) * width * (1.0 - np.exp(-1.0 / width))
    return (x + opening + closing) / whole


def volume_profile(
    snapshots: pl.DataFrame, days: pl.DataFrame, settings: IntradayDetectionSettings | None = None
) -> pl.DataFrame:
    """Expected share of a day's option volume by minute of a session: activity, minute, share, sessions, source.

    `snapshots` is INTRADAY_TICKER_STATISTICS and `days` TICKER_STATISTICS of trailing sessions (session, underlying,
    activity, chain_volume; the former with `snapshot`), both kept long after their chains. Per activity class the share
    at each time is the median over sessions of volume so far over volume of the day, of the underlyings that have both;
    classes measured on fewer than `settings.profile_sessions` sessions get `assumed_share`. `source` is 'measured' or
    'assumed'. Shares never fall, and end at 1.
    """
    needed = (settings or IntradayDetectionSettings()).profile_sessions
    measured = _measured(snapshots, days).filter(pl.col("sessions") >= needed)
    known = measured["activity"].unique().to_list()
    minutes = np.arange(0, DAY_MINUTES + 1, 5)
    assumed = [
        pl.DataFrame({"minute": minutes, "share": assumed_share(minutes)}).select(
            "minute",
            "share",
            activity=pl.lit(activity),
            sessions=pl.lit(0),
            source=pl.lit("assumed"),
        )
        for activity in range(buckets.TICKER_CLASSES)
        if activity not in known
    ]
    ends = [
        pl.DataFrame(
            {"minute": [0, DAY_MINUTES], "share": [0.0, 1.0], "activity": activity, "sessions": 0, "source": "measured"}
        )
        for activity in known
    ]
    measured = measured.with_columns(source=pl.lit("measured"))
    parts = [frame.select(pl.col(name).cast(dtype) for name, dtype in _PROFILE.items()) for frame in (*assumed, *ends)]
    middle = measured.filter(pl.col("minute").is_between(1, DAY_MINUTES - 1))
    parts.append(middle.select(pl.col(name).cast(dtype) for name, dtype in _PROFILE.items()))
    ordered = pl.concat(parts).sort("activity", "minute")
    return ordered.with_columns(pl.col("share").clip(0.0, 1.0).cum_max().over("activity"))


def _measured(snapshots: pl.DataFrame, days: pl.DataFrame) -> pl.DataFrame:
    """Median share of the day by activity class and minute, with the sessions behind it; early closes left out."""
    key = ["session", "underlying"]
    so_far = snapshots.unique([*key, "snapshot"]).filter(~pl.col("session").is_in(sorted(calendar.early_closes())))
    opened = so_far.select("session").unique()
    opened = opened.with_columns(
        opened_at=pl.Series(list(map(calendar.session_open, opened["session"])), dtype=schemas.UTC_TIME)
    )
    whole = days.unique(key).select(*key, day_volume="chain_volume")
    return (
        so_far.join(whole, on=key, how="inner")
        .join(opened, on="session", how="left")
        .with_columns(minute=(pl.col("snapshot") - pl.col("opened_at")).dt.total_minutes())
        .group_by("activity", "session", "minute")
        .agg(pl.col("chain_volume", "day_volume").sum())
        .filter(pl.col("day_volume") > 0)
        .group_by("activity", "minute")
        .agg(
            share=(pl.col("chain_volume") / pl.col("day_volume")).median(),
            sessions=pl.col("session").n_unique(),
        )
    )


def expected_share(profile: pl.DataFrame, snapshot: datetime) -> pl.DataFrame:
    """Share of a day's volume usually traded by `snapshot`, per activity class: activity, share.

    Between two minutes of `profile` it is interpolated; an early close is stretched to a regular session.
    """
    session = calendar.require_session(snapshot.astimezone(calendar.NEW_YORK).date())
    opened, closed = calendar.session_open(session), calendar.session_close(session)
    minute = DAY_MINUTES * (snapshot - opened) / (closed - opened)
    classes = profile["activity"].unique().sort()
    shares: list[float] = []
    for activity in classes:
        curve = profile.filter(pl.col("activity") == activity).sort("minute")
        shares.append(float(np.interp(minute, curve["minute"].to_numpy(), curve["share"].to_numpy())))
    return pl.DataFrame(
        {"activity": classes, "share": shares}, schema={"activity": pl.Int8, "share": pl.Float64}
    ).with_columns(pl.col("share").clip(SMALLEST_SHARE, 1.0))
