"""The catalogue of the API: every listing by its path, made from the lake's table declarations."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import date

import polars as pl

from flowlake.detect.scoring import CONVICTIONS
from flowlake.lake.catalog import sql_type
from flowlake.schemas import TABLES, Table, table
from flowlake.schemas.base import Column
from flowlake.serve.lake_reader import State
from flowlake.serve.parameters import Parameter
from flowlake.serve.queries import TICKER, Filter, Listing, Order, scan_partitions

PREFIX = "/api/v1"

_UNDERLYING = Parameter("underlying", "text", "Underlying ticker.", pattern=TICKER, example="SPX")
_TICKER = Parameter("ticker", "text", "Ticker.", pattern=TICKER, example="AAPL")
_CONTRACT = Parameter(
    "contract",
    "text",
    "Contract: 'O:' and the OCC symbol.",
    location="path",
    pattern=r"O:[A-Z0-9.]{1,8}\d{6}[CP]\d{8}",
    example="O:SPXW261218C06000000",
)
_RIGHT = Parameter("right", "choice", "Calls or puts.", choices=("C", "P"))
_CONVICTIONS = (*(name for name, _ in CONVICTIONS), "NONE")
_ALERT_STATUSES = ("new", "updated", "acknowledged", "snoozed", "expired")
_NEWEST_FIRST = Order("session", True)
_STATUSES = ("provisional", "confirmed", "withdrawn", "unclear")

SESSIONS = Table(
    name="sessions",
    description="Sessions that are published, newest first.",
    columns=(
        Column("session", pl.Date, "Session."),
        Column("tables", pl.Int32, "Tables that have it.", "tables"),
        Column("contracts", pl.Int64, "Contracts in its chains.", "contracts", nullable=True),
        Column("events", pl.Int64, "Scored events.", "events", nullable=True),
    ),
    key=("session",),
    sort=("session",),
    known_at="when the session was published",
)

TABLES_LISTED = Table(
    name="tables",
    description="Tables of the lake.",
    columns=(
        Column("table", pl.String, "Name."),
        Column("description", pl.String, "What a row is."),
        Column("known_at", pl.String, "When the facts of a row became public."),
        Column("partitioning", pl.String, "'session', 'snapshot' or 'none'."),
        Column("retention", pl.String, "'intraday', 'daily' or 'permanent'."),
        Column("key", pl.List(pl.String), "Columns that identify a row within a partition."),
        Column("sort", pl.List(pl.String), "Order of the rows within a partition."),
        Column("partitions", pl.Int64, "Published partitions.", "partitions"),
        Column("rows", pl.Int64, "Published rows.", "rows"),
        Column("newest", pl.String, "Newest published partition.", nullable=True),
    ),
    key=("table",),
    sort=("table",),
    known_at="when it was published",
)

COLUMNS_LISTED = Table(
    name="columns",
    description="Columns of the lake's tables.",
    columns=(
        Column("table", pl.String, "Table."),
        Column("position", pl.Int32, "1-based position."),
        Column("column", pl.String, "Name."),
        Column("type", pl.String, "SQL type."),
        Column("unit", pl.String, "Unit; empty where there is none."),
        Column("nullable", pl.Boolean, "Whether it may be null."),
        Column("description", pl.String, "What it means."),
    ),
    key=("table", "position"),
    sort=("table", "position"),
    known_at="with this version of flowlake",
)


def listings(tables: Mapping[str, Table] = TABLES) -> tuple[Listing, ...]:
    """Every listing served: those of `tables` that are declared, and those about the lake itself."""
    return (*_about_the_lake(), *(one for one in _of_tables() if one.table.name in tables))


def _about_the_lake() -> tuple[Listing, ...]:
    of_table = Parameter("table", "text", "Only this table.", pattern=r"[a-z_][a-z0-9_]{0,63}")
    return (
        Listing(
            "sessions", f"{PREFIX}/sessions", "Published sessions", SESSIONS, (Order("session", True),),
            source=lambda state, _: sessions_frame(state).lazy(), reads=_everything,
        ),
        Listing(
            "tables", f"{PREFIX}/tables", "Tables, what a row is and when it was known", TABLES_LISTED,
            (Order("table"),), source=lambda state, _: tables_frame(state).lazy(), reads=_everything,
        ),
        Listing(
            "columns", f"{PREFIX}/columns", "Columns, their types, units and meaning", COLUMNS_LISTED,
            (Order("table"), Order("position")), filters=(Filter(of_table, "table"),),
            source=lambda state, _: columns_frame(state).lazy(), reads=_everything,
        ),
    )  # fmt: skip


def _of_tables() -> tuple[Listing, ...]:
    minimum = Parameter("min_score", "number", "Lowest score.", minimum=1, maximum=10)
    directions = Parameter("direction", "choice", "Direction.", choices=("bullish", "bearish", "neutral"))
    event_filters = (
        Filter(_UNDERLYING, "underlying"),
        Filter(minimum, "score", ">="),
        Filter(Parameter("conviction", "choices", "Convictions.", choices=_CONVICTIONS), "conviction", "in"),
        Filter(directions, "direction"),
        Filter(Parameter("status", "choices", "Newest status.", choices=_STATUSES), "status", "in"),
    )
    chain_filters = (
        Filter(replace(_UNDERLYING, required=True), "underlying"),
        Filter(Parameter("expiration", "date", "Expiration date."), "expiration"),
        Filter(_RIGHT, "right"),
        Filter(Parameter("min_volume", "integer", "Fewest contracts traded.", minimum=0), "volume", ">="),
    )
    alert_status = Parameter("status", "choices", "Where the alert stands.", choices=_ALERT_STATUSES)
    level = Parameter("level", "choice", "Conviction level.", choices=_CONVICTIONS[:-1])
    return (
        Listing(
            "events",
            f"{PREFIX}/events",
            "Scored events, newest session first, the most unusual first",
            table("scored_events"),
            (_NEWEST_FIRST, Order("rank")),
            filters=event_filters,
            sessions="range",
            left_out=("factors", "contracts"),
            source=events_with_status,
            reads=_events_reads,
        ),
        Listing(
            "chains",
            f"{PREFIX}/chains",
            "One underlying's chain of one session, by expiration, strike and right",
            table("option_chains"),
            (Order("session"), *map(Order, table("option_chains").sort)),
            filters=chain_filters,
            sessions="one",
        ),
        Listing(
            "contract_history",
            f"{PREFIX}/contracts/{{contract}}/history",
            "One contract over the kept sessions, oldest first",
            table("option_chains"),
            (Order("session"),),
            filters=(Filter(_CONTRACT, "contract"),),
            sessions="range",
        ),
        Listing(
            "alerts",
            f"{PREFIX}/alerts",
            "Alerts and where they stand, newest session first, the highest score first",
            table("alerts"),
            (_NEWEST_FIRST, Order("score", True), Order("alert_id")),
            filters=(Filter(_UNDERLYING, "underlying"), Filter(alert_status, "status", "in")),
            sessions="range",
        ),
        _by_session("features", "Options-flow features by underlying", "options_flow_features", _UNDERLYING),
        _by_session("signals", "Insider signals by ticker, as known at the close", "insider_signals", _TICKER),
        _by_session("outcomes", "What followed earlier events", "event_outcomes", _UNDERLYING),
        _by_session("calibration", "Alarms promised and alarms seen, by conviction level", "calibration", level),
        _by_session("incidents", "Incidents of the data itself", "data_incidents"),
        _by_snapshot("events", "Events of a moment of the session", "intraday_scored_events", *event_filters[:-1]),
        _by_snapshot("chains", "One underlying's chain at a moment", "intraday_chains", *chain_filters),
        _by_snapshot(
            "features",
            "Features at a moment of the session",
            "intraday_flow_features",
            Filter(_UNDERLYING, "underlying"),
        ),
        Listing(
            "feature_definitions",
            f"{PREFIX}/feature-definitions",
            "What each feature means, its unit, source and window",
            table("feature_definitions"),
            tuple(map(Order, table("feature_definitions").sort)),
        ),
    )


def _by_session(name: str, summary: str, of_table: str, *parameters: Parameter) -> Listing:
    declared = table(of_table)
    return Listing(
        name,
        f"{PREFIX}/{name}",
        f"{summary}, newest session first",
        declared,
        (_NEWEST_FIRST, *map(Order, _row_order(declared))),
        filters=tuple(Filter(parameter, parameter.name) for parameter in parameters),
        sessions="range",
    )


def _row_order(declared: Table) -> tuple[str, ...]:
    """The order on disk, or by key where that has nulls: no row comes after a null."""
    nullable = {column.name for column in declared.columns if column.nullable}
    return declared.key if nullable & set(declared.sort) else declared.sort


def _by_snapshot(name: str, summary: str, of_table: str, *filters: Filter) -> Listing:
    declared = table(of_table)
    return Listing(
        f"intraday_{name}",
        f"{PREFIX}/intraday/{name}",
        f"{summary} (New York time names the snapshot)",
        declared,
        tuple(map(Order, declared.sort)),
        filters=filters,
        sessions="snapshot",
        left_out=tuple(c for c in ("factors", "contracts") if c in declared.schema),
    )


def events_with_status(state: State, partitions: Sequence[str]) -> pl.LazyFrame:
    """Scored events of sessions, `status` being the newest that later sessions made known."""
    events = scan_partitions(state, table("scored_events"), partitions)
    if not state.partitions_of("event_status"):
        return events
    later = [name for name in state.partitions("event_status") if name >= min(partitions)]
    newest = (
        scan_partitions(state, state.tables["event_status"], later)
        .sort("available_at")
        .group_by("event_id")
        .agg(pl.col("status").last().alias("newest_status"))
    )
    joined = events.join(newest, on="event_id", how="left", maintain_order="left")
    return joined.with_columns(status=pl.coalesce("newest_status", "status")).drop("newest_status")


def sessions_frame(state: State) -> pl.DataFrame:
    """Published sessions and what they hold."""
    published = state.manifest.published
    by_session = [n for n in published if n in state.tables and state.tables[n].partitioning == "session"]
    having = Counter(partition for name in by_session for partition in published[name])

    def rows(name: str, partition: str) -> int | None:
        entry = published.get(name, {}).get(partition)
        return None if entry is None else entry.rows

    found = [
        (date.fromisoformat(key), count, rows("option_chains", key), rows("scored_events", key))
        for key, count in sorted(having.items(), reverse=True)
    ]
    return pl.DataFrame(found, schema=SESSIONS.schema, orient="row")


def tables_frame(state: State) -> pl.DataFrame:
    """Declared tables and what is published of them."""
    rows = []
    for name, declared in sorted(state.tables.items()):
        entries = state.manifest.published.get(name, {})
        facts = (declared.description, declared.known_at, declared.partitioning, declared.retention)
        shape = (list(declared.key), list(declared.sort))
        held = (len(entries), sum(entry.rows for entry in entries.values()), max(entries, default=None))
        rows.append((name, *facts, *shape, *held))
    return pl.DataFrame(rows, schema=TABLES_LISTED.schema, orient="row")


def columns_frame(state: State) -> pl.DataFrame:
    """Columns of the declared tables."""
    rows = [
        (name, place, column.name, sql_type(column.dtype), column.unit, column.nullable, column.description)
        for name, declared in sorted(state.tables.items())
        for place, column in enumerate(declared.columns, start=1)
    ]
    return pl.DataFrame(rows, schema=COLUMNS_LISTED.schema, orient="row")


def _events_reads(state: State, partitions: Sequence[str]) -> list[tuple[str, str]]:
    statuses = [("event_status", name) for name in state.partitions_of("event_status")]
    return [*(("scored_events", name) for name in partitions), *statuses]


def _everything(state: State, _: Sequence[str]) -> list[tuple[str, str]]:
    # Every publication has a version of its own, which is quicker to name than all that it shows.
    return [("catalog", str(state.version))]
