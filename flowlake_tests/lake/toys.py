"""Two small tables that must always agree, and frames for them."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date

import polars as pl

from flowlake.calendar import sessions
from flowlake.schemas.base import UTC_TIME, Column, Table

SESSION = Column("session", pl.Date, "Session.")
ID = Column("id", pl.Int32, "Row.")
VERSION = Column("version", pl.Int32, "Which writing of the partition this row is from.")

LEFT = Table(
    name="left_table",
    description="One of two tables that are always written together.",
    columns=(SESSION, ID, VERSION, Column("price", pl.Float64, "It's a price.", "USD per share", nullable=True)),
    key=("id",),
    sort=("id",),
    known_at="at once",
)
RIGHT = Table(
    name="right_table",
    description="The other one.",
    columns=(SESSION, ID, VERSION, Column("seen_at", UTC_TIME, "When.", nullable=True)),
    key=("id",),
    sort=("id",),
    known_at="at once",
    retention="permanent",
)
INTRADAY = Table(
    name="intraday_table",
    description="Snapshots within a session.",
    columns=(SESSION, ID),
    key=("id",),
    sort=("id",),
    known_at="at once",
    partitioning="snapshot",
    retention="intraday",
)
WHOLE = Table(
    name="whole_table",
    description="A table without partitions.",
    columns=(ID, Column("name", pl.String, "Name.")),
    key=("id",),
    sort=("id",),
    known_at="at once",
    partitioning="none",
    retention="permanent",
)
TOYS = {table.name: table for table in (LEFT, RIGHT, INTRADAY, WHOLE)}
PAIR = {table.name: table for table in (LEFT, RIGHT)}

SESSIONS = [day.isoformat() for day in sessions(date(2026, 6, 1), date(2026, 6, 30))]
ROWS = 40


def left(session: str, version: int, rows: int = ROWS) -> pl.DataFrame:
    """Rows of `left_table`, all of one version."""
    return _rows(session, version, rows).with_columns(price=pl.col("id") * 0.5 + version)


def right(session: str, version: int, rows: int = ROWS) -> pl.DataFrame:
    """Rows of `right_table`, all of one version."""
    return _rows(session, version, rows).with_columns(seen_at=pl.lit(None, UTC_TIME))


def intraday(partition: str, rows: int = 3) -> pl.DataFrame:
    """Rows of `intraday_table`."""
    return pl.DataFrame({"session": [date.fromisoformat(partition[:10])] * rows, "id": range(rows)})


def whole(*names: str) -> pl.DataFrame:
    """Rows of `whole_table`."""
    return pl.DataFrame({"id": range(len(names)), "name": list(names)}, schema_overrides={"name": pl.String})


def files_on_disk(root) -> Iterator[str]:
    """Every data file and unfinished file below a lake, by relative path."""
    for path in sorted(root.rglob("*")):
        if path.is_file() and not path.is_symlink() and (path.suffix == ".parquet" or path.name.startswith(".tmp-")):
            yield path.relative_to(root).as_posix()


def _rows(session: str, version: int, rows: int) -> pl.DataFrame:
    return pl.DataFrame(
        {"session": [date.fromisoformat(session)] * rows, "id": range(rows), "version": [version] * rows}
    )
