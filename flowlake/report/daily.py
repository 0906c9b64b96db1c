"""The page of one session: what the market did, what was unusual and why, and how good the data were."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import polars as pl

from flowlake.detect.scoring import CONVICTIONS, FULL_UNIVERSE
from flowlake.report.charts import Factor, chain_picture, factor_bars, surface_picture

if TYPE_CHECKING:
    from jinja2 import Environment

PICTURED_EVENTS = 60
"""Events that get a chain picture; beyond, the table and the factors remain, so that a page stays under 10 MB."""

DETAILED_RANK = 10
"""Events down to this rank are explained even below LOW conviction, so that a quiet or small market can be judged."""

ORIGIN_NOTES = {
    "simulated": "Simulated market: every price, trade and event on this page was generated. It shows how the "
    "software works, not what any company's options did.",
    "recorded": "Recorded sessions replayed through the pipeline.",
    "vendor": "Vendor data, delayed as the subscription provides.",
}


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
    """Everything the page shows of `session`; frames are lake tables of that session."""

    session: date
    events: pl.DataFrame
    chains: pl.DataFrame
    outcomes: pl.DataFrame
    surface: pl.DataFrame
    coverage: pl.DataFrame
    quality: Sequence[QualityNote]
    quarantined: int

    @property
    def origin(self) -> str:
        """Where the chains came from."""
        return self.chains["origin"][0] if self.chains.height else "unknown"


def render_daily(report: DailyReport) -> str:
    """The session's page as one self-contained HTML document: styles and pictures inline, no network, no scripts."""
    return _environment().get_template("daily.html.j2").render(_context(report))


def _context(report: DailyReport) -> dict[str, Any]:
    return {
        "session": report.session,
        "origin": report.origin,
        "origin_note": ORIGIN_NOTES.get(report.origin, ""),
        "summary": market_summary(report.chains),
        "convictions": conviction_counts(report.events),
        "unlisted": report.events.height - _detailed(report.events).height,
        "events": [_event(row, report, number) for number, row in enumerate(_detailed(report.events).to_dicts())],
        "outcomes": _judged_first(report.outcomes).to_dicts(),
        "coverage": _coverage(report.coverage),
        "quality": sorted(report.quality, key=lambda note: (note.passed, note.severity, note.table, note.name)),
        "quarantined": report.quarantined,
        "flagged": _flagged(report.chains),
    }


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


@cache
def _environment() -> Environment:
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent / "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"compact": compact, "dollars": dollars, "percent": percent, "number": number}
    return environment


def compact(value: float | None) -> str:
    """A large number for people: 1234567 as '1.2M'; a dash where unknown."""
    if value is None:
        return "–"
    for size, suffix in ((1e9, "B"), (1e6, "M"), (1e3, "K")):
        if abs(value) >= size:
            return f"{value / size:.1f}{suffix}"
    return f"{value:,.0f}"


def dollars(value: float | None) -> str:
    """An amount of money, shortened; a dash where unknown."""
    return "–" if value is None else f"${compact(value)}"


def percent(value: float | None, digits: int = 1) -> str:
    """A share as a percentage; a dash where unknown."""
    return "–" if value is None else f"{100 * value:.{digits}f}%"


def number(value: float | None, digits: int = 2) -> str:
    """A plain number; a dash where unknown."""
    return "–" if value is None else f"{value:,.{digits}f}"
