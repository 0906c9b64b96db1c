"""Day-over-day flags: a contract's volume against the session before, at the same point of the day.

The rules and their defaults are those of the index monitor flowlake succeeds (`MonitorSettings`). They are plain
thresholds, not calibrated tests: they show what changed, and never enter a score.

Two cadences share the rules. At the close a session is compared with the whole session before. During the day a poll is
compared with the poll of the session before that is nearest in time of day: 10:30 with 10:30.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date, datetime, timedelta

import polars as pl

from flowlake import calendar, schemas
from flowlake.detect.buckets import DTE_CLASSES, delta_class, dte_class
from flowlake.settings import MonitorSettings

HISTORY_COLUMNS = ("underlying", "dte", "delta", "volume")
"""Columns of OPTION_CHAINS that `volume_bins` reads."""

_BINS_PER_OCTAVE = 8


@dataclass(frozen=True)
class Poll:
    """What one poll gave: INTRADAY_DAY_OVER_DAY, MONITOR_POLLS and MONITOR_VOLUME_BINS."""

    flags: pl.DataFrame
    polls: pl.DataFrame
    bins: pl.DataFrame


def day_over_day(
    session: date,
    chains: pl.DataFrame,
    contract_baselines: pl.DataFrame,
    settings: MonitorSettings,
    trailing_bins: pl.DataFrame | None = None,
) -> pl.DataFrame:
    """ANOMALIES_DAY_OVER_DAY of `session`: flagged contracts of `settings.underlyings`.

    `chains` is OPTION_CHAINS of the session, `contract_baselines` its CONTRACT_BASELINES, `trailing_bins` the
    `volume_bins` of earlier sessions (none: no percentile). Only contracts `settings.min_dte` to `settings.max_dte`
    days from expiration that exceed both floors are looked at. 'delta': volume rose by more than `settings.delta`;
    'multiplier': to more than `settings.multiplier` times; 'dormancy': from nothing to more than `settings.dormancy`;
    'oi_surge': open interest rose by more than `settings.oi_surge` contracts and `settings.oi_surge_share` of itself;
    'max_breach': volume exceeds every day of the trailing 20 sessions. A contract that was not listed the session
    before has nothing to be compared with and is left out, and so is every contract on the first session.
    """
    table = schemas.table("anomalies_day_over_day")
    if not settings.enabled:
        return table.empty()
    before = contract_baselines.select("contract_id", "previous_volume").drop_nulls()
    compared = _watched(chains, settings).join(before, on="contract_id", how="inner")
    flagged = _flagged(compared, contract_baselines, trailing_bins, settings).with_columns(
        explanation=_explanation("", "the session before"),
        event_time=pl.lit(calendar.session_close(session)),
        session=pl.lit(session),
    )
    return table.conform(flagged.select(table.schema.names()))


def intraday_flags(
    snapshot: datetime,
    chains: pl.DataFrame,
    earlier: tuple[datetime, pl.DataFrame] | None,
    contract_baselines: pl.DataFrame,
    settings: MonitorSettings,
    trailing_bins: pl.DataFrame | None = None,
    *,
    first_day: bool = False,
) -> Poll:
    """What the poll at `snapshot` (aware) shows: flags, what was compared, and the volumes later polls compare with.

    `chains` is INTRADAY_CHAINS of the poll and `earlier` the poll of the session before that `aligned_poll` chose with
    its INTRADAY_CHAINS, or None: then nothing is flagged and MONITOR_POLLS says why (`first_day`: the session before
    has no poll at all). `contract_baselines` are those of the session before the open or of this session; of them
    only open interest and maxima are used. The rules are those of `day_over_day`; the same poll gives the same bytes.
    """
    watched = _watched(chains, settings) if settings.enabled else chains.clear()
    compared_with, compared = None, watched.clear().with_columns(previous_volume=pl.lit(0, pl.Int32))
    if earlier is not None:
        compared_with, before = earlier[0], earlier[1].select("contract_id", previous_volume="volume")
        compared = watched.join(before, on="contract_id", how="inner")
    flagged = _flagged(compared, contract_baselines, trailing_bins, settings)
    status = "compared" if earlier is not None else "first_day" if first_day else "no_aligned_poll"
    session = snapshot.astimezone(calendar.NEW_YORK).date()
    moment = {"session": pl.lit(session), "snapshot": pl.lit(snapshot).cast(schemas.UTC_TIME)}
    return Poll(
        _intraday_table(flagged, snapshot, compared_with, moment),
        _polls(watched, compared, flagged, status, compared_with, moment),
        _bins_table(watched, moment),
    )


def aligned_poll(snapshot: datetime, polls: Iterable[datetime], within_minutes: int) -> datetime | None:
    """The poll nearest to `snapshot` in New York time of day, at most `within_minutes` away; None if there is none.

    Of two equally near the later one, which has the more volume and so raises the fewer flags.
    """

    def distance(poll: datetime) -> timedelta:
        return abs(_time_of_day(poll) - _time_of_day(snapshot))

    near = [poll for poll in polls if distance(poll) <= timedelta(minutes=within_minutes)]
    return min(near, key=lambda poll: (distance(poll), -_time_of_day(poll)), default=None)


def volume_bins(chains: pl.LazyFrame | pl.DataFrame, settings: MonitorSettings) -> pl.DataFrame:
    """Histogram of the watched contracts' volumes: underlying, bucket, bin, contracts (MONITOR_VOLUME_BINS).

    A bucket is |delta| x days to expiration: strikes drift, so a strike is no fixed place in the chain.
    """
    return (
        _window(chains.lazy(), settings)
        .group_by("underlying", _bucket().alias("bucket"), _bin().alias("bin"))
        .agg(contracts=pl.len().cast(pl.Int32))
        .sort("underlying", "bucket", "bin")
        .collect()
    )


def _time_of_day(moment: datetime) -> timedelta:
    local = moment.astimezone(calendar.NEW_YORK)
    return timedelta(hours=local.hour, minutes=local.minute, seconds=local.second)


def _window(chains: pl.LazyFrame, settings: MonitorSettings) -> pl.LazyFrame:
    rows = chains.filter(pl.col("dte").is_between(settings.min_dte, settings.max_dte))
    if settings.underlyings.strip().lower() == "all":
        return rows
    return rows.filter(pl.col("underlying").is_in(settings.watched()))


def _watched(chains: pl.DataFrame, settings: MonitorSettings) -> pl.DataFrame:
    return _window(chains.lazy(), settings).collect()


def _bucket() -> pl.Expr:
    return (delta_class(pl.col("delta")) * DTE_CLASSES + dte_class(pl.col("dte"))).cast(pl.Int16)


def _bin() -> pl.Expr:
    return (pl.col("volume").cast(pl.Float64).log1p() * (_BINS_PER_OCTAVE / pl.lit(2.0).log())).floor().cast(pl.Int16)


def _rise(now: pl.Expr, before: pl.Expr) -> pl.Expr:
    """(now - before) / (now + before), not below 0: 0 unchanged, 2/3 at five times, 1 from nothing."""
    total = (now + before).cast(pl.Float64)
    return pl.when(total > 0).then(((now - before) / total).clip(lower_bound=0.0)).when(total == 0).then(pl.lit(0.0))


def _flagged(
    compared: pl.DataFrame,
    contract_baselines: pl.DataFrame,
    trailing_bins: pl.DataFrame | None,
    settings: MonitorSettings,
) -> pl.DataFrame:
    """Contracts that broke a rule, with everything the tables say of them but the sentence."""
    normal = contract_baselines.select("contract_id", "previous_open_interest", volume_max="volume_max_20")
    rows = (
        _with_percentile(compared, trailing_bins, settings)
        .join(normal, on="contract_id", how="left")
        .with_columns(
            premium_usd=pl.col("volume") * pl.col("price") * pl.col("multiplier"),
            volume_change=pl.col("volume") - pl.col("previous_volume"),
            multiple=pl.when(pl.col("previous_volume") > 0).then(pl.col("volume") / pl.col("previous_volume")),
            open_interest_change=pl.col("open_interest") - pl.col("previous_open_interest"),
        )
        .filter(pl.col("volume") > settings.volume_floor, pl.col("premium_usd") > settings.premium_floor)
    )
    named = [pl.when(rule).then(pl.lit(name)) for name, rule in _rules(settings).items()]
    return (
        rows.with_columns(flags=pl.concat_list(named).list.drop_nulls(), composite=_composite(settings))
        .filter(pl.col("flags").list.len() > 0)
        .sort("contract_id")
    )


def _rules(settings: MonitorSettings) -> dict[str, pl.Expr]:
    change = pl.col("open_interest_change")
    return {
        "delta": pl.col("volume_change") > settings.delta,
        "multiplier": (pl.col("multiple") > settings.multiplier).fill_null(False),
        "dormancy": (pl.col("previous_volume") == 0) & (pl.col("volume") > settings.dormancy),
        "oi_surge": (
            (change > settings.oi_surge) & (change > settings.oi_surge_share * pl.col("previous_open_interest"))
        ).fill_null(False),
        "max_breach": ((pl.col("volume") > pl.col("volume_max")) & settings.max_breach).fill_null(False),
    }


def _composite(settings: MonitorSettings) -> pl.Expr:
    """Weighted mean of the known parts, each 0 to 1, times 100; what is unknown (too little history) has no say."""
    parts = [
        (settings.weight_percentile, pl.col("percentile")),
        (settings.weight_volume, _rise(pl.col("volume"), pl.col("previous_volume"))),
        (settings.weight_open_interest, _rise(pl.col("open_interest"), pl.col("previous_open_interest"))),
        (settings.weight_breach, _rise(pl.col("volume"), pl.col("volume_max"))),
    ]
    total = pl.sum_horizontal(*(weight * part for weight, part in parts))
    known = pl.sum_horizontal(*(pl.when(part.is_not_null()).then(pl.lit(weight)) for weight, part in parts))
    return pl.when(known > 0).then(100.0 * total / known).otherwise(pl.lit(0.0))


def _with_percentile(
    compared: pl.DataFrame, trailing_bins: pl.DataFrame | None, settings: MonitorSettings
) -> pl.DataFrame:
    """`compared` with the share of its bucket's trailing observations that traded less (ties count half)."""
    placed = compared.with_columns(bucket=_bucket(), bin=_bin())
    if trailing_bins is None or trailing_bins.is_empty():
        return placed.with_columns(percentile=pl.lit(None, pl.Float64), percentile_n=pl.lit(0, pl.Int32))
    keys = ["underlying", "bucket"]
    histogram = trailing_bins.group_by(*keys, "bin").agg(pl.col("contracts").cast(pl.Int64).sum())
    # Bins seen today but never before have no observations of their own, but a place among those that have.
    place = (
        pl.concat([histogram, placed.select(*keys, "bin", contracts=pl.lit(0, pl.Int64)).unique()])
        .group_by(*keys, "bin")
        .agg(pl.col("contracts").sum())
        .sort(*keys, "bin")
        .with_columns(up_to=pl.col("contracts").cum_sum().over(keys), total=pl.col("contracts").sum().over(keys))
        .select(*keys, "bin", "total", less=pl.col("up_to") - 0.5 * pl.col("contracts"))
    )
    enough = pl.col("total") >= settings.percentile_minimum
    return placed.join(place, on=[*keys, "bin"], how="left", maintain_order="left").with_columns(
        percentile=pl.when(enough).then(pl.col("less") / pl.col("total")),
        percentile_n=pl.col("total").fill_null(0).cast(pl.Int32),
    )


def _intraday_table(
    flagged: pl.DataFrame, snapshot: datetime, compared_with: datetime | None, moment: dict[str, pl.Expr]
) -> pl.DataFrame:
    table = schemas.table("intraday_day_over_day")
    if compared_with is None:
        return table.empty()
    so_far = f" by {snapshot.astimezone(calendar.NEW_YORK):%H:%M}"
    earlier = f"{compared_with.astimezone(calendar.NEW_YORK):%H:%M} of the session before"
    rows = flagged.with_columns(
        **moment,
        compared_with=pl.lit(compared_with).cast(schemas.UTC_TIME),
        explanation=_explanation(so_far, earlier),
    )
    return table.conform(rows.select(table.schema.names()))


def _polls(
    watched: pl.DataFrame,
    compared: pl.DataFrame,
    flagged: pl.DataFrame,
    status: str,
    compared_with: datetime | None,
    moment: dict[str, pl.Expr],
) -> pl.DataFrame:
    table = schemas.table("monitor_polls")

    def counted(rows: pl.DataFrame, name: str) -> pl.DataFrame:
        return rows.group_by("underlying").agg(pl.len().cast(pl.Int32).alias(name))

    polls = (
        watched.group_by("underlying")
        .agg(
            watched=pl.len().cast(pl.Int32),
            volume=pl.col("volume").cast(pl.Int64).sum(),
            available_at=pl.col("available_at").max(),
            origin=pl.col("origin").first(),
        )
        .join(counted(compared, "compared"), on="underlying", how="left")
        .join(counted(flagged, "flagged"), on="underlying", how="left")
        .with_columns(pl.col("compared", "flagged").fill_null(0))
        .with_columns(
            **moment,
            status=pl.lit(status),
            compared_with=pl.lit(compared_with).cast(schemas.UTC_TIME),
            explanation=_poll_explanation(status, compared_with),
        )
    )
    return table.conform(polls.select(table.schema.names()))


def _poll_explanation(status: str, compared_with: datetime | None) -> pl.Expr:
    if compared_with is not None:
        local = compared_with.astimezone(calendar.NEW_YORK)
        return pl.concat_str(
            "flagged",
            pl.lit(" of "),
            "compared",
            pl.lit(f" contracts broke a rule against {local:%Y-%m-%d %H:%M} New York; "),
            pl.col("watched") - pl.col("compared"),
            pl.lit(" were not listed then."),
        )
    return pl.lit(
        "First day: the session before has no polls, so nothing is compared and nothing is flagged until tomorrow."
        if status == "first_day"
        else "No poll of the session before was near enough in time of day, so nothing is compared."
    )


def _bins_table(watched: pl.DataFrame, moment: dict[str, pl.Expr]) -> pl.DataFrame:
    table = schemas.table("monitor_volume_bins")
    known = watched.group_by("underlying").agg(pl.col("available_at").max(), pl.col("origin").first())
    bins = (
        watched.group_by("underlying", _bucket().alias("bucket"), _bin().alias("bin"))
        .agg(contracts=pl.len().cast(pl.Int32))
        .join(known, on="underlying")
        .with_columns(**moment)
    )
    return table.conform(bins.select(table.schema.names()))


def _explanation(so_far: str, earlier: str) -> pl.Expr:
    side = pl.when(pl.col("right") == "C").then(pl.lit(" call traded ")).otherwise(pl.lit(" put traded "))
    # Not pl.format: polars 2.1.0 panics in it where flagged rows follow many unflagged ones.
    return pl.concat_str(
        "underlying",
        pl.lit(" "),
        "expiration",
        pl.lit(" "),
        "strike",
        side,
        "volume",
        pl.lit(f" contracts{so_far} after "),
        "previous_volume",
        pl.lit(f" by {earlier} (" if so_far else f" {earlier} ("),
        pl.col("flags").list.join(", "),
        pl.lit("), "),
        pl.col("premium_usd").round(0).cast(pl.Int64),
        pl.lit(" USD of premium."),
    )
