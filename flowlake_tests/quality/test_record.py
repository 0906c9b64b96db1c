"""Incidents: a row for each, remembered from session to session, resolved when a rebuild passes."""

from __future__ import annotations

from datetime import date

import polars as pl

from flowlake.quality.outcome import Outcome, Severity
from flowlake.quality.record import MAX_NAMED, incident_rows, merge_incidents
from flowlake_tests.quality.rows import LATER, SESSION

NEXT = date(2026, 6, 11)


def outcome(name: str, *underlyings: str, passed: bool = False) -> Outcome:
    text = "chains are there; two are not"
    return Outcome(name, passed, Severity.WARN, 2, 10, text, underlyings=underlyings)


def rows(session: date, *outcomes: Outcome) -> pl.DataFrame:
    return incident_rows(session, "option_chains", outcomes, available_at=LATER, origin="simulated")


def evaluated(*outcomes: Outcome) -> set[tuple[str, str]]:
    return {("option_chains", each.name) for each in outcomes}


def test_what_passed_is_no_incident():
    assert rows(SESSION, outcome("a", passed=True)).is_empty()


def test_a_rule_about_underlyings_gives_a_row_for_each_and_says_what_was_expected_and_seen():
    found = rows(SESSION, outcome("a", "X", "Y"))
    assert found["underlying"].to_list() == ["X", "Y"]
    assert set(found["expected"]) == {"chains are there"}
    assert set(found["observed"]) == {"two are not"}


def test_a_rule_that_names_the_whole_market_is_one_row():
    many = outcome("a", *(f"U{k}" for k in range(MAX_NAMED + 1)))
    assert rows(SESSION, many)["underlying"].to_list() == [None]


def test_an_incident_that_lasts_keeps_the_session_in_which_it_began():
    first = rows(SESSION, outcome("a", "X"))
    second = merge_incidents(rows(NEXT, outcome("a", "X", "Y")), None, first, evaluated(outcome("a")))
    assert dict(second.select("underlying", "first_seen").iter_rows()) == {"X": SESSION, "Y": NEXT}


def test_an_incident_that_was_resolved_begins_anew():
    first = rows(SESSION, outcome("a")).with_columns(resolved=pl.lit(True))
    assert merge_incidents(rows(NEXT, outcome("a")), None, first, set())["first_seen"].to_list() == [NEXT]


def test_a_rebuild_that_passes_resolves_and_one_that_did_not_look_leaves_alone():
    held = rows(SESSION, outcome("a"), outcome("b"))
    after = merge_incidents(rows(SESSION), held, None, evaluated(outcome("a")))
    assert dict(after.select("rule", "resolved").iter_rows()) == {"a": True, "b": False}


def test_evaluating_the_same_data_again_changes_nothing():
    found = rows(SESSION, outcome("a", "X"), outcome("b"))
    once = merge_incidents(found, None, None, evaluated(outcome("a"), outcome("b")))
    assert merge_incidents(found, once, None, evaluated(outcome("a"), outcome("b"))).equals(once)


def test_a_resolved_incident_that_comes_back_is_open_again():
    held = rows(SESSION, outcome("a")).with_columns(resolved=pl.lit(True))
    again = merge_incidents(rows(SESSION, outcome("a")), held, None, evaluated(outcome("a")))
    assert again["resolved"].to_list() == [False]
