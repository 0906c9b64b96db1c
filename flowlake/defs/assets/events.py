"""Stage 4, events: anomalies of every algorithm, their calibration, ranked events, and what followed earlier ones."""

from __future__ import annotations

from typing import Any

import dagster as dg
import polars as pl

from flowlake.defs.partitions import through_today, trailing
from flowlake.defs.session_asset import Frames, Step, session_asset, session_assets
from flowlake.detect.day_over_day import HISTORY_COLUMNS, day_over_day, volume_bins
from flowlake.detect.known_events import reasons
from flowlake.detect.pipeline import CALIBRATION_SESSIONS, detect_session
from flowlake.detect.pre_move import HORIZONS, event_outcomes, event_sessions
from flowlake.schemas.detection import (
    ANOMALIES_LOW_VOLUME,
    ANOMALIES_MULTI_STRIKE,
    ANOMALIES_OPEN_INTEREST,
    ANOMALIES_VOLUME,
    CALIBRATION_BINS,
    EVENT_OUTCOMES,
    SCORED_EVENTS,
    TICKER_STATISTICS,
)
from flowlake.schemas.monitor import ANOMALIES_DAY_OVER_DAY
from flowlake.settings import MonitorSettings, get_settings

_CHAIN = ["option_chains", "contract_baselines", "ticker_baselines"]
_ALGORITHMS = (ANOMALIES_VOLUME, ANOMALIES_OPEN_INTEREST, ANOMALIES_MULTI_STRIKE, ANOMALIES_LOW_VOLUME)
_CALIBRATION = [
    dg.AssetDep(name, partition_mapping=trailing(CALIBRATION_SESSIONS))
    for name in ("calibration_bins", "ticker_statistics")
]


def _convictions(step: Step, frames: Frames) -> dict[str, Any]:
    events = frames["scored_events"]
    counts = events.group_by("conviction").len().sort("conviction")
    return {f"events {conviction}": count for conviction, count in counts.iter_rows()}


@session_assets(
    "detection",
    {
        CALIBRATION_BINS: _CHAIN,
        TICKER_STATISTICS: [*_CHAIN, *_CALIBRATION, "known_events"],
        **{table: [*_CHAIN, *_CALIBRATION] for table in _ALGORITHMS},
        SCORED_EVENTS: [*_CALIBRATION, "known_events", *(table.name for table in _ALGORITHMS)],
    },
    group="events",
    kinds={"polars", "parquet"},
    metadata=_convictions,
)
def detection(step: Step) -> Frames:
    """The algorithms share one scan of the chain; the null of each is what trailing sessions recorded."""
    chains = step.read("option_chains")
    found = detect_session(
        step.session,
        chains,
        step.read("contract_baselines"),
        step.read("ticker_baselines"),
        step.trailing("calibration_bins", CALIBRATION_SESSIONS).collect(),
        step.trailing("ticker_statistics", CALIBRATION_SESSIONS).collect(),
        known=reasons(step.read("known_events"), chains["underlying"], step.market.settings.known_events),
    )
    return found.tables()


@session_asset(
    ANOMALIES_DAY_OVER_DAY,
    deps=[
        dg.AssetDep("option_chains", partition_mapping=through_today(get_settings().monitor.percentile_sessions)),
        dg.AssetDep("contract_baselines"),
    ],
    group="events",
    kinds={"polars", "parquet"},
)
def anomalies_day_over_day(step: Step) -> Frames:
    """Plain thresholds of the index monitor; shown beside the events, never part of a score."""
    settings = step.market.settings.monitor
    history = step.trailing("option_chains", settings.percentile_sessions, HISTORY_COLUMNS)
    chains, normal = step.read("option_chains"), step.read("contract_baselines")
    found = day_over_day(step.session, chains, normal, settings, volume_bins(history, settings))
    return {"anomalies_day_over_day": kept_flags(found, settings, step.log)}


def kept_flags(found: pl.DataFrame, settings: MonitorSettings, log: Any) -> pl.DataFrame:
    """The monitor's flags as they are stored: none where the operator only wants them logged."""
    if settings.store:
        return found
    for sentence in found["explanation"]:
        log.info(sentence)
    return found.clear()


@session_asset(
    EVENT_OUTCOMES,
    deps=[
        dg.AssetDep("option_chains"),
        dg.AssetDep("corporate_actions"),
        dg.AssetDep("scored_events", partition_mapping=trailing(max(HORIZONS))),
    ],
    group="events",
    kinds={"polars", "parquet"},
)
def outcomes(step: Step) -> Frames:
    """Pre-move positioning, judged after the move."""
    due = event_sessions(step.session).values()
    events = {day: step.lake.read("scored_events", day.isoformat()) for day in due if step.has("scored_events", day)}
    chains, actions = step.read("option_chains"), step.read("corporate_actions")
    return {"event_outcomes": event_outcomes(step.session, chains, events, actions)}
