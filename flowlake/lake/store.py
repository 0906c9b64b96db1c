"""The lake itself: consistent reads of the newest state, and transactions that replace partitions whole."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime
from pathlib import Path

import polars as pl

from flowlake.lake.catalog import build_catalog, catalog_signature, link_is_current, swap_link
from flowlake.lake.errors import DuplicateKeys, InvalidPartition, LakeError, PartitionNotFound, StagedFileLost
from flowlake.lake.files import WrittenFile, make_directory, scan_table_files, typed_os_errors, write_table_file
from flowlake.lake.locking import exclusive_lock
from flowlake.lake.manifest import (
    CatalogEntry,
    FileEntry,
    FileMap,
    Manifest,
    ManifestStore,
    paths_of,
    publish_partitions,
    read_numbers,
    with_changes,
)
from flowlake.lake.paths import LakePaths, check_partition, session_of
from flowlake.schemas import SCHEMA_VERSION, TABLES
from flowlake.schemas.base import Table

_LOCK_TIMEOUT_SECONDS = 600.0
_LAYOUT_RUN_ID = "layout"


@dataclass(frozen=True)
class Between:
    """A closed range of partitions, by name: sessions compare as dates do."""

    first: str
    last: str


Partitions = str | Sequence[str] | Between | None
"""Which partitions to read: one, several, a range, or all (None)."""


class Snapshot:
    """The tables of a lake as one manifest has them; does not move while other processes commit."""

    def __init__(self, paths: LakePaths, files: FileMap, tables: Mapping[str, Table]) -> None:
        self._paths = paths
        self._files = files
        self._tables = tables

    def partitions(self, table: str) -> list[str]:
        """Partitions `table` has, ascending."""
        return sorted(self._entries(table))

    def has(self, table: str, partition: str) -> bool:
        """Whether `table` has `partition` (perhaps with no rows)."""
        return partition in self._entries(table)

    def rows(self, table: str, partition: str) -> int:
        """Rows of a partition; raises `PartitionNotFound`."""
        return self.entry(table, partition).rows

    def entry(self, table: str, partition: str) -> FileEntry:
        """The file entry of a partition; raises `PartitionNotFound` naming its neighbours."""
        entries = self._entries(table)
        if partition in entries:
            return entries[partition]
        before = max((name for name in entries if name < partition), default=None)
        after = min((name for name in entries if name > partition), default=None)
        around = " and ".join(name for name in (before, after) if name) or "none: the table is empty"
        raise PartitionNotFound(
            f"table {table} has no partition {partition!r} (partitions around it: {around}); materialise it first"
        )

    def files(self, table: str, partitions: Partitions = None) -> list[Path]:
        """Parquet files of the chosen partitions, by partition; partitions that do not exist give none."""
        entries = self._entries(table)
        return [self._paths.root / entries[name].path for name in sorted(_choose(entries, partitions))]

    def scan(self, table: str, partitions: Partitions = None, columns: Sequence[str] | None = None) -> pl.LazyFrame:
        """Rows of the chosen partitions, by partition and in the table's sort order within each.

        Partitions that do not exist contribute nothing; without any, the frame is empty but typed. Files written
        under an older declaration give null for columns they lack.
        """
        frame = scan_table_files(self.files(table, partitions), _declared(self._tables, table))
        return frame if columns is None else frame.select(columns)

    def read(self, table: str, partition: str, columns: Sequence[str] | None = None) -> pl.DataFrame:
        """One partition as a frame; raises `PartitionNotFound`."""
        self.entry(table, partition)
        return self.scan(table, partition, columns).collect()

    def digests(self) -> dict[str, dict[str, str]]:
        """SHA-256 of every partition's file, by table and partition: equal lakes hold equal bytes."""
        return {
            table: {partition: entry.sha256 for partition, entry in sorted(entries.items())}
            for table, entries in sorted(self._files.items())
        }

    def _entries(self, table: str) -> Mapping[str, FileEntry]:
        _declared(self._tables, table)
        return self._files.get(table, {})


class Transaction:
    """Staged changes of one commit. Reads see the newest head with the changes on top.

    In an exclusive transaction nobody else can commit between those reads and the commit.
    """

    def __init__(self, lake: Lake, run_id: str) -> None:
        self.run_id = run_id
        self.number: int | None = None
        self._lake = lake
        self._read_at = lake.manifest().number
        self._changes: dict[tuple[str, str], FileEntry | None] = {}
        self._staged: list[Path] = []
        self._expired: set[tuple[str, str]] = set()
        self._forgotten: set[str] = set()
        self._publishes: list[tuple[list[str] | None, frozenset[str] | None]] = []

    @property
    def snapshot(self) -> Snapshot:
        """The head as it would be if this transaction committed now."""
        head = with_changes(self._lake.manifest().head, self._changes)
        return Snapshot(self._lake.paths, head, self._lake.tables)

    def has(self, table: str, partition: str) -> bool:
        """Whether `table` has `partition`, staged changes included."""
        return self.snapshot.has(table, partition)

    def read(self, table: str, partition: str, columns: Sequence[str] | None = None) -> pl.DataFrame:
        """One partition, staged changes included; raises `PartitionNotFound`."""
        return self.snapshot.read(table, partition, columns)

    def scan(self, table: str, partitions: Partitions = None, columns: Sequence[str] | None = None) -> pl.LazyFrame:
        """As `Snapshot.scan`, staged changes included."""
        return self.snapshot.scan(table, partitions, columns)

    def replace(self, table: str, partition: str, frame: pl.DataFrame) -> FileEntry:
        """Stage `frame` as the whole content of a partition; written to disk now, visible at the commit.

        Raises `SchemaMismatch`, `DuplicateKeys`, `InvalidPartition` (a bad name, or rows of another session),
        `LakeDiskFull` or `LakePermissionDenied`.
        """
        declared = self._lake.table(table)
        check_partition(declared, partition)
        conformed = declared.conform(frame)
        _check_session(declared, partition, conformed)
        _check_key(declared, partition, conformed)
        written = write_table_file(self._lake.paths.table(table), declared, partition, conformed)
        self._staged.append(written.path)
        entry = self._entry(declared, written)
        self._changes[table, partition] = entry
        self._expired.discard((table, partition))
        return entry

    def remove(self, table: str, partition: str) -> None:
        """Stage the removal of a partition from the head; removing what is not there changes nothing."""
        check_partition(self._lake.table(table), partition)
        self._changes[table, partition] = None

    def publish(self, partitions: Iterable[str] | None = None, tables: Iterable[str] | None = None) -> None:
        """At the commit, show analysts the head of `partitions` (all if None) of `tables` (all if None), together."""
        names = None if tables is None else frozenset(self._lake.table(name).name for name in tables)
        self._publishes.append((None if partitions is None else sorted(partitions), names))

    def expire(self, table: str, partition: str) -> None:
        """Stage the removal of a partition from the head and from what analysts see (retention)."""
        self._changes[table, partition] = None
        self._expired.add((table, partition))

    def forget(self, paths: Iterable[str]) -> None:
        """Drop retired paths from the manifest once they are deleted (retention)."""
        self._forgotten.update(paths)

    def next_manifest(self, base: Manifest, now: datetime) -> Manifest:
        """The manifest this transaction makes of `base`, its catalog not yet decided."""
        head = with_changes(base.head, self._changes, base.number + 1)
        published = with_changes(base.published, dict.fromkeys(self._expired))
        for partitions, tables in self._publishes:
            published = publish_partitions(head, published, partitions, tables)
        dropped = base.referenced() - (paths_of(head) | paths_of(published))
        retired = {path: at for path, at in base.retired.items() if path not in self._forgotten}
        retired.update(dict.fromkeys(sorted(dropped), now))
        return Manifest(base.number + 1, now, self.run_id, SCHEMA_VERSION, head, published, base.catalog, retired)

    @property
    def shows(self) -> bool:
        """Whether analysts are to see a change."""
        return bool(self._publishes or self._expired)

    def check_staged(self) -> None:
        """Raise `StagedFileLost` if a staged file was deleted under this transaction."""
        staged = {self._lake.paths.root / entry.path for entry in self._changes.values() if entry is not None}
        lost = sorted(path for path in staged if not path.exists())
        if lost:
            raise StagedFileLost(f"staged file {lost[0]} vanished before the commit; rerun the partition")

    def discard_unused(self, used: set[str]) -> None:
        """Delete staged files that no manifest took up (failed, superseded, or identical to what was there)."""
        for path in self._staged:
            if self._lake.paths.relative(path) not in used:
                path.unlink(missing_ok=True)

    def _entry(self, table: Table, written: WrittenFile) -> FileEntry:
        return FileEntry(
            path=self._lake.paths.relative(written.path),
            rows=written.rows,
            bytes=written.bytes,
            sha256=written.sha256,
            fingerprint=table.fingerprint,
            run_id=self.run_id,
            read_at=self._read_at,
        )


class Lake:
    """The lake under one data directory. Cheap to open; safe to use from many processes and threads at once."""

    def __init__(self, paths: LakePaths, tables: Mapping[str, Table], clock: Callable[[], datetime]) -> None:
        self.paths = paths
        self.tables = tables
        self.clock = clock
        self.lock_timeout_seconds = _LOCK_TIMEOUT_SECONDS
        self._manifests = ManifestStore(paths)

    @classmethod
    def open(
        cls,
        data_dir: Path | str,
        *,
        tables: Mapping[str, Table] = TABLES,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> Lake:
        """The lake under `data_dir`, created empty if there is none, repaired if a publish was killed half-way.

        Raises `LakeTooNew`, `ManifestCorrupt`, `LakePermissionDenied`, `LakeDiskFull` or `LinkOccupied`.
        """
        lake = cls(LakePaths(Path(data_dir).absolute()), tables, clock)
        lake._prepare()
        return lake

    def manifest(self) -> Manifest:
        """The newest manifest."""
        newest = self._manifests.newest()
        if newest is None:
            raise LakeError(f"{self.paths.manifests} holds no manifest any more; open the lake again to start it anew")
        return newest

    def table(self, name: str) -> Table:
        """The declaration of table `name`; raises `KeyError` listing the known names."""
        return _declared(self.tables, name)

    def snapshot(self) -> Snapshot:
        """The head now, frozen: reads of several tables through it agree with each other."""
        return Snapshot(self.paths, self.manifest().head, self.tables)

    def published(self) -> Snapshot:
        """What analysts see now, frozen."""
        return Snapshot(self.paths, self.manifest().published, self.tables)

    def partitions(self, table: str) -> list[str]:
        """Partitions `table` has, ascending."""
        return self.snapshot().partitions(table)

    def has(self, table: str, partition: str) -> bool:
        """Whether `table` has `partition`."""
        return self.snapshot().has(table, partition)

    def rows(self, table: str, partition: str) -> int:
        """Rows of a partition; raises `PartitionNotFound`."""
        return self.snapshot().rows(table, partition)

    def files(self, table: str, partitions: Partitions = None) -> list[Path]:
        """Parquet files of the chosen partitions, by partition."""
        return self.snapshot().files(table, partitions)

    def scan(self, table: str, partitions: Partitions = None, columns: Sequence[str] | None = None) -> pl.LazyFrame:
        """Rows of the chosen partitions at the newest head; see `Snapshot.scan`."""
        return self.snapshot().scan(table, partitions, columns)

    def read(self, table: str, partition: str, columns: Sequence[str] | None = None) -> pl.DataFrame:
        """One partition as a frame; raises `PartitionNotFound` naming its neighbours."""
        return self.snapshot().read(table, partition, columns)

    def digests(self) -> dict[str, dict[str, str]]:
        """SHA-256 of every partition's file at the head, by table and partition."""
        return self.snapshot().digests()

    @contextmanager
    def commit(self, run_id: str, *, exclusive: bool = False) -> Iterator[Transaction]:
        """A transaction: all its changes become visible together at the end, none if the block raises.

        Files are written outside the lock, which is held for the manifest step alone; partitions two transactions
        both replace keep what committed last. With `exclusive` the lock is held from the start, for changes that
        depend on what was read (assigning contract ids).
        """
        with ExitStack() as stack:
            if exclusive:
                stack.enter_context(self._locked())
            transaction = Transaction(self, run_id)
            try:
                yield transaction
                if not exclusive:
                    stack.enter_context(self._locked())
                self._apply(transaction)
            finally:
                transaction.discard_unused(self.manifest().referenced())

    def publish(self, partitions: Iterable[str] | None, run_id: str) -> int:
        """Show analysts the head of `partitions` (all if None) of every table at once; returns the catalog version.

        Tables without partitions are always brought along, and a session brings its snapshots. Publishing what is
        already shown changes nothing.
        """
        with self.commit(run_id, exclusive=True) as transaction:
            transaction.publish(partitions)
        catalog = self.manifest().catalog
        assert catalog is not None, "an opened lake has a catalog"
        return catalog.version

    def _prepare(self) -> None:
        newest = self._manifests.newest()
        if newest is not None and link_is_current(self.paths, newest):
            return
        if newest is not None and not os.access(self.paths.lock, os.W_OK):
            return  # somebody who may only read; whoever commits next mends the link
        with typed_os_errors(self.paths.root):
            for directory in (self.paths.root, self.paths.tables, self.paths.manifests, self.paths.catalogs):
                make_directory(directory)
        with self._locked():
            if self._manifests.newest() is None:
                self._append(Manifest(0, self.clock(), _LAYOUT_RUN_ID), rebuild=True)

    def _locked(self) -> AbstractContextManager[None]:
        @contextmanager
        def locked() -> Iterator[None]:
            with exclusive_lock(self.paths.lock, self.lock_timeout_seconds):
                self._repair_link()
                yield

        return locked()

    def _repair_link(self) -> None:
        """Finish what a publish killed between manifest and link left undone."""
        newest = self._manifests.newest()
        if newest is None or newest.catalog is None or link_is_current(self.paths, newest):
            return
        version = newest.catalog.version
        if not any(self.paths.catalog(version).glob("*")):
            build_catalog(self.paths, version, newest.published, self.tables)
        swap_link(self.paths, version)

    def _apply(self, transaction: Transaction) -> None:
        base = self.manifest()
        proposed = transaction.next_manifest(base, self.clock())
        signature = catalog_signature(self.tables, self.paths.root)
        assert base.catalog is not None, "an opened lake has a catalog"
        rebuild = proposed.published != base.published or (transaction.shows and base.catalog.signature != signature)
        made_again = read_numbers(proposed.head) != read_numbers(base.head)
        unchanged = proposed.head == base.head and proposed.retired == base.retired
        if unchanged and not made_again and not rebuild:
            transaction.number = base.number
            return
        transaction.check_staged()
        self._append(proposed, rebuild=rebuild)
        transaction.number = proposed.number

    def _append(self, manifest: Manifest, *, rebuild: bool) -> None:
        if rebuild:
            retired = dict(manifest.retired)
            if manifest.catalog is not None:
                retired[self.paths.relative(self.paths.catalog(manifest.catalog.version))] = manifest.created_at
            entry = CatalogEntry(manifest.number, catalog_signature(self.tables, self.paths.root))
            manifest = replace(manifest, catalog=entry, retired=retired)
            build_catalog(self.paths, manifest.number, manifest.published, self.tables)
        self._manifests.append(manifest)
        if rebuild:
            swap_link(self.paths, manifest.number)
        self._manifests.prune()


def _declared(tables: Mapping[str, Table], name: str) -> Table:
    if name not in tables:
        raise KeyError(f"unknown table {name!r}; known tables: {', '.join(sorted(tables))}")
    return tables[name]


def _choose(entries: Mapping[str, FileEntry], partitions: Partitions) -> list[str]:
    if partitions is None:
        return list(entries)
    if isinstance(partitions, Between):
        return [name for name in entries if partitions.first <= name <= partitions.last]
    wanted = [partitions] if isinstance(partitions, str) else partitions
    return [name for name in dict.fromkeys(wanted) if name in entries]


def _check_session(table: Table, partition: str, frame: pl.DataFrame) -> None:
    session = session_of(partition)
    if session is None or "session" not in table.schema or frame.is_empty():
        return
    strangers = frame.filter(pl.col("session") != date.fromisoformat(session))["session"]
    if len(strangers):
        raise InvalidPartition(
            f"table {table.name}, partition {partition}: {len(strangers)} rows are of other sessions "
            f"({strangers.min()} to {strangers.max()}); a partition holds its own session only"
        )


def _check_key(table: Table, partition: str, frame: pl.DataFrame) -> None:
    if not table.key:
        return
    key = frame.select(table.key)
    if key.n_unique() == key.height:
        return
    examples = key.filter(key.is_duplicated()).unique().sort(table.key).head(3).rows()
    raise DuplicateKeys(
        f"table {table.name}, partition {partition}: the key {', '.join(table.key)} repeats, e.g. {examples}; "
        "resolve duplicates before the commit"
    )
