"""Dagster runs from outside the UI: the instance beside the lake, a range of sessions as one run, what came of it."""

from __future__ import annotations

import os
import shutil
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import dagster as dg

INSTANCE_TEMPLATE = Path(__file__).parents[1] / "dagster.yaml"

_RANGE_START = "dagster/asset_partition_range_start"
_RANGE_END = "dagster/asset_partition_range_end"
_PROCESS = "flowlake/process"


@dataclass(frozen=True)
class CheckResult:
    """One asset check of a run, on one session."""

    asset: str
    name: str
    session: str
    passed: bool
    severity: str
    description: str


@dataclass(frozen=True)
class RunResult:
    """What came of a run: its id, whether it succeeded, failed steps with their error, checks, seconds per step."""

    run_id: str
    succeeded: bool
    failures: dict[str, str]
    checks: list[CheckResult]
    seconds: dict[str, float]


def dagster_home(data_dir: Path) -> Path:
    """Dagster's home beside the lake, with the project's instance settings; made if absent."""
    home = (data_dir / ".dagster").resolve()
    home.mkdir(parents=True, exist_ok=True)
    if INSTANCE_TEMPLATE.exists():
        shutil.copyfile(INSTANCE_TEMPLATE, home / "dagster.yaml")
    else:
        (home / "dagster.yaml").touch()
    return home


@contextmanager
def instance(data_dir: Path) -> Iterator[dg.DagsterInstance]:
    """The Dagster instance of the lake, so that runs from the command line show in the UI."""
    import dagster as dg

    home = dagster_home(data_dir)
    os.environ["DAGSTER_HOME"] = str(home)
    with dg.DagsterInstance.from_config(str(home)) as opened:
        yield opened


def release_dead_runs(opened: dg.DagsterInstance) -> list[str]:
    """Mark runs of this machine's command line whose process is gone as failed, and free their concurrency slots.

    A killed process cannot give its pool slots back, and the next run would wait for them for ever. Returns their ids.
    """
    import dagster as dg

    started = opened.get_runs(dg.RunsFilter(statuses=[dg.DagsterRunStatus.STARTED, dg.DagsterRunStatus.STARTING]))
    dead = [run for run in started if _PROCESS in run.tags and not _alive(run.tags[_PROCESS])]
    for run in dead:
        opened.report_run_failed(run, "the process of this run is gone (killed, or the machine restarted)")
        opened.event_log_storage.free_concurrency_slots_for_run(run.run_id)
    return [run.run_id for run in dead]


def _this_process() -> str:
    """Host, process id and start: a process id alone may come to mean another process."""
    import psutil

    return f"{socket.gethostname()}/{os.getpid()}/{psutil.Process().create_time():.0f}"


def _alive(process: str) -> bool:
    import psutil

    host, pid, created = process.rsplit("/", 2)
    if host != socket.gethostname():
        return True
    try:
        return f"{psutil.Process(int(pid)).create_time():.0f}" == created
    except psutil.NoSuchProcess:
        return False


def run_sessions(
    opened: dg.DagsterInstance,
    job: str,
    first: date,
    last: date,
    *,
    keep_existing: bool = False,
    only_superseded: bool = False,
    log_level: str = "INFO",
) -> RunResult:
    """Run `job` for the sessions `first` to `last` as one run in this process and say what came of it.

    With `keep_existing`, sessions that a table already has are not built again; with `only_superseded`, sessions are
    built whose inputs changed since, and no others. What a killed run of this machine left locked is released first.
    """
    from flowlake.definitions import defs
    from flowlake.defs.session_asset import ONLY_SUPERSEDED, SKIP_EXISTING

    release_dead_runs(opened)
    tags = {_RANGE_START: first.isoformat(), _RANGE_END: last.isoformat(), _PROCESS: _this_process()}
    if keep_existing:
        tags[SKIP_EXISTING] = "true"
    if only_superseded:
        tags[ONLY_SUPERSEDED] = "true"
    result = defs.resolve_job_def(job).execute_in_process(
        instance=opened,
        tags=tags,
        raise_on_error=False,
        run_config={"loggers": {"plain": {"config": {"log_level": log_level}}}},
    )
    return _summary(result)


def run_snapshot(opened: dg.DagsterInstance, key: str, *, keep_existing: bool, log_level: str = "INFO") -> RunResult:
    """Run one intraday pass, for the snapshot partition `key`, in this process and say what came of it."""
    from flowlake.definitions import defs
    from flowlake.defs.session_asset import SKIP_EXISTING

    release_dead_runs(opened)
    result = defs.resolve_job_def("intraday_pass").execute_in_process(
        instance=opened,
        partition_key=key,
        tags={_PROCESS: _this_process()} | ({SKIP_EXISTING: "true"} if keep_existing else {}),
        raise_on_error=False,
        run_config={"loggers": {"plain": {"config": {"log_level": log_level}}}},
    )
    return _summary(result)


def _summary(result: dg.ExecuteInProcessResult) -> RunResult:
    failures: dict[str, str] = {}
    checks: list[CheckResult] = []
    seconds: dict[str, float] = {}
    for event in result.all_events:
        if event.is_step_failure and event.step_key:
            failures[event.step_key] = root_cause(event.step_failure_data.error)
        elif event.is_step_success and event.step_key:
            seconds[event.step_key] = event.step_success_data.duration_ms / 1000
        elif event.event_type_value == "ASSET_CHECK_EVALUATION":
            data = event.asset_check_evaluation_data
            checks.append(
                CheckResult(
                    data.asset_key.to_user_string(),
                    data.check_name,
                    data.partition or "",
                    data.passed,
                    data.severity.value,
                    data.description or "",
                )
            )
    return RunResult(result.run_id, result.success, failures, checks, seconds)


def root_cause(error: object) -> str:
    """The innermost message of a Dagster error: what went wrong, without Dagster's wrapping."""
    while getattr(error, "cause", None) is not None:
        error = error.cause  # pyright: ignore[reportAttributeAccessIssue]
    return str(getattr(error, "message", error)).strip()
