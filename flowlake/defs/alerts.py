"""Sensors that tell people: of scored events, of messages still to be sent, and of what broke. All start stopped.

A look takes seconds and sends at once: a run of its own would cost more time than the work. What has been told is in
the ledger, so a cursor only saves reading.
"""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import dagster as dg
import polars as pl

from flowlake.alerts import dispatch as dispatching
from flowlake.alerts.channels import Channel, open_channels
from flowlake.alerts.notices import Fault, Recovery, late_snapshots, missing_snapshots
from flowlake.clock import market_clock
from flowlake.defs.resources import LakeResource
from flowlake.defs.session_asset import OWNERS, column_schema
from flowlake.lake import Lake
from flowlake.runs import root_cause
from flowlake.schemas import Table
from flowlake.schemas.alerts import ALERT_DELIVERIES, ALERTS, NOTIFICATIONS
from flowlake.settings import Settings, get_settings

BUDGET_SECONDS = 30.0
"""Real time a look may take; Dagster ends a sensor's evaluation after 60 s."""


def _spec(table: Table, deps: Sequence[str] = ()) -> dg.AssetSpec:
    """A table that sensors write and no run does: shown in the graph, materialised by telling."""
    return dg.AssetSpec(
        table.name,
        deps=deps,
        group_name="alerts",
        owners=OWNERS,
        kinds={"parquet"},
        description=table.description,
        metadata={"dagster/column_schema": column_schema(table), "table": table.name, "known at": table.known_at},
    )


ASSETS = [
    _spec(ALERTS, [*dispatching.EVENT_TABLES, dispatching.VERDICT_TABLE]),
    _spec(ALERT_DELIVERIES, [ALERTS.name, NOTIFICATIONS.name]),
    _spec(NOTIFICATIONS),
]

_OVERLAP_SECONDS = 5.0
_FIRST_LOOK = timedelta(minutes=15)
_RUNS_A_LOOK = 100
_TOPICS = {"insiders": "insider filings"}
_OTHER = "market data"


@dg.sensor(
    minimum_interval_seconds=market_clock().poll_seconds(30),
    default_status=dg.DefaultSensorStatus.STOPPED,
    description="Newly scored events of the session, intraday or end of day, become alerts and go out.",
)
def alert_sensor(context: dg.SensorEvaluationContext, lake: LakeResource) -> dg.SensorResult:
    """Every 30 s: newly scored events of the session, intraday or end of day, become alerts and go out."""
    report = _look(dispatching.dispatch, context, lake, seen=json.loads(context.cursor or "{}"))
    return dg.SensorResult(
        skip_reason=str(report),
        cursor=json.dumps(report.seen, sort_keys=True),
        asset_events=_written(ALERTS if report.alerts else None, report),
    )


@dg.sensor(
    minimum_interval_seconds=market_clock().poll_seconds(30),
    default_status=dg.DefaultSensorStatus.STOPPED,
    description="Messages that a channel did not take are tried again, with back-off, also after a restart.",
)
def delivery_sensor(context: dg.SensorEvaluationContext, lake: LakeResource) -> dg.SensorResult:
    """Every 30 s: messages that a channel did not take are tried again, with back-off, also after a restart."""
    report = _look(dispatching.redeliver, context, lake)
    return dg.SensorResult(skip_reason=str(report), asset_events=_written(None, report))


@dg.sensor(
    minimum_interval_seconds=market_clock().poll_seconds(60),
    default_status=dg.DefaultSensorStatus.STOPPED,
    description="Failed checks, failed runs and late snapshots, one message per broken feed, and its recovery.",
)
def notification_sensor(context: dg.SensorEvaluationContext, lake: LakeResource) -> dg.SensorResult:
    """Every minute: failed checks, failed runs and late snapshots, one message per broken feed, and its recovery."""
    settings = get_settings()
    since = datetime.fromtimestamp(float(context.cursor), UTC) if context.cursor else datetime.now(UTC) - _FIRST_LOOK
    repository = context.repository_def
    assert repository is not None, "a sensor is evaluated inside its code location"
    records = finished_runs(context.instance, since)
    faults, recoveries = read_runs(context.instance, records, repository.asset_graph, settings.alerts.dagster_url)
    late, taken = read_snapshots(lake.open(), settings, market_clock().now())
    report = _look(dispatching.notify, context, lake, [*faults, *late], [*recoveries, *taken])
    newest = max((record.update_timestamp.timestamp() for record in records), default=since.timestamp())
    return dg.SensorResult(
        skip_reason=f"{len(records)} runs looked at; {report}",
        cursor=str(newest),
        asset_events=_written(NOTIFICATIONS if report.raised else None, report),
    )


def _look(
    act: Callable[..., dispatching.Report],
    context: dg.SensorEvaluationContext,
    lake: LakeResource,
    *of: Any,
    **more: Any,
) -> dispatching.Report:
    """Let `act` (of `flowlake.alerts.dispatch`) tell the channels what is due, within the time that a sensor has."""
    settings = get_settings()
    told = channels(settings, context.log.info)
    return act(lake.open(), settings, told, market_clock().now, *of, budget_seconds=BUDGET_SECONDS, **more)


def _written(main: Table | None, report: dispatching.Report) -> list[dg.AssetMaterialization]:
    """What a look wrote, for the graph: its own table, and the deliveries where there were any."""
    facts = {"raised": report.raised, "sent": report.sent, "to be tried again": report.failed, "dead": report.dead}
    told = report.raised or report.sent or report.failed or report.dead
    tables = [*([main] if main else []), *([ALERT_DELIVERIES] if told else [])]
    return [dg.AssetMaterialization(table.name, metadata=facts) for table in tables]


def channels(settings: Settings, write: Any) -> Mapping[str, Channel]:
    """The channels of the settings; what the console channel prints goes to the sensor's log."""
    return open_channels(settings.alerts, write)


def finished_runs(instance: dg.DagsterInstance, since: datetime) -> Sequence[dg.RunRecord]:
    """Runs that ended since, the oldest first; a few seconds of overlap, because telling twice changes nothing."""
    ended = [dg.DagsterRunStatus.SUCCESS, dg.DagsterRunStatus.FAILURE]
    filters = dg.RunsFilter(statuses=ended, updated_after=since - timedelta(seconds=_OVERLAP_SECONDS))
    return instance.get_run_records(filters, limit=_RUNS_A_LOOK, order_by="update_timestamp", ascending=True)


def read_runs(
    instance: dg.DagsterInstance, records: Sequence[dg.RunRecord], graph: Any, dagster_url: str
) -> tuple[list[Fault], list[Recovery]]:
    """What the runs say: checks that failed and passed, runs that failed and succeeded."""
    said = [part for record in records for part in _of_run(instance, record, graph, dagster_url.rstrip("/"))]
    return [part for part in said if isinstance(part, Fault)], [part for part in said if isinstance(part, Recovery)]


def read_snapshots(store: Lake, settings: Settings, now: datetime) -> tuple[list[Fault], list[Recovery]]:
    """Late snapshots of today and yesterday, where intraday runs."""
    sessions = store.partitions("snapshot_log")[-2:]
    log = store.scan("snapshot_log", sessions).collect()
    unseen = missing_snapshots(log, settings.intraday.every_minutes, settings.api.delay_minutes, now)
    if unseen:
        log = pl.concat([log, pl.DataFrame(unseen, schema_overrides=log.schema)], how="diagonal")
    link = f"{settings.alerts.dagster_url.rstrip('/')}/automation"
    return late_snapshots(log, now, settings.alerts, link)


def _of_run(instance: dg.DagsterInstance, record: dg.RunRecord, graph: Any, url: str) -> Iterator[Fault | Recovery]:
    run = record.dagster_run
    at = datetime.fromtimestamp(record.end_time or record.update_timestamp.timestamp(), UTC)
    topic = _topic({_group(graph, key) for key in run.asset_selection or ()} or {run.job_name})
    name = run.job_name if not run.job_name.startswith("__") else "ad hoc materialisation"
    if run.status == dg.DagsterRunStatus.FAILURE:
        cause = _cause(instance, run.run_id)
        where = f"run {run.run_id[:8]} of {name}"
        yield Fault(topic, f"run:{name}", where, at, "ERROR", "failed", "", cause, f"{url}/runs/{run.run_id}")
    else:
        yield Recovery(topic, f"run:{name}", at)
    evaluations = instance.get_records_for_run(run.run_id, of_type=dg.DagsterEventType.ASSET_CHECK_EVALUATION).records
    for evaluated in evaluations:
        yield _of_check(evaluated, graph, url)


def _of_check(evaluated: Any, graph: Any, url: str) -> Fault | Recovery:
    entry = evaluated.event_log_entry
    data = entry.dagster_event.asset_check_evaluation_data
    at = datetime.fromtimestamp(entry.timestamp, UTC)
    asset = data.asset_key.to_user_string()
    topic, key = _topic({_group(graph, data.asset_key)}), f"check:{asset}:{data.check_name}"
    if data.passed:
        return Recovery(topic, key, at)
    spec = graph.get_check_spec(data.asset_check_key) if data.asset_check_key in graph.asset_check_keys else None
    facts = {name: value.value for name, value in data.metadata.items() if isinstance(value.value, int | float)}
    counted = ", ".join(f"{name} {value:,}" for name, value in facts.items())
    return Fault(
        topic,
        key,
        where=f"{asset} {data.partition or ''}".strip(),
        at=at,
        severity=data.severity.value,
        what=f"fails {data.check_name.replace('_', ' ')}",
        expected=(spec.description if spec else None) or "",
        seen="; ".join(part for part in (data.description, counted) if part),
        link=f"{url}/assets/{'/'.join(data.asset_key.path)}?view=checks",
    )


def _cause(instance: dg.DagsterInstance, run_id: str) -> str:
    """Why a run failed: the first failed step's innermost error, or what the run itself says."""
    for kind in (dg.DagsterEventType.STEP_FAILURE, dg.DagsterEventType.RUN_FAILURE):
        for record in instance.get_records_for_run(run_id, of_type=kind).records:
            event = record.event_log_entry.dagster_event
            if event is not None and event.is_step_failure:
                return f"{event.step_key}: {root_cause(event.step_failure_data.error)}"
            if event is not None and event.message:
                return event.message
    return "no error was recorded"


def _group(graph: Any, key: dg.AssetKey) -> str:
    return graph.get(key).group_name if graph.has(key) else ""


def _topic(groups: set[str]) -> str:
    """The feed behind asset groups (or a job's name): what breaks together is told together."""
    return next((topic for name, topic in _TOPICS.items() if any(name[:7] in group for group in groups)), _OTHER)


SENSORS = [alert_sensor, delivery_sensor, notification_sensor]
