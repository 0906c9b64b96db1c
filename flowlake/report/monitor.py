"""The day-over-day monitor of one underlying: the latest poll, all polls, the days before, and every flag."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from typing import Any

import polars as pl
from markupsafe import Markup

from flowlake.report import charts
from flowlake.report.html import About, clock, compact, render
from flowlake.settings import MonitorSettings

FLAGS = ("delta", "multiplier", "dormancy", "oi_surge", "max_breach")
"""Rules a contract can break, in the order of the page."""

LISTED = 400
"""Rows of a table; the rest is in the lake."""


@dataclass(frozen=True)
class MonitorPage:
    """Everything the page shows of `underlying`.

    `flagged` are `intraday_day_over_day` rows of the newest session with polls, `polls` its `monitor_polls`, `daily`
    are `anomalies_day_over_day` rows of the recent `sessions`, `chain` the watched contracts of the newest chain,
    `lake_bytes` the size of the tables the monitor keeps.
    """

    underlying: str
    thresholds: MonitorSettings
    flagged: pl.DataFrame
    polls: pl.DataFrame
    daily: pl.DataFrame
    sessions: list[date]
    chain: pl.DataFrame
    lake_bytes: int

    @property
    def origin(self) -> str:
        """Where the newest rows came from."""
        frames = [frame for frame in (self.chain, self.flagged, self.daily) if frame.height]
        return frames[0]["origin"][0] if frames else "unknown"

    @property
    def session(self) -> date | None:
        """The newest session that the page knows."""
        known = [frame["session"][0] for frame in (self.polls, self.flagged, self.chain) if frame.height]
        return max([*known, *self.sessions[-1:]], default=None)


def render_monitor(page: MonitorPage) -> str:
    """The monitor page as one self-contained HTML document."""
    about = About(
        kind="monitor",
        title=f"Monitor of {page.underlying}" + (f", {page.session}" if page.session else ""),
        origin=page.origin,
        session=str(page.session or ""),
        names=[page.underlying],
        summary=f"Day-over-day flags of {page.underlying}",
    )
    return render("monitor.html.j2", about, _context(page))


def _context(page: MonitorPage) -> dict[str, Any]:
    polls = page.polls.sort("snapshot").to_dicts()
    latest = polls[-1]["snapshot"] if polls else None
    flagged = page.flagged.sort("composite", descending=True)
    newest = flagged.filter(pl.col("snapshot") == latest) if latest else flagged.head(0)
    daily = page.daily.sort("session", "composite", descending=True)
    return {
        "underlying": page.underlying,
        "session": page.session,
        "thresholds": page.thresholds,
        "watching": page.underlying in page.thresholds.watched([page.underlying]),
        "latest": polls[-1] if polls else None,
        "newest": newest.head(LISTED).to_dicts(),
        "polls": polls,
        "intraday": flagged.sort("snapshot", "composite", descending=True).head(LISTED).to_dicts(),
        "intraday_total": flagged.height,
        "intraday_picture": _intraday_picture(page),
        "days": _days(page),
        "daily_picture": _daily_picture(page),
        "alerts": daily.head(LISTED).to_dicts(),
        "alerts_total": daily.height,
        "flags": FLAGS,
        "cards": _cards(page, polls, newest),
        "first_day": len(page.sessions) < 2 and not any(poll["status"] == "compared" for poll in polls),
        "busiest": page.chain.sort("volume", descending=True).head(40).to_dicts(),
    }


def _cards(page: MonitorPage, polls: list[dict[str, Any]], newest: pl.DataFrame) -> list[tuple[str, str]]:
    today = page.daily.filter(pl.col("session") == page.session).height if page.session else 0
    tracked = polls[-1]["watched"] if polls else page.chain.height
    return [
        (str(len(polls)), "polls of the session"),
        (f"{tracked:,}", "contracts tracked"),
        (f"{newest.height:,}" if polls else "–", "flagged in the latest poll"),
        (f"{today:,}", "flagged at the close"),
        (f"{page.daily.height:,}", f"flagged in {len(page.sessions)} sessions"),
        (f"{compact(page.lake_bytes)}B", "kept on disk by the monitor"),
    ]


def _counts(frame: pl.DataFrame, by: str) -> dict[Any, dict[str, int]]:
    """How many rows of each `by` broke each rule."""
    if frame.is_empty():
        return {}
    counted = frame.select(by, pl.col("flags")).explode("flags").group_by(by, "flags").len()
    found: dict[Any, dict[str, int]] = {}
    for key, flag, count in counted.iter_rows():
        found.setdefault(key, {})[flag] = count
    return found


def _days(page: MonitorPage) -> list[dict[str, Any]]:
    """One row per session, newest first: contracts flagged, by rule, with their volume and premium."""
    flags = _counts(page.daily, "session")
    totals = {
        row["session"]: row
        for row in page.daily.group_by("session")
        .agg(pl.len().alias("contracts"), pl.col("volume").sum(), pl.col("premium_usd").sum())
        .to_dicts()
    }
    nothing = {"contracts": 0, "volume": 0, "premium_usd": 0.0}
    return [
        {"session": day, "flags": flags.get(day, {})} | {name: totals.get(day, nothing)[name] for name in nothing}
        for day in sorted(page.sessions, reverse=True)
    ]


def _daily_picture(page: MonitorPage) -> Markup:
    counts = _counts(page.daily, "session")
    shown = [flag for flag in FLAGS if any(flag in found for found in counts.values())]
    panels = [
        charts.Panel(
            f"Contracts flagged: {flag.replace('_', ' ')}",
            [charts.Series(flag, [counts.get(day, {}).get(flag, 0) for day in page.sessions], flag, "bars")],
            compact,
            from_zero=True,
        )
        for flag in shown
    ]
    said = "; ".join(f"{flag}: {sum(found.get(flag, 0) for found in counts.values())}" for flag in shown)
    return charts.time_panels(page.sessions, panels, f"Flags of {page.underlying} by session", said)


def _intraday_picture(page: MonitorPage) -> Markup:
    """Volume of the watched contracts and contracts flagged, poll by poll."""
    polls = page.polls.sort("snapshot")
    if polls.height < 2:
        return Markup("")
    moments = polls["snapshot"].to_list()
    panels = [
        charts.Panel("Volume so far", [charts.Series("volume", polls["volume"].to_list())], compact, from_zero=True),
        charts.Panel(
            "Contracts flagged", [charts.Series("flagged", polls["flagged"].to_list(), "up", "bars")], compact, True
        ),
    ]
    said = f"{polls['flagged'][-1]} flagged at {clock(moments[-1])} New York"
    return charts.time_panels(moments, panels, f"Polls of {page.underlying}", said, write_day=clock)
