"""The numbered manifest: which file is which partition, for pipeline steps (`head`) and for analysts (`published`)."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import asdict, dataclass, field, replace
from datetime import datetime
from pathlib import Path

import orjson

from flowlake.lake.errors import LakeTooNew, ManifestCorrupt
from flowlake.lake.files import fsync_path, typed_os_errors, write_durably
from flowlake.lake.paths import UNPARTITIONED, LakePaths, session_of
from flowlake.schemas import SCHEMA_VERSION

KEPT_MANIFESTS = 16
"""Manifests that stay: enough that a reader between listing and opening never loses its file, and to fall back on."""


@dataclass(frozen=True)
class FileEntry:
    """One immutable Parquet file: a whole partition of a table.

    `since` is the number of the manifest that first had this content, `read_at` that of the manifest which was the
    newest when its making began: what it was made from is superseded where an input's `since` is above its `read_at`.
    """

    path: str
    rows: int
    bytes: int
    sha256: str
    fingerprint: str
    run_id: str
    since: int = 0
    # Built again to the same bytes, a file is the same file for everybody who reads it.
    read_at: int = field(default=0, compare=False)


@dataclass(frozen=True)
class CatalogEntry:
    """The DuckDB catalog that shows the published map; `signature` says from which declarations it was built."""

    version: int
    signature: str


FileMap = Mapping[str, Mapping[str, FileEntry]]
"""Table -> partition -> file."""


@dataclass(frozen=True)
class Manifest:
    """One state of the lake.

    `retired` gives files and catalogs that nothing refers to any more with the time they were dropped; retention
    deletes them once the grace is over.
    """

    number: int
    created_at: datetime
    run_id: str
    schema_version: int = SCHEMA_VERSION
    head: FileMap = field(default_factory=dict)
    published: FileMap = field(default_factory=dict)
    catalog: CatalogEntry | None = None
    retired: Mapping[str, datetime] = field(default_factory=dict)

    def referenced(self) -> set[str]:
        """Paths of every file in `head` or `published`."""
        return paths_of(self.head) | paths_of(self.published)


def paths_of(files: FileMap) -> set[str]:
    """The paths of every file in a map."""
    return {entry.path for partitions in files.values() for entry in partitions.values()}


def with_changes(files: FileMap, changes: Mapping[tuple[str, str], FileEntry | None], number: int = 0) -> FileMap:
    """`files` with partitions replaced, or removed where the change is None, by the manifest `number`.

    Identical content keeps its old file, and notes that it was made again where others changed since it was last made.
    """
    result = {table: dict(partitions) for table, partitions in files.items()}
    for (table, partition), entry in changes.items():
        partitions = result.setdefault(table, {})
        old = partitions.get(partition)
        if entry is None:
            partitions.pop(partition, None)
        elif old is None or old.sha256 != entry.sha256:
            partitions[partition] = replace(entry, since=number)
        elif old.read_at < _newest_change(files, besides=old.since):
            partitions[partition] = replace(old, read_at=max(old.read_at, entry.read_at))
    return {table: partitions for table, partitions in result.items() if partitions}


def _newest_change(files: FileMap, besides: int) -> int:
    """The newest `since` in `files` of another commit than `besides`."""
    return max(
        (each.since for partitions in files.values() for each in partitions.values() if each.since != besides),
        default=0,
    )


def read_numbers(files: FileMap) -> dict[str, dict[str, int]]:
    """From which manifest each partition was made, which equality of file maps leaves aside."""
    return {table: {name: entry.read_at for name, entry in held.items()} for table, held in files.items()}


def publish_partitions(
    head: FileMap, published: FileMap, partitions: Iterable[str] | None, tables: Collection[str] | None = None
) -> FileMap:
    """`published` brought level with `head` for `partitions` (all if None) of `tables` (all if None).

    A session covers its snapshots; tables without partitions are always brought level.
    """
    wanted = None if partitions is None else {*partitions, UNPARTITIONED}

    def chosen(table: str, partition: str) -> bool:
        if tables is not None and table not in tables:
            return False
        return wanted is None or partition in wanted or session_of(partition) in wanted

    result: dict[str, dict[str, FileEntry]] = {}
    for table in {*head, *published}:
        kept = {p: entry for p, entry in published.get(table, {}).items() if not chosen(table, p)}
        taken = {p: entry for p, entry in head.get(table, {}).items() if chosen(table, p)}
        if kept or taken:
            result[table] = {**kept, **taken}
    return result


class ManifestStore:
    """Reads and appends the numbered manifests of one lake."""

    def __init__(self, paths: LakePaths) -> None:
        self._paths = paths
        self._newest: Manifest | None = None

    def newest(self) -> Manifest | None:
        """The manifest with the highest number, None in a new lake.

        Raises `ManifestCorrupt` or `LakeTooNew`.
        """
        while True:
            numbers = self.numbers()
            if not numbers:
                return None
            if self._newest is None or self._newest.number != numbers[-1]:
                try:
                    self._newest = self._load(numbers[-1])
                except FileNotFoundError:
                    continue  # newer commits pruned it between listing and opening
            return self._newest

    def numbers(self) -> list[int]:
        """Numbers of the manifests on disk, ascending."""
        with typed_os_errors(self._paths.manifests):
            return sorted(int(path.stem) for path in self._paths.manifests.glob("*.json") if path.stem.isdigit())

    def append(self, manifest: Manifest) -> None:
        """Make `manifest` the newest, durably; the caller holds the lock. Two of one number cannot exist."""
        final = self._paths.manifest(manifest.number)
        with typed_os_errors(self._paths.manifests):
            temporary = write_durably(self._paths.manifests, _encode(manifest))
            try:
                final.hardlink_to(temporary)
            finally:
                temporary.unlink()
            fsync_path(self._paths.manifests)

    def prune(self) -> None:
        """Delete all but the newest manifests."""
        for number in self.numbers()[:-KEPT_MANIFESTS]:
            self._paths.manifest(number).unlink(missing_ok=True)

    def _load(self, number: int) -> Manifest:
        path = self._paths.manifest(number)
        with typed_os_errors(path):
            data = path.read_bytes()
        try:
            raw = orjson.loads(data)
            version = int(raw["schema_version"])
        except (ValueError, KeyError, TypeError) as error:
            raise _corrupt(path, error) from error
        if version > SCHEMA_VERSION:
            raise LakeTooNew(
                f"the lake at {self._paths.root} was written with table declarations version {version}, this flowlake "
                f"knows {SCHEMA_VERSION}: upgrade flowlake, or point FLOWLAKE_DATA_DIR at another directory"
            )
        try:
            return _decode(raw)
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise _corrupt(path, error) from error


def _corrupt(path: Path, error: Exception) -> ManifestCorrupt:
    return ManifestCorrupt(
        f"{path} is not a readable manifest ({type(error).__name__}: {error}). Move it out of the way: the manifest "
        "before it becomes current again, and its files are still there"
    )


def _encode(manifest: Manifest) -> bytes:
    return orjson.dumps(asdict(manifest), option=orjson.OPT_SORT_KEYS | orjson.OPT_APPEND_NEWLINE)


def _decode(raw: dict) -> Manifest:
    catalog = raw["catalog"]
    return Manifest(
        number=raw["number"],
        created_at=datetime.fromisoformat(raw["created_at"]),
        run_id=raw["run_id"],
        schema_version=raw["schema_version"],
        head=_decode_files(raw["head"]),
        published=_decode_files(raw["published"]),
        catalog=None if catalog is None else CatalogEntry(**catalog),
        retired={path: datetime.fromisoformat(at) for path, at in raw["retired"].items()},
    )


def _decode_files(raw: dict) -> FileMap:
    return {table: {p: FileEntry(**entry) for p, entry in partitions.items()} for table, partitions in raw.items()}
