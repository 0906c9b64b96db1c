"""The ledger in the lake: reading it, and changing it in exclusive transactions so that nothing is counted twice."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import date, datetime
from typing import Any

import polars as pl

from flowlake.lake import UNPARTITIONED, Lake, Snapshot, Transaction
from flowlake.schemas import table
from flowlake.schemas.alerts import ALERT_ACTIONS, ALERT_DELIVERIES, ALERTS, NOTIFICATIONS

Row = dict[str, Any]

RUN_ID = "alerts"
"""What manifests say wrote the ledger."""

OPEN = ("pending", "failed")
"""Deliveries that are still to be made."""

PUBLISHED = (ALERTS.name, ALERT_DELIVERIES.name, ALERT_ACTIONS.name, NOTIFICATIONS.name)


class UnknownAlert(LookupError):
    """No alert has this id."""


def alerts(lake: Lake | Snapshot | Transaction, sessions: Sequence[date] | None = None) -> pl.DataFrame:
    """ALERTS of some sessions (all if None), the best first within each."""
    rows = lake.scan(ALERTS.name, _keys(sessions)).collect()
    return rows.sort("session", "score", "alert_id", descending=[True, True, False])


def deliveries(lake: Lake | Snapshot | Transaction, sessions: Sequence[date] | None = None) -> pl.DataFrame:
    """ALERT_DELIVERIES of some sessions (all if None), in the order in which they were intended."""
    return lake.scan(ALERT_DELIVERIES.name, _keys(sessions)).collect().sort("created_at", "alert_id", "channel")


def actions(lake: Lake | Snapshot | Transaction) -> pl.DataFrame:
    """ALERT_ACTIONS, the oldest first."""
    return lake.scan(ALERT_ACTIONS.name).collect()


def notifications(lake: Lake | Snapshot | Transaction) -> pl.DataFrame:
    """NOTIFICATIONS, the oldest first."""
    return lake.scan(NOTIFICATIONS.name).collect()


def find(lake: Lake | Snapshot | Transaction, name: str) -> Row:
    """The alert with this id, or the one whose id starts so; raises `UnknownAlert` with the remedy."""
    found = lake.scan(ALERTS.name).filter(pl.col("alert_id").str.starts_with(name)).collect()
    if not name or found.is_empty():
        raise UnknownAlert(f"no alert has the id {name!r}; `flowlake alerts list` shows the ids")
    if found.height > 1:
        raise UnknownAlert(f"{found.height} alerts have ids that start with {name!r}; write more of it")
    return found.row(0, named=True)


@contextmanager
def changes(lake: Lake, *, publish: bool = False) -> Iterator[Transaction]:
    """A transaction nobody else can write into; with `publish`, analysts see the ledger as it then is."""
    with lake.commit(RUN_ID, exclusive=True) as transaction:
        yield transaction
        if publish:
            transaction.publish(None, PUBLISHED)


def put(transaction: Transaction, name: str, rows: Iterable[Mapping[str, Any]]) -> None:
    """Insert `rows`, or replace those with the same key, in the partitions of their sessions; others stay."""
    declared = table(name)
    frame = pl.DataFrame([dict(row) for row in rows], schema=declared.schema, strict=False)
    if frame.is_empty():
        return
    if declared.partitioning == "none":
        _merge(transaction, name, UNPARTITIONED, frame)
        return
    for (session,), part in frame.partition_by("session", as_dict=True).items():
        _merge(transaction, name, session.isoformat(), part)


def _merge(transaction: Transaction, name: str, partition: str, frame: pl.DataFrame) -> None:
    declared = table(name)
    held = transaction.read(name, partition) if transaction.has(name, partition) else declared.empty()
    others = held.join(frame, on=list(declared.key), how="anti")
    merged = declared.conform(pl.concat([others.select(list(declared.schema)), frame]))
    if not merged.equals(held):
        transaction.replace(name, partition, merged)


def _keys(sessions: Sequence[date] | None) -> list[str] | None:
    return None if sessions is None else [session.isoformat() for session in sessions]


def due(rows: pl.DataFrame, now: datetime) -> pl.DataFrame:
    """The deliveries of `rows` that are to be tried at `now`, the earliest intended first."""
    open_rows = pl.col("status").is_in(OPEN) & (pl.col("next_attempt_at") <= now)
    return rows.filter(open_rows).sort("created_at", "alert_id", "revision", "channel")
