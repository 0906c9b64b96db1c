"""The life cycle of an event: provisional at the close, confirmed or withdrawn by the next morning's open interest.

Positions open only by trading, and the clearing house books them overnight. What a line's open interest rose by, over
what it traded, is the share of trades that opened positions which were still held at the close: near 1 for a buyer who
waits, near 0 for day traders and for positions being closed.
"""

from __future__ import annotations

from datetime import date

import polars as pl

from flowlake import calendar, schemas
from flowlake.detect.findings import SIDE
from flowlake.options.splits import split_underlyings
from flowlake.settings import ConfirmationSettings

CONFIRMED, WITHDRAWN, UNCLEAR = "confirmed", "withdrawn", "unclear"

CHAIN_COLUMNS = ("underlying", "contract_id", "open_interest", "basis", "available_at", "origin")
"""What a status reads of a chain."""

SPLIT = "a split restated contracts and open interest"
NOT_LISTED = "the underlying has no chain this session"
UNKNOWN = "open interest of the leading lines is not known"
UNTRADED = "the leading lines did not trade"
BETWEEN = "the opened share is neither high nor low"


def open_interest_change(events: pl.DataFrame, chains: pl.DataFrame) -> pl.DataFrame:
    """Per event: how much the open interest of its leading lines rose overnight, in contracts and per contract traded.

    `events` are SCORED_EVENTS rows (event_id, contracts) of the session before that of `chains` (OPTION_CHAINS or
    INTRADAY_CHAINS: contract_id, open_interest, basis), whose open interest is the figure of its morning. Only lines
    known on both days count. Returns event_id, traded (their volume), line_volume (that of all leading lines),
    oi_change (null where no line is known) and oi_confirmation (oi_change / traded, null where nothing traded).
    """
    lines = events.select("event_id", "contracts").explode("contracts").unnest("contracts")
    morning = chains.filter(pl.col("basis") != "aggregates").select("contract_id", interest_now="open_interest")
    change = pl.col("interest_now") - pl.col("open_interest")
    traded = pl.col("volume").filter(change.is_not_null()).sum().cast(pl.Int64)
    return (
        lines.filter(pl.col("contract_id").is_not_null())
        .join(morning, on="contract_id", how="left", maintain_order="left")
        .group_by("event_id", maintain_order=True)
        .agg(
            traded=traded,
            line_volume=pl.col("volume").sum().cast(pl.Int64),
            oi_change=pl.when(change.is_not_null().any()).then(change.sum().cast(pl.Int64)),
        )
        .with_columns(oi_confirmation=pl.when(pl.col("traded") > 0).then(pl.col("oi_change") / pl.col("traded")))
    )


def event_status(
    session: date,
    chains: pl.DataFrame,
    events: pl.DataFrame,
    actions: pl.DataFrame | None = None,
    settings: ConfirmationSettings | None = None,
) -> pl.DataFrame:
    """EVENT_STATUS of every event in `events`, as the open interest of the morning of `session` shows it.

    `events` is SCORED_EVENTS of the session before (whatever their conviction), `chains` any chain of `session`: that
    of its close or of its first snapshot carry the same open interest, only `available_at` differs. An event whose
    underlying was split (`actions`: CORPORATE_ACTIONS), whose lines expired, or for which too little open interest is
    known is 'unclear' and says why.
    """
    table, settings = schemas.table("event_status"), settings or ConfirmationSettings()
    if events.is_empty() or chains.is_empty():
        return table.empty()
    before = calendar.previous_session(session)
    strangers = events.filter(pl.col("session") != before)["session"].unique().to_list()
    if strangers:
        raise ValueError(
            f"events of {before} are confirmed by the morning of {session}, but there are some of {strangers}"
        )
    stamp = chains.select(pl.col("available_at").max(), pl.col("origin").min())
    listed = chains.select("underlying").unique().with_columns(is_listed=pl.lit(True))
    split = split_underlyings(actions, session).select(underlying="ticker", is_split=pl.lit(True))
    known_share = pl.when(pl.col("line_volume") > 0).then(pl.col("traded") / pl.col("line_volume")).otherwise(0.0)
    judged = (
        events.select("event_id", "underlying", "right", "direction", "conviction", event_session="session")
        .join(open_interest_change(events, chains), on="event_id", how="left", maintain_order="left")
        .join(listed, on="underlying", how="left", maintain_order="left")
        .join(split, on="underlying", how="left", maintain_order="left")
        .with_columns(pl.col("traded", "line_volume").fill_null(0), pl.col("is_listed", "is_split").fill_null(False))
        .with_columns(known_share=known_share, reason=_reason(known_share, settings))
        .with_columns(status=_status(settings))
        .with_columns(
            # A split makes the figures meaningless, not merely uncertain.
            pl.when(~pl.col("is_split")).then(pl.col("oi_change", "oi_confirmation")),
        )
    )
    told = judged.with_columns(
        explanation=_explanation(), session=pl.lit(session), event_time=pl.lit(calendar.session_close(before))
    )
    return table.conform(told.join(stamp, how="cross", maintain_order="left").select(table.schema.names()))


def keep_earlier(found: pl.DataFrame, earlier: pl.DataFrame) -> pl.DataFrame:
    """EVENT_STATUS `found` by one chain of a session, beside what an `earlier` chain of that session already said.

    The first snapshot of a morning confirms events hours before the chain of the close does so again: rows that say the
    same, word for word, keep the moment they were first known. A snapshot may also lack some underlyings: events it
    cannot judge keep the row they have.
    """
    columns = found.columns
    same = [name for name in columns if name != "available_at"]
    unseen = found.filter(pl.col("reason") == NOT_LISTED).select("event_id")
    kept = earlier.join(unseen, on="event_id", how="semi").select(columns)
    seen = found.join(kept, on="event_id", how="anti")
    known = earlier.select(*same, first_known="available_at")
    dated = seen.join(known, on=same, how="left", nulls_equal=True, maintain_order="left").with_columns(
        available_at=pl.min_horizontal("available_at", "first_known")
    )
    return schemas.table("event_status").conform(pl.concat([dated.select(columns), kept]))


def _reason(known_share: pl.Expr, settings: ConfirmationSettings) -> pl.Expr:
    opened = pl.col("oi_confirmation")
    between = opened.is_between(settings.withdrawn_share, settings.confirmed_share, closed="none")
    return (
        pl.when("is_split")
        .then(pl.lit(SPLIT))
        .when(~pl.col("is_listed"))
        .then(pl.lit(NOT_LISTED))
        .when(pl.col("line_volume") == 0)
        .then(pl.lit(UNTRADED))
        .when(pl.col("oi_change").is_null() | (known_share < settings.min_known_share))
        .then(pl.lit(UNKNOWN))
        .when(between)
        .then(pl.lit(BETWEEN))
    )


def _status(settings: ConfirmationSettings) -> pl.Expr:
    return (
        pl.when(pl.col("reason").is_not_null())
        .then(pl.lit(UNCLEAR))
        .when(pl.col("oi_confirmation") >= settings.confirmed_share)
        .then(pl.lit(CONFIRMED))
        .otherwise(pl.lit(WITHDRAWN))
    )


def _explanation() -> pl.Expr:
    side = pl.col("right").replace_strict(SIDE, return_dtype=pl.String)
    moved = pl.concat_str(
        pl.lit("Open interest of the leading "),
        side,
        pl.lit(" lines changed by "),
        pl.col("oi_change").cast(pl.String).fill_null("?"),
        pl.lit(" contracts overnight on "),
        pl.col("traded").cast(pl.String),
        pl.lit(" traded ("),
        (pl.col("oi_confirmation") * 100).round(0).cast(pl.Int64).cast(pl.String).fill_null("?"),
        pl.lit(" %): "),
    )
    return (
        pl.when(pl.col("status") == CONFIRMED)
        .then(moved + "they were opened and held.")
        .when(pl.col("status") == WITHDRAWN)
        .then(moved + "they were closed within the day, or closed older positions.")
        .when(pl.col("reason") == BETWEEN)
        .then(moved + BETWEEN + ".")
        .otherwise(pl.lit("The morning says nothing: ") + pl.col("reason") + ".")
    )
