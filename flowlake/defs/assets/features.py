"""Stage 5, features: a row per underlying and session or snapshot, their definitions, and frozen snapshots."""

from collections.abc import Iterator, Sequence
from datetime import date
from typing import Any

import dagster as dg
import polars as pl

from flowlake import calendar, snapshots
from flowlake.defs.assets.insiders import signals_of
from flowlake.defs.partitions import SESSIONS, through_today, trailing
from flowlake.defs.quality import evaluation
from flowlake.defs.resources import LakeResource
from flowlake.defs.session_asset import (
    INTRADAY,
    OWNERS,
    Frames,
    Step,
    column_schema,
    preview,
    session_asset,
    session_assets,
)
from flowlake.detect import baselines
from flowlake.features import flow
from flowlake.features.definitions import definition_version, feature_definitions
from flowlake.features.lookahead import lookahead_violations
from flowlake.features.stock import STOCKS, YEAR
from flowlake.features.volatility import CHANGES
from flowlake.lake import Lake
from flowlake.lake.paths import UNPARTITIONED
from flowlake.options import implied_surface
from flowlake.quality.outcome import Outcome, Severity
from flowlake.schemas import UTC_TIME, Table
from flowlake.schemas.features import (
    FEATURE_DEFINITIONS,
    FEATURE_SNAPSHOTS,
    GAMMA_EXPOSURE_BY_STRIKE,
    INTRADAY_FLOW_FEATURES,
    OPTIONS_FLOW_FEATURES,
)

GROUP = "features"
KINDS = {"polars", "parquet"}
CODE_VERSION = definition_version()
"""A changed definition makes the features of every session stale in the UI."""

_ALGORITHMS = ("anomalies_volume", "anomalies_open_interest", "anomalies_multi_strike", "anomalies_low_volume")
_FOUND = (*_ALGORITHMS, "anomalies_day_over_day", "scored_events", "ticker_statistics")
_INTRADAY_FOUND = {
    "anomalies_volume": "intraday_anomalies_volume",
    "anomalies_multi_strike": "intraday_anomalies_multi_strike",
    "anomalies_low_volume": "intraday_anomalies_low_volume",
    "anomalies_day_over_day": "intraday_day_over_day",
    "scored_events": "intraday_scored_events",
    "ticker_statistics": "intraday_ticker_statistics",
}


def _coverage(step: Step, frames: Frames) -> dict[str, Any]:
    """How much of the table is known, so that a feature that goes silent shows as a plot over the partitions."""
    features = frames[OPTIONS_FLOW_FEATURES.name if step.due is None else INTRADAY_FLOW_FEATURES.name]
    if features.is_empty():
        return {}
    nulls = features.null_count().row(0, named=True)
    silent = sorted(name for name, count in nulls.items() if count == features.height)
    return {
        "share of values known": round(1 - sum(nulls.values()) / (features.height * features.width), 4),
        "features without any value": len(silent),
        "silent features": ", ".join(silent) or "none",
    }


_DEPS = [
    *("option_chains", "contract_baselines", "ticker_baselines", "corporate_actions", *_FOUND),
    *("insider_signals", "congress_trades"),
    dg.AssetDep("iv_surface", partition_mapping=through_today(max(CHANGES))),
    dg.AssetDep("raw_stock_snapshots", partition_mapping=through_today(YEAR - 1)),
    dg.AssetDep(OPTIONS_FLOW_FEATURES.name, partition_mapping=trailing(flow.HISTORY_SESSIONS)),
]


@session_assets(
    "flow_features",
    {GAMMA_EXPOSURE_BY_STRIKE: ["option_chains"], OPTIONS_FLOW_FEATURES: _DEPS},
    group=GROUP,
    kinds=KINDS,
    code_version=CODE_VERSION,
    metadata=_coverage,
)
def flow_features(step: Step) -> Frames:
    """What a table does not hold yet (insider signals of a first run, closes of 200 sessions) is null, never zero."""
    inputs = flow.FlowInputs(
        session=step.session,
        event_time=calendar.session_close(step.session),
        chains=step.read("option_chains"),
        surface=step.read("iv_surface"),
        earlier_surfaces=step.trailing("iv_surface", max(CHANGES)).collect(),
        contract_baselines=step.read("contract_baselines"),
        ticker_baselines=step.read("ticker_baselines"),
        stocks=_stocks(step, "raw_stock_snapshots"),
        actions=step.read("corporate_actions"),
        history=step.trailing(OPTIONS_FLOW_FEATURES.name, flow.HISTORY_SESSIONS, flow.HISTORY.names()).collect(),
        found={name: step.read(name) for name in _FOUND if step.has(name, step.session)},
        insiders=_insiders(step),
        congress=_if_there(step.lake, "congress_trades", UNPARTITIONED),
    )
    return flow.flow_features(inputs)


@session_asset(
    INTRADAY_FLOW_FEATURES,
    # After the pass is published: alerts never wait for features.
    deps=["intraday_chains", "intraday_scored_events", "intraday_day_over_day", "intraday_catalog"],
    group="intraday",
    kinds=KINDS,
    code_version=CODE_VERSION,
    metadata=_coverage,
    publish=True,
    cadence=INTRADAY,
)
def intraday_flow_features(step: Step) -> Frames:
    """The same functions on the chain so far; baselines, closes and insider signals are those of sessions before."""
    chains, actions = step.read("intraday_chains"), step.read("intraday_corporate_actions")
    history = step.earlier("option_chains", baselines.LONGEST)
    known = chains.group_by("underlying").agg(pl.col("available_at").max())
    inputs = flow.FlowInputs(
        session=step.session,
        event_time=step.snapshot.at,
        chains=chains,
        surface=implied_surface(chains).join(known, on="underlying", how="left"),
        earlier_surfaces=step.trailing("iv_surface", max(CHANGES)).collect(),
        contract_baselines=baselines.contract_baselines(step.session, chains.drop("snapshot"), history, actions),
        ticker_baselines=baselines.ticker_baselines(step.session, chains.drop("snapshot"), history, actions),
        stocks=_stocks(step, "intraday_stock_snapshots"),
        actions=actions,
        history=step.trailing(OPTIONS_FLOW_FEATURES.name, flow.HISTORY_SESSIONS, flow.HISTORY.names()).collect(),
        found={name: step.read(table) for name, table in _INTRADAY_FOUND.items() if _is_there(step, table)},
        insiders=_if_there(step.lake, "insider_signals", calendar.previous_session(step.session).isoformat()),
        congress=_if_there(step.lake, "congress_trades", UNPARTITIONED),
    )
    return {
        INTRADAY_FLOW_FEATURES.name: flow.flow_features(inputs, INTRADAY_FLOW_FEATURES)[INTRADAY_FLOW_FEATURES.name]
    }


def _insiders(step: Step) -> pl.DataFrame | None:
    """Insider signals of the session; the morning run is before their own, so that they are made from the trades."""
    held = _if_there(step.lake, "insider_signals", step.partition)
    if held is None and step.has("insider_trades", step.session):
        return signals_of(step.lake, step.session)
    return held


def _stocks(step: Step, today: str) -> pl.DataFrame:
    """Closes of the year before, and the stocks of the step itself from table `today`."""
    past = step.trailing("raw_stock_snapshots", YEAR - 1, STOCKS.names()).collect()
    rows = pl.concat([past, step.read(today).select(STOCKS.names())])
    return rows.unique(["session", "ticker"], keep="first", maintain_order=True)


def _is_there(step: Step, name: str) -> bool:
    return step.lake.has(name, step.key(name))


def _if_there(store: Lake, name: str, partition: str) -> pl.DataFrame | None:
    return store.read(name, partition) if store.has(name, partition) else None


def _facts(table: Table) -> dict[str, Any]:
    return {"dagster/column_schema": column_schema(table), "table": table.name, "known at": table.known_at}


@dg.asset(
    name=FEATURE_DEFINITIONS.name,
    group_name=GROUP,
    owners=OWNERS,
    kinds=KINDS,
    code_version=CODE_VERSION,
    description=FEATURE_DEFINITIONS.description,
    metadata=_facts(FEATURE_DEFINITIONS),
)
def definitions(context: dg.AssetExecutionContext, lake: LakeResource) -> None:
    """The declarations of the code, shown to analysts at once."""
    store, name, rows = lake.open(), FEATURE_DEFINITIONS.name, feature_definitions()
    with store.commit(context.run_id, exclusive=True) as transaction:
        transaction.replace(name, UNPARTITIONED, rows)
        transaction.publish([UNPARTITIONED], [name])
    facts = {"dagster/row_count": rows.height, "version": definition_version(), "preview": preview(rows)}
    context.add_output_metadata(facts)


@dg.asset(
    name=FEATURE_SNAPSHOTS.name,
    deps=[OPTIONS_FLOW_FEATURES.name, "raw_stock_snapshots", "insider_signals", "congress_trades"],
    partitions_def=SESSIONS,
    backfill_policy=dg.BackfillPolicy.single_run(),
    group_name=GROUP,
    owners=OWNERS,
    kinds={"duckdb", "parquet"},
    code_version=CODE_VERSION,
    description=f"{FEATURE_SNAPSHOTS.description}\n\nThe partition of a session is the cross-section known strictly "
    "before the next session opens. Other moments and sequences: `flowlake features snapshot`.",
    metadata=_facts(FEATURE_SNAPSHOTS),
)
def feature_snapshots(context: dg.AssetExecutionContext, lake: LakeResource) -> None:
    """The same facts give the same id and are kept once."""
    store = lake.open()
    for key in sorted(context.partition_keys):
        as_of = calendar.session_open(calendar.next_session(date.fromisoformat(key)))
        taken = snapshots.take(store, as_of)
        if taken.frame.is_empty():
            context.add_asset_metadata({"snapshot": "nothing was known", "dagster/row_count": 0}, partition_key=key)
            continue
        snapshot_id = snapshots.keep(store, taken, context.run_id)
        facts = {"snapshot": snapshot_id, "as of": as_of.isoformat(), "dagster/row_count": taken.frame.height}
        context.add_asset_metadata(facts, partition_key=key)
        context.log.info(f"snapshot {snapshot_id} as of {as_of}: {taken.frame.height:,} underlyings")


_GATE = dg.AssetCheckSpec(
    "no_lookahead",
    asset=OPTIONS_FLOW_FEATURES.name,
    description="No input of a row, read again from its own table, was known after the row says it was.",
    blocking=True,
    partitions_def=SESSIONS,
)


@dg.multi_asset_check(name="options_flow_features_no_lookahead", specs=[_GATE])
def no_lookahead(context: dg.AssetCheckExecutionContext, lake: LakeResource) -> Iterator[Any]:
    """One evaluation a session."""
    store = lake.open()
    for key in sorted(context.partition_keys):
        late, rows = late_inputs(store, key)
        text, sample = f"{late.height} inputs of {rows} rows were known too late", tuple(late.head(5).to_dicts())
        outcome = Outcome(_GATE.name, late.is_empty(), Severity.ERROR, late.height, rows, text, sample)
        yield evaluation(OPTIONS_FLOW_FEATURES.name, key, outcome)
    yield dg.Output(None, _GATE.get_python_identifier())


def late_inputs(store: Lake, key: str) -> tuple[pl.DataFrame, int]:
    """Inputs of session `key` that were known after the feature rows made from them, and how many rows there are."""
    features = store.read(OPTIONS_FLOW_FEATURES.name, key)
    return lookahead_violations(features, dict(_inputs(store, key))), features.height


def _inputs(store: Lake, key: str) -> Sequence[tuple[str, pl.DataFrame]]:
    by_underlying = ("option_chains", "iv_surface", "contract_baselines", "ticker_baselines", *_FOUND)
    stocks = store.read("raw_stock_snapshots", key, ["ticker", "available_at"]).rename({"ticker": "underlying"})
    # The regime of the market is in every row.
    market = stocks.filter(pl.col("underlying") == "SPY").with_columns(underlying=pl.lit(None, pl.String))
    inputs = [
        (name, store.read(name, key, ["underlying", "available_at"])) for name in by_underlying if store.has(name, key)
    ]
    inputs.append(("raw_stock_snapshots", pl.concat([stocks, market])))
    if store.has("insider_signals", key):
        signals = store.read("insider_signals", key, ["ticker", "available_at"]).rename({"ticker": "underlying"})
        inputs.append(("insider_signals", signals.with_columns(pl.col("available_at").cast(UTC_TIME))))
    return inputs


ASSETS = [flow_features, intraday_flow_features, definitions, feature_snapshots]
CHECKS = [no_lookahead]
