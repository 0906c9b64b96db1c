"""What the server reads: the newest published state of the lake, each request one state and none that is half new.

Parquet files are read by the manifest, without DuckDB: a point query on one session opens the one file it needs
(measured by `benchmarks/serve.py`). Nothing here writes, locks or creates anything.
"""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from flowlake.lake.manifest import Manifest, ManifestStore
from flowlake.lake.paths import LakePaths
from flowlake.lake.store import Snapshot
from flowlake.schemas import TABLES
from flowlake.schemas.base import Table
from flowlake.serve.problems import Problem


@dataclass(frozen=True)
class State:
    """One published state: the same tables that the DuckDB catalog of `version` shows."""

    paths: LakePaths
    manifest: Manifest
    tables: Mapping[str, Table]

    @property
    def version(self) -> int:
        """Version of the DuckDB catalog that shows this state; it grows with every publication."""
        return self.manifest.catalog.version if self.manifest.catalog else 0

    @cached_property
    def snapshot(self) -> Snapshot:
        """The published tables."""
        return Snapshot(self.paths, self.manifest.published, self.tables)

    def partitions(self, table: str) -> list[str]:
        """Published partitions of `table`, ascending."""
        return self.snapshot.partitions(table)

    def partitions_of(self, table: str) -> list[str]:
        """The same, and none where this flowlake does not declare `table`."""
        return self.partitions(table) if table in self.tables else []

    def newest(self, table: str) -> str | None:
        """The newest published partition of `table`."""
        return max(self.manifest.published.get(table, {}), default=None)

    def digest(self, partitions: Iterable[tuple[str, str]]) -> bytes:
        """A hash of the content of (table, partition) pairs: it changes when, and only when, what they hold does."""
        state = hashlib.sha256()
        for table, partition in partitions:
            entry = self.manifest.published.get(table, {}).get(partition)
            state.update(f"{table}|{partition}|{entry.sha256 if entry else '-'}\n".encode())
        return state.digest()


class LakeReader:
    """Follows the newest manifest of the lake in `data_dir`; safe to use from many threads."""

    def __init__(self, data_dir: Path, tables: Mapping[str, Table] = TABLES) -> None:
        self.paths = LakePaths(data_dir.absolute())
        self.tables = tables
        self._manifests = ManifestStore(self.paths)
        self._state: State | None = None
        self._lock = threading.Lock()

    def state(self) -> State:
        """The newest published state; raises `Problem` 503 where there is no lake yet."""
        with self._lock:
            manifest = self._manifests.newest()
            if manifest is None:
                raise Problem(
                    503,
                    "the data folder holds no lake yet",
                    remedy="run `flowlake demo` or `flowlake backfill`, or point FLOWLAKE_DATA_DIR at a lake",
                    headers={"Retry-After": "30"},
                )
            if self._state is None or self._state.manifest is not manifest:
                self._state = State(self.paths, manifest, self.tables)
            return self._state
