"""Stage 4, beside the events: what is publicly known, what the morning confirms, whether alarms keep their promise."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import dagster as dg
import polars as pl

from flowlake import calendar
from flowlake.defs.partitions import through_today, trailing
from flowlake.defs.session_asset import Frames, Step, session_asset
from flowlake.detect import calibration as alarms
from flowlake.detect import confirmation, thresholds
from flowlake.detect import known_events as known
from flowlake.schemas.lifecycle import CALIBRATION, CALIBRATION_QQ, EVENT_STATUS, KNOWN_EVENTS, RULE_ALARMS
from flowlake.settings import get_settings

_KINDS = {"polars", "parquet"}
_COUNTED = get_settings().calibration.sessions - 1


@session_asset(KNOWN_EVENTS, deps=["corporate_actions", "option_chains"], group="events", kinds=_KINDS)
def known_events(step: Step) -> Frames:
    """Splits, dividends, index rebalances, and the operator's list of earnings and deals: public by the close."""
    origin = step.read("option_chains", ["origin"])["origin"].min()
    return {"known_events": announced(step, step.read("corporate_actions"), str(origin or "vendor"))}


def announced(step: Step, actions: pl.DataFrame, origin: str, by: datetime | None = None) -> pl.DataFrame:
    """KNOWN_EVENTS of the step's session, public by its close or by the moment `by` within it."""
    path = step.market.settings.known_events.operator_csv
    operator = known.read_operator_events(path) if path else None
    return known.known_events(step.session, actions, operator, origin=origin, by=by)


def _statuses(step: Step, frames: Frames) -> dict[str, Any]:
    counts = frames["event_status"].group_by("status").len().sort("status")
    return {f"events {status}": count for status, count in counts.iter_rows()}


@session_asset(
    EVENT_STATUS,
    deps=["option_chains", "corporate_actions", dg.AssetDep("scored_events", partition_mapping=trailing(1))],
    group="events",
    kinds=_KINDS,
    metadata=_statuses,
    completes=True,
)
def event_status(step: Step) -> Frames:
    """Open interest of this session's morning: what yesterday's events opened."""
    chains = step.read("option_chains", confirmation.CHAIN_COLUMNS)
    return {"event_status": confirmed(step, chains, step.read("corporate_actions"))}


def confirmed(step: Step, chains: pl.DataFrame, actions: pl.DataFrame) -> pl.DataFrame:
    """EVENT_STATUS of the session as `chains` shows it: those of its close, or of any of its snapshots.

    What an earlier chain of the session already said keeps the moment it was known.
    """
    before = calendar.previous_session(step.session)
    if not step.has("scored_events", before):
        return EVENT_STATUS.empty()
    events = step.lake.read("scored_events", before.isoformat())
    found = confirmation.event_status(step.session, chains, events, actions, step.market.settings.confirmation)
    if not step.has("event_status", step.session):
        return found
    return confirmation.keep_earlier(found, step.lake.read("event_status", step.session.isoformat()))


@session_asset(
    CALIBRATION,
    also=[CALIBRATION_QQ],
    deps=[
        dg.AssetDep(name, partition_mapping=through_today(_COUNTED)) for name in ("scored_events", "ticker_statistics")
    ],
    group="events",
    kinds=_KINDS,
)
def calibration(step: Step) -> Frames:
    """Counts over this session and those before it."""
    settings = step.market.settings.calibration
    events = step.through(
        "scored_events", settings.sessions, columns=["session", "underlying", "p_value", "conviction"]
    ).collect()
    statistics = step.through(
        "ticker_statistics",
        settings.sessions,
        columns=["session", "underlying", "activity", "llr_total", "available_at", "origin"],
    ).collect()
    return {
        "calibration": alarms.calibration(step.session, events, statistics, settings),
        "calibration_qq": alarms.quantiles(step.session, events, statistics),
    }


@session_asset(RULE_ALARMS, deps=["option_chains", "contract_baselines", "scored_events"], group="events", kinds=_KINDS)
def rule_alarms(step: Step) -> Frames:
    """How loud plain thresholds would be on the same session."""
    chains = step.read("option_chains", thresholds.CHAIN_COLUMNS)
    baselines = step.read("contract_baselines", thresholds.BASELINE_COLUMNS)
    alarms_of = thresholds.rule_alarms(chains, baselines, step.read("scored_events"), step.market.settings.rules)
    return {"rule_alarms": alarms_of}
