"""What the latest evaluation measured, for people who query the lake; every table behind it is in its own folder."""

from __future__ import annotations

import polars as pl

from flowlake.schemas.base import Column, Table
from flowlake.schemas.market import AVAILABLE_AT, ORIGIN

_ABOUT = (
    Column("model_id", pl.String, "Version and parameters of the score that was measured."),
    Column("seed", pl.Int64, "Seed of everything drawn."),
    AVAILABLE_AT,
    ORIGIN,
)

EVALUATION_RECALL = Table(
    name="evaluation_recall",
    description="Share of injected episodes within a budget of alerts, by method (flowlake or a simple rule) and arm.",
    columns=(
        Column("method", pl.String, "'flowlake' or one of seven simple rules."),
        Column(
            "arm", pl.String, "'informed' (any host), 'quiet', 'camouflage' (busy days), 'case', or 'decoy' (errors)."
        ),
        Column("budget", pl.Int32, "Alerts a day over a universe of 6,000 names.", "alerts"),
        Column("caught", pl.Int64, "Episodes within the budget on any of their sessions.", "episodes"),
        Column("n", pl.Int64, "Episodes.", "episodes"),
        Column("recall", pl.Float64, "caught / n."),
        Column("low", pl.Float64, "Lower end of Wilson's 95 % interval."),
        Column("high", pl.Float64, "Upper end of Wilson's 95 % interval."),
        *_ABOUT,
    ),
    key=("method", "arm", "budget"),
    sort=("method", "arm", "budget"),
    known_at="when it was measured",
    partitioning="none",
    retention="permanent",
)

EVALUATION_FALSE_ALARMS = Table(
    name="evaluation_false_alarms",
    description="Alarms on undisturbed sessions against the number each conviction level promises.",
    columns=(
        Column("conviction", pl.String, "Level; alarms of this level and above."),
        Column("sessions", pl.Int64, "Undisturbed sessions judged.", "sessions"),
        Column("ticker_sessions", pl.Int64, "Underlyings judged, over all sessions.", "ticker-sessions"),
        Column("nominal", pl.Float64, "Alarms promised.", "alarms"),
        Column("observed", pl.Int64, "Alarms raised.", "alarms"),
        Column("ratio", pl.Float64, "observed / nominal."),
        Column("low", pl.Float64, "Lower end of Garwood's exact 95 % interval of the ratio."),
        Column("high", pl.Float64, "Upper end of Garwood's exact 95 % interval of the ratio."),
        *_ABOUT,
    ),
    key=("conviction",),
    sort=("nominal",),
    known_at="when it was measured",
    partitioning="none",
    retention="permanent",
)
