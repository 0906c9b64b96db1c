"""What takes the snapshots by itself: the job of one pass, the sensor that looks at the market's clock, the morning."""

from datetime import date, timedelta

import dagster as dg

from flowlake import calendar
from flowlake.clock import market_clock
from flowlake.defs import passes
from flowlake.defs.resources import LakeResource, MarketResource
from flowlake.defs.session_asset import SKIP_EXISTING
from flowlake.intraday.plan import decide, due_snapshots, snapshot_of
from flowlake.lake.spool import PassInFlight
from flowlake.settings import get_settings

PASS_JOB = "intraday_pass"
_PARTITION = "dagster/partition"
_UNFINISHED = [
    dg.DagsterRunStatus.QUEUED,
    dg.DagsterRunStatus.NOT_STARTED,
    dg.DagsterRunStatus.STARTING,
    dg.DagsterRunStatus.STARTED,
    dg.DagsterRunStatus.CANCELING,
]


@dg.failure_hook(name="note_failed_pass", required_resource_keys={"lake", "market"})
def note_failed_pass(context: dg.HookContext) -> None:
    """Write why a step failed to the log of snapshots, so that the gap it may leave is explained there."""
    error = context.op_exception
    if error is None or isinstance(error, PassInFlight):
        return
    # Hooks are not told their partition; the run is.
    run = context.instance.get_run_by_id(context.run_id)
    key = None if run is None else run.tags.get(_PARTITION)
    if key is None:
        return
    market: MarketResource = context.resources.market
    settings = market.settings
    snapshot = snapshot_of(key, settings.intraday, timedelta(minutes=settings.api.delay_minutes))
    reason = f"{context.op.name}: {error}"[:500]
    store = context.resources.lake.open()
    passes.note(store, snapshot, market.now(), committer=context.run_id, status="failed", reason=reason)


intraday_pass = dg.define_asset_job(
    PASS_JOB,
    selection=dg.AssetSelection.groups("intraday") - dg.AssetSelection.assets("universe"),
    hooks={note_failed_pass},
    # The sensor asks again while that is worth while; a second mechanism would begin a pass twice.
    tags={"dagster/max_retries": "0"},
    description="One snapshot of the session, from the vendor's chains to published events.",
)

market_open = dg.define_asset_job(
    "market_open",
    selection=dg.AssetSelection.assets("universe"),
    description="The universe and the corporate actions of the session, before its first snapshot.",
)


@dg.schedule(job=market_open, cron_schedule="0 9 * * 1-5", execution_timezone=calendar.NEW_YORK.key)
def market_open_schedule(context: dg.ScheduleEvaluationContext) -> dg.RunRequest | dg.SkipReason:
    """09:00 New York on every session, half an hour before the open."""
    day = context.scheduled_execution_time.astimezone(calendar.NEW_YORK).date()
    if not calendar.is_session(day):
        return dg.SkipReason(f"{day} is not a trading session")
    return dg.RunRequest(partition_key=day.isoformat(), tags={SKIP_EXISTING: "true"})


@dg.sensor(
    job=intraday_pass, minimum_interval_seconds=market_clock().poll_seconds(get_settings().intraday.poll_seconds)
)
def snapshot_sensor(
    context: dg.SensorEvaluationContext, lake: LakeResource, market: MarketResource
) -> dg.SensorResult | dg.SkipReason:
    """Asks the market's clock which snapshot is due and not in the lake, and for one pass at a time.

    What can no longer be taken is given up in `snapshot_log`, with the reason.
    """
    now, settings = market.now(), market.settings
    session = now.astimezone(calendar.NEW_YORK).date()
    if not calendar.is_session(session):
        return dg.SkipReason(f"{session} is not a trading session")
    if session < date.fromisoformat(settings.market.first_session):
        return dg.SkipReason(f"session {session} is before FLOWLAKE_MARKET__FIRST_SESSION")
    snapshots = due_snapshots(session, settings.intraday, timedelta(minutes=settings.api.delay_minutes))
    store = lake.open()
    runs, in_flight = _runs(context.instance, [each.key for each in snapshots if each.due_at <= now])
    decision = decide(now, snapshots, passes.session_log(store, session), runs, in_flight, settings.intraday)
    for snapshot, reason in decision.skip:
        passes.note(store, snapshot, now, committer="snapshot_sensor", publish=True, status="skipped", reason=reason)
        context.log.warning(f"snapshot {snapshot.key} is given up: {reason}")
    if decision.take is None:
        return dg.SkipReason(decision.says)
    key = decision.take.key
    request = dg.RunRequest(f"{key}/{runs.get(key, 0)}", partition_key=key, tags={SKIP_EXISTING: "true"})
    return dg.SensorResult(run_requests=[request])


def _runs(instance: dg.DagsterInstance, keys: list[str]) -> tuple[dict[str, int], str | None]:
    """How many runs of the pass each partition has had, and the partition of one that has not ended."""
    counts: dict[str, int] = {}
    in_flight = None
    for run in instance.get_runs(dg.RunsFilter(job_name=PASS_JOB, tags={_PARTITION: keys})) if keys else []:
        key = run.tags[_PARTITION]
        counts[key] = counts.get(key, 0) + 1
        if run.status in _UNFINISHED:
            in_flight = key
    return counts, in_flight


JOBS = [intraday_pass, market_open]
SCHEDULES = [market_open_schedule]
SENSORS = [snapshot_sensor]
