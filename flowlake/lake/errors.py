"""What can go wrong with the lake; every message names the thing and the remedy."""

from __future__ import annotations


class LakeError(Exception):
    """Base of every error the lake raises on its own account."""


class LakeDiskFull(LakeError):
    """The disk has no room left; nothing of the failed write is visible."""


class LakePermissionDenied(LakeError):
    """The process may not write (or read) a path of the lake."""


class LakeBusy(LakeError):
    """The commit lock was not free within the time allowed."""


class LakeTooNew(LakeError):
    """The lake was written by a newer flowlake than this one."""


class ManifestCorrupt(LakeError):
    """The newest manifest cannot be read."""


class LinkOccupied(LakeError):
    """`flowlake.duckdb` exists but is not the symlink the lake maintains."""


class StagedFileLost(LakeError):
    """A file staged by a transaction vanished before the commit."""


class PartitionNotFound(LakeError, LookupError):
    """A table has no such partition."""


class InvalidPartition(LakeError, ValueError):
    """A partition name does not fit its table's partitioning, or rows belong to another partition."""


class DuplicateKeys(LakeError, ValueError):
    """Rows of a partition share a key that must be unique."""


class CorruptFile(LakeError):
    """A file just written does not read back as what was written."""
