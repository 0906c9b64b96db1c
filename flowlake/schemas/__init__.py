"""One declaration per lake table; files, the DuckDB catalog, Dagster column schemas and checks all come from here."""

from __future__ import annotations

from flowlake.schemas import (
    alerts,
    detection,
    evaluation,
    features,
    insiders,
    intraday,
    lifecycle,
    market,
    monitor,
    options,
    quality,
)
from flowlake.schemas.base import UTC_TIME, Column, SchemaMismatch, Table

SCHEMA_VERSION = 2
"""Raised when a table or the manifest changes incompatibly; a lake written by a newer version is refused."""

_MODULES = (market, options, detection, insiders, monitor, alerts, intraday, quality, lifecycle, features, evaluation)

TABLES: dict[str, Table] = {
    value.name: value for module in _MODULES for value in vars(module).values() if isinstance(value, Table)
}
"""Every table of the lake by name."""


def table(name: str) -> Table:
    """The declaration of table `name`; raises `KeyError` listing the known names."""
    if name not in TABLES:
        raise KeyError(f"unknown table {name!r}; known tables: {', '.join(sorted(TABLES))}")
    return TABLES[name]


__all__ = ["SCHEMA_VERSION", "TABLES", "UTC_TIME", "Column", "SchemaMismatch", "Table", "table"]
