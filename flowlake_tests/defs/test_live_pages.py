"""Pages follow the session: once per published snapshot, apart from the pass that made it."""

from __future__ import annotations

import dagster as dg

from flowlake.definitions import defs
from flowlake.defs.live_pages import live_pages_sensor


def test_each_published_snapshot_asks_once_for_the_pages_that_show_it():
    with dg.DagsterInstance.ephemeral() as instance:
        instance.report_runless_asset_event(dg.AssetMaterialization("intraday_catalog", partition="2026-06-01-10:30"))
        first = dg.build_sensor_context(instance=instance, definitions=defs)
        [request] = live_pages_sensor.evaluate_tick(first).run_requests or []
        assert request.run_key is not None
        again = dg.build_sensor_context(instance=instance, definitions=defs, cursor=first.cursor)
        assert not live_pages_sensor.evaluate_tick(again).run_requests


def test_the_run_writes_pages_and_nothing_else():
    job = defs.resolve_job_def("live_pages")
    selected = {key.to_user_string() for key in job.asset_layer.executable_asset_keys}
    assert selected == {"market_page", "monitor_page", "archive_index"}
