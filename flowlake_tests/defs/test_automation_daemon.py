"""Automation as users run it: a daemon with its code location rebuilds what a rebuilt chain asks for, nothing else."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import dagster as dg
import pytest

from flowlake import automation
from flowlake.definitions import defs
from flowlake.runs import dagster_home
from flowlake.runs import instance as instance_of
from flowlake_tests.defs.conftest import SESSIONS

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
SENSOR = "default_automation_condition_sensor"
BUILT = [day.isoformat() for day in SESSIONS[:3]]
REBUILT = BUILT[1]
PATIENCE_SECONDS = 240
"""For a busy machine; on a quiet one a minute passes between the rebuilt chain and what follows."""


def run(opened: dg.DagsterInstance, name: str, selection: dg.AssetSelection, first: str, last: str) -> None:
    """What the UI runs for a range of partitions of a selection."""
    job = dg.define_asset_job(name, selection=selection.without_checks())
    tags = {"dagster/asset_partition_range_start": first, "dagster/asset_partition_range_end": last}
    resolved = dg.Definitions.merge(defs, dg.Definitions(jobs=[job])).resolve_job_def(name)
    loggers = {"loggers": {"plain": {"config": {"log_level": "WARNING"}}}}
    assert resolved.execute_in_process(instance=opened, tags=tags, run_config=loggers).success


@pytest.fixture
def daemon(pipeline: Path) -> Iterator[tuple[dg.DagsterInstance, subprocess.Popen[bytes]]]:
    """A lake of three sessions up to their baselines, and the daemon over it with nothing but automation on."""
    with instance_of(pipeline / "data") as opened:
        run(opened, "history", dg.AssetSelection.groups("market", "chains", "baselines"), BUILT[0], BUILT[-1])
        automation.switch(pipeline / "data", on=True, names=[SENSOR])
        home = dagster_home(pipeline / "data")
        command = [sys.executable, "-W", "ignore", "-m", "dagster._daemon", "run", "-w", str(ROOT / "workspace.yaml")]
        with (pipeline / "daemon.log").open("wb") as output:
            process = subprocess.Popen(
                command,
                env=os.environ | {"DAGSTER_HOME": str(home), "PYTHONPATH": str(ROOT)},
                cwd=pipeline,
                stdout=output,
                stderr=subprocess.STDOUT,
            )
        try:
            yield opened, process
        finally:
            process.terminate()
            process.wait(timeout=60)


def wait_for(what: Callable[[], bool], process: subprocess.Popen[bytes], log: Path, text: str) -> None:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not what():
        assert process.poll() is None, f"the daemon ended: {log.read_text()[-2000:]}"
        assert time.monotonic() < deadline, f"{text} within {PATIENCE_SECONDS} s: {log.read_text()[-2000:]}"
        time.sleep(0.5)


def looks(opened: dg.DagsterInstance) -> int:
    """How often the daemon has evaluated the conditions."""
    (state,) = (each for each in opened.all_instigator_state() if each.instigator_name == SENSOR)
    ended = [tick for tick in opened.get_ticks(state.instigator_origin_id, state.selector_id) if tick.end_timestamp]
    assert not [tick for tick in ended if tick.status.value == "FAILURE"]
    return len(ended)


def launched(opened: dg.DagsterInstance) -> list[dg.DagsterRun]:
    return list(opened.get_runs(dg.RunsFilter(tags={"dagster/sensor_name": SENSOR})))


def rebuilt(opened: dg.DagsterInstance) -> set[tuple[str, str | None]]:
    """What runs of the daemon have materialised."""
    return {
        (event.asset_key.to_user_string(), event.partition)
        for each in launched(opened)
        for record in opened.get_records_for_run(each.run_id, of_type=dg.DagsterEventType.ASSET_MATERIALIZATION).records
        if (event := record.event_log_entry.dagster_event) is not None and event.asset_key is not None
    }


def test_a_rebuilt_chain_makes_the_daemon_rebuild_its_surface_and_the_baselines_from_that_session_on(
    daemon: tuple[dg.DagsterInstance, subprocess.Popen[bytes]], pipeline: Path
):
    opened, process = daemon
    log = pipeline / "daemon.log"
    promised = {("iv_surface", REBUILT)} | {
        (name, day) for name in ("contract_baselines", "ticker_baselines") for day in BUILT if day >= REBUILT
    }
    wait_for(lambda: looks(opened) > 0, process, log, "no condition was evaluated")
    assert launched(opened) == [], "nothing is rebuilt because it was built once"
    run(opened, "repair", dg.AssetSelection.assets("option_chains"), REBUILT, REBUILT)
    wait_for(lambda: rebuilt(opened) >= promised, process, log, "not all was rebuilt")
    wait_for(lambda: all(each.is_finished for each in launched(opened)), process, log, "no run ended")
    assert {each.status for each in launched(opened)} == {dg.DagsterRunStatus.SUCCESS}
    assert rebuilt(opened) == promised
