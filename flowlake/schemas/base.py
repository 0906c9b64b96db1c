"""What a lake table declares about itself: columns, types, units, key, and when each fact is known."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Literal

import polars as pl

UTC_TIME = pl.Datetime("us", "UTC")
"""Every instant in the lake: microseconds, UTC."""

Partitioning = Literal["session", "snapshot", "none"]
Retention = Literal["intraday", "daily", "permanent"]


class SchemaMismatch(ValueError):
    """A frame does not have the columns or types its table declares."""


@dataclass(frozen=True)
class Column:
    """One column: its polars type, what it means, its unit, and whether it may be null."""

    name: str
    dtype: pl.DataType | type[pl.DataType]
    description: str
    unit: str = ""
    nullable: bool = False


@dataclass(frozen=True)
class Table:
    """One lake table.

    `key` names the columns that identify a row inside a partition; `sort` is the order on disk; `known_at` says in
    words when the facts of a row became public; `retention` names the setting that says how long partitions live.
    """

    name: str
    description: str
    columns: tuple[Column, ...]
    key: tuple[str, ...]
    sort: tuple[str, ...]
    known_at: str
    partitioning: Partitioning = "session"
    retention: Retention = "daily"

    @property
    def schema(self) -> pl.Schema:
        """The polars schema, in declared order."""
        return pl.Schema({column.name: column.dtype for column in self.columns})

    @property
    def fingerprint(self) -> str:
        """A short hash of names, types and order: two files with the same fingerprint can be read together."""
        text = ";".join(f"{name}:{dtype}" for name, dtype in self.schema.items())
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    def empty(self) -> pl.DataFrame:
        """A frame of this table with no rows."""
        return pl.DataFrame(schema=self.schema)

    def conform(self, frame: pl.DataFrame) -> pl.DataFrame:
        """`frame` with exactly the declared columns, types and row order.

        Numeric widths are cast strictly; a missing or surplus column, a lossy cast, or a null in a column that is not
        nullable raises `SchemaMismatch` naming it.
        """
        schema, given = self.schema, frame.columns
        missing = [c.name for c in self.columns if c.name not in given]
        surplus = [name for name in given if name not in schema]
        if missing or surplus:
            raise SchemaMismatch(f"table {self.name}: missing columns {missing}, surplus columns {surplus}")
        try:
            conformed = frame.select(pl.col(c.name).cast(c.dtype, strict=True) for c in self.columns)
        except pl.exceptions.PolarsError as error:
            raise SchemaMismatch(f"table {self.name}: {error}") from error
        required = [c.name for c in self.columns if not c.nullable]
        nulls = conformed.select(pl.col(required).null_count()).row(0, named=True) if required else {}
        offending = {name: count for name, count in nulls.items() if count}
        if offending:
            raise SchemaMismatch(f"table {self.name}: nulls in required columns {offending}")
        return conformed.sort(self.sort, maintain_order=True) if self.sort else conformed
