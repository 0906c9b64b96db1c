"""What people get: the page of a session, and the session's tables in the DuckDB file, all at once."""

import os
from datetime import date
from pathlib import Path

import dagster as dg

from flowlake.defs.partitions import SESSIONS
from flowlake.defs.quality import session_outcomes
from flowlake.defs.resources import LakeResource, ReportsResource
from flowlake.defs.session_asset import OWNERS
from flowlake.lake import Lake
from flowlake.report.daily import DailyReport, QualityNote, render_daily
from flowlake.schemas import table

_CHECKED = ("raw_stock_snapshots", "raw_option_snapshots", "option_chains", "scored_events")


@dg.asset(
    deps=["option_chains", "iv_surface", "scored_events", "event_outcomes"],
    partitions_def=SESSIONS,
    backfill_policy=dg.BackfillPolicy.single_run(),
    group_name="published",
    owners=OWNERS,
    kinds={"jinja", "html"},
)
def daily_report(context: dg.AssetExecutionContext, lake: LakeResource, reports: ReportsResource) -> None:
    """One self-contained HTML page per session: ranked events with their evidence, outcomes, data quality."""
    store = lake.open()
    for key in sorted(context.partition_keys):
        page = reports.path / f"daily-{key}.html"
        html = render_daily(_report(store, date.fromisoformat(key)))
        _replace_file(page, html)
        facts = {"page": dg.MetadataValue.path(str(page.resolve())), "kilobytes": round(len(html) / 1000, 1)}
        context.add_asset_metadata(facts, partition_key=key)
        context.log.info(f"wrote {page}")


@dg.asset(
    deps=[
        "option_chains",
        "iv_surface",
        "contract_baselines",
        "ticker_baselines",
        "scored_events",
        "anomalies_day_over_day",
        "event_outcomes",
        "options_flow_features",
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


def _report(store: Lake, session: date) -> DailyReport:
    key = session.isoformat()

    def read(name: str):  # noqa: ANN202
        return store.read(name, key) if store.has(name, key) else table(name).empty()

    notes = [
        QualityNote(name, outcome.name, outcome.passed, outcome.severity.value, outcome.description, outcome.violations)
        for name in _CHECKED
        for outcome in session_outcomes(store, name, session)
    ]
    return DailyReport(
        session=session,
        events=read("scored_events"),
        chains=read("option_chains"),
        outcomes=read("event_outcomes"),
        surface=read("iv_surface"),
        coverage=read("snapshot_coverage"),
        quality=notes,
        quarantined=read("raw_quarantine").height + read("chain_quarantine").height,
    )


def _replace_file(path: Path, text: str) -> None:
    """Write `text` so that a reader sees the old page or the new one, never half of either."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    temporary.write_text(text, encoding="utf-8")
    temporary.replace(path)
