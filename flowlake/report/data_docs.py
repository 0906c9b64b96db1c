"""The data docs of one session: its incidents, every rule of every table, every expectation of the suites."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import polars as pl

from flowlake.quality.outcome import Outcome
from flowlake.quality.suites import Finding

if TYPE_CHECKING:
    from jinja2 import Template


@dataclass(frozen=True)
class DataDocs:
    """Everything the page shows of `session`: table data_incidents, and per table its outcomes and its findings."""

    session: date
    incidents: pl.DataFrame
    rules: Mapping[str, Sequence[Outcome]]
    suites: Mapping[str, Sequence[Finding]]


def render_data_docs(docs: DataDocs) -> str:
    """The page as one self-contained HTML document: styles inline, no network, no scripts, every value escaped.

    Great Expectations builds data docs of its own: a folder of pages a run that load styles, scripts and fonts from
    five hosts. Ours is one file that opens offline beside the session's report and shows both tiers.
    """
    names = list(dict.fromkeys([*docs.rules, *docs.suites]))
    tables = [_table(name, docs.rules.get(name, ()), docs.suites.get(name, ())) for name in names]
    return _template().render(
        session=docs.session,
        incidents=docs.incidents.sort("resolved", "severity", "table", "rule").to_dicts(),
        tables=tables,
        totals={
            "rules": sum(len(outcomes) for outcomes in docs.rules.values()),
            "expectations": sum(len(findings) for findings in docs.suites.values()),
            "open": docs.incidents.filter(~pl.col("resolved")).height,
            "blocking": docs.incidents.filter(~pl.col("resolved"), pl.col("severity") == "ERROR").height,
        },
    )


def _table(name: str, outcomes: Sequence[Outcome], findings: Sequence[Finding]) -> dict[str, Any]:
    return {
        "name": name,
        "rules": sorted(outcomes, key=lambda outcome: (outcome.passed, outcome.name)),
        "findings": sorted(findings, key=lambda finding: (finding.passed, finding.name)),
        "failed": sum(not outcome.passed for outcome in outcomes) + sum(not f.outcome.passed for f in findings),
    }


@cache
def _template() -> Template:
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent / "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template("data_docs.html.j2")
