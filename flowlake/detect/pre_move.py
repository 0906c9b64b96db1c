"""Algorithm 4, pre-move positioning: what followed earlier events. It is written beside them and feeds no score."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date

import polars as pl

from flowlake import calendar, schemas
from flowlake.detect.confirmation import open_interest_change
from flowlake.detect.splits import rescaled
from flowlake.options.splits import known_splits

HORIZONS = (1, 3, 5, 10)
"""Sessions after the event at which an outcome becomes known."""

SIGN = {"bullish": 1.0, "bearish": -1.0, "neutral": None}


def event_sessions(session: date) -> dict[int, date]:
    """The earlier sessions whose events have an outcome due on `session`, by horizon."""
    return {horizon: calendar.previous_session(session, horizon) for horizon in HORIZONS}


def event_outcomes(
    session: date,
    chains: pl.DataFrame,
    events: Mapping[date, pl.DataFrame],
    actions: pl.DataFrame | None = None,
) -> pl.DataFrame:
    """EVENT_OUTCOMES that became known on `session`: 1, 3, 5 and 10 sessions after the events in `events`.

    `chains` is the session's OPTION_CHAINS (underlying, contract_id, spot, open_interest, basis); `events` maps the
    sessions of `event_sessions` to their SCORED_EVENTS, absent ones left out. Returns run from the event's close to
    this one in the event's direction (null for neutral ones), splits in `actions` taken out. At horizon 1 the change of
    open interest of the event's lines is set against their volume: near 1 they were opened, near 0 they were not held.
    """
    table = schemas.table("event_outcomes")
    due = {h: events[day] for h, day in event_sessions(session).items() if day in events}
    columns = ["session", "event_id", "underlying", "direction", "conviction", "spot", "return_std", "contracts"]
    parts = [frame.select(columns).with_columns(horizon_sessions=pl.lit(h, dtype=pl.Int16)) for h, frame in due.items()]
    if not parts:
        return table.empty()
    now = chains.group_by("underlying").agg(
        spot_now=pl.col("spot").max(), available_at=pl.col("available_at").max(), origin=pl.col("origin").first()
    )
    rows = rescaled(pl.concat(parts), known_splits(actions), session).join(now, on="underlying", how="inner")
    unsplit = rows.filter(pl.col("horizon_sessions") == 1, pl.col("ratio") == 1.0)
    confirmation = open_interest_change(unsplit, chains).select("event_id", "oi_change", "oi_confirmation")
    sign = pl.col("direction").replace_strict(SIGN, return_dtype=pl.Float64)
    sigma = pl.col("return_std") * pl.col("horizon_sessions").cast(pl.Float64).sqrt()
    outcomes = (
        rows.join(confirmation, on="event_id", how="left")
        .with_columns(event_session="session", spot_then=pl.col("spot") / pl.col("ratio"))
        .with_columns(signed_return=sign * (pl.col("spot_now") / pl.col("spot_then") - 1.0))
        .with_columns(
            session=pl.lit(session),
            z=pl.when(sigma > 0).then(pl.col("signed_return") / sigma),
            event_time=pl.lit(calendar.session_close(session)),
        )
    )
    at_start = pl.col("horizon_sessions") == 1
    outcomes = outcomes.with_columns(pl.when(at_start).then(pl.col("oi_change", "oi_confirmation")))
    return table.conform(outcomes.select(list(table.schema)))
