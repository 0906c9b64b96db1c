"""Keeps the pages that show the newest state up to date within the session: after every snapshot, in a run of its own.

A page that cannot be written must not make a snapshot count as failed, so the pass itself does not write them.
"""

import dagster as dg

from flowlake.defs.assets.pages import archive_index, market_page, monitor_page

live_pages = dg.define_asset_job(
    "live_pages",
    selection=dg.AssetSelection.assets(market_page, monitor_page, archive_index),
    description="The market and monitor pages of the newest published state.",
)


@dg.asset_sensor(asset_key=dg.AssetKey("intraday_catalog"), job=live_pages, minimum_interval_seconds=15)
def live_pages_sensor(context: dg.SensorEvaluationContext, asset_event: dg.EventLogEntry) -> dg.RunRequest:
    """A snapshot was published: write the pages that show it."""
    return dg.RunRequest(run_key=f"snapshot published at {asset_event.timestamp:.6f}")


JOBS = [live_pages]
SENSORS = [live_pages_sensor]
