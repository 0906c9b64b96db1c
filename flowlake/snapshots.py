"""Feature snapshots of a lake: taken at a moment, kept under their id, listed, and given back byte for byte."""

from __future__ import annotations

import hashlib
import io
from datetime import datetime, timedelta
from pathlib import Path

import polars as pl

from flowlake import __version__, calendar
from flowlake.features.definitions import definition_version
from flowlake.features.snapshots import (
    MAX_AGE_DAYS,
    SEQUENCE_LENGTH,
    Facts,
    FrozenSnapshot,
    MissingValues,
    cross_section,
    sequences,
)
from flowlake.lake import Lake
from flowlake.lake.files import make_directory, write_durably
from flowlake.lake.paths import UNPARTITIONED
from flowlake.lake.store import Between
from flowlake.schemas.features import FEATURE_SNAPSHOTS

FOLDER = "feature_snapshots"
INSIDER_SESSIONS = 5
"""Sessions back to the newest insider signals that still stand for today."""


class UnknownSnapshot(LookupError):
    """No snapshot has the id asked for."""


class SnapshotDamaged(RuntimeError):
    """The file of a snapshot is not what was written."""


def take(lake: Lake, as_of: datetime, *, max_age_days: int = MAX_AGE_DAYS) -> FrozenSnapshot:
    """The cross-section of `lake` as of a moment; see `cross_section`."""
    return cross_section(_facts(lake, as_of, max_age_days), as_of, max_age_days=max_age_days)


def take_sequences(
    lake: Lake,
    as_of: datetime,
    *,
    length: int = SEQUENCE_LENGTH,
    missing: MissingValues | None = None,
    max_age_days: int = MAX_AGE_DAYS,
) -> FrozenSnapshot:
    """Sequences of `length` sessions of `lake` as of a moment; see `sequences`."""
    newest = as_of.astimezone(calendar.NEW_YORK).date()
    first = calendar.previous_session(newest, length + max_age_days)
    features = lake.scan("options_flow_features", Between(first.isoformat(), newest.isoformat())).collect()
    return sequences(Facts(features), as_of, length=length, missing=missing, max_age_days=max_age_days)


def keep(lake: Lake, snapshot: FrozenSnapshot, run_id: str) -> str:
    """Store `snapshot` and list it; returns its id. One that is kept already is left exactly as it is.

    Raises `ValueError` where nothing was known at its moment.
    """
    if snapshot.frame.is_empty():
        raise ValueError(
            f"nothing was known before {snapshot.as_of:%Y-%m-%d %H:%M} UTC: options_flow_features has no row that old "
            "and no older than max_age_days; materialise the sessions before, or choose a later moment"
        )
    with lake.commit(run_id, exclusive=True) as transaction:
        has_index = transaction.has(FEATURE_SNAPSHOTS.name, UNPARTITIONED)
        index = transaction.read(FEATURE_SNAPSHOTS.name, UNPARTITIONED) if has_index else FEATURE_SNAPSHOTS.empty()
        if snapshot.snapshot_id in index["snapshot_id"]:
            return snapshot.snapshot_id
        row = _index_row(lake, snapshot, _write(lake, snapshot))
        transaction.replace(FEATURE_SNAPSHOTS.name, UNPARTITIONED, pl.concat([index, row]))
    return snapshot.snapshot_id


def listed(lake: Lake) -> pl.DataFrame:
    """FEATURE_SNAPSHOTS of `lake`, the oldest moment first; empty where none was taken."""
    if not lake.has(FEATURE_SNAPSHOTS.name, UNPARTITIONED):
        return FEATURE_SNAPSHOTS.empty()
    return lake.read(FEATURE_SNAPSHOTS.name, UNPARTITIONED)


def find(lake: Lake, snapshot_id: str) -> dict[str, object]:
    """The index row of a snapshot by its id or an unambiguous beginning of it; raises `UnknownSnapshot`."""
    index = listed(lake)
    found = index.filter(pl.col("snapshot_id").str.starts_with(snapshot_id))
    if found.height != 1 or not snapshot_id:
        what = "no snapshot has" if found.is_empty() else f"{found.height} snapshots have"
        raise UnknownSnapshot(f"{what} an id that begins with {snapshot_id!r}; `flowlake features list` shows all")
    return found.row(0, named=True)


def load_bytes(lake: Lake, snapshot_id: str) -> bytes:
    """The Parquet file of a snapshot, checked against its hash; raises `UnknownSnapshot` or `SnapshotDamaged`."""
    row = find(lake, snapshot_id)
    path = lake.paths.root / str(row["path"])
    content = path.read_bytes() if path.exists() else b""
    if hashlib.sha256(content).hexdigest() != row["file_sha256"]:
        state = "is not what was written" if content else "is gone"
        raise SnapshotDamaged(f"{path} of snapshot {row['snapshot_id']} {state}; restore it from a backup of the lake")
    return content


def load(lake: Lake, snapshot_id: str) -> pl.DataFrame:
    """The rows of a snapshot; raises as `load_bytes`."""
    return pl.read_parquet(io.BytesIO(load_bytes(lake, snapshot_id)))


def _facts(lake: Lake, as_of: datetime, max_age_days: int) -> Facts:
    """What can matter at `as_of`: rows known before it are of the days before it, late arrivals included."""
    newest = as_of.astimezone(calendar.NEW_YORK).date()
    oldest = newest - timedelta(days=max_age_days + SEQUENCE_LENGTH)
    recent = Between(oldest.isoformat(), newest.isoformat())
    stocks = lake.scan("raw_stock_snapshots", recent, ["ticker", "session", "close", "available_at"])
    signals = Between(calendar.previous_session(newest, INSIDER_SESSIONS).isoformat(), newest.isoformat())
    insiders = lake.scan("insider_signals", signals).collect()
    has_congress = lake.has("congress_trades", UNPARTITIONED)
    return Facts(
        features=lake.scan("options_flow_features", recent).collect(),
        stocks=stocks.collect().unique(["session", "ticker"], keep="first", maintain_order=True),
        insiders=insiders if insiders.height else None,
        congress=lake.read("congress_trades", UNPARTITIONED) if has_congress else None,
    )


def _write(lake: Lake, snapshot: FrozenSnapshot) -> Path:
    folder = lake.paths.root / FOLDER
    make_directory(folder)
    path = folder / f"{snapshot.snapshot_id}.parquet"
    buffer = io.BytesIO()
    snapshot.frame.write_parquet(buffer, compression="zstd", statistics=True)
    temporary = write_durably(folder, buffer.getvalue())
    temporary.chmod(0o444)
    temporary.replace(path)
    return path


def _index_row(lake: Lake, snapshot: FrozenSnapshot, path: Path) -> pl.DataFrame:
    frame = snapshot.frame
    origins = frame["origin"].drop_nulls().unique().sort()
    row = {
        "snapshot_id": snapshot.snapshot_id,
        "kind": snapshot.kind,
        "as_of": snapshot.as_of,
        "rows": frame.height,
        "underlyings": frame["underlying"].n_unique(),
        "newest_session": frame["session"].max(),
        "newest_available_at": frame["features_available_at"].max(),
        "content_sha256": snapshot.content_sha256,
        "file_sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
        "path": lake.paths.relative(path),
        "parameters": snapshot.parameters,
        "definition_version": definition_version(),
        "code_version": __version__,
        "available_at": snapshot.as_of,
        "origin": "+".join(origins),
    }
    return FEATURE_SNAPSHOTS.conform(pl.DataFrame([row], schema=FEATURE_SNAPSHOTS.schema))
