"""How long things live: which partitions have expired, which files nobody can be reading any more.

Deleting takes two steps. An expired partition first leaves the head and the catalog; its file is deleted by a later
sweep, once it has been out of both for the grace period, so a notebook on an older catalog keeps working.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from datetime import date, datetime, timedelta
from pathlib import Path

import polars as pl

from flowlake.calendar import previous_session
from flowlake.lake.files import typed_os_errors
from flowlake.lake.manifest import Manifest
from flowlake.lake.paths import TEMPORARY_PREFIX, LakePaths, partition_of_file, session_of
from flowlake.lake.store import Lake
from flowlake.settings import LakeSettings

ORPHAN_AGE = timedelta(hours=6)
"""How old an unreferenced file must be to count as left behind by a killed run, not as staged by a running one."""

PLAN_SCHEMA = pl.Schema(
    {
        "action": pl.String,
        "table": pl.String,
        "partition": pl.String,
        "path": pl.String,
        "files": pl.Int64,
        "bytes": pl.Int64,
        "reason": pl.String,
    }
)
"""A plan: `action` is 'expire' (a partition leaves the lake) or 'delete' (a path leaves the disk)."""


def plan_retention(
    lake: Lake, now_session: date, settings: LakeSettings, *, now: datetime | None = None
) -> pl.DataFrame:
    """What retention would do, without doing it: one row per partition to expire and per path to delete.

    Partitions of a table kept n sessions expire when older than the n-th session before `now_session`, so that the
    newest session always finds n sessions of history. Permanent and unpartitioned tables never expire. Paths are
    deleted when they have been unreferenced for `settings.grace_hours` or were left behind by a killed run.
    `now` defaults to the lake's clock. Columns: `PLAN_SCHEMA`.
    """
    at = now or lake.clock()
    manifest = lake.manifest()
    rows = [
        *_expired(lake, manifest, now_session, settings),
        *_past_grace(lake.paths, manifest, at, timedelta(hours=settings.grace_hours)),
        *_left_behind(lake.paths, manifest, at),
    ]
    return pl.DataFrame(rows, schema=PLAN_SCHEMA, orient="row").sort("action", "table", "partition", "path")


def apply_retention(lake: Lake, plan: pl.DataFrame, run_id: str) -> pl.DataFrame:
    """Carry out `plan` as one exclusive commit; returns the rows carried out.

    A path that has come into use since the plan was made is left alone. Killed half-way, it can simply be run again.
    """
    with lake.commit(run_id, exclusive=True) as transaction:
        manifest = lake.manifest()
        in_use = manifest.referenced() | _current_catalog(lake.paths, manifest)
        expire = plan.filter(pl.col("action") == "expire")
        delete = plan.filter((pl.col("action") == "delete") & ~pl.col("path").is_in(list(in_use)))
        for table, partition in expire.select("table", "partition").iter_rows():
            transaction.expire(table, partition)
        for path in delete["path"]:
            _delete(lake.paths, path)
        transaction.forget(delete["path"])
    return pl.concat([expire, delete])


def _expired(lake: Lake, manifest: Manifest, now_session: date, settings: LakeSettings) -> Iterator[tuple]:
    kept = {"intraday": settings.intraday_sessions, "daily": settings.daily_sessions}
    for name, table in lake.tables.items():
        if table.retention == "permanent":
            continue
        sessions = kept[table.retention]
        first = previous_session(now_session, sessions).isoformat()
        reason = f"{table.retention} tables are kept {sessions} sessions: those before {first} expire"
        for partition, entry in {**manifest.published.get(name, {}), **manifest.head.get(name, {})}.items():
            session = session_of(partition)
            if session is not None and session < first:
                yield "expire", name, partition, entry.path, 1, entry.bytes, reason


def _past_grace(paths: LakePaths, manifest: Manifest, now: datetime, grace: timedelta) -> Iterator[tuple]:
    for path, retired_at in manifest.retired.items():
        if now - retired_at >= grace:
            reason = f"unreferenced since {retired_at:%Y-%m-%d %H:%M} UTC, longer than the grace"
            yield _deletion(paths, path, reason)


def _left_behind(paths: LakePaths, manifest: Manifest, now: datetime) -> Iterator[tuple]:
    known = manifest.referenced() | set(manifest.retired) | _current_catalog(paths, manifest)
    candidates = [
        *paths.tables.glob("*/*.parquet"),
        *paths.tables.glob(f"*/{TEMPORARY_PREFIX}*"),
        *paths.catalogs.iterdir(),
        *paths.manifests.glob(f"{TEMPORARY_PREFIX}*"),
        *paths.root.glob(f"{TEMPORARY_PREFIX}*"),
    ]
    for path in candidates:
        relative = paths.relative(path)
        if relative not in known and _age(path, now) >= ORPHAN_AGE:
            yield _deletion(paths, relative, "left behind by a run that did not finish")


def _age(path: Path, now: datetime) -> timedelta:
    try:
        return timedelta(seconds=now.timestamp() - path.lstat().st_mtime)
    except FileNotFoundError:
        return timedelta(0)  # a running transaction has just renamed it


def _deletion(paths: LakePaths, relative: str, reason: str) -> tuple:
    path = paths.root / relative
    contents = [file for file in (path, *path.rglob("*")) if file.is_symlink() or file.is_file()]
    size = sum(file.lstat().st_size for file in contents)
    is_data = path.is_relative_to(paths.tables)
    table = path.parent.name if is_data else ""
    partition = partition_of_file(path.name) if is_data and path.suffix == ".parquet" else ""
    return "delete", table, partition, relative, len(contents), size, reason


def _current_catalog(paths: LakePaths, manifest: Manifest) -> set[str]:
    return set() if manifest.catalog is None else {paths.relative(paths.catalog(manifest.catalog.version))}


def _delete(paths: LakePaths, relative: str) -> None:
    path = paths.root / relative
    if ".." in Path(relative).parts or not path.is_relative_to(paths.root):
        raise ValueError(f"refusing to delete {relative!r}: it is not below {paths.root}")
    with typed_os_errors(path):
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)
