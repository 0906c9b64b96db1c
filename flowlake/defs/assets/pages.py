"""The pages people read: one per session, one per underlying of interest, and those that show the newest state."""

from datetime import date
from pathlib import Path

import dagster as dg

from flowlake import calendar
from flowlake.defs.partitions import SESSIONS
from flowlake.defs.quality import session_outcomes
from flowlake.defs.resources import LakeResource, ReportsResource
from flowlake.defs.session_asset import OWNERS
from flowlake.lake import Lake
from flowlake.report import build
from flowlake.report.archive import INDEX
from flowlake.report.daily import QualityNote
from flowlake.report.html import monitor_file, replace_file, ticker_file
from flowlake.report.ticker import render_ticker
from flowlake.settings import get_settings

_CHECKED = ("raw_stock_snapshots", "raw_option_snapshots", "option_chains", "scored_events")
_KINDS = {"jinja", "html"}


@dg.asset(
    deps=["option_chains", "iv_surface", "scored_events", "event_status", "event_outcomes", "data_incidents"],
    partitions_def=SESSIONS,
    backfill_policy=dg.BackfillPolicy.single_run(),
    group_name="published",
    owners=OWNERS,
    kinds=_KINDS,
)
def daily_report(context: dg.AssetExecutionContext, lake: LakeResource, reports: ReportsResource) -> None:
    """One self-contained HTML page per session: ranked events with their evidence, outcomes, data quality.

    The page of the session before a run's first one is written again, since this morning's open interest decided
    the status of its events.
    """
    store = lake.open()
    keys = sorted(context.partition_keys)
    before = calendar.previous_session(date.fromisoformat(keys[0])).isoformat()
    again = [before] if (reports.path / f"daily-{before}.html").exists() and store.has("scored_events", before) else []
    for key in again + keys:
        session = date.fromisoformat(key)
        page = reports.path / f"daily-{key}.html"
        html = build.daily_page(store.snapshot(), session, _quality(store, session))
        written = replace_file(page, html)
        if key in keys:
            facts = {"page": dg.MetadataValue.path(str(page.resolve())), "kilobytes": round(len(html) / 1000, 1)}
            context.add_asset_metadata(facts, partition_key=key)
        context.log.info(f"{'wrote' if written else 'kept'} {page}")


@dg.asset(
    deps=["duckdb_catalog"],
    partitions_def=SESSIONS,
    backfill_policy=dg.BackfillPolicy.single_run(),
    group_name="published",
    owners=OWNERS,
    kinds=_KINDS,
)
def ticker_pages(context: dg.AssetExecutionContext, lake: LakeResource, reports: ReportsResource) -> None:
    """A page per underlying with an event in the run's sessions, or outcomes still due: chain, heat maps, history."""
    published = lake.open().published()
    sessions = [date.fromisoformat(key) for key in context.partition_keys]
    limits = get_settings().report
    names = build.current_underlyings(published, sessions, limits.ticker_pages, limits.follow_sessions)
    written = sum(
        replace_file(reports.path / ticker_file(page.underlying), render_ticker(page))
        for page in build.collect_tickers(published, names)
    )
    context.log.info(f"{len(names)} underlyings, {written} pages changed")
    for key in context.partition_keys:
        context.add_asset_metadata({"pages": len(names), "pages changed": written}, partition_key=key)


def _write(context: dg.AssetExecutionContext, page: Path, html: str) -> dg.MaterializeResult:
    changed = replace_file(page, html)
    context.log.info(f"{'wrote' if changed else 'kept'} {page}")
    facts = {"page": dg.MetadataValue.path(str(page.resolve())), "kilobytes": round(len(html) / 1000, 1)}
    return dg.MaterializeResult(metadata=facts)


@dg.asset(deps=["duckdb_catalog"], group_name="published", owners=OWNERS, kinds=_KINDS)
def market_page(
    context: dg.AssetExecutionContext, lake: LakeResource, reports: ReportsResource
) -> dg.MaterializeResult:
    """The newest anomalies, at the close and within the session, to sort and filter in the browser."""
    return _write(context, reports.path / "market.html", build.market_page(lake.open().published()))


@dg.asset(deps=["duckdb_catalog"], group_name="published", owners=OWNERS, kinds=_KINDS)
def history_page(
    context: dg.AssetExecutionContext, lake: LakeResource, reports: ReportsResource
) -> dg.MaterializeResult:
    """Events over time, names that recur, what followed by score, and whether alarms keep their promise."""
    return _write(context, reports.path / "history.html", build.history_page(lake.open().published()))


@dg.asset(deps=["duckdb_catalog"], group_name="published", owners=OWNERS, kinds=_KINDS)
def monitor_page(context: dg.AssetExecutionContext, lake: LakeResource, reports: ReportsResource) -> None:
    """The day-over-day monitor of every watched underlying: latest poll, all polls, days before, flags."""
    published, thresholds = lake.open().published(), get_settings().monitor
    for name in build.monitored(thresholds):
        page = reports.path / monitor_file(name)
        changed = replace_file(page, build.monitor_page(published, name, thresholds))
        context.log.info(f"{'wrote' if changed else 'kept'} {page}")


@dg.asset(
    deps=[daily_report, ticker_pages, market_page, history_page, monitor_page, "data_docs"],
    group_name="published",
    owners=OWNERS,
    kinds=_KINDS,
)
def archive_index(context: dg.AssetExecutionContext, reports: ReportsResource) -> dg.MaterializeResult:
    """The index over all pages in the reports folder, with a search that runs in the browser."""
    return _write(context, reports.path / INDEX, build.archive_page(reports.path))


def _quality(store: Lake, session: date) -> list[QualityNote]:
    return [
        QualityNote(name, outcome.name, outcome.passed, outcome.severity.value, outcome.description, outcome.violations)
        for name in _CHECKED
        for outcome in session_outcomes(store, name, session)
    ]
