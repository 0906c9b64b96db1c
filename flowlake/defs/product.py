"""What the Dagster UI shows of every asset, mapped over the whole graph in one place.

A module that adds an asset says what is particular to it; owners, stage, cadence, retention, column lineage, freshness
and automation follow from here, so that the next asset has them too.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import Any, Final

import dagster as dg

from flowlake.defs.partitions import SESSIONS
from flowlake.defs.session_asset import OWNERS
from flowlake.schemas import TABLES
from flowlake.schemas.lineage import sources

STAGES: Final[Mapping[str, str]] = {
    "market": "1-market",
    "chains": "2-chains",
    "baselines": "3-baselines",
    "events": "4-events",
    "insiders": "5-insiders",
    "features": "6-features",
    "quality": "7-quality",
    "published": "8-published",
    "alerts": "9-alerts",
    "intraday": "intraday",
    "evaluation": "evaluation",
}
"""Groups in the order in which data flow through them; the UI can filter and sort by the tag `stage`."""

RESTATED_GROUPS: Final = ("chains", "baselines", "events", "features", "quality", "published")
"""Groups whose sessions are rebuilt when something upstream of them was."""

RESTATED: Final = (
    # A new list of disclosures would rebuild every session there is; each row reads only what it could know.
    dg.AutomationCondition.any_deps_updated().ignore(dg.AssetSelection.assets("congress_trades")).since_last_handled()
    & ~dg.AutomationCondition.missing()
    & ~dg.AutomationCondition.any_deps_in_progress()
    & ~dg.AutomationCondition.in_progress()
).with_label("rebuild sessions whose upstream was rebuilt")
"""A session that was built is built again when what it is made from was; a session never built is left to schedules.

The look-back of baselines carries on: a corrected session rebuilds those of the 60 after it, nothing before it.
"""

_FOLLOWERS: Final = frozenset(
    {"ticker_statistics", "scored_events", "options_flow_features"}
    | {f"anomalies_{algorithm}" for algorithm in ("volume", "open_interest", "multi_strike", "low_volume")}
)
"""Outputs that another output of their step asks for: `calibration_bins`, or `gamma_exposure_by_strike`.

They look back at what their step made for earlier sessions, and Dagster 1.13 carries a request within a step along such
a look-back: to sessions of the past. Features of the sessions after a corrected one are therefore left to
`flowlake backfill superseded`.
"""

LONGEST_GAP: Final = timedelta(days=4, hours=4)
"""From a Friday's 08:00 run to that of a Tuesday after a Monday holiday, and what the run takes."""

_FRESHNESS: Final[Mapping[str, dg.FreshnessPolicy]] = {
    **dict.fromkeys(
        (
            *("raw_option_snapshots", "option_chains", "scored_events", "daily_report", "duckdb_catalog"),
            *("intraday_option_snapshots", "intraday_chains", "intraday_scored_events", "intraday_catalog"),
        ),
        dg.FreshnessPolicy.time_window(fail_window=LONGEST_GAP, warn_window=timedelta(days=3, hours=4)),
    ),
    # Filings are taken in on weekdays only; a weekend is two days and two nights.
    "insider_filings": dg.FreshnessPolicy.time_window(
        fail_window=timedelta(days=3, hours=12), warn_window=timedelta(days=2, hours=20)
    ),
}
"""How old the newest materialisation may be, over any night and long weekend: Dagster's policies know no holidays and
no early closes. The checks of `duckdb_catalog` and `intraday_catalog` do, and count sessions and snapshots."""

_CADENCES = {"session": "end-of-day", "snapshot": "intraday", "none": "as-needed"}
_SCHEMAS = {name: frozenset(declared.schema.names()) for name, declared in TABLES.items()}


def as_product(definitions: dg.Definitions) -> dg.Definitions:
    """`definitions` with everything the UI should show of their assets."""
    return definitions.map_asset_specs(func=presented)


def presented(spec: dg.AssetSpec) -> dg.AssetSpec:
    """`spec` with owners, tags, description, column lineage, freshness and automation, each where it lacks it."""
    name = spec.key.to_user_string()
    declared = TABLES.get(name)
    group = spec.group_name or "default"
    tags = {"stage": STAGES.get(group, group), **spec.tags}
    metadata: dict[str, Any] = dict(spec.metadata)
    if declared is not None:
        insider = "filed_on" in declared.schema
        tags |= {"cadence": "by-filing-date" if insider else _CADENCES[declared.partitioning]}
        tags |= {"retention": declared.retention}
        metadata |= _lineage(name)
    return spec.replace_attributes(
        owners=spec.owners or OWNERS,
        tags=tags,
        kinds=spec.kinds or {"parquet"},
        description=spec.description or (declared.description if declared else None),
        metadata=metadata,
        freshness_policy=spec.freshness_policy or _FRESHNESS.get(name),
        automation_condition=spec.automation_condition or _automation(spec),
    )


def _automation(spec: dg.AssetSpec) -> dg.AutomationCondition | None:
    restated = spec.group_name in RESTATED_GROUPS and spec.partitions_def == SESSIONS
    return RESTATED if restated and spec.key.to_user_string() not in _FOLLOWERS else None


def _lineage(name: str) -> dict[str, dg.TableColumnLineage]:
    found = sources(name, tuple(TABLES[name].schema.names()), _SCHEMAS)
    if not found:
        return {}
    columns = {
        column: [dg.TableColumnDep(dg.AssetKey(origin), name) for origin, name in (each.split(".") for each in origins)]
        for column, origins in found.items()
    }
    return {"dagster/column_lineage": dg.TableColumnLineage(columns)}
