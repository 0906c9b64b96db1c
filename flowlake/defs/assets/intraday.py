"""The market within the session: the same stages as at the end of the day, one partition per snapshot."""

from datetime import timedelta
from typing import Any

import dagster as dg
import polars as pl

from flowlake.defs import passes
from flowlake.defs.assets.events import kept_flags
from flowlake.defs.assets.lifecycle import announced, confirmed
from flowlake.defs.assets.market import KINDS, same_origin
from flowlake.defs.partitions import SNAPSHOTS
from flowlake.defs.resources import LakeResource, MarketResource
from flowlake.defs.session_asset import (
    BEFORE_OPEN,
    INTRADAY,
    OWNERS,
    Frames,
    Step,
    session_asset,
    session_assets,
)
from flowlake.detect.day_over_day import aligned_poll, intraday_flags
from flowlake.detect.intraday import History, detect_snapshot
from flowlake.detect.known_events import reasons
from flowlake.detect.pipeline import CALIBRATION_SESSIONS
from flowlake.intraday.plan import snapshot_of
from flowlake.options.chains import build_chains
from flowlake.schemas.intraday import (
    INTRADAY_ANOMALIES_LOW_VOLUME,
    INTRADAY_ANOMALIES_MULTI_STRIKE,
    INTRADAY_ANOMALIES_VOLUME,
    INTRADAY_CALIBRATION_BINS,
    INTRADAY_CHAIN_QUARANTINE,
    INTRADAY_CHAINS,
    INTRADAY_CORPORATE_ACTIONS,
    INTRADAY_COVERAGE,
    INTRADAY_OPTION_SNAPSHOTS,
    INTRADAY_QUARANTINE,
    INTRADAY_SCORED_EVENTS,
    INTRADAY_STOCK_SNAPSHOTS,
    INTRADAY_TICKER_STATISTICS,
    UNIVERSE,
    VOLUME_PROFILE,
)
from flowlake.schemas.lifecycle import EVENT_STATUS
from flowlake.schemas.monitor import INTRADAY_DAY_OVER_DAY, MONITOR_POLLS, MONITOR_VOLUME_BINS
from flowlake.schemas.options import CONTRACTS


@session_asset(
    UNIVERSE,
    also=(INTRADAY_CORPORATE_ACTIONS, VOLUME_PROFILE),
    group="intraday",
    kinds=KINDS,
    cadence=BEFORE_OPEN,
    publish=True,
)
def universe(step: Step) -> Frames:
    """Made before the open; a pass that finds none makes it first."""
    with step.market.client() as client:
        return passes.before_the_open(step, client)


@session_asset(
    INTRADAY_OPTION_SNAPSHOTS,
    also=(INTRADAY_STOCK_SNAPSHOTS, INTRADAY_QUARANTINE, INTRADAY_COVERAGE),
    deps=["universe"],
    group="intraday",
    kinds=KINDS,
    cadence=INTRADAY,
)
def intraday_option_snapshots(step: Step) -> Frames:
    """One pass over the underlyings due, the most liquid first.

    Whatever arrives is put down at once: a pass that follows a crash fetches only what is missing. At most one pass
    is in flight.
    """
    return passes.take(step, same_origin)


def _counts(step: Step, frames: Frames) -> dict[str, Any]:
    events = frames["intraday_scored_events"]
    counts = events.group_by("conviction").len().sort("conviction")
    flags = {"day-over-day flags": frames["intraday_day_over_day"].height}
    return flags | {f"events {conviction}": count for conviction, count in counts.iter_rows()}


@session_asset(
    INTRADAY_CHAINS,
    also=(CONTRACTS, INTRADAY_CHAIN_QUARANTINE, EVENT_STATUS),
    deps=["intraday_option_snapshots", dg.AssetDep("scored_events")],
    group="intraday",
    kinds={"polars", "parquet"},
    exclusive=True,
    cadence=INTRADAY,
)
def intraday_chains(step: Step) -> Frames:
    """As `option_chains`; contracts are numbered with the same ids. Its open interest is that of the morning, so it
    confirms the events of the session before."""
    actions = step.read("intraday_corporate_actions")
    build = build_chains(
        step.read("intraday_option_snapshots").drop("snapshot"),
        session=step.session,
        known_contracts=step.lake.scan("contracts").collect(),
        stocks=step.read("intraday_stock_snapshots"),
        actions=actions,
    )
    return {
        "event_status": confirmed(step, build.chains, actions),
        "intraday_chains": build.chains,
        "contracts": build.new_contracts,
        "intraday_chain_quarantine": build.quarantine,
    }


_CHAIN = ["intraday_chains", dg.AssetDep("option_chains")]


@session_assets(
    "intraday_detection",
    {
        INTRADAY_CALIBRATION_BINS: _CHAIN,
        INTRADAY_TICKER_STATISTICS: _CHAIN,
        INTRADAY_ANOMALIES_VOLUME: _CHAIN,
        INTRADAY_ANOMALIES_MULTI_STRIKE: _CHAIN,
        INTRADAY_ANOMALIES_LOW_VOLUME: _CHAIN,
        INTRADAY_DAY_OVER_DAY: _CHAIN,
        MONITOR_POLLS: _CHAIN,
        MONITOR_VOLUME_BINS: _CHAIN,
        INTRADAY_SCORED_EVENTS: [
            "intraday_anomalies_volume",
            "intraday_anomalies_multi_strike",
            "intraday_anomalies_low_volume",
        ],
    },
    group="intraday",
    kinds={"polars", "parquet"},
    metadata=_counts,
    cadence=INTRADAY,
)
def intraday_detection(step: Step) -> Frames:
    """The algorithms and the day-over-day monitor share one scan of the chain and one set of baselines."""
    chains = step.read("intraday_chains").drop("snapshot")
    actions = step.read("intraday_corporate_actions")
    normal, usual = passes.ensure_baselines(step, chains, actions)
    public = announced(step, actions, str(chains["origin"].min() or "vendor"), by=step.snapshot.at)
    found = detect_snapshot(
        step.snapshot.at,
        chains,
        normal,
        usual,
        step.read("volume_profile"),
        History(
            step.same_time("intraday_calibration_bins", CALIBRATION_SESSIONS).collect(),
            step.same_time("intraday_ticker_statistics", CALIBRATION_SESSIONS).collect(),
        ),
        History(
            step.trailing("calibration_bins", CALIBRATION_SESSIONS).collect(),
            step.trailing("ticker_statistics", CALIBRATION_SESSIONS).collect(),
        ),
        step.market.settings.intraday_detection,
        known=reasons(public, chains["underlying"], step.market.settings.known_events),
    )
    return {**found.tables(), **_monitor(step, chains, normal)}


def _monitor(step: Step, chains: pl.DataFrame, normal: pl.DataFrame) -> Frames:
    """The day-over-day monitor's poll of this snapshot against the one of the session before."""
    settings = step.market.settings.monitor
    polls = step.polls_before("intraday_chains")
    nearest = aligned_poll(step.snapshot.at, polls, settings.aligned_minutes)
    earlier = None if nearest is None else (nearest, step.lake.read("intraday_chains", polls[nearest]))
    bins = step.same_time("monitor_volume_bins", settings.percentile_sessions)
    poll = intraday_flags(step.snapshot.at, chains, earlier, normal, settings, bins.collect(), first_day=not polls)
    flags = kept_flags(poll.flags, settings, step.log)
    return {"intraday_day_over_day": flags, "monitor_polls": poll.polls, "monitor_volume_bins": poll.bins}


@dg.asset(
    deps=["intraday_chains", "intraday_scored_events", "intraday_day_over_day"],
    partitions_def=SNAPSHOTS,
    backfill_policy=dg.BackfillPolicy.single_run(),
    group_name="intraday",
    owners=OWNERS,
    kinds={"duckdb"},
    description=(
        "Shows analysts the snapshots of this run: all their tables appear together in `flowlake.duckdb`, or none "
        "does. Ends the pass: `snapshot_log` says from here on that it was taken."
    ),
)
def intraday_catalog(context: dg.AssetExecutionContext, lake: LakeResource, market: MarketResource) -> None:
    """Publish, then note the end of the pass."""
    store, settings = lake.open(), market.settings
    for key in sorted(context.partition_keys):
        snapshot = snapshot_of(key, settings.intraday, timedelta(minutes=settings.api.delay_minutes))
        status = passes.publish(store, context.run_id, snapshot, market.now(), settings.market.min_coverage)
        context.add_asset_metadata({"status": status}, partition_key=key)
        context.log.info(f"snapshot {key} is {status} and published")


ASSETS = [universe, intraday_option_snapshots, intraday_chains, intraday_detection, intraday_catalog]
