"""The macros of the DuckDB file: each runs, says what it is, and answers its question."""

from __future__ import annotations

from pathlib import Path

import duckdb
import pytest

import flowlake
from flowlake.lake import Lake
from flowlake.sql.macros import MACROS
from flowlake_tests import small_lake
from flowlake_tests.small_lake import SESSIONS, event_id

DAY = f"DATE '{SESSIONS[-1]}'"
EVENT = f"'{event_id(SESSIONS[-1], 'ABC')}'"

CALLS = {
    "chain": ("'ABC'", DAY),
    "contract_history": ("'O:ABC260619C00100000'",),
    "events_on": (DAY,),
    "latest_events": (),
    "event_factors": (EVENT,),
    "event_lines": (EVENT,),
    "event_statuses": (f"DATE '{SESSIONS[0]}'",),
    "ticker_history": ("'ABC'",),
    "oi_changes": ("'ABC'", DAY),
    "top_volume": (DAY,),
    "alarms_by_rule": (DAY,),
    "calibration_summary": (),
    "what_followed": ("1",),
    "insiders_and_flow": (f"DATE '{SESSIONS[0]}'",),
    "market_history": (),
    "open_alerts": (),
}


@pytest.fixture(scope="module")
def connection(tmp_path_factory: pytest.TempPathFactory):
    lake = Lake.open(tmp_path_factory.mktemp("macros") / "data")
    small_lake.fill(lake)
    with flowlake.open(lake.paths.root) as opened:
        yield opened


def rows(connection: duckdb.DuckDBPyConnection, name: str, *more: str) -> list[dict]:
    return connection.sql(f"FROM {name}({', '.join(more or CALLS[name])})").pl().to_dicts()


@pytest.mark.parametrize("name", CALLS)
def test_every_macro_answers(connection: duckdb.DuckDBPyConnection, name: str):
    assert rows(connection, name)


def test_every_macro_says_what_it_is(connection: duckdb.DuckDBPyConnection):
    comments = dict(
        connection.execute(
            "SELECT DISTINCT function_name, comment FROM duckdb_functions() WHERE function_type = 'table_macro' "
            "AND NOT internal"
        ).fetchall()
    )
    for macro in MACROS:
        assert comments[macro.name] == macro.description
        assert macro.description.startswith(f"{macro.name}(")


def test_every_macro_works_on_an_empty_lake(tmp_path: Path):
    Lake.open(tmp_path / "data")
    with flowlake.open(tmp_path / "data") as connection:
        assert {name: rows(connection, name) for name in CALLS} == {name: [] for name in CALLS}


def test_no_table_and_no_column_is_without_a_comment(connection: duckdb.DuckDBPyConnection):
    silent = connection.execute(
        "SELECT table_name, column_name FROM duckdb_columns() WHERE NOT internal AND comment IS NULL "
        "UNION ALL SELECT view_name, '' FROM duckdb_views() WHERE NOT internal AND comment IS NULL "
        "UNION ALL SELECT table_name, '' FROM duckdb_tables() WHERE NOT internal AND comment IS NULL"
    ).fetchall()
    assert silent == []


def test_factors_add_up_to_the_evidence(connection: duckdb.DuckDBPyConnection):
    (only,) = rows(connection, "event_factors")
    assert (only["factor"], only["contribution"]) == ("volume_surprise", 3.0)
    assert only["origin"] == "simulated"


def test_status_is_the_one_the_next_morning_gave(connection: duckdb.DuckDBPyConnection):
    judged = rows(connection, "event_statuses")
    assert [row["status"] for row in judged] == ["confirmed", "withdrawn"]
    newest = rows(connection, "event_statuses", DAY)
    assert [row["status"] for row in newest] == ["provisional", "provisional"]


def test_events_of_a_session_show_the_newest_status(connection: duckdb.DuckDBPyConnection):
    assert {row["status"] for row in rows(connection, "events_on", f"DATE '{SESSIONS[0]}'")} == {
        "confirmed",
        "withdrawn",
    }
    assert {row["status"] for row in rows(connection, "events_on")} == {"provisional"}


def test_plain_rules_stand_beside_the_levels(connection: duckdb.DuckDBPyConnection):
    assert [(row["rule"], row["underlyings"]) for row in rows(connection, "alarms_by_rule")] == [
        ("z_score", 2),
        ("LOW", 1),
    ]


def test_open_interest_changes_are_those_the_session_before_made(connection: duckdb.DuckDBPyConnection):
    changes = rows(connection, "oi_changes")
    assert {row["oi_change"] for row in changes} == {100}
    assert {row["session_before"] for row in changes} == {SESSIONS[-2]}
    assert rows(connection, "oi_changes", "'ABC'", f"DATE '{SESSIONS[0]}'") == []


def test_top_volume_compares_with_the_usual(connection: duckdb.DuckDBPyConnection):
    first, second, *_ = rows(connection, "top_volume")
    assert first["volume"] > second["volume"]
    assert first["times_usual"] == first["volume"] / 4.0
    assert first["premium_usd"] == first["volume"] * 250.0


def test_a_tickers_history_adds_its_sides_up(connection: duckdb.DuckDBPyConnection):
    history = rows(connection, "ticker_history")
    assert [row["session"] for row in history] == list(SESSIONS)
    assert all(row["volume"] == row["call_volume"] + row["put_volume"] for row in history)
    assert {row["atm_volatility"] for row in history} == {0.3}


def test_insiders_stand_beside_the_events_of_their_company_only(connection: duckdb.DuckDBPyConnection):
    assert {row["underlying"] for row in rows(connection, "insiders_and_flow")} == {"ABC"}
