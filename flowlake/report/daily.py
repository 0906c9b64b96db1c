"""The page of one session: what the market did, what was unusual and why, and how good the data were."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import date
from typing import Any

import polars as pl

from flowlake.detect.scoring import CONVICTIONS, FULL_UNIVERSE
from flowlake.report.charts import Factor, chain_picture, factor_bars, surface_picture
from flowlake.report.html import About, counted, render
from flowlake.report.ticker import by_event
from flowlake.schemas.insiders import EVENT_INSIDERS
from flowlake.schemas.lifecycle import EVENT_STATUS
from flowlake.schemas.quality import DATA_INCIDENTS

PICTURED_EVENTS = 60
"""Events that get a chain picture; beyond, the table and the factors remain, so that a page stays under 10 MB."""

DETAILED_RANK = 10
"""Events down to this rank are explained even below LOW conviction, so that a quiet or small market can be judged."""


@dataclass(frozen=True)
class QualityNote:
    """One check of the session's data: the table, what is demanded, whether it holds, and how bad it would be."""

    table: str
    name: str
    passed: bool
    severity: str
    description: str
    violations: int


@dataclass(frozen=True)
class DailyReport:
    """Everything the page shows of `session`; frames are lake tables of that session.

    `statuses` are `event_status` rows of this session (about the one before) and, once known, of the next (about this
    one); `insiders` are `event_insiders`; `incidents` are `data_incidents`.
    """

    session: date
    events: pl.DataFrame
    chains: pl.DataFrame
    outcomes: pl.DataFrame
    surface: pl.DataFrame
    coverage: pl.DataFrame
    quality: Sequence[QualityNote]
    quarantined: int
    statuses: pl.DataFrame = field(default_factory=EVENT_STATUS.empty)
    insiders: pl.DataFrame = field(default_factory=EVENT_INSIDERS.empty)
    incidents: pl.DataFrame = field(default_factory=DATA_INCIDENTS.empty)

    @property
    def origin(self) -> str:
        """Where the chains came from."""
        return self.chains["origin"][0] if self.chains.height else "unknown"


def render_daily(report: DailyReport) -> str:
    """The session's page as one self-contained HTML document: styles, pictures and script inline, no network."""
    named = report.events.filter(pl.col("conviction") != "NONE")
    about = About(
        kind="daily",
        title=f"Daily report, {report.session:%A %-d %B %Y}",
        origin=report.origin,
        session=report.session.isoformat(),
        names=named.sort("rank")["underlying"].to_list(),
        summary=counted(named.height, "event") + " reached a conviction level",
    )
    return render("daily.html.j2", about, _context(report))


def _context(report: DailyReport) -> dict[str, Any]:
    return {
        "session": report.session,
        "summary": market_summary(report.chains),
        "convictions": conviction_counts(report.events),
        "unlisted": report.events.height - _detailed(report.events).height,
        "events": _events(report),
        "outcomes": _judged_first(report.outcomes).to_dicts(),
        "coverage": _coverage(report.coverage),
        "quality": sorted(report.quality, key=lambda note: (note.passed, note.severity, note.table, note.name)),
        "quarantined": report.quarantined,
        "flagged": _flagged(report.chains),
        "incidents": report.incidents.to_dicts(),
        "verdicts": _verdicts(report),
    }


def _verdicts(report: DailyReport) -> list[dict[str, Any]]:
    """What this morning's open interest says of the events of the session before, those that reached a level."""
    order = pl.col("conviction").replace_strict({level: at for at, (level, _) in enumerate(CONVICTIONS)}, default=9)
    told = report.statuses.filter(pl.col("session") == report.session, pl.col("conviction") != "NONE")
    return told.sort(order, "underlying").to_dicts()


def market_summary(chains: pl.DataFrame) -> dict[str, Any]:
    """Totals of the session: underlyings, contracts, share that traded, volume by right, premium in USD."""
    if chains.is_empty():
        return {"underlyings": 0, "contracts": 0, "traded_share": None, "calls": 0, "puts": 0, "premium_usd": 0.0}
    return chains.select(
        underlyings=pl.col("underlying").n_unique(),
        contracts=pl.len(),
        traded_share=(pl.col("volume") > 0).mean(),
        calls=pl.col("volume").filter(pl.col("right") == "C").sum(),
        puts=pl.col("volume").filter(pl.col("right") == "P").sum(),
        premium_usd=(pl.col("volume") * pl.col("price") * pl.col("multiplier")).sum(),
    ).row(0, named=True)


def conviction_counts(events: pl.DataFrame) -> list[dict[str, Any]]:
    """Events at each conviction or higher, beside the number expected without any cause, most convinced first."""
    universe = int(events["universe"][0]) if events.height else 0
    share = min(1.0, universe / FULL_UNIVERSE)
    rows, total = [], 0
    for level, budget in CONVICTIONS:
        count = events.filter(pl.col("conviction") == level).height
        total += count
        expected = budget * share if universe else None
        rows.append({"level": level, "count": count, "cumulative": total, "expected": expected})
    return rows


def _detailed(events: pl.DataFrame) -> pl.DataFrame:
    return events.filter((pl.col("conviction") != "NONE") | (pl.col("rank") <= DETAILED_RANK)).sort("rank")


def _events(report: DailyReport) -> list[dict[str, Any]]:
    status = by_event(report.statuses)
    insiders: dict[str, list[dict[str, Any]]] = {}
    for row in report.insiders.iter_rows(named=True):
        insiders.setdefault(row["event_id"], []).append(row)
    return [
        _event(row, report, number)
        | {"confirmation": status.get(row["event_id"]), "insiders": insiders.get(row["event_id"], [])}
        for number, row in enumerate(_detailed(report.events).to_dicts())
    ]


def _event(row: dict[str, Any], report: DailyReport, number: int) -> dict[str, Any]:
    factors = [Factor(f["factor"], f["contribution"], f["text"]) for f in row["factors"] or []]
    of_underlying = pl.col("underlying") == row["underlying"]
    surface = report.surface.filter(of_underlying, pl.col("atm_volatility").is_not_null()).sort("tenor_days")
    event = row | {"bars": factor_bars(factors), "picture": None, "smile": None, "surface": surface.to_dicts()}
    if number < PICTURED_EVENTS:
        marked = {line["contract"] for line in row["contracts"] or []}
        event["picture"] = chain_picture(report.chains.filter(of_underlying), row["spot"], marked)
        event["smile"] = surface_picture(surface)
    return event


def _judged_first(outcomes: pl.DataFrame) -> pl.DataFrame:
    """Outcomes of the most convinced events first."""
    order = pl.col("conviction").replace_strict({level: at for at, (level, _) in enumerate(CONVICTIONS)}, default=9)
    return outcomes.sort(order, "horizon_sessions", "event_session", "underlying")


def _coverage(coverage: pl.DataFrame) -> dict[str, Any]:
    counts = dict(coverage.group_by("status").len().sort("status").iter_rows())
    missing = coverage.filter(pl.col("status") != "complete").sort("underlying")
    return {
        "asked": coverage.height,
        "counts": counts,
        "missing": missing.select("underlying", "status", "error").head(20).to_dicts(),
    }


def _flagged(chains: pl.DataFrame) -> list[dict[str, Any]]:
    """How many rows carry each quality flag, most frequent first."""
    from flowlake.options.chains import Flag

    counts = [
        {"flag": flag.name.lower().replace("_", " "), "rows": int(((chains["flags"] & flag.value) > 0).sum())}
        for flag in Flag
        if flag.name and flag.value
    ]
    return sorted((count for count in counts if count["rows"]), key=lambda count: -count["rows"])
