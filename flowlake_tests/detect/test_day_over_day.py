"""The day-over-day monitor flags what its thresholds say, and only where there is something to compare with."""

from __future__ import annotations

from typing import Any

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from flowlake.detect.day_over_day import day_over_day
from flowlake.schemas import table
from flowlake.settings import MonitorSettings
from flowlake_tests.factories import SESSION, frame

SETTINGS = MonitorSettings()


def flags(volume: int, before: int | None, **row: Any) -> list[str]:
    """Flags of one SPX contract that traded `volume` after `before`, at 50 USD a share unless the row says else."""
    chain = {"underlying": "SPX", "contract_id": 1, "dte": 20, "volume": volume, "price": 50.0, "multiplier": 100.0}
    chains = frame(table("option_chains"), [chain | row])
    normal = frame(table("contract_baselines"), [{"contract_id": 1, "previous_volume": before}])
    found = day_over_day(SESSION, chains, normal, SETTINGS)
    return found["flags"][0].to_list() if found.height else []


@pytest.mark.parametrize(
    ("volume", "before", "expected"),
    [
        (601, 400, ["delta"]),
        (600, 400, []),
        (151, 30, ["multiplier"]),
        (150, 30, []),
        (101, 0, ["dormancy"]),
        (1_000, 0, ["delta", "dormancy"]),
        (1_000, 100, ["delta", "multiplier"]),
        (100, 0, []),
        (50, 900, []),
    ],
)
def test_a_flag_is_raised_beyond_its_threshold_and_not_at_it(volume: int, before: int, expected: list[str]):
    assert flags(volume, before) == expected


def test_a_contract_listed_today_has_nothing_to_be_compared_with():
    assert flags(5_000, None) == []


def test_cheap_lines_stay_below_the_premium_floor():
    assert flags(5_000, 0, price=0.10) == []


@pytest.mark.parametrize(("dte", "watched"), [(6, False), (7, True), (45, True), (46, False)])
def test_only_the_window_of_expirations_is_watched(dte: int, watched: bool):
    assert bool(flags(5_000, 0, dte=dte)) == watched


def test_other_underlyings_are_not_watched_unless_asked_for():
    assert flags(5_000, 0, underlying="ABC") == []
    chains = frame(
        table("option_chains"),
        [{"underlying": "ABC", "contract_id": 1, "dte": 9, "volume": 900, "price": 9.0, "multiplier": 100.0}],
    )
    normal = frame(table("contract_baselines"), [{"contract_id": 1, "previous_volume": 0}])
    assert day_over_day(SESSION, chains, normal, MonitorSettings(underlyings="all")).height == 1


def test_the_master_switch_silences_it():
    chains = frame(table("option_chains"), [{"underlying": "SPX", "contract_id": 1}])
    normal = table("contract_baselines").empty()
    assert day_over_day(SESSION, chains, normal, MonitorSettings(enabled=False)).is_empty()


def test_flagged_contracts_are_found_among_many_quiet_ones():
    busy = {3, 17, 400, 999}
    chain = {"underlying": "SPX", "dte": 20, "price": 50.0, "multiplier": 100.0}
    rows = [chain | {"contract_id": n, "volume": 900 if n in busy else n % 7} for n in range(1_000)]
    before = [{"contract_id": n, "previous_volume": n % 3} for n in range(1_000)]
    found = day_over_day(
        SESSION, frame(table("option_chains"), rows), frame(table("contract_baselines"), before), SETTINGS
    )
    assert set(found["contract_id"]) == busy


@given(st.integers(0, 10_000), st.integers(0, 10_000))
def test_the_row_says_what_was_compared(volume: int, before: int):
    chain = {"underlying": "SPX", "contract_id": 1, "dte": 20, "volume": volume, "price": 50.0, "multiplier": 100.0}
    normal = frame(table("contract_baselines"), [{"contract_id": 1, "previous_volume": before}])
    found = day_over_day(SESSION, frame(table("option_chains"), [chain]), normal, SETTINGS)
    for row in found.iter_rows(named=True):
        assert row["volume_change"] == volume - before > 0
        assert (row["multiple"] is None) == (before == 0)
        assert row["premium_usd"] == volume * 5_000
        assert str(volume) in row["explanation"]
    assert found.schema == pl.Schema(table("anomalies_day_over_day").schema)
