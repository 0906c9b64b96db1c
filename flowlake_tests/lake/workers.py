"""What the tests run in processes of their own: `python -m flowlake_tests.lake.workers <role> <data dir> ...`."""

from __future__ import annotations

import json
import os
import resource
import signal
import sys
from pathlib import Path
from typing import Any

from flowlake.lake import Lake, LakeError, apply_retention, connect, plan_retention
from flowlake.settings import LakeSettings
from flowlake_tests.lake.toys import PAIR, ROWS, SESSIONS, TOYS, left, right, whole

WRITING = frozenset({"open", "os.rename", "os.link", "os.remove", "os.symlink", "os.mkdir", "os.chmod", "os.rmdir"})
KILL_SESSIONS = SESSIONS[:3]


def workload(lake: Lake) -> None:
    """Three sessions, each committed in two steps and published, one of them corrected; the same every time."""
    for version, session in [*enumerate(KILL_SESSIONS), (9, KILL_SESSIONS[0])]:
        with lake.commit(f"run-{session}") as tx:
            tx.replace("left_table", session, left(session, version))
        with lake.commit(f"run-{session}", exclusive=True) as tx:
            tx.replace("right_table", session, right(session, version))
        lake.publish([session], f"run-{session}")


def die_at_step(data_dir: Path, step: int) -> None:
    """Run the workload, but SIGKILL this process just before its `step`-th change to the file system."""
    root = str(data_dir)
    seen = 0

    def count(event: str, arguments: tuple[Any, ...]) -> None:
        nonlocal seen
        if event not in WRITING or not any(str(argument).startswith(root) for argument in arguments[:2]):
            return
        seen += 1
        if seen == step:
            os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(count)
    workload(Lake.open(data_dir, tables=PAIR))
    print(seen)


def append_names(data_dir: Path, name: str, count: int) -> None:
    """Append `count` names to one shared partition by reading and rewriting it, and write own partitions beside."""
    lake = Lake.open(data_dir, tables=TOYS)
    for number in range(count):
        with lake.commit(name, exclusive=True) as tx:
            known = tx.read("whole_table", "all")["name"].to_list() if tx.has("whole_table", "all") else []
            tx.replace("whole_table", "all", whole(*known, f"{name}-{number}"))
        table, frame = ("left_table", left) if name == "a" else ("right_table", right)
        with lake.commit(name) as tx:
            tx.replace(table, SESSIONS[number], frame(SESSIONS[number], number))


def run_out_of_room(data_dir: Path, what: str) -> None:
    """Commit or publish while the kernel refuses files above 64 KiB; print the error."""
    lake = Lake.open(data_dir, tables=PAIR)
    resource.setrlimit(resource.RLIMIT_FSIZE, (65_536, 65_536))
    try:
        if what == "commit":
            with lake.commit("run") as tx:
                tx.replace("left_table", SESSIONS[1], left(SESSIONS[1], 2, rows=200_000))
        else:
            lake.publish(None, "run")
    except LakeError as error:
        print(type(error).__name__)


def use_as_nobody(data_dir: Path) -> None:
    """Read the lake, then try to commit, as a user who owns nothing of it; print what happened."""
    import duckdb  # noqa: F401 - while the interpreter's own files can still be read

    os.setgroups([])
    os.setuid(65_534)
    lake = Lake.open(data_dir, tables=PAIR)
    print(lake.read("left_table", SESSIONS[0]).height)
    with connect(data_dir) as connection:
        print(connection.execute("SELECT count(*) FROM left_table").fetchall()[0][0])
    try:
        with lake.commit("run") as tx:
            tx.replace("left_table", SESSIONS[0], left(SESSIONS[0], 2))
    except LakeError as error:
        print(type(error).__name__)


def poll(data_dir: Path, stop: Path) -> None:
    """Open the DuckDB file again and again until `stop` appears; print what was seen as JSON."""
    import duckdb

    seen: dict[str, Any] = {"rounds": 0, "errors": [], "torn": 0, "disagree": 0, "versions": 0}
    versions: set[tuple] = set()
    per_session = "SELECT session, min(version), max(version), count(*) FROM {} GROUP BY session ORDER BY session"
    link = str(data_dir / "flowlake.duckdb")
    while not stop.exists():
        seen["rounds"] += 1
        try:
            plain = seen["rounds"] % 2 == 0
            with duckdb.connect(link, read_only=True) if plain else connect(data_dir) as connection:
                lefts = connection.execute(per_session.format("left_table")).fetchall()
                rights = connection.execute(per_session.format("right_table")).fetchall()
        except (duckdb.Error, OSError) as error:
            seen["errors"].append(repr(error))
            continue
        seen["torn"] += sum(low != high or rows != ROWS for _, low, high, rows in lefts + rights)
        seen["disagree"] += lefts != rights
        versions.update((session, low) for session, low, _, _ in lefts)
    seen["versions"] = len(versions)
    print(json.dumps(seen))


def publish_and_sweep(data_dir: Path, publications: int) -> None:
    """Rewrite three sessions over and over, publish each time, and sweep all the while."""
    from flowlake.calendar import require_session

    lake = Lake.open(data_dir, tables=PAIR)
    today = require_session(left(SESSIONS[0], 0)["session"][0])
    for version in range(publications):
        session = SESSIONS[version % 3]
        with lake.commit("publisher") as tx:
            tx.replace("left_table", session, left(session, version))
        with lake.commit("publisher") as tx:
            tx.replace("right_table", session, right(session, version))
        lake.publish([session], "publisher")
        if version % 10 == 9:
            # Short as a test needs it, long against the milliseconds a reader holds a catalog.
            apply_retention(lake, plan_retention(lake, today, LakeSettings(grace_hours=6 / 3600)), "sweeper")


def main(arguments: list[str]) -> None:
    """Dispatch to a role."""
    role, data_dir, *rest = arguments
    roles = {
        "die": lambda: die_at_step(Path(data_dir), int(rest[0])),
        "append": lambda: append_names(Path(data_dir), rest[0], int(rest[1])),
        "full": lambda: run_out_of_room(Path(data_dir), rest[0]),
        "nobody": lambda: use_as_nobody(Path(data_dir)),
        "poll": lambda: poll(Path(data_dir), Path(rest[0])),
        "publish": lambda: publish_and_sweep(Path(data_dir), int(rest[0])),
    }
    roles[role]()


if __name__ == "__main__":
    main(sys.argv[1:])
