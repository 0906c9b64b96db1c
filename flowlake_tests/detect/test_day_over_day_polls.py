"""During the day a poll is compared with the same time of the session before, and says what it compared."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from flowlake import calendar
from flowlake.detect.day_over_day import Poll, aligned_poll, day_over_day, intraday_flags, volume_bins
from flowlake.schemas import table
from flowlake.settings import MonitorSettings
from flowlake_tests.detect import half_hourly
from flowlake_tests.factories import SESSION, frame

SETTINGS = MonitorSettings()
NOW = datetime(2026, 6, 1, 14, 30, tzinfo=UTC)
YESTERDAY = datetime(2026, 5, 29, 14, 30, tzinfo=UTC)
LINE = {"underlying": "SPX", "contract_id": 1, "dte": 20, "volume": 900, "price": 50.0, "multiplier": 100.0}


def chains(*rows: dict[str, Any]) -> pl.DataFrame:
    return frame(table("intraday_chains"), [LINE | {"contract_id": n} | row for n, row in enumerate(rows, start=1)])


def normals(*rows: dict[str, Any]) -> pl.DataFrame:
    return frame(table("contract_baselines"), [{"contract_id": n} | row for n, row in enumerate(rows, start=1)])


def poll(now: pl.DataFrame, before: pl.DataFrame | None, normal: pl.DataFrame | None = None, **more: Any) -> Poll:
    earlier = None if before is None else (YESTERDAY, before)
    return intraday_flags(NOW, now, earlier, normals() if normal is None else normal, SETTINGS, **more)


# --- which poll of the session before ---------------------------------------------------------------------------------


def test_the_nearest_time_of_day_is_compared_with():
    before = [YESTERDAY + timedelta(minutes=15 * k) for k in range(-4, 5)]
    assert aligned_poll(NOW + timedelta(minutes=4), before, 60) == YESTERDAY


def test_time_of_day_is_new_yorks_across_a_change_of_clocks():
    winter, summer = datetime(2026, 3, 6, 15, 30, tzinfo=UTC), datetime(2026, 3, 9, 14, 30, tzinfo=UTC)
    assert aligned_poll(summer, [winter, winter - timedelta(hours=1)], 60) == winter


def test_nothing_within_the_hour_is_nothing_to_compare_with():
    assert aligned_poll(NOW, [YESTERDAY + timedelta(minutes=61)], 60) is None
    assert aligned_poll(NOW, [YESTERDAY + timedelta(minutes=60)], 60) is not None
    assert aligned_poll(NOW, [], 60) is None


def test_of_two_equally_near_polls_the_later_one_has_more_volume_and_raises_fewer_flags():
    around = [YESTERDAY - timedelta(minutes=15), YESTERDAY + timedelta(minutes=15)]
    assert aligned_poll(NOW, around, 60) == around[1]


@given(st.lists(st.integers(-200, 200), max_size=12), st.integers(0, 120))
def test_no_other_poll_is_nearer(offsets: list[int], within: int):
    polls = [YESTERDAY + timedelta(minutes=n) for n in offsets]
    chosen = aligned_poll(NOW, polls, within)
    best = min((abs(n) for n in offsets), default=None)
    if best is None or best > within:
        assert chosen is None
    else:
        assert chosen is not None and abs(chosen - YESTERDAY) == timedelta(minutes=best)


# --- what a poll says -------------------------------------------------------------------------------------------------


def test_a_flag_says_which_polls_were_compared():
    found = poll(chains({"volume": 900}), chains({"volume": 20}))
    row = found.flags.row(0, named=True)
    assert row["flags"] == ["delta", "multiplier"]
    assert (row["snapshot"], row["compared_with"]) == (NOW, YESTERDAY)
    assert "by 10:30 after 20 by 10:30 of the session before" in row["explanation"]
    assert found.polls.row(0, named=True)["status"] == "compared"


def test_the_first_day_flags_nothing_and_says_why():
    """The earlier system called every line dormant on its first day."""
    found = poll(chains({"volume": 90_000}), None, first_day=True)
    assert found.flags.is_empty()
    row = found.polls.row(0, named=True)
    assert (row["status"], row["watched"], row["compared"], row["compared_with"]) == ("first_day", 1, 0, None)
    assert row["explanation"].startswith("First day")


def test_a_gap_yesterday_is_not_a_first_day():
    found = poll(chains({}), None)
    assert found.polls["status"].to_list() == ["no_aligned_poll"]


def test_a_contract_listed_today_is_counted_and_not_flagged():
    found = poll(chains({"volume": 50}, {"volume": 90_000}), chains({"volume": 50}))
    assert found.flags.is_empty()
    row = found.polls.row(0, named=True)
    assert (row["watched"], row["compared"]) == (2, 1)
    assert row["explanation"].endswith("1 were not listed then.")


def test_the_same_poll_gives_the_same_rows_in_any_order_of_the_chain():
    rows = [{"volume": 300 * n} for n in range(1, 9)]
    now, before = chains(*rows), chains(*({"volume": 10} for _ in rows))
    first, again = poll(now, before), poll(now.reverse(), before.reverse())
    assert first.flags.equals(again.flags)
    assert first.polls.equals(again.polls)
    assert first.bins.equals(again.bins)


def test_the_master_switch_silences_polls_too():
    found = intraday_flags(
        NOW, chains({}), (YESTERDAY, chains({"volume": 0})), normals(), MonitorSettings(enabled=False)
    )
    assert found.flags.is_empty() and found.polls.is_empty() and found.bins.is_empty()


# --- beyond the three flags -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("now", "before", "surges"),
    [(2_000, 1_000, True), (1_500, 1_000, False), (1_501, 1_000, True), (900, 400, False), (5_000, None, False)],
)
def test_open_interest_surges_beyond_both_thresholds(now: int, before: int | None, surges: bool):
    found = poll(
        chains({"volume": 200, "open_interest": now}),
        chains({"volume": 190}),
        normals({"previous_open_interest": before}),
    )
    assert (found.flags.height == 1 and found.flags["flags"][0].to_list() == ["oi_surge"]) == surges


def test_a_volume_above_every_day_of_the_window_breaches_its_maximum():
    def flagged(volume_max: int | None) -> bool:
        found = poll(chains({"volume": 200}), chains({"volume": 190}), normals({"volume_max_20": volume_max}))
        return found.flags.height == 1

    assert (flagged(199), flagged(200), flagged(None)) == (True, False, False)


def test_a_percentile_is_the_share_of_comparable_observations_that_traded_less():
    history = frame(
        table("option_chains"), [LINE | {"contract_id": n, "volume": v} for n, v in enumerate([0] * 150 + [5_000] * 50)]
    )
    trailing = volume_bins(history, SETTINGS)
    found = poll(chains({"volume": 900}), chains({"volume": 20}), trailing_bins=trailing)
    assert found.flags["percentile"].to_list() == [0.75]
    assert found.flags["percentile_n"].to_list() == [200]


def test_too_few_observations_make_no_percentile():
    trailing = volume_bins(frame(table("option_chains"), [LINE]), SETTINGS)
    found = poll(chains({"volume": 900}), chains({"volume": 20}), trailing_bins=trailing)
    assert found.flags["percentile"].to_list() == [None]


@given(st.lists(st.integers(0, 20_000), min_size=200, max_size=260), st.integers(101, 20_000))
def test_a_percentile_is_within_a_bin_of_the_exact_one(volumes: list[int], volume: int):
    history = frame(table("option_chains"), [LINE | {"contract_id": n, "volume": v} for n, v in enumerate(volumes)])
    found = poll(chains({"volume": volume}), chains({"volume": 0}), trailing_bins=volume_bins(history, SETTINGS))
    below = sum(v < volume / 1.1 for v in volumes) / len(volumes)
    above = sum(v < volume * 1.1 for v in volumes) / len(volumes)
    assert below - 1e-9 <= found.flags["percentile"][0] <= above + 1e-9


@given(
    st.integers(101, 30_000),
    st.integers(0, 30_000),
    st.none() | st.integers(0, 9_000),
    st.none() | st.integers(0, 9_000),
)
def test_the_composite_stays_between_0_and_100_whatever_is_known(
    volume: int, before: int, open_before: int | None, volume_max: int | None
):
    normal = normals({"previous_open_interest": open_before, "volume_max_20": volume_max})
    found = poll(chains({"volume": volume, "open_interest": 5_000}), chains({"volume": before}), normal)
    assert all(0.0 <= value <= 100.0 for value in found.flags["composite"])


def test_the_composite_grows_with_what_broke():
    def composite(volume: int) -> float:
        found = poll(chains({"volume": volume}), chains({"volume": 100}), normals({"volume_max_20": 300}))
        return found.flags["composite"][0]

    assert composite(600) < composite(2_000) < composite(20_000)


def test_the_close_and_a_poll_at_the_close_agree():
    now, before = chains({"volume": 900}, {"volume": 400}), chains({"volume": 20}, {"volume": 390})
    normal = normals({"previous_volume": 20, "volume_max_20": 500}, {"previous_volume": 390})
    at_close = day_over_day(SESSION, now.drop("snapshot"), normal, SETTINGS)
    polled = poll(now, before, normal).flags
    shared = ["contract_id", "flags", "composite", "volume_change", "multiple", "premium_usd"]
    assert at_close.select(shared).equals(polled.select(shared))


# --- real chains ------------------------------------------------------------------------------------------------------


@pytest.mark.real_data
def test_real_half_hourly_chains_are_flagged_by_the_rules_and_nothing_else(shared_data: Path):
    """13 polls of 2020-12-17, then one of 2020-12-31 for which the earlier day stands as the session before."""
    recorded = half_hourly.polls(shared_data)
    *first_day, last = recorded
    watched = MonitorSettings(underlyings="all")
    for moment in first_day:
        found = intraday_flags(moment, recorded[moment], None, normals(), watched, first_day=True)
        assert found.flags.is_empty()
        assert set(found.polls["status"]) == {"first_day"}

    chosen = aligned_poll(last, first_day, watched.aligned_minutes)
    assert chosen is not None
    assert chosen.astimezone(calendar.NEW_YORK).strftime("%H:%M") == last.astimezone(calendar.NEW_YORK).strftime(
        "%H:%M"
    )
    now, before = recorded[last], recorded[chosen]
    found = intraday_flags(last, now, (chosen, before), normals(), watched)
    print(f"\n{found.polls['compared'].sum()} contracts compared, {found.flags.height} flagged")
    print(found.flags.sort("composite", descending=True).select("explanation").head(5)["explanation"].to_list())

    earlier = dict(before.select("contract_id", "volume").iter_rows())
    expected: dict[int, list[str]] = {}
    for row in now.select("contract_id", "dte", "volume", "price", "multiplier").iter_rows(named=True):
        previous, volume = earlier.get(row["contract_id"]), row["volume"]
        if previous is None or not 7 <= row["dte"] <= 45 or volume <= 100:
            continue
        if volume * row["price"] * row["multiplier"] <= 100_000:
            continue
        flags = [
            name
            for name, broken in (
                ("delta", volume - previous > 200),
                ("multiplier", previous > 0 and volume > 5 * previous),
                ("dormancy", previous == 0),
            )
            if broken
        ]
        if flags:
            expected[row["contract_id"]] = flags
    assert dict(zip(found.flags["contract_id"], found.flags["flags"].to_list(), strict=True)) == expected
    assert len(expected) >= 20
    assert {name for flags in expected.values() for name in flags} == {"delta", "multiplier", "dormancy"}
