"""The log of snapshots: one row per snapshot that was due, rewritten as its pass goes on."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import polars as pl

from flowlake.intraday.plan import DueSnapshot
from flowlake.schemas.intraday import SNAPSHOT_LOG

_NOTHING_YET: dict[str, Any] = {
    "reason": None,
    "started_at": None,
    "finished_at": None,
    "scored_at": None,
    "attempts": 0,
    "asked": 0,
    "answered": 0,
    "resumed": 0,
    "requests": 0,
    "rate_limited": 0,
    "rows": 0,
    "network_seconds": None,
    "run_id": None,
    "origin": None,
}


def entry(log: pl.DataFrame, snapshot: DueSnapshot) -> dict[str, Any]:
    """The row of `snapshot` in `log`, or that of a snapshot nothing is known of yet."""
    found = log.filter(pl.col("partition") == snapshot.key)
    return found.row(0, named=True) if found.height else dict(_NOTHING_YET)


def noted(log: pl.DataFrame, snapshot: DueSnapshot, *, now: datetime, **facts: Any) -> pl.DataFrame:
    """SNAPSHOT_LOG of a session with `facts` (columns by name, `status` among them) written to the row of `snapshot`.

    What `facts` does not name keeps its value.
    """
    row = entry(log, snapshot) | {
        "session": snapshot.session,
        "snapshot": snapshot.at,
        "partition": snapshot.key,
        "due_at": snapshot.due_at,
        "useful_until": snapshot.useful_until,
        "available_at": now,
    }
    changed = pl.DataFrame([row | facts], schema=SNAPSHOT_LOG.schema)
    others = log.filter(pl.col("partition") != snapshot.key)
    return SNAPSHOT_LOG.conform(pl.concat([others.select(SNAPSHOT_LOG.schema.names()), changed]))


def outcome(
    snapshot: DueSnapshot, started_at: datetime, asked: int, answered: int, min_coverage: float
) -> tuple[str, str | None]:
    """Status and reason of a pass that has ended: too few answers weigh more than a late start."""
    if answered < min_coverage * asked:
        return "partial", f"{answered} of {asked} underlyings answered, {min_coverage:.0%} make a whole snapshot"
    if started_at > snapshot.late_after:
        minutes = (started_at - snapshot.due_at).total_seconds() / 60
        return "late", f"begun {minutes:.1f} minutes after it was due"
    return "taken", None
