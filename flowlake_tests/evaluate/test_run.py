"""The whole evaluation on a small simulated market."""

from __future__ import annotations

from pathlib import Path

import polars as pl
import pytest

from flowlake.detect import scoring
from flowlake.evaluate import Options, plan, replay, runner, summary
from flowlake.evaluate.hosts import Hosts, eligible
from flowlake.evaluate.rivals import RULES
from flowlake.report.evaluation import render_evaluation
from flowlake_tests.report.browsing import audit, chromium, opening

SMALL = Options(seed=1, warmup=10, sizes=plan.Sizes(informed=10, quiet=6, camouflage=2, decoys=14, dose=8))


@pytest.fixture(scope="module")
def results(small_hosts: Hosts) -> runner.Results:
    return runner.evaluate(small_hosts, SMALL)


def test_every_method_is_judged_on_the_same_episodes(results: runner.Results):
    judged = results["best"].filter(arm="informed").group_by("method").agg(pl.col("episode_id").sort())
    assert set(judged["method"]) == {summary.OURS, *RULES}
    assert judged["episode_id"].n_unique() == 1


def test_the_same_seed_gives_the_same_bytes(small_hosts: Hosts, results: runner.Results):
    again = runner.evaluate(small_hosts, SMALL)
    assert {name: frame.write_ipc(None).getvalue() for name, frame in again.items()} == {
        name: frame.write_ipc(None).getvalue() for name, frame in results.items()
    }


def test_scores_as_they_are_rank_as_detection_ranks(small_hosts: Hosts, results: runner.Results):
    """The evaluation scores recorded evidence anew; on undisturbed sessions it must agree with the events."""
    assert results["variants"]["variant"][0] == "as it is"
    field = runner._Field(small_hosts, _nothing(small_hosts), SMALL.warmup)
    ours = field.clean_totals().select("session", "underlying", "p_value", "total")
    events = pl.concat(small_hosts.clean(day).scored_events for day in small_hosts.sessions[SMALL.warmup :])
    both = events.join(ours, on=["session", "underlying"], suffix="_ours")
    assert both.height == events.height > 0
    # While a lake is young, events are held back from the alarm levels; the evaluation's longer warm-up is past that.
    both = both.filter(pl.col("p_value") != scoring.UNSETTLED_P)
    assert (both["p_value"] - both["p_value_ours"]).abs().max() < 1e-12  # pyright: ignore[reportOperatorIssue]
    assert (both["llr_total"] - both["total"]).abs().max() < 1e-5  # pyright: ignore[reportOperatorIssue]


def _nothing(small_hosts: Hosts) -> replay.Replayed:
    episode = pl.lit("E0").alias("episode_id")
    day = pl.lit(small_hosts.sessions[-1]).alias("session")
    last = small_hosts.clean(small_hosts.sessions[-1])
    return replay.Replayed(
        last.ticker_statistics.with_columns(episode),
        last.rivals.with_columns(episode, day),
        pl.DataFrame(),
        pl.DataFrame(),
    )


def test_an_enormous_episode_is_found_and_an_empty_one_is_not(small_hosts: Hosts):
    numbers = {day: number for number, day in enumerate(small_hosts.sessions)}
    no_splits = pl.DataFrame(schema={"underlying": pl.String, "effective_on": pl.Date})
    able = eligible(small_hosts.tickers, no_splits, numbers, warmup=10)
    host = able.filter(pl.col("number") == 13).sort("mean_volume").row(5, named=True)
    plans = pl.DataFrame(
        [
            {
                "episode_id": name, "arm": "informed", "kind": "informed", "underlying": host["underlying"],
                "first": 13, "last": 13, "right": "C", "size": size, "out_of_the_money": 0.08, "dte": 25, "strikes": 1,
                "pacing": "uniform", "structure": "single_leg", "opening_share": 0.8, "drift": 0.0,
            }
            for name, size in (("huge", 50_000), ("one", 1))
        ],
        schema=plan.PLAN_SCHEMA,
    )  # fmt: skip
    replayed = replay.join(replay.replay(small_hosts, part) for part in plan.passes(plans))
    field = runner._Field(small_hosts, replayed, 10)
    p_value = dict(field.ours()[0].select("episode_id", "p_value").iter_rows())
    assert p_value["huge"] < 0.01 < p_value["one"]


def test_an_episode_leaves_no_trace_in_the_hosts(small_hosts: Hosts, results: runner.Results):
    assert results["prints"].height > 0
    day = small_hosts.sessions[-1]
    fresh = Hosts(small_hosts.folder, small_hosts.origin, small_hosts.sessions)
    assert fresh.chain(day).collect().equals(small_hosts.chain(day).collect())
    assert fresh.statistics.equals(small_hosts.statistics)


def test_the_lock_names_the_model_the_seed_and_every_table(small_hosts: Hosts, results: runner.Results):
    lock = runner.lock(results, small_hosts, SMALL)
    assert lock["model_id"] == scoring.model_id()
    assert lock["seed"] == 1
    assert set(lock["tables"]) == set(results)  # pyright: ignore[reportArgumentType]


def test_report_and_markdown_show_every_section_and_say_what_is_simulated(results: runner.Results, tmp_path: Path):
    parts = summary.sections(results)
    page, text = render_evaluation(results, "simulated"), summary.markdown(parts)
    for part in parts:
        assert part.title in page
        assert f"## {part.title}" in text
        assert all(len(row) == len(part.header) for row in part.rows)
    assert "(simulated)" in page
    assert page.count("<script") == 1, "the page's own script and no other"
    assert "://" not in page, "nothing is fetched from anywhere"


@pytest.mark.parametrize("origin", ["simulated", "vendor"])
def test_the_report_passes_the_audit_of_every_page(results: runner.Results, origin: str, tmp_path: Path):
    with chromium() as browser, opening(browser, tmp_path) as open_page:
        assert audit(render_evaluation(results, origin), open_page) == []
