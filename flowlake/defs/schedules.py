"""Schedules in New York time; all start switched off and are switched on in the UI."""

from datetime import datetime

import dagster as dg

from flowlake import calendar
from flowlake.defs.jobs import closing_snapshot, end_of_day, retention, snapshot_timeliness, timeliness
from flowlake.defs.session_asset import SKIP_EXISTING

NEW_YORK = calendar.NEW_YORK.key


def _scheduled_day(context: dg.ScheduleEvaluationContext) -> datetime:
    return context.scheduled_execution_time.astimezone(calendar.NEW_YORK)


@dg.schedule(job=closing_snapshot, cron_schedule="50 16 * * 1-5", execution_timezone=NEW_YORK)
def closing_snapshot_schedule(context: dg.ScheduleEvaluationContext) -> dg.RunRequest | dg.SkipReason:
    """16:50: after index options close at 16:15 and the vendor's 15 minutes of delay, before open interest changes."""
    day = _scheduled_day(context).date()
    if not calendar.is_session(day):
        return dg.SkipReason(f"{day} is not a trading session")
    return dg.RunRequest(partition_key=day.isoformat(), tags={SKIP_EXISTING: "true"})


@dg.schedule(job=end_of_day, cron_schedule="0 8 * * 1-5", execution_timezone=NEW_YORK)
def end_of_day_schedule(context: dg.ScheduleEvaluationContext) -> dg.RunRequest | dg.SkipReason:
    """08:00 on every session: the session before, its snapshot kept if the closing run took it."""
    day = _scheduled_day(context).date()
    if not calendar.is_session(day):
        return dg.SkipReason(f"{day} is not a trading session; the next one settles the session before it")
    return dg.RunRequest(partition_key=calendar.previous_session(day).isoformat(), tags={SKIP_EXISTING: "true"})


@dg.schedule(job=retention, cron_schedule="30 3 * * 2-6", execution_timezone=NEW_YORK)
def retention_schedule() -> dg.RunRequest:
    """03:30 after each session: delete what the retention settings no longer keep."""
    return dg.RunRequest(run_config={"ops": {"enforce_retention": {"config": {"apply": True}}}})


@dg.schedule(job=timeliness, cron_schedule="5 10 * * 1-5", execution_timezone=NEW_YORK)
def timeliness_schedule() -> dg.RunRequest:
    """10:05 on weekdays: whether the session before is published; a missed run makes no failure of its own."""
    return dg.RunRequest()


@dg.schedule(job=snapshot_timeliness, cron_schedule="7,37 10-18 * * 1-5", execution_timezone=NEW_YORK)
def snapshot_timeliness_schedule(context: dg.ScheduleEvaluationContext) -> dg.RunRequest | dg.SkipReason:
    """Every half-hour of a session: a pass that was never begun makes no failure of its own."""
    day = _scheduled_day(context).date()
    return dg.RunRequest() if calendar.is_session(day) else dg.SkipReason(f"{day} is not a trading session")
