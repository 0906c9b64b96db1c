"""The day-over-day monitor: contracts whose volume broke with the session before, at the close and at every poll."""

from __future__ import annotations

import polars as pl

from flowlake.schemas.base import UTC_TIME, Column, Table
from flowlake.schemas.intraday import SNAPSHOT
from flowlake.schemas.market import AVAILABLE_AT, ORIGIN, SESSION
from flowlake.schemas.options import CONTRACT_ID

_FLAGGED = (
    Column("underlying", pl.String, "Underlying ticker."),
    CONTRACT_ID,
    Column("contract", pl.String, "Vendor contract ticker."),
    Column("expiration", pl.Date, "Expiration date."),
    Column("strike", pl.Float64, "Strike price.", "USD per share"),
    Column("right", pl.String, "'C' or 'P'."),
    Column("dte", pl.Int16, "Calendar days to expiration.", "days"),
    Column("volume", pl.Int32, "Volume of the session so far.", "contracts"),
    Column("previous_volume", pl.Int32, "Volume of the session before, at the same point of the day.", "contracts"),
    Column("volume_change", pl.Int32, "volume - previous_volume.", "contracts"),
    Column("multiple", pl.Float64, "volume / previous_volume; null where nothing traded before.", "", True),
    Column("premium_usd", pl.Float64, "volume x price x multiplier.", "USD"),
    Column("open_interest", pl.Int32, "Open interest at the start of the session.", "contracts", True),
    Column("open_interest_change", pl.Int32, "Change since the session before, null across splits.", "contracts", True),
    Column("volume_max", pl.Int32, "Largest whole-day volume of the trailing 20 sessions.", "contracts", True),
    Column("percentile", pl.Float64, "Share of comparable trailing observations that traded less, 0 to 1.", "", True),
    Column("percentile_n", pl.Int32, "Trailing contract-sessions behind percentile.", "rows"),
    Column("composite", pl.Float64, "Weighted mean of the parts of the composite score that are known, 0 to 100."),
    Column("delta", pl.Float32, "Our delta.", nullable=True),
    Column("implied_volatility", pl.Float32, "Our IV, annualised, decimal.", nullable=True),
    Column("price", pl.Float64, "Price of the contract.", "USD per share", True),
    Column(
        "flags", pl.List(pl.String), "'delta', 'multiplier', 'dormancy', 'oi_surge', 'max_breach': the rules it broke."
    ),
    Column("explanation", pl.String, "One plain sentence."),
)

ANOMALIES_DAY_OVER_DAY = Table(
    name="anomalies_day_over_day",
    description="Contracts of the monitored underlyings whose volume broke with that of the session before.",
    columns=(SESSION, *_FLAGGED, Column("event_time", UTC_TIME, "Close of the session."), AVAILABLE_AT, ORIGIN),
    key=("contract_id",),
    sort=("underlying", "expiration", "strike", "right", "contract_id"),
    known_at="available_at of the chain",
    retention="permanent",
)

INTRADAY_DAY_OVER_DAY = Table(
    name="intraday_day_over_day",
    description="Contracts of the monitored underlyings whose volume so far broke with the same time a session before.",
    columns=(
        SESSION,
        SNAPSHOT,
        Column("compared_with", UTC_TIME, "The poll of the session before that it was compared with."),
        *_FLAGGED,
        AVAILABLE_AT,
        ORIGIN,
    ),
    key=("contract_id",),
    sort=("underlying", "expiration", "strike", "right", "contract_id"),
    known_at="available_at of the chain",
    partitioning="snapshot",
    retention="daily",
)

MONITOR_POLLS = Table(
    name="monitor_polls",
    description="What every poll of the day-over-day monitor looked at, and why it could or could not compare.",
    columns=(
        SESSION,
        SNAPSHOT,
        Column("underlying", pl.String, "Underlying ticker."),
        Column("status", pl.String, "'compared', 'first_day' or 'no_aligned_poll'."),
        Column("compared_with", UTC_TIME, "The poll of the session before.", nullable=True),
        Column("watched", pl.Int32, "Contracts within the window of expirations.", "contracts"),
        Column("compared", pl.Int32, "Of these, contracts that the earlier poll listed too.", "contracts"),
        Column("flagged", pl.Int32, "Of these, contracts that broke a rule.", "contracts"),
        Column("volume", pl.Int64, "Volume of the watched contracts so far.", "contracts"),
        Column("explanation", pl.String, "One plain sentence."),
        AVAILABLE_AT,
        ORIGIN,
    ),
    key=("underlying",),
    sort=("underlying",),
    known_at="available_at of the chain",
    partitioning="snapshot",
    retention="daily",
)

MONITOR_VOLUME_BINS = Table(
    name="monitor_volume_bins",
    description="Histogram of a poll's volumes by |delta| and days to expiration: later polls' percentiles.",
    columns=(
        SESSION,
        SNAPSHOT,
        Column("underlying", pl.String, "Underlying ticker."),
        Column("bucket", pl.Int16, "|delta| x days to expiration; see `flowlake.detect.day_over_day`."),
        Column("bin", pl.Int16, "floor(8 x log2(1 + volume)); 0 holds contracts that did not trade."),
        Column("contracts", pl.Int32, "Contracts in the bin.", "contracts"),
        AVAILABLE_AT,
        ORIGIN,
    ),
    key=("underlying", "bucket", "bin"),
    sort=("underlying", "bucket", "bin"),
    known_at="available_at of the chain",
    partitioning="snapshot",
    retention="daily",
)
