"""The market page: the newest anomalies, at the close and within the session, to sort and filter in the browser."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import date
from typing import Any

import polars as pl

from flowlake.detect.scoring import CONVICTIONS
from flowlake.report.charts import even_steps
from flowlake.report.html import About, counted, render
from flowlake.report.ticker import by_event

LISTED = 500
"""Events of a table; the rest is in the lake."""

HEAT_NAMES = 30
"""Underlyings of the heat overview."""


@dataclass(frozen=True)
class MarketPage:
    """Everything the page shows; `session` is None before anything was published.

    `events` are `scored_events` of the session; `recent` holds session, underlying, score, conviction and
    expected_false_alarms_per_day of the newest sessions; `intraday` are `intraday_scored_events` of the newest
    snapshots; `statuses` are `event_status` rows; `alerts` the ledger's rows about these events.
    """

    session: date | None
    events: pl.DataFrame
    recent: pl.DataFrame
    intraday: pl.DataFrame
    statuses: pl.DataFrame
    alerts: pl.DataFrame

    @property
    def origin(self) -> str:
        """Where the newest events came from."""
        frames = [frame for frame in (self.intraday, self.events) if frame.height]
        return frames[0]["origin"][0] if frames else "unknown"


def render_market(page: MarketPage) -> str:
    """The market page as one self-contained HTML document."""
    named = page.events.filter(pl.col("conviction") != "NONE")
    about = About(
        kind="market",
        title=f"Market, {page.session}" if page.session else "Market",
        origin=page.origin,
        session=str(page.session or ""),
        names=named["underlying"].to_list(),
        summary=counted(named.height, "event") + " reached a conviction level",
    )
    return render("market.html.j2", about, _context(page))


def _context(page: MarketPage) -> dict[str, Any]:
    closing = _rows(page.events, page)
    intraday = _rows(_newest_per_name(page.intraday), page)
    return {
        "session": page.session,
        "events": closing,
        "intraday": intraday,
        "live": page.intraday.height > 0 and (page.session is None or page.intraday["session"][0] > page.session),
        "snapshot": page.intraday["snapshot"].max() if page.intraday.height else None,
        "cards": _cards(page),
        "heat": heat_overview(page.recent),
        "algorithms": sorted({name for row in closing + intraday for name in row["algorithms"]}),
        "levels": [level for level, _ in CONVICTIONS],
        "unlisted": max(0, page.events.height - LISTED),
    }


def _rows(events: pl.DataFrame, page: MarketPage) -> list[dict[str, Any]]:
    status, alert = by_event(page.statuses), by_event(page.alerts)
    return [
        row | {"confirmation": status.get(row["event_id"]), "alert": alert.get(row["event_id"])}
        for row in events.sort("rank").head(LISTED).to_dicts()
    ]


def _newest_per_name(intraday: pl.DataFrame) -> pl.DataFrame:
    """Of each underlying the newest snapshot that judged it, ranked anew."""
    if intraday.is_empty():
        return intraday
    newest = intraday.sort("snapshot").unique("underlying", keep="last")
    return newest.with_columns(rank=pl.col("p_value").rank("ordinal").cast(pl.Int32)).sort("rank")


def _cards(page: MarketPage) -> list[tuple[str, str]]:
    levels = dict(page.events.group_by("conviction").len().iter_rows())
    universe = int(page.events["universe"].max() or 0) if page.events.height else 0  # pyright: ignore[reportArgumentType]
    named = page.events.filter(pl.col("conviction") != "NONE")
    cards = [(str(levels.get(level, 0)), level) for level, _ in CONVICTIONS]
    cards.append((f"{universe:,}", "underlyings judged"))
    sides = [str(named.filter(pl.col("direction") == side).height) for side in ("bullish", "bearish")]
    cards.append((" / ".join(sides), "bullish / bearish at LOW or above"))
    return cards


def heat_overview(recent: pl.DataFrame) -> dict[str, Any]:
    """Underlyings by session, coloured by score: days, and a row per name with a (kind, score, conviction) per day.

    Names are those with the highest score in the sessions shown, the newest session deciding between equals.
    """
    if recent.is_empty():
        return {"days": [], "rows": []}
    days = recent["session"].unique().sort().to_list()
    names = (
        recent.group_by("underlying")
        .agg(best=pl.col("score").max(), newest=pl.col("score").filter(pl.col("session") == days[-1]).max())
        .sort("best", "newest", "underlying", descending=[True, True, False], nulls_last=True)
        .head(HEAT_NAMES)["underlying"]
        .to_list()
    )
    shown = recent.filter(pl.col("underlying").is_in(names))
    kind = even_steps(2.0, 9.0)
    at = {
        (name, day): (score, level)
        for name, day, score, level in shown.select("underlying", "session", "score", "conviction").iter_rows()
    }
    rows = [(name, [_heat(at.get((name, day)), kind) for day in days]) for name in names]
    return {"days": days, "rows": rows}


def _heat(found: tuple[float, str] | None, kind: Callable[[float], str]) -> tuple[str, float | None, str]:
    if found is None:
        return "", None, ""
    score, level = found
    return kind(score), score, level
