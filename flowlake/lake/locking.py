"""The lake's one lock: held only while a manifest is appended (or while an exclusive transaction runs)."""

from __future__ import annotations

import fcntl
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from flowlake.lake.errors import LakeBusy
from flowlake.lake.files import typed_os_errors

_POLL_SECONDS = 0.01


@contextmanager
def exclusive_lock(path: Path, timeout_seconds: float) -> Iterator[None]:
    """Hold `flock` on `path`; the kernel frees it when the process dies, however it dies.

    Raises `LakeBusy` after `timeout_seconds`. Not re-entrant: a commit inside an exclusive
    transaction waits for itself.
    """
    with typed_os_errors(path):
        file = path.open("ab")
    with file:
        deadline = time.monotonic() + timeout_seconds
        while not _try_lock(file.fileno()):
            if time.monotonic() >= deadline:
                raise LakeBusy(
                    f"{path} is held by another transaction for more than {timeout_seconds:g} s; wait for the other "
                    "run to finish or stop it, then rerun (and never commit inside an exclusive transaction)"
                )
            time.sleep(_POLL_SECONDS)
        yield


def _try_lock(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
