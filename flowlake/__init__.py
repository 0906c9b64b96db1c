"""flowlake: statistically unusual options activity, found, explained and measured over a DuckDB/Parquet lakehouse."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

    from duckdb import DuckDBPyConnection

__version__ = "0.1.0"


def connect(data_dir: Path | str | None = None) -> DuckDBPyConnection:
    """A DuckDB connection that sees the newest published tables, read-only, whatever runs are writing.

    `data_dir` defaults to the settings'. The connection keeps the state it was opened on; connect again to see newer.
    """
    from flowlake.lake import connect as connect_lake

    return connect_lake(data_dir)


open = connect
"""The same under the name many people try first: `flowlake.open()`."""
