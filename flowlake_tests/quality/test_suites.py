"""Suites: expectations beside trailing sessions, attributed to the session and the group that broke them."""

from __future__ import annotations

import logging
import subprocess
import sys
from datetime import date

import polars as pl
import pytest

from flowlake import calendar
from flowlake.options.chains import build_chains
from flowlake.quality import Severity
from flowlake.quality.shapes import MIN_TRAILING, Distribution, Profiled, Statistic, compare
from flowlake.quality.suites import OPTION_CHAINS, SUITES, Expectation, Suite, between, judge, not_below, one_of
from flowlake.schemas import TABLES
from flowlake.schemas.options import CONTRACTS
from flowlake_tests.quality.rows import market

DAYS = calendar.sessions(date(2026, 6, 1), date(2026, 6, 10))


def profiled(day: date, rows: int, value: float = 1.0) -> Profiled:
    frame = pl.DataFrame({"session": [day] * rows, "x": [value] * rows})
    statistics = {"rows": Statistic(pl.len()), "level": Statistic(pl.col("x").mean(), shift=True)}
    return Profiled.of(day, frame, statistics, ["x"], {"x": Distribution(pl.col("x"), (0.5, 1.5))}, frame)


@pytest.mark.parametrize("name", SUITES)
def test_a_suite_reads_columns_that_exist_and_names_each_expectation_once(name: str):
    suite = SUITES[name]
    assert set(suite.columns) <= set(TABLES[name].schema)
    names = [expectation.name for expectation in suite.expectations]
    assert len(set(names)) == len(names) > 5


@pytest.mark.parametrize("name", SUITES)
def test_the_expectations_of_every_suite_can_be_evaluated_on_a_table_without_rows(name: str):
    suite, empty = SUITES[name], TABLES[name].empty()
    profile = suite.profile(DAYS[0], empty)
    assert profile.rows.is_empty()
    assert {e.arguments["column"] for e in suite.expectations if e.batch == "sessions"} <= set(
        compare([profile]).columns
    )


def test_nothing_is_compared_before_there_are_enough_sessions():
    compared = compare([profiled(day, 10) for day in DAYS[: MIN_TRAILING + 1]])
    assert compared["rows, ratio"].to_list() == [None] * MIN_TRAILING + [1.0]
    assert compared["stability of x"].to_list() == [None] * MIN_TRAILING + [0.0]


def test_a_session_is_compared_with_those_before_it_and_never_with_itself():
    compared = compare([*(profiled(day, 10) for day in DAYS[:5]), profiled(DAYS[5], 40, 2.0)])
    assert compared["rows, ratio"][-1] == 4.0
    assert compared["level, shift"][-1] == 1.0
    assert compared["stability of x"][-1] > 0.25


def test_small_samples_of_one_distribution_are_not_called_shifted():
    import numpy as np

    rng = np.random.default_rng(0)
    statistics = {"rows": Statistic(pl.len())}
    edges = tuple(float(x) for x in np.linspace(-2, 2, 12))
    profiles = [
        Profiled.of(day, frame, statistics, [], {"x": Distribution(pl.col("x"), edges)}, frame)
        for day, frame in ((day, pl.DataFrame({"session": [day] * 40, "x": rng.normal(size=40)})) for day in DAYS)
    ]
    assert compare(profiles).filter(pl.col("stability of x") >= 0.25).is_empty()


def made_up(*expectations: Expectation) -> Suite:
    return Suite("iv_surface", (), {"rows": Statistic(pl.len())}, {}, lambda frame: frame, expectations)


def rows(day: date, **columns: list) -> Profiled:
    frame = pl.DataFrame({"session": [day] * len(next(iter(columns.values()))), **columns})
    return Profiled.of(day, frame, {"rows": Statistic(pl.len())}, [], {}, frame)


def test_each_session_answers_for_its_own_rows_with_the_severity_of_the_expectation():
    suite = made_up(
        one_of("kind", ("a", "b")),
        not_below("ask", "bid", "warning"),
        between("x", 0, 1, "info", "rows"),
        between("z", 0, 1, "critical", "rows"),
    )
    profiles = [
        rows(DAYS[0], kind=["a", "b"], ask=[2.0, None], bid=[1.0, 1.0], x=[0.0, 1.0]),
        rows(DAYS[1], kind=["a", "c"], ask=[1.0, 1.0], bid=[1.0, 2.0], x=[0.0, 3.0]),
    ]
    found = judge(suite, profiles, DAYS[:2])
    assert [f.passed for f in found[DAYS[0]]] == [True, True, True, False]
    kind, pair, informed, broken = found[DAYS[1]]
    assert (kind.passed, kind.violations, kind.outcome.severity) == (False, 1, Severity.ERROR)
    assert "kind c" in kind.observed
    assert (pair.passed, pair.outcome.severity) == (False, Severity.WARN)
    assert (informed.passed, informed.outcome.passed) == (False, True)
    # A column that is not there is the suite's fault and is said to be: never taken for good or for bad data.
    assert broken.broken and "could not be evaluated" in broken.observed and not broken.outcome.passed


def test_a_shrunken_chain_and_a_crossed_quote_fail_the_suite_of_the_chains():
    chains = [
        build_chains(market(6, 12, seed=n, session=day), session=day, known_contracts=CONTRACTS.empty()).chains
        for n, day in enumerate(DAYS)
    ]
    crossed = pl.when(pl.col("underlying") == "U1").then(pl.col("ask") + 1.0).otherwise(pl.col("bid"))
    spoiled = chains[-1].filter(pl.col("underlying") != "U3").with_columns(bid=crossed)
    profiles = [OPTION_CHAINS.profile(day, frame) for day, frame in zip(DAYS, [*chains[:-1], spoiled], strict=True)]
    found = judge(OPTION_CHAINS, profiles, DAYS[-2:])
    assert not [finding for finding in found[DAYS[-2]] if finding.broken]
    before, after = ({f.name for f in found[day] if not f.passed} for day in DAYS[-2:])
    assert {"rows, ratio in range", "underlyings, ratio in range", "ask not below bid"} <= after - before


def test_declaring_suites_does_not_import_great_expectations():
    code = "import sys, flowlake.quality.suites; print('great_expectations' in sys.modules, 'pandas' in sys.modules)"
    printed = subprocess.run([sys.executable, "-W", "ignore", "-c", code], capture_output=True, text=True, check=True)
    assert printed.stdout.split() == ["False", "False"]


def test_great_expectations_says_nothing_while_a_suite_is_evaluated(caplog: pytest.LogCaptureFixture):
    suite = SUITES["iv_surface"]
    with caplog.at_level(logging.INFO):
        judge(suite, [suite.profile(day, TABLES["iv_surface"].empty()) for day in DAYS[:2]], DAYS[:2])
    assert [record.message for record in caplog.records if record.name.startswith("great_expectations")] == []
