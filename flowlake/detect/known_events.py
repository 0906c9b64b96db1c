"""What the market knew was coming or had just heard: reasons for activity that are no secret.

Splits and dividends come from the vendor's corporate actions, index rebalances from the calendar, earnings and
announced deals from a file the operator keeps. An event counts from the moment it was announced, never earlier.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import date, datetime, time, timedelta
from pathlib import Path

import polars as pl

from flowlake import calendar, schemas
from flowlake.detect.context import KNOWN_SCHEMA
from flowlake.settings import KnownEventsSettings

EVERYBODY = "*"
"""Underlying of events that concern every underlying."""

WRITTEN_SESSIONS = 60
"""Events are written down up to this many sessions before and after."""

KINDS = ("earnings", "ex_dividend", "index_rebalance", "deal", "split")

SEMI_ANNUAL_RUSSELL = 2026
"""Year from which the Russell indexes are reconstituted in November too (the second Friday)."""

_UNDERLYING = re.compile(r"[A-Z0-9][A-Z0-9.\-]{0,11}")
_COLUMNS = pl.Schema(
    {
        "underlying": pl.String,
        "event_on": pl.Date,
        "kind": pl.String,
        "description": pl.String,
        "announced_at": schemas.UTC_TIME,
        "source": pl.String,
        "available_at": schemas.UTC_TIME,
    }
)


class UnreadableEvents(ValueError):
    """The operator's file of events has a row that cannot be used."""


def known_events(
    session: date,
    actions: pl.DataFrame | None = None,
    operator: pl.DataFrame | None = None,
    *,
    origin: str,
    by: datetime | None = None,
) -> pl.DataFrame:
    """KNOWN_EVENTS of `session`: what was announced by its close (or `by` a moment in it), within 60 sessions of it.

    `actions` is CORPORATE_ACTIONS of the session, `operator` what `read_operator_events` returned. Where two sources
    tell of one event, the one that was announced first is kept.
    """
    table = schemas.table("known_events")
    parts = [_rebalances(session)]
    parts += [_of_actions(actions)] if actions is not None else []
    parts += [operator.select(list(_COLUMNS))] if operator is not None else []
    days = calendar.trailing_sessions(session, WRITTEN_SESSIONS)
    first, last = days[0] if days else session, calendar.next_session(session, WRITTEN_SESSIONS)
    announced = (pl.col("announced_at") <= (by or calendar.session_close(session))).fill_null(True)
    near = (
        pl.concat(parts)
        .filter(announced, pl.col("event_on").is_between(first, last))
        .sort("underlying", "kind", "event_on", "announced_at", "source", nulls_last=False)
        .unique(["underlying", "kind", "event_on"], keep="first", maintain_order=True)
    )
    away = [_sessions_between(session, day) for day in near["event_on"]]
    return table.conform(
        near.with_columns(
            pl.Series("sessions_away", away, dtype=pl.Int16), session=pl.lit(session), origin=pl.lit(origin)
        ).select(table.schema.names())
    )


def reasons(events: pl.DataFrame, underlyings: pl.Series, settings: KnownEventsSettings) -> pl.DataFrame:
    """What `detect_session` takes as `known`: one row per underlying and event that explains activity today.

    `events` is KNOWN_EVENTS of the session; events of everybody are spread over `underlyings`.
    """
    away = pl.col("sessions_away")
    counts = (
        pl.when(pl.col("kind") == "earnings")
        .then(away.abs() <= settings.earnings_sessions)
        .when(pl.col("kind") == "ex_dividend")
        .then(away.is_between(0, settings.ex_dividend_sessions))
        .when(pl.col("kind") == "index_rebalance")
        .then(away.is_between(0, settings.rebalance_sessions))
        .when(pl.col("kind") == "deal")
        .then(away.is_between(-settings.deal_sessions, 0))
        .otherwise(away.abs() <= settings.split_sessions)
    )
    # `context.LOWERING` knows them by how they begin.
    name = pl.col("kind").str.replace("_", "-").str.replace("index-rebalance", "index rebalance")
    told = events.filter(counts).select(
        "underlying", annotation=pl.concat_str(name, pl.lit(" on "), pl.col("event_on").cast(pl.String))
    )
    of_all = told.filter(pl.col("underlying") == EVERYBODY).select("annotation")
    everybody = of_all.join(underlyings.unique().sort().rename("underlying").to_frame(), how="cross")
    own = told.filter(pl.col("underlying") != EVERYBODY)
    return pl.concat([frame.select(list(KNOWN_SCHEMA)) for frame in (own, everybody)]).sort(KNOWN_SCHEMA.names())


def read_operator_events(path: Path) -> pl.DataFrame:
    """The operator's CSV: underlying, event_on (YYYY-MM-DD), kind, announced_at (ISO 8601 with offset), description.

    The description may be left out. Raises `UnreadableEvents` naming file, line and remedy.
    """
    if not path.exists():
        raise UnreadableEvents(f"{path} does not exist; write it, or unset FLOWLAKE_KNOWN_EVENTS__OPERATOR_CSV")
    rows = pl.read_csv(path, infer_schema=False)
    missing = [name for name in ("underlying", "event_on", "kind", "announced_at") if name not in rows.columns]
    if missing:
        raise UnreadableEvents(f"{path} lacks the columns {', '.join(missing)}; it has {', '.join(rows.columns)}")
    read = [_operator_row(path, line, row) for line, row in enumerate(rows.iter_rows(named=True), start=2)]
    return pl.DataFrame(read, schema=_COLUMNS)


def _operator_row(path: Path, line: int, row: dict[str, str | None]) -> dict[str, object]:
    def read(name: str, parse: Callable[[str], object], remedy: str) -> object:
        text = (row[name] or "").strip()
        try:
            return parse(text)
        except ValueError as error:
            raise UnreadableEvents(f"{path}, line {line}: {name} {text!r} {remedy}") from error

    kind = str(read("kind", _one_of(KINDS), f"is not one of {', '.join(KINDS)}"))
    announced_at = read("announced_at", _moment, "is not a time with its offset, such as 2026-06-01T07:30:00-04:00")
    return {
        "underlying": read("underlying", _ticker, "is not a ticker in capitals"),
        "event_on": read("event_on", date.fromisoformat, "is not a date; write YYYY-MM-DD"),
        "kind": kind,
        "description": (row.get("description") or "").strip() or kind.replace("_", " "),
        "announced_at": announced_at,
        "source": "operator",
        "available_at": announced_at,
    }


def _one_of(allowed: tuple[str, ...]) -> Callable[[str], str]:
    def parse(text: str) -> str:
        if text not in allowed:
            raise ValueError(text)
        return text

    return parse


def _ticker(text: str) -> str:
    if not _UNDERLYING.fullmatch(text):
        raise ValueError(text)
    return text


def _moment(text: str) -> datetime:
    moment = datetime.fromisoformat(text)
    if moment.tzinfo is None:
        raise ValueError(text)
    return moment


def _of_actions(actions: pl.DataFrame) -> pl.DataFrame:
    """Splits and ex-dividend days; a date of announcement counts from the end of that day."""
    split = pl.col("kind") == "split"
    # A day without an hour: assume the evening, so that nothing is known too early.
    declared = pl.col("declared_on").dt.combine(time(23, 59)).dt.replace_time_zone(calendar.NEW_YORK.key)
    terms = pl.concat_str(
        pl.lit("split, "), pl.col("split_to").cast(pl.String), pl.lit(" for "), pl.col("split_from").cast(pl.String)
    )
    amount = pl.concat_str(pl.lit("ex-dividend, "), pl.col("cash_amount").cast(pl.String), pl.lit(" USD a share"))
    return actions.select(
        underlying="ticker",
        event_on="effective_on",
        kind=pl.when(split).then(pl.lit("split")).otherwise(pl.lit("ex_dividend")),
        description=pl.when(split).then(terms.fill_null("split")).otherwise(amount.fill_null("ex-dividend")),
        announced_at=declared.dt.convert_time_zone("UTC").cast(schemas.UTC_TIME),
        source=pl.lit("corporate_actions"),
        available_at="available_at",
    )


def _rebalances(session: date) -> pl.DataFrame:
    """Index rebalances around `session`: the quarterly ones, and the reconstitution of the Russell indexes."""
    known_at = calendar.session_open(session)
    rows = [
        {
            "underlying": EVERYBODY,
            "event_on": day,
            "kind": "index_rebalance",
            "description": description,
            "announced_at": None,
            "source": "calendar",
            "available_at": known_at,
        }
        for year in (session.year - 1, session.year, session.year + 1)
        for day, description in rebalance_days(year)
    ]
    return pl.DataFrame(rows, schema=_COLUMNS)


def rebalance_days(year: int) -> list[tuple[date, str]]:
    """Sessions of `year` at whose close index funds trade: third Fridays of quarters, and Russell reconstitution.

    Where the Friday is a holiday, the session before it.
    """
    days = [(_friday(year, month, 3), "quarterly index rebalance") for month in (3, 6, 9, 12)]
    days.append((_friday(year, 6, 4), "Russell reconstitution"))
    if year >= SEMI_ANNUAL_RUSSELL:
        days.append((_friday(year, 11, 2), "Russell reconstitution"))
    return sorted((day if calendar.is_session(day) else calendar.previous_session(day), text) for day, text in days)


def _friday(year: int, month: int, n: int) -> date:
    first = date(year, month, 1)
    return first + timedelta(days=(4 - first.weekday()) % 7 + 7 * (n - 1))


def _sessions_between(session: date, day: date) -> int:
    """Sessions from `session` to `day` (negative if past); a closed day counts as the session after it."""
    if not calendar.is_session(day):
        day = calendar.next_session(day)
    if day <= session:
        return 1 - len(calendar.sessions(day, session))
    return len(calendar.sessions(session, day)) - 1
