"""Intraday tables: the end-of-day tables as of a moment of the session, the universe, and what became of each pass."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import polars as pl

from flowlake.schemas.base import UTC_TIME, Column, Retention, Table
from flowlake.schemas.detection import (
    ANOMALIES_LOW_VOLUME,
    ANOMALIES_MULTI_STRIKE,
    ANOMALIES_VOLUME,
    CALIBRATION_BINS,
    CONTRACT_BASELINES,
    SCORED_EVENTS,
    TICKER_BASELINES,
    TICKER_STATISTICS,
)
from flowlake.schemas.market import (
    AVAILABLE_AT,
    CHAIN_QUARANTINE,
    CORPORATE_ACTIONS,
    ORIGIN,
    RAW_OPTION_SNAPSHOTS,
    RAW_QUARANTINE,
    RAW_STOCK_SNAPSHOTS,
    SESSION,
    SNAPSHOT_COVERAGE,
)
from flowlake.schemas.options import OPTION_CHAINS

SNAPSHOT = Column("snapshot", UTC_TIME, "Nominal moment of the market the snapshot describes; the partition names it.")

_INTRADAY_TEXTS = {
    "event_time": "The snapshot whose trading so far is described.",
    "volume": "Contracts traded in THIS session up to the snapshot.",
    "rank": "1 is the most unusual of the snapshot.",
    "universe": "Underlyings tested in the snapshot.",
}


def _intraday(
    table: Table,
    name: str,
    description: str,
    *,
    retention: Retention = "intraday",
    texts: Sequence[str] = ("event_time",),
) -> Table:
    """`table` as of a snapshot: the same columns, `snapshot` after `session`, one partition per snapshot."""
    columns: list[Column] = []
    for column in table.columns:
        told = _INTRADAY_TEXTS[column.name] if column.name in texts else column.description
        columns.append(replace(column, description=told))
        if column.name == "session":
            columns.append(SNAPSHOT)
    return replace(
        table,
        name=name,
        description=description,
        columns=tuple(columns),
        partitioning="snapshot",
        retention=retention,
    )


INTRADAY_STOCK_SNAPSHOTS = _intraday(
    RAW_STOCK_SNAPSHOTS, "intraday_stock_snapshots", "Full-market stock snapshot in the session, one row per ticker."
)
INTRADAY_OPTION_SNAPSHOTS = _intraday(
    RAW_OPTION_SNAPSHOTS,
    "intraday_option_snapshots",
    "Option-chain snapshot of the underlyings due, in the session, as the vendor sent it.",
)
INTRADAY_QUARANTINE = _intraday(
    RAW_QUARANTINE, "intraday_quarantine", "Rows of an intraday pass that do not fit their declared types."
)
INTRADAY_COVERAGE = _intraday(
    SNAPSHOT_COVERAGE,
    "intraday_coverage",
    "What each intraday pass asked for and got, one row per underlying.",
    retention="daily",
)
INTRADAY_CHAINS = _intraday(
    OPTION_CHAINS,
    "intraday_chains",
    "One row per contract and snapshot: cleaned vendor facts beside our own implied volatility and Greeks.",
    texts=("volume",),
)
INTRADAY_CHAIN_QUARANTINE = _intraday(
    CHAIN_QUARANTINE,
    "intraday_chain_quarantine",
    "Intraday option rows no chain can contain (unreadable symbol, expired, impossible), with the reason.",
)
INTRADAY_CALIBRATION_BINS = _intraday(
    CALIBRATION_BINS,
    "intraday_calibration_bins",
    "Histogram of a snapshot's contract statistics by bucket: the empirical null of later sessions at that time.",
    retention="daily",
)
INTRADAY_TICKER_STATISTICS = _intraday(
    TICKER_STATISTICS,
    "intraday_ticker_statistics",
    "Every underlying's evidence on either side at a snapshot: the null of later sessions at that time of day.",
    retention="daily",
)
INTRADAY_ANOMALIES_VOLUME = _intraday(
    ANOMALIES_VOLUME,
    "intraday_anomalies_volume",
    "Contracts that traded far more by the snapshot than history, time of day and chain explain.",
)
INTRADAY_ANOMALIES_MULTI_STRIKE = _intraday(
    ANOMALIES_MULTI_STRIKE,
    "intraday_anomalies_multi_strike",
    "Neighbouring strikes or expirations on one side that are unusual together by the snapshot (ladders).",
)
INTRADAY_ANOMALIES_LOW_VOLUME = _intraday(
    ANOMALIES_LOW_VOLUME,
    "intraday_anomalies_low_volume",
    "Illiquid names in which one series took over the chain by the snapshot: low volume, high conviction.",
)
INTRADAY_SCORED_EVENTS = _intraday(
    SCORED_EVENTS,
    "intraday_scored_events",
    "Underlyings with unusual activity so far in the session, ranked; event_id is that of the end-of-day event.",
    texts=("event_time", "rank", "universe"),
)

INTRADAY_CORPORATE_ACTIONS = replace(
    CORPORATE_ACTIONS,
    name="intraday_corporate_actions",
    description="Splits and cash dividends as known before the session's first pass.",
    retention="intraday",
)

INTRADAY_CONTRACT_BASELINES = replace(
    CONTRACT_BASELINES,
    name="intraday_contract_baselines",
    description="What was normal for each contract, made once a day from the first snapshot's list of contracts.",
    retention="intraday",
)
INTRADAY_TICKER_BASELINES = replace(
    TICKER_BASELINES,
    name="intraday_ticker_baselines",
    description="What was normal for each underlying's whole chain, made once a day with the first snapshot.",
    retention="intraday",
)

VOLUME_PROFILE = Table(
    name="volume_profile",
    description="Share of a day's option volume usually traded by each minute of the session, by activity class.",
    columns=(
        SESSION,
        Column("activity", pl.Int8, "Activity class of an underlying; see `flowlake.detect.buckets`."),
        Column("minute", pl.Int16, "Minutes since the open of a regular session.", "minutes"),
        Column("share", pl.Float64, "Share of the day's volume traded by then, 0 to 1."),
        Column("sessions", pl.Int16, "Sessions it was measured on; 0 where it is assumed.", "sessions"),
        Column("source", pl.String, "'measured' or 'assumed'."),
        AVAILABLE_AT,
        ORIGIN,
    ),
    key=("activity", "minute"),
    sort=("activity", "minute"),
    known_at="before the session's first snapshot, from sessions strictly before it",
)

UNIVERSE = Table(
    name="universe",
    description="Optionable underlyings of a session, the most liquid first: tier, activity, watch lists, cadence.",
    columns=(
        SESSION,
        Column("underlying", pl.String, "Underlying ticker."),
        Column("rank", pl.Int32, "1 is the most liquid; watched underlyings come first."),
        Column("tier", pl.Int8, "1 (most liquid or watched) to 3; 0 is not asked for intraday."),
        Column("interval_minutes", pl.Int16, "Minutes between its intraday snapshots; null where never.", "min", True),
        Column("option_volume", pl.Float64, "Mean daily option volume over 20 sessions.", "contracts", True),
        Column("volume_sessions", pl.Int16, "Sessions behind option_volume.", "sessions"),
        Column("contracts", pl.Int32, "Contracts of its newest chain.", "contracts", nullable=True),
        Column("pages", pl.Int32, "Requests its newest chain took.", "requests", nullable=True),
        Column("watch_lists", pl.List(pl.String), "Watch lists it is on."),
        AVAILABLE_AT,
        ORIGIN,
    ),
    key=("underlying",),
    sort=("rank",),
    known_at="before the session's first snapshot, from sessions strictly before it",
)

SNAPSHOT_LOG = Table(
    name="snapshot_log",
    description="What became of every snapshot that was due: a gap in the intraday tables is explained here.",
    columns=(
        SESSION,
        SNAPSHOT,
        Column("partition", pl.String, "Partition key of the snapshot, 'YYYY-MM-DD-HH:MM' New York."),
        Column(
            "status",
            pl.String,
            "'running', 'taken', 'late', 'partial' (too few underlyings answered), 'failed' (to be tried again), or "
            "'skipped' (its useful life ended: a gap).",
        ),
        Column("reason", pl.String, "Why it is late, partial, failed or skipped.", nullable=True),
        Column("due_at", UTC_TIME, "When it could first be taken: snapshot + the vendor's delay."),
        Column("useful_until", UTC_TIME, "After this moment it is not taken any more."),
        Column("started_at", UTC_TIME, "When its last pass began.", nullable=True),
        Column("finished_at", UTC_TIME, "When its pass ended.", nullable=True),
        Column("scored_at", UTC_TIME, "When its events were scored and published.", nullable=True),
        Column("attempts", pl.Int16, "Passes begun.", "passes"),
        Column("asked", pl.Int32, "Underlyings asked for.", "tickers"),
        Column("answered", pl.Int32, "Underlyings answered, those without contracts included.", "tickers"),
        Column("resumed", pl.Int32, "Underlyings that an interrupted pass had left behind.", "tickers"),
        Column("requests", pl.Int32, "Requests sent, retries included.", "requests"),
        Column("rate_limited", pl.Int32, "Answers 429.", "requests"),
        Column("rows", pl.Int64, "Contracts received.", "rows"),
        Column("network_seconds", pl.Float64, "Seconds the last pass took.", "s", nullable=True),
        Column("run_id", pl.String, "Dagster run of the last attempt.", nullable=True),
        AVAILABLE_AT,
        Column("origin", pl.String, "Where the answers came from; null where there were none.", nullable=True),
    ),
    key=("snapshot",),
    sort=("snapshot",),
    known_at="available_at: when the row was last written",
)
