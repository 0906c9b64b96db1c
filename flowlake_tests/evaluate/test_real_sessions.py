"""Recorded sessions as hosts: what must hold there, on a small draw; `flowlake evaluate` measures it in full."""

from __future__ import annotations

from pathlib import Path

import polars as pl
import pytest

from flowlake.evaluate import Options, hosts, plan, runner, summary
from flowlake.sandbox.recorded import RecordedMarket

SMALL = Options(sizes=plan.Sizes(informed=40, quiet=20, camouflage=10, decoys=28, dose=20))

pytestmark = [pytest.mark.real_data, pytest.mark.slow]


@pytest.fixture(scope="module")
def results(shared_data: Path, tmp_path_factory: pytest.TempPathFactory) -> runner.Results:
    placed = hosts.build_hosts(RecordedMarket(shared_data), tmp_path_factory.mktemp("hosts"), sessions=28)
    found = runner.evaluate(placed, SMALL)
    print(summary.markdown(summary.sections(found)))
    return found


def test_alarms_on_undisturbed_sessions_are_about_as_many_as_promised(results: runner.Results):
    low = results["calibration"].filter(conviction="LOW").row(0, named=True)
    assert low["low"] <= 1.25
    assert low["high"] >= 0.8


def test_episodes_in_quiet_names_are_found_more_often_than_by_chance(results: runner.Results):
    quiet = results["recall"].filter(arm="quiet", budget=100)
    caught = dict(quiet.select("method", "caught").iter_rows())
    assert caught[summary.OURS] > caught["random"]


def test_the_trades_that_are_large_for_their_host_rank_before_the_small_ones(results: runner.Results):
    doses = results["dose"].sort(pl.col("size") / pl.col("mean_volume"))
    small, large = doses.head(doses.height // 2), doses.tail(doses.height // 2)
    assert large["universe_rank"].median() < small["universe_rank"].median()  # pyright: ignore[reportOperatorIssue]
