"""Stage 6, quality: what was wrong with a session's data, kept for good, and a page that shows every rule."""

from datetime import date

import dagster as dg

from flowlake.defs.checks import CHECKED_TABLES
from flowlake.defs.partitions import SESSIONS, trailing
from flowlake.defs.quality import record_incidents, session_outcomes, suite_findings
from flowlake.defs.resources import LakeResource, ReportsResource
from flowlake.defs.session_asset import OWNERS, declared_metadata, preview
from flowlake.quality.suites import SUITES
from flowlake.report.data_docs import DataDocs, render_data_docs
from flowlake.report.html import replace_file
from flowlake.schemas.quality import DATA_INCIDENTS

GROUP = "quality"


@dg.asset(
    name=DATA_INCIDENTS.name,
    deps=[*CHECKED_TABLES, dg.AssetDep(DATA_INCIDENTS.name, partition_mapping=trailing(1))],
    partitions_def=SESSIONS,
    backfill_policy=dg.BackfillPolicy.single_run(),
    group_name=GROUP,
    owners=OWNERS,
    kinds={"greatexpectations", "parquet"},
    description=DATA_INCIDENTS.description,
    metadata=declared_metadata(DATA_INCIDENTS),
)
def data_incidents(context: dg.AssetExecutionContext, lake: LakeResource) -> None:
    """Every rule and every suite on every table of each session; what blocks is written by its check already."""
    store = lake.open()
    days = [date.fromisoformat(key) for key in sorted(context.partition_keys)]
    suites = {name: suite_findings(store, name, days) for name in SUITES}
    for day in days:
        outcomes = {name: session_outcomes(store, name, day) for name in CHECKED_TABLES}
        for name, found in suites.items():
            outcomes[name] = [*outcomes.get(name, []), *(finding.outcome for finding in found.get(day, []))]
        rows = record_incidents(store, context.run_id, day, outcomes)
        open_rows = rows.filter(~rows["resolved"])
        facts = {
            "dagster/row_count": rows.height,
            "open": open_rows.height,
            "blocking": open_rows.filter(open_rows["severity"] == "ERROR").height,
            "rules evaluated": sum(map(len, outcomes.values())),
            "preview": preview(rows.drop("incident_id", "session")),
        }
        context.add_asset_metadata(facts, partition_key=day.isoformat())


@dg.asset(
    deps=[DATA_INCIDENTS.name],
    partitions_def=SESSIONS,
    backfill_policy=dg.BackfillPolicy.single_run(),
    group_name=GROUP,
    owners=OWNERS,
    kinds={"jinja", "html"},
)
def data_docs(context: dg.AssetExecutionContext, lake: LakeResource, reports: ReportsResource) -> None:
    """One self-contained HTML page a session: incidents, every rule of every table, every expectation of the suites."""
    store = lake.open()
    days = [date.fromisoformat(key) for key in sorted(context.partition_keys)]
    suites = {name: suite_findings(store, name, days) for name in SUITES}
    for day in days:
        docs = DataDocs(
            session=day,
            incidents=store.read(DATA_INCIDENTS.name, day.isoformat()),
            rules={name: session_outcomes(store, name, day) for name in CHECKED_TABLES},
            suites={name: found.get(day, []) for name, found in suites.items()},
        )
        page = reports.path / f"data-docs-{day}.html"
        html = render_data_docs(docs)
        replace_file(page, html)
        facts = {"page": dg.MetadataValue.path(str(page.resolve())), "kilobytes": round(len(html) / 1000, 1)}
        context.add_asset_metadata(facts, partition_key=day.isoformat())
