"""Where a long pass puts down what it has received, so that after a crash only the rest is fetched again.

A spool belongs to one table and partition, whatever run works on it. It is a folder of chunks, each a folder that
appears whole or not at all. The spool's lock is the kernel's: it is free again the moment its holder dies.
"""

from __future__ import annotations

import fcntl
import logging
import shutil
import time
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import polars as pl

from flowlake.lake.errors import LakeBusy
from flowlake.lake.files import make_directory, typed_os_errors
from flowlake.lake.paths import TEMPORARY_PREFIX, LakePaths, check_partition, file_stem
from flowlake.schemas.base import Table

log = logging.getLogger(__name__)

STALE_SECONDS = 86_400.0
"""How long a spool that nobody came back to is kept."""


class PassInFlight(LakeBusy):
    """Another process is at work on a pass of this lake."""


class Spool:
    """What has been received of one partition of `table` before it is committed; frames by name in each chunk."""

    def __init__(self, paths: LakePaths, table: Table, partition: str) -> None:
        self._root = paths.root / ".spool"
        self._partition = check_partition(table, partition)
        self.folder = self._root / table.name / file_stem(partition)

    @contextmanager
    def held(self) -> Iterator[None]:
        """Hold the lake's one place for a pass; raises `PassInFlight` at once where another process holds it."""
        make_directory(self._root)
        with typed_os_errors(self._root), (self._root / ".lock").open("a+") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                raise PassInFlight(
                    f"another pass is being taken into this lake (asked for {self._partition}); "
                    "wait for it to end: the vendor is asked for one moment at a time"
                ) from error
            self._sweep()
            yield

    def add(self, frames: Mapping[str, pl.DataFrame]) -> None:
        """Put a chunk down; it counts once this returns."""
        with typed_os_errors(self.folder):
            make_directory(self.folder)
            writing = self.folder / f"{TEMPORARY_PREFIX}{uuid.uuid4().hex}"
            writing.mkdir()
            for name, frame in frames.items():
                frame.write_ipc(writing / f"{name}.arrow", compression="lz4")
            writing.rename(self.folder / f"{time.time_ns():020d}-{uuid.uuid4().hex[:8]}")

    def chunks(self) -> list[Path]:
        """Folders of the chunks put down, the oldest first."""
        return sorted(path for path in self.folder.glob("[0-9]*") if path.is_dir())

    def read(self, schemas: Mapping[str, pl.Schema]) -> dict[str, pl.DataFrame]:
        """The frames of `schemas` over all chunks, in the order they were put down; empty where there is no chunk.

        A chunk that cannot be read (the machine lost power while it was written) is dropped whole, and so its chains
        are fetched again.
        """
        found = {name: [pl.DataFrame(schema=schema)] for name, schema in schemas.items()}
        for chunk in self.chunks():
            try:
                frames = {name: _read(chunk / f"{name}.arrow", schema) for name, schema in schemas.items()}
            except (OSError, pl.exceptions.PolarsError) as error:
                log.warning("dropping a chunk of %s that cannot be read: %s", self._partition, error)
                shutil.rmtree(chunk)
                continue
            for name, frame in frames.items():
                found[name].append(frame)
        return {name: pl.concat(frames) for name, frames in found.items()}

    def clear(self) -> None:
        """Forget everything put down."""
        with typed_os_errors(self._root):
            shutil.rmtree(self.folder, ignore_errors=True)

    def _sweep(self) -> None:
        """Delete spools nobody came back to."""
        for folder in self._root.glob("*/*"):
            if folder != self.folder and time.time() - folder.stat().st_mtime > STALE_SECONDS:
                shutil.rmtree(folder, ignore_errors=True)


def _read(path: Path, schema: pl.Schema) -> pl.DataFrame:
    return pl.read_ipc(path).select(schema.names()).cast(schema)
