"""The day-over-day monitor: contracts whose volume broke with the session before."""

from __future__ import annotations

import polars as pl

from flowlake.schemas.base import UTC_TIME, Column, Table
from flowlake.schemas.market import AVAILABLE_AT, ORIGIN, SESSION
from flowlake.schemas.options import CONTRACT_ID

ANOMALIES_DAY_OVER_DAY = Table(
    name="anomalies_day_over_day",
    description="Contracts of the monitored underlyings whose volume broke with that of the session before.",
    columns=(
        SESSION,
        Column("underlying", pl.String, "Underlying ticker."),
        CONTRACT_ID,
        Column("contract", pl.String, "Vendor contract ticker."),
        Column("expiration", pl.Date, "Expiration date."),
        Column("strike", pl.Float64, "Strike price.", "USD per share"),
        Column("right", pl.String, "'C' or 'P'."),
        Column("dte", pl.Int16, "Calendar days to expiration.", "days"),
        Column("volume", pl.Int32, "Volume of the session.", "contracts"),
        Column("previous_volume", pl.Int32, "Volume of the session before.", "contracts"),
        Column("volume_change", pl.Int32, "volume - previous_volume.", "contracts"),
        Column("multiple", pl.Float64, "volume / previous_volume; null where nothing traded before.", "", True),
        Column("premium_usd", pl.Float64, "volume x price x multiplier.", "USD"),
        Column("flags", pl.List(pl.String), "'delta', 'multiplier', 'dormancy': the rules it broke."),
        Column("explanation", pl.String, "One plain sentence."),
        Column("event_time", UTC_TIME, "Close of the session."),
        AVAILABLE_AT,
        ORIGIN,
    ),
    key=("contract_id",),
    sort=("underlying", "expiration", "strike", "right", "contract_id"),
    known_at="available_at of the chain",
    retention="permanent",
)
