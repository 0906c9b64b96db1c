"""One switch for everything that runs by itself: all schedules and sensors of the instance beside the lake."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from flowlake.runs import instance

if TYPE_CHECKING:
    import dagster as dg
    from dagster._core.remote_representation.external import RemoteRepository

WORKSPACE = Path(__file__).parents[1] / "workspace.yaml"


@dataclass(frozen=True)
class Instigator:
    """A schedule or sensor: whether it is on, and when it is looked at."""

    name: str
    kind: Literal["schedule", "sensor"]
    on: bool
    when: str


def statuses(data_dir: Path) -> list[Instigator]:
    """Every schedule and sensor of the code location with its state, by name."""
    with instance(data_dir) as opened, _repository(opened) as repository:
        return _listed(opened, repository)


class UnknownInstigator(LookupError):
    """There is no schedule or sensor of this name."""


def switch(data_dir: Path, *, on: bool, names: Sequence[str] = ()) -> list[Instigator]:
    """Start, or stop, every schedule and sensor (or those in `names`); returns what all of them are afterwards.

    Repeating it changes nothing. Raises `UnknownInstigator` with the names there are.
    """
    with instance(data_dir) as opened, _repository(opened) as repository:
        known = {each.name for each in (*repository.get_schedules(), *repository.get_sensors())}
        if unknown := sorted(set(names) - known):
            raise UnknownInstigator(f"there is no {', '.join(unknown)}; there are {', '.join(sorted(known))}")
        chosen = set(names) or known
        for schedule in repository.get_schedules():
            if schedule.name not in chosen:
                continue
            if on:
                opened.start_schedule(schedule)
            else:
                opened.stop_schedule(schedule.get_remote_origin_id(), schedule.selector_id, schedule)
        for sensor in repository.get_sensors():
            if sensor.name not in chosen:
                continue
            if on:
                opened.start_sensor(sensor)
            else:
                opened.stop_sensor(sensor.get_remote_origin_id(), sensor.selector_id, sensor)
        return _listed(opened, repository)


def _listed(opened: dg.DagsterInstance, repository: RemoteRepository) -> list[Instigator]:
    states = {state.selector_id: state for state in opened.all_instigator_state()}
    schedules = [
        Instigator(
            each.name,
            "schedule",
            each.get_current_instigator_state(states.get(each.selector_id)).is_running,
            f"{each.cron_schedule} {each.execution_timezone or 'UTC'}",
        )
        for each in repository.get_schedules()
    ]
    sensors = [
        Instigator(
            each.name,
            "sensor",
            each.get_current_instigator_state(states.get(each.selector_id)).is_running,
            f"every {each.min_interval_seconds} s",
        )
        for each in repository.get_sensors()
    ]
    return sorted([*schedules, *sensors], key=lambda each: each.name)


@contextmanager
def _repository(opened: dg.DagsterInstance) -> Iterator[RemoteRepository]:
    """The definitions as the daemon sees them: a switch is stored under the names of the code location."""
    # Dagster has no public call for this; its own `dagster schedule start` goes the same way.
    from dagster._core.workspace.context import WorkspaceProcessContext
    from dagster._core.workspace.load_target import ModuleTarget, WorkspaceFileTarget

    if WORKSPACE.exists():
        target = WorkspaceFileTarget(paths=[str(WORKSPACE)])
    else:
        target = ModuleTarget("flowlake.definitions", None, None, None)
    with WorkspaceProcessContext(opened, target, code_server_log_level="WARNING") as process:
        request = process.create_request_context()
        (name,) = request.code_location_names
        location = request.get_code_location(name)
        (repository,) = location.get_repositories().values()
        yield repository
