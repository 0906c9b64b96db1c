"""The evaluation as assets: measured on simulated hosts, written to the lake and to one page."""

from __future__ import annotations

from pathlib import Path

import dagster as dg
import pytest

from flowlake.defs.assets import evaluation
from flowlake.defs.resources import resources
from flowlake.evaluate import hosts, runner
from flowlake.lake import UNPARTITIONED, Lake
from flowlake.sandbox.simulator import SimulatorConfig, simulate
from flowlake.settings import get_settings

SMALL = SimulatorConfig(underlyings=20, sessions=16, informed_episodes=0, decoys=0, history_sessions=40, seed=3)


@pytest.mark.slow
def test_an_evaluation_lands_in_the_lake_and_in_a_page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("FLOWLAKE_DATA_DIR", str(tmp_path / "data"))
    monkeypatch.setenv("FLOWLAKE_REPORTS_DIR", str(tmp_path / "reports"))
    monkeypatch.setenv("FLOWLAKE_EVALUATION__EPISODES_SHARE", "0.04")
    monkeypatch.setattr(
        runner, "_hosts", lambda kind, recording, folder, tell: hosts.build_hosts(simulate(SMALL), folder)
    )
    get_settings.cache_clear()
    try:
        assert dg.materialize(evaluation.ASSETS, resources=resources()).success
        lake = Lake.open(tmp_path / "data")
    finally:
        get_settings.cache_clear()
    recall = lake.read("evaluation_recall", UNPARTITIONED)
    assert set(recall["origin"]) == {"simulated"}
    assert {"flowlake", "webull"} <= set(recall["method"])
    assert lake.read("evaluation_false_alarms", UNPARTITIONED).height == 4
    assert lake.published().has("evaluation_recall", UNPARTITIONED)
    assert "Evaluation" in (tmp_path / "reports" / evaluation.PAGE).read_text(encoding="utf-8")
