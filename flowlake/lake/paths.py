"""Where everything of a lake lives on disk, and what partitions may be called."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import date
from pathlib import Path

from flowlake.lake.errors import InvalidPartition
from flowlake.schemas.base import Table

UNPARTITIONED = "all"
"""The one partition of a table that has none."""

CATALOG_NAME = "flowlake.duckdb"
TEMPORARY_PREFIX = ".tmp-"
"""Unfinished files; the name never ends in `.parquet`, so no reader can mistake one for data."""

_SESSION = re.compile(r"\d{4}-\d{2}-\d{2}")
_SNAPSHOT = re.compile(r"\d{4}-\d{2}-\d{2}-([01]\d|2[0-3]):[0-5]\d")
_SNAPSHOT_STEM = re.compile(r"\d{4}-\d{2}-\d{2}-\d{4}")


@dataclass(frozen=True)
class LakePaths:
    """The layout below one data directory."""

    root: Path

    @property
    def tables(self) -> Path:
        """Parquet files, one folder per table."""
        return self.root / "lake"

    @property
    def manifests(self) -> Path:
        """Numbered manifests."""
        return self.root / ".manifests"

    @property
    def catalogs(self) -> Path:
        """Versioned DuckDB catalogs."""
        return self.root / ".catalog"

    @property
    def lock(self) -> Path:
        """The file whose `flock` serialises commits."""
        return self.root / ".lock"

    @property
    def link(self) -> Path:
        """The symlink analysts open."""
        return self.root / CATALOG_NAME

    def table(self, name: str) -> Path:
        """The folder of table `name`."""
        return self.tables / name

    def manifest(self, number: int) -> Path:
        """The file of manifest `number`."""
        return self.manifests / f"{number:08d}.json"

    def catalog(self, version: int) -> Path:
        """The folder of catalog `version`."""
        return self.catalogs / f"v{version:08d}"

    def relative(self, path: Path) -> str:
        """`path` below the root, as manifests write it."""
        return path.relative_to(self.root).as_posix()


def check_partition(table: Table, partition: str) -> str:
    """`partition` itself if `table` can have it.

    Sessions are 'YYYY-MM-DD', snapshots 'YYYY-MM-DD-HH:MM' (New York), tables without partitions have only 'all'.
    Raises `InvalidPartition` otherwise; partition names become file names, so nothing else is let through.
    """
    if table.partitioning == "none":
        fits, expected = partition == UNPARTITIONED, repr(UNPARTITIONED)
    elif table.partitioning == "session":
        fits, expected = _SESSION.fullmatch(partition) is not None, "a session 'YYYY-MM-DD'"
    else:
        fits, expected = _SNAPSHOT.fullmatch(partition) is not None, "a snapshot 'YYYY-MM-DD-HH:MM' (New York)"
    if fits and partition != UNPARTITIONED:
        fits = _is_date(partition[:10])
    if not fits:
        raise InvalidPartition(f"table {table.name}: {partition!r} is no partition of it; expected {expected}")
    return partition


def session_of(partition: str) -> str | None:
    """The session part of a partition name, None for 'all'."""
    return None if partition == UNPARTITIONED else partition[:10]


def file_stem(partition: str) -> str:
    """`partition` as the first part of its file's name: no colon, which object stores and URLs dislike."""
    return partition.replace(":", "")


def partition_of_file(name: str) -> str:
    """The partition a data file's name says it holds."""
    stem = name.split(".", 1)[0]
    is_snapshot = _SNAPSHOT_STEM.fullmatch(stem) is not None
    return f"{stem[:-2]}:{stem[-2:]}" if is_snapshot else stem


def _is_date(text: str) -> bool:
    try:
        date.fromisoformat(text)
    except ValueError:
        return False
    return True
