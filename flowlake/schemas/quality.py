"""What was wrong with the data: one row per incident, kept for good."""

from __future__ import annotations

import polars as pl

from flowlake.schemas.base import Column, Table
from flowlake.schemas.market import AVAILABLE_AT, ORIGIN, SESSION

DATA_INCIDENTS = Table(
    name="data_incidents",
    description="Rules of data quality that a session's tables broke, one row per table, rule and underlying.",
    columns=(
        SESSION,
        Column("incident_id", pl.String, "Stable id: hash of session, table, rule and underlying."),
        Column("table", pl.String, "Table that broke the rule."),
        Column("rule", pl.String, "Name of the asset check, or 'suite: ' and the expectation of a suite."),
        Column("underlying", pl.String, "Underlying concerned; null where it is the table as a whole.", nullable=True),
        Column("severity", pl.String, "'ERROR' stops the stages that follow, 'WARN' lets them run."),
        Column("expected", pl.String, "What the rule demands, in words."),
        Column("observed", pl.String, "What was seen, with the figures."),
        Column("violations", pl.Int64, "Rows that broke the rule, over all underlyings.", "rows"),
        Column("rows", pl.Int64, "Rows the rule was evaluated on.", "rows"),
        Column("first_seen", pl.Date, "First session of the unbroken run of sessions with this incident."),
        Column("resolved", pl.Boolean, "A later rebuild of the session no longer breaks the rule."),
        AVAILABLE_AT,
        ORIGIN,
    ),
    key=("incident_id",),
    sort=("severity", "table", "rule", "underlying", "incident_id"),
    known_at="available_at of the table that broke the rule (close of the session where it has no rows)",
    retention="permanent",
)
