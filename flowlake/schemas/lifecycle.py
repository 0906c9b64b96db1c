"""What becomes of scored events and of the promise behind them: status, calibration, known events, simple rules."""

from __future__ import annotations

import polars as pl

from flowlake.schemas.base import UTC_TIME, Column, Table
from flowlake.schemas.detection import EVENT_ID, EVENT_TIME, UNDERLYING
from flowlake.schemas.market import AVAILABLE_AT, ORIGIN, SESSION

EVENT_STATUS = Table(
    name="event_status",
    description="What the next morning's open interest says of each scored event of the session before.",
    columns=(
        SESSION,
        EVENT_ID,
        UNDERLYING,
        Column("event_session", pl.Date, "Session of the event: the one before."),
        Column("right", pl.String, "'C' or 'P': the side of the chain that carried the evidence."),
        Column("direction", pl.String, "Direction of the event."),
        Column("conviction", pl.String, "Conviction of the event."),
        Column(
            "status",
            pl.String,
            "'confirmed' (the lines were opened and held), 'withdrawn' (they were not), or 'unclear'.",
        ),
        Column("reason", pl.String, "Why it is unclear; null where it is not.", nullable=True),
        Column("traded", pl.Int64, "Volume of the leading lines whose open interest is known.", "contracts"),
        Column("known_share", pl.Float64, "Share of the leading lines' volume whose open interest is known."),
        Column("oi_change", pl.Int64, "Open-interest change of those lines overnight.", "contracts", nullable=True),
        Column("oi_confirmation", pl.Float64, "oi_change / traded: near 1 opened, near 0 not held.", nullable=True),
        Column("explanation", pl.String, "One plain sentence."),
        Column("event_time", UTC_TIME, "Close of the event's session, after which the change was booked."),
        AVAILABLE_AT,
        ORIGIN,
    ),
    key=("event_id",),
    sort=("underlying",),
    known_at="available_at of the first chain of this session that was read: its open interest is the morning's",
    retention="permanent",
)

CALIBRATION = Table(
    name="calibration",
    description="Alarms promised and alarms seen, by conviction level, on sessions that nobody labelled.",
    columns=(
        SESSION,
        Column("level", pl.String, "Conviction level, counted with all levels above it."),
        Column("activity", pl.String, "'all', or the underlying's usual option volume ('under 1,000 a day', ...)."),
        Column("sessions", pl.Int16, "Judged sessions counted, this one included.", "sessions"),
        Column("judged", pl.Int64, "Underlying-sessions judged over them.", "underlying-sessions"),
        Column("nominal_session", pl.Float64, "Alarms expected without cause in this session.", "alarms"),
        Column("observed_session", pl.Int32, "Alarms raised in this session.", "alarms"),
        Column("nominal", pl.Float64, "Alarms expected without cause over all counted sessions.", "alarms"),
        Column("observed", pl.Int32, "Alarms raised over all counted sessions.", "alarms"),
        Column("ratio", pl.Float64, "observed / nominal; null where nothing was promised.", nullable=True),
        Column("ratio_low", pl.Float64, "Lower end of the exact 95 % Poisson interval of ratio.", nullable=True),
        Column("ratio_high", pl.Float64, "Upper end of the exact 95 % Poisson interval of ratio.", nullable=True),
        Column(
            "verdict",
            pl.String,
            "'holds' (ratio in the band), 'undecided' (outside, but chance explains it), 'too many' or 'too few'.",
        ),
        EVENT_TIME,
        AVAILABLE_AT,
        ORIGIN,
    ),
    key=("level", "activity"),
    sort=("level", "activity"),
    known_at="available_at of the session's scored events",
    retention="permanent",
)

CALIBRATION_QQ = Table(
    name="calibration_qq",
    description="How many p-values were as small as each of a ladder of values, and how many should have been.",
    columns=(
        SESSION,
        Column("p", pl.Float64, "A p-value."),
        Column("nominal", pl.Float64, "p x judged underlying-sessions.", "underlying-sessions"),
        Column("observed", pl.Int32, "Underlying-sessions with a p-value of at most p.", "underlying-sessions"),
        AVAILABLE_AT,
        ORIGIN,
    ),
    key=("p",),
    sort=("p",),
    known_at="available_at of the session's scored events",
    retention="permanent",
)

RULE_ALARMS = Table(
    name="rule_alarms",
    description="How many alarms the plain rules of the earlier system raise, beside the conviction levels.",
    columns=(
        SESSION,
        Column("rule", pl.String, "'z_score', 'volume_oi', 'floors', ...; or a conviction level, with those above."),
        Column("kind", pl.String, "'threshold' (a plain rule) or 'conviction' (calibrated)."),
        Column("description", pl.String, "The rule in words, with its thresholds."),
        Column("contracts", pl.Int32, "Contracts flagged; null for conviction levels.", "contracts", nullable=True),
        Column("underlyings", pl.Int32, "Underlyings flagged.", "tickers"),
        Column("universe", pl.Int32, "Underlyings with a chain.", "tickers"),
        AVAILABLE_AT,
        ORIGIN,
    ),
    key=("rule",),
    sort=("kind", "rule"),
    known_at="available_at of the chain",
    retention="permanent",
)

KNOWN_EVENTS = Table(
    name="known_events",
    description="What the market knew was coming or had just happened: reasons for activity that are no secret.",
    columns=(
        SESSION,
        Column("underlying", pl.String, "Underlying ticker; '*' concerns every underlying."),
        Column("event_on", pl.Date, "Day of the event."),
        Column("kind", pl.String, "'earnings', 'ex_dividend', 'index_rebalance', 'deal' or 'split'."),
        Column("description", pl.String, "What it is, in words."),
        Column("sessions_away", pl.Int16, "Sessions from this one to the event; negative once past.", "sessions"),
        Column("announced_at", UTC_TIME, "When it became public; null where only known to be earlier.", nullable=True),
        Column("source", pl.String, "'corporate_actions', 'calendar' or 'operator'."),
        AVAILABLE_AT,
        ORIGIN,
    ),
    key=("underlying", "kind", "event_on"),
    sort=("underlying", "kind", "event_on"),
    known_at="available_at: when it was known to us; only events announced by the close of the session appear",
)
