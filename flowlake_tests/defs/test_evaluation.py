"""The evaluation as assets: measured on simulated hosts, written to the lake and to one page."""

from __future__ import annotations

import dagster as dg
import pytest

from flowlake.defs.assets import evaluation
from flowlake.defs.resources import resources
from flowlake.lake import UNPARTITIONED, Lake
from flowlake.settings import get_settings


@pytest.mark.slow
def test_an_evaluation_lands_in_the_lake_and_in_a_page(tmp_path, monkeypatch):
    monkeypatch.setenv("FLOWLAKE_DATA_DIR", str(tmp_path / "data"))
    monkeypatch.setenv("FLOWLAKE_REPORTS_DIR", str(tmp_path / "reports"))
    monkeypatch.setenv("FLOWLAKE_EVALUATION__EPISODES_SHARE", "0.03")
    get_settings.cache_clear()
    try:
        result = dg.materialize(evaluation.ASSETS, resources=resources())
        assert result.success
        lake = Lake.open(tmp_path / "data")
        recall = lake.read("evaluation_recall", UNPARTITIONED)
        assert set(recall["origin"]) == {"simulated"}
        assert {"flowlake", "webull"} <= set(recall["method"])
        assert lake.read("evaluation_false_alarms", UNPARTITIONED).height == 4
        assert "Evaluation" in (tmp_path / "reports" / evaluation.PAGE).read_text()
    finally:
        get_settings.cache_clear()
