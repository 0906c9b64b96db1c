"""The one Dagster entry point: everything in `flowlake.defs`, with the resources of the settings."""

from __future__ import annotations

import dagster as dg

from flowlake.defs import alerts, intraday, jobs, live_pages, schedules
from flowlake.defs.assets import ASSETS, evaluation, features, insiders
from flowlake.defs.assets import intraday as intraday_assets
from flowlake.defs.checks import CHECKS
from flowlake.defs.loggers import plain_logger
from flowlake.defs.product import as_product
from flowlake.defs.resources import resources

defs = as_product(
    dg.Definitions(
        assets=[
            *ASSETS,
            *features.ASSETS,
            *intraday_assets.ASSETS,
            *insiders.ASSETS,
            *evaluation.ASSETS,
            *alerts.ASSETS,
        ],
        asset_checks=[*CHECKS, *features.CHECKS, *insiders.CHECKS],
        jobs=[
            evaluation.evaluate,
            jobs.end_of_day,
            jobs.closing_snapshot,
            jobs.events,
            jobs.restated,
            jobs.retention,
            jobs.snapshot_timeliness,
            jobs.timeliness,
            *intraday.JOBS,
            *live_pages.JOBS,
            *insiders.JOBS,
        ],
        schedules=[
            schedules.closing_snapshot_schedule,
            schedules.end_of_day_schedule,
            schedules.retention_schedule,
            schedules.snapshot_timeliness_schedule,
            schedules.timeliness_schedule,
            *intraday.SCHEDULES,
            *insiders.SCHEDULES,
        ],
        sensors=[*intraday.SENSORS, *live_pages.SENSORS, *insiders.SENSORS, *alerts.SENSORS],
        resources=dict(resources()),
        loggers={"plain": plain_logger},
        # A session is a chain of short steps over shared data: one process beats a process (and its imports) per step.
        executor=dg.in_process_executor,
    )
)
