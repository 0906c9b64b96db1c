"""The data docs of one session: its incidents, every rule of every table, every expectation of the suites."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any

import polars as pl

from flowlake.quality.outcome import Outcome
from flowlake.quality.suites import Finding
from flowlake.report.html import About, counted, render


@dataclass(frozen=True)
class DataDocs:
    """Everything the page shows of `session`: table data_incidents, and per table its outcomes and its findings."""

    session: date
    incidents: pl.DataFrame
    rules: Mapping[str, Sequence[Outcome]]
    suites: Mapping[str, Sequence[Finding]]


def render_data_docs(docs: DataDocs) -> str:
    """The page as one self-contained HTML document: styles inline, no network, every value escaped.

    Great Expectations builds data docs of its own: a folder of pages a run that load styles, scripts and fonts from
    five hosts. Ours is one file that opens offline beside the session's report and shows both tiers.
    """
    names = list(dict.fromkeys([*docs.rules, *docs.suites]))
    tables = [_table(name, docs.rules.get(name, ()), docs.suites.get(name, ())) for name in names]
    unresolved = docs.incidents.filter(~pl.col("resolved"))
    about = About(
        kind="data_docs",
        title=f"Data quality, {docs.session:%A %-d %B %Y}",
        origin=docs.incidents["origin"][0] if docs.incidents.height else "unknown",
        session=docs.session.isoformat(),
        summary=counted(unresolved.height, "open incident"),
    )
    context = {
        "session": docs.session,
        "incidents": docs.incidents.sort("resolved", "severity", "table", "rule").to_dicts(),
        "tables": tables,
        "totals": {
            "rules": sum(len(outcomes) for outcomes in docs.rules.values()),
            "expectations": sum(len(findings) for findings in docs.suites.values()),
            "open": unresolved.height,
            "blocking": unresolved.filter(pl.col("severity") == "ERROR").height,
        },
    }
    return render("data_docs.html.j2", about, context)


def _table(name: str, outcomes: Sequence[Outcome], findings: Sequence[Finding]) -> dict[str, Any]:
    return {
        "name": name,
        "rules": sorted(outcomes, key=lambda outcome: (outcome.passed, outcome.name)),
        "findings": sorted(findings, key=lambda finding: (finding.passed, finding.name)),
        "failed": sum(not outcome.passed for outcome in outcomes) + sum(not f.outcome.passed for f in findings),
    }
