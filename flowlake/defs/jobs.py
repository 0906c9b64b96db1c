"""Jobs: the end of a day, its closing snapshot alone, its events again, what a correction asks for, and retention."""

from datetime import UTC, datetime

import dagster as dg

from flowlake import calendar
from flowlake.defs.assets.market import corporate_actions, raw_option_snapshots, raw_stock_snapshots
from flowlake.defs.checks.timeliness import snapshots_on_time_check, timeliness_checks
from flowlake.defs.product import RESTATED_GROUPS
from flowlake.defs.resources import LakeResource
from flowlake.lake import apply_retention, plan_retention
from flowlake.settings import get_settings

end_of_day = dg.define_asset_job(
    "end_of_day",
    selection=dg.AssetSelection.groups("market", "chains", "baselines", "events", "features", "quality", "published"),
    description="Everything of a session, from the vendor's snapshot to the published tables and the report.",
)

events = dg.define_asset_job(
    "events",
    selection=dg.AssetSelection.groups("events", "published"),
    description="Detection and what follows from chains and baselines in the lake; nothing is fetched.",
)

restated = dg.define_asset_job(
    "restated",
    selection=dg.AssetSelection.groups(*RESTATED_GROUPS),
    description="Everything of a session that is made from the lake: what later sessions need after a correction.",
)

closing_snapshot = dg.define_asset_job(
    "closing_snapshot",
    selection=dg.AssetSelection.assets(raw_stock_snapshots, corporate_actions, raw_option_snapshots),
    description="The vendor's snapshot alone, taken after the close while it can still be had.",
)


timeliness = dg.define_asset_job(
    "timeliness",
    selection=dg.AssetSelection.checks(timeliness_checks),
    description="Whether the newest session is published in time and none is missing; builds nothing.",
)


snapshot_timeliness = dg.define_asset_job(
    "snapshot_timeliness",
    selection=dg.AssetSelection.checks(snapshots_on_time_check),
    description="Whether the newest snapshot that is due was taken; builds nothing.",
)


class RetentionConfig(dg.Config):
    """Whether retention deletes or only tells."""

    apply: bool = False


@dg.op(pool="lake_publish")
def enforce_retention(context: dg.OpExecutionContext, config: RetentionConfig, lake: LakeResource) -> None:
    """List what is older than the retention settings allow, and delete it where the config says so."""
    store = lake.open()
    plan = plan_retention(store, calendar.latest_closed_session(datetime.now(UTC)), get_settings().lake)
    for row in plan.iter_rows(named=True):
        context.log.info(
            f"{row['table']} {row['partition']}: {row['files']} files, {row['bytes']:,} B, {row['reason']}"
        )
    if not config.apply:
        context.log.info(f"{plan.height} entries would be deleted; run with apply: true to delete them")
        return
    apply_retention(store, plan, run_id=context.run_id)
    context.log.info(f"{plan.height} entries deleted")


@dg.job(description="Deletes what is older than the retention settings allow; by default only lists it.")
def retention() -> None:
    """One op: see `enforce_retention`."""
    enforce_retention()
