"""Frames of lake tables for tests: a row per dictionary, everything left out filled with a plain value of its type."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime
from typing import Any

import polars as pl

from flowlake.schemas import Table

SESSION = date(2026, 6, 1)
CLOSE = datetime(2026, 6, 1, 20, tzinfo=UTC)

_PLAIN: dict[Any, Any] = {
    pl.Date: SESSION,
    pl.String: "x",
    pl.Boolean: False,
    pl.Datetime("us", "UTC"): CLOSE,
}


def frame(declared: Table, rows: Sequence[Mapping[str, Any]]) -> pl.DataFrame:
    """A frame of `declared` with these rows; columns not named are null where they may be, else a plain value."""
    full = [
        {
            column.name: row[column.name]
            if column.name in row
            else None
            if column.nullable
            else _PLAIN.get(column.dtype, [] if isinstance(column.dtype, pl.List) else 0)
            for column in declared.columns
        }
        for row in rows
    ]
    surplus = {name for row in rows for name in row} - set(declared.schema)
    assert not surplus, f"{declared.name} has no columns {sorted(surplus)}"
    return declared.conform(pl.DataFrame(full, schema=declared.schema, strict=False))
