"""Outcomes that did not pass, as rows of `data_incidents`: pure functions from outcomes and earlier rows to rows."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Sequence
from datetime import date, datetime
from typing import Final

import polars as pl

from flowlake.quality.outcome import Outcome
from flowlake.schemas.quality import DATA_INCIDENTS

MAX_NAMED: Final = 50
"""Underlyings of one rule that get a row each; more are the table's incident, not theirs."""

_IDENTITY = ["table", "rule", "underlying"]


def incident_rows(
    session: date, table: str, outcomes: Sequence[Outcome], *, available_at: datetime, origin: str
) -> pl.DataFrame:
    """Table data_incidents of the failed `outcomes` of one table, none of them seen before.

    A rule about underlyings gives a row for each it names (up to `MAX_NAMED`), any other rule one row.
    """
    rows = [
        {
            "session": session,
            "incident_id": incident_id(session, table, outcome.name, underlying),
            "table": table,
            "rule": outcome.name,
            "underlying": underlying,
            "severity": outcome.severity.value,
            "expected": _part(outcome.description, 0),
            "observed": _part(outcome.description, 1) or f"{outcome.violations:,} of {outcome.rows:,} rows do not",
            "violations": outcome.violations,
            "rows": outcome.rows,
            "first_seen": session,
            "resolved": False,
            "available_at": available_at,
            "origin": origin,
        }
        for outcome in outcomes
        if not outcome.passed
        for underlying in _named(outcome)
    ]
    return DATA_INCIDENTS.conform(pl.DataFrame(rows, schema=DATA_INCIDENTS.schema))


def incident_id(session: date, table: str, rule: str, underlying: str | None) -> str:
    """The stable id of an incident."""
    text = "|".join((session.isoformat(), table, rule, underlying or ""))
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def merge_incidents(
    found: pl.DataFrame,
    held: pl.DataFrame | None,
    before: pl.DataFrame | None,
    evaluated: Collection[tuple[str, str]],
) -> pl.DataFrame:
    """The session's incidents after rules `evaluated` (table, rule) `found` what they found.

    Rows `held` from an earlier evaluation stay: as they are where their rule was not evaluated now, resolved where it
    was and passed. `before` holds the session before: what stood there unresolved began there or earlier.
    """
    rows = found
    if before is not None:
        standing = before.filter(~pl.col("resolved")).select(*_IDENTITY, since="first_seen")
        rows = rows.join(standing, on=_IDENTITY, how="left", nulls_equal=True)
        rows = rows.with_columns(first_seen=pl.coalesce("since", "first_seen")).drop("since")
    if held is not None:
        judged = pl.DataFrame(sorted(evaluated), schema={"table": pl.String, "rule": pl.String}, orient="row")
        gone = held.join(found, on="incident_id", how="anti")
        passed = gone.join(judged, on=["table", "rule"], how="semi").with_columns(resolved=pl.lit(True))
        rows = pl.concat([rows, passed, gone.join(judged, on=["table", "rule"], how="anti")])
    return DATA_INCIDENTS.conform(rows)


def _named(outcome: Outcome) -> Sequence[str | None]:
    return outcome.underlyings if 0 < len(outcome.underlyings) <= MAX_NAMED else (None,)


def _part(description: str, number: int) -> str:
    """What was expected (0) or seen (1): descriptions say both, a semicolon between."""
    return description.partition("; ")[0 if number == 0 else 2].strip()
