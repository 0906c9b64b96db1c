"""Feature tables: a row per underlying and moment, what each feature means, and the index of frozen snapshots."""

from __future__ import annotations

import polars as pl

from flowlake.schemas.base import UTC_TIME, Column, Table
from flowlake.schemas.feature_list import FEATURES, Feature
from flowlake.schemas.intraday import SNAPSHOT
from flowlake.schemas.market import AVAILABLE_AT, ORIGIN, SESSION

_UNDERLYING = Column("underlying", pl.String, "Underlying ticker.")
_SPOT = Column("spot", pl.Float64, "Underlying price of the chain.", "USD per share", nullable=True)
_BASIS = Column("basis", pl.String, "'snapshot', or 'aggregates' for a session rebuilt from daily bars without OI.")
_EVENT_TIME = Column("event_time", UTC_TIME, "Moment described: the close of the session, or the snapshot.")
_KNOWN_AT = "available_at: when the last of its inputs was; facts that became known later are not used"


def _column(feature: Feature) -> Column:
    source = "" if feature.source == "flowlake" else f" Source: {feature.source}."
    return Column(feature.name, feature.dtype, f"{feature.formula}.{source}", feature.unit, nullable=True)


_FEATURE_COLUMNS = tuple(_column(feature) for feature in FEATURES)

OPTIONS_FLOW_FEATURES = Table(
    name="options_flow_features",
    description="Features of each underlying's options, stock, insiders and events, one row per session; null is not "
    "known, never zero.",
    columns=(SESSION, _UNDERLYING, _SPOT, *_FEATURE_COLUMNS, _BASIS, _EVENT_TIME, AVAILABLE_AT, ORIGIN),
    key=("underlying",),
    sort=("underlying",),
    known_at=_KNOWN_AT,
    retention="permanent",
)

INTRADAY_FLOW_FEATURES = Table(
    name="intraday_flow_features",
    description="The features of options_flow_features as of a moment of the session: volumes are those so far.",
    columns=(SESSION, SNAPSHOT, _UNDERLYING, _SPOT, *_FEATURE_COLUMNS, _BASIS, _EVENT_TIME, AVAILABLE_AT, ORIGIN),
    key=("underlying",),
    sort=("underlying",),
    known_at=_KNOWN_AT,
    partitioning="snapshot",
    retention="intraday",
)

GAMMA_EXPOSURE_BY_STRIKE = Table(
    name="gamma_exposure_by_strike",
    description="Gamma exposure of each strike, all expirations together; assumes dealers long calls and short puts.",
    columns=(
        SESSION,
        _UNDERLYING,
        Column("strike", pl.Float64, "Strike price.", "USD per share"),
        Column("call_open_interest", pl.Int64, "Open interest of calls that have a gamma.", "contracts"),
        Column("put_open_interest", pl.Int64, "Open interest of puts that have a gamma.", "contracts"),
        Column("call_gamma_exposure_usd", pl.Float64, "Of calls, not below 0.", "USD of delta per 1 % move"),
        Column("put_gamma_exposure_usd", pl.Float64, "Of puts, not above 0.", "USD of delta per 1 % move"),
        Column("gamma_exposure_usd", pl.Float64, "Their sum.", "USD of delta per 1 % move"),
        AVAILABLE_AT,
        ORIGIN,
    ),
    key=("underlying", "strike"),
    sort=("underlying", "strike"),
    known_at="available_at of the chain",
)

FEATURE_DEFINITIONS = Table(
    name="feature_definitions",
    description="What every feature is: formula, unit, source, window, inputs, when it is known and when it is null.",
    columns=(
        Column("position", pl.Int32, "Order of the column, from 1."),
        Column("feature", pl.String, "Column of options_flow_features and intraday_flow_features."),
        Column("family", pl.String, "Module of flowlake.features that computes it."),
        Column("formula", pl.String, "How it is computed; V volume, OI open interest, P price, K strike, S spot."),
        Column("unit", pl.String, "Unit; empty where it has none."),
        Column("source", pl.String, "Paper or convention, or 'flowlake'."),
        Column("window_sessions", pl.Int32, "Sessions looked at, this one included.", "sessions"),
        Column("inputs", pl.List(pl.String), "'table: columns' it is made from."),
        Column("known_at", pl.String, "When the value is known."),
        Column("missing", pl.String, "When the value is null."),
        Column("dtype", pl.String, "Polars type."),
        Column("definition_version", pl.String, "Hash of all definitions."),
        Column("available_at", UTC_TIME, "When the definitions were last revised."),
        Column("origin", pl.String, "'flowlake': declared in its code."),
    ),
    key=("feature",),
    sort=("position",),
    known_at="available_at: when the definitions were last revised",
    partitioning="none",
    retention="permanent",
)

FEATURE_SNAPSHOTS = Table(
    name="feature_snapshots",
    description="Index of frozen feature snapshots: what was known strictly before as_of, stored for ever by its hash.",
    columns=(
        Column("snapshot_id", pl.String, "Hash of content, kind, as_of, parameters and definitions."),
        Column("kind", pl.String, "'cross_section' (one row per underlying) or 'sequence' (one per step)."),
        Column("as_of", UTC_TIME, "Every fact in it was available strictly before."),
        Column("rows", pl.Int64, "Rows.", "rows"),
        Column("underlyings", pl.Int32, "Distinct underlyings.", "tickers"),
        Column("newest_session", pl.Date, "Newest session of options_flow_features in it.", nullable=True),
        Column("newest_available_at", UTC_TIME, "When the newest fact in it was known.", nullable=True),
        Column("content_sha256", pl.String, "Hash of the values, independent of how they are stored."),
        Column("file_sha256", pl.String, "Hash of the Parquet file."),
        Column("path", pl.String, "Parquet file below the data folder."),
        Column("parameters", pl.String, "Parameters as JSON: length, missing-value policy, limits."),
        Column("definition_version", pl.String, "Hash of all feature definitions."),
        Column("code_version", pl.String, "Version of flowlake that made it."),
        Column("available_at", UTC_TIME, "as_of: everything in it was known before."),
        ORIGIN,
    ),
    key=("snapshot_id",),
    sort=("as_of", "snapshot_id"),
    known_at="as_of",
    partitioning="none",
    retention="permanent",
)
