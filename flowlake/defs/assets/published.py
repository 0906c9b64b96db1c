"""What analysts get: the session's tables in the DuckDB file, all at once."""

import dagster as dg

from flowlake.defs.partitions import SESSIONS
from flowlake.defs.resources import LakeResource
from flowlake.defs.session_asset import OWNERS


@dg.asset(
    deps=[
        "option_chains",
        "iv_surface",
        "contract_baselines",
        "ticker_baselines",
        "scored_events",
        "anomalies_day_over_day",
        "event_outcomes",
        "event_status",
        "known_events",
        "calibration",
        "rule_alarms",
        "data_incidents",
        "options_flow_features",
        "gamma_exposure_by_strike",
        "feature_snapshots",
    ],
    partitions_def=SESSIONS,
    backfill_policy=dg.BackfillPolicy.single_run(),
    group_name="published",
    owners=OWNERS,
    kinds={"duckdb"},
    pool="lake_publish",
)
def duckdb_catalog(context: dg.AssetExecutionContext, lake: LakeResource) -> None:
    """Shows analysts the sessions of this run: all their tables appear together in `flowlake.duckdb`, or none does."""
    store = lake.open()
    keys = sorted(context.partition_keys)
    version = store.publish(keys, run_id=context.run_id)
    for key in keys:
        facts = {"catalog version": version, "file": dg.MetadataValue.path(str(store.paths.link))}
        context.add_asset_metadata(facts, partition_key=key)
    context.log.info(f"catalog v{version} shows {len(keys)} sessions of this run")
