"""Where data live: paths, atomic Parquet commits, the DuckDB catalog and retention."""

from __future__ import annotations

from flowlake.lake.catalog import connect
from flowlake.lake.errors import (
    CorruptFile,
    DuplicateKeys,
    InvalidPartition,
    LakeBusy,
    LakeDiskFull,
    LakeError,
    LakePermissionDenied,
    LakeTooNew,
    LinkOccupied,
    ManifestCorrupt,
    PartitionNotFound,
    StagedFileLost,
)
from flowlake.lake.paths import UNPARTITIONED
from flowlake.lake.retention import apply_retention, plan_retention
from flowlake.lake.store import Between, Lake, Snapshot, Transaction

__all__ = [
    "UNPARTITIONED",
    "Between",
    "CorruptFile",
    "DuplicateKeys",
    "InvalidPartition",
    "Lake",
    "LakeBusy",
    "LakeDiskFull",
    "LakeError",
    "LakePermissionDenied",
    "LakeTooNew",
    "LinkOccupied",
    "ManifestCorrupt",
    "PartitionNotFound",
    "Snapshot",
    "StagedFileLost",
    "Transaction",
    "apply_retention",
    "connect",
    "plan_retention",
]
