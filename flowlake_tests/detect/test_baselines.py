from __future__ import annotations

from collections.abc import Mapping
from datetime import date

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flowlake import calendar
from flowlake.detect.baselines import contract_baselines, ticker_baselines
from flowlake.detect.panel import FutureData, summarise
from flowlake_tests.detect.markets import chain

SESSION = date(2026, 6, 30)
DAYS = calendar.trailing_sessions(SESSION, 60)


def trailing(
    volumes: Mapping[date, int | None], interest: Mapping[date, int] | None = None, basis: str = "snapshot"
) -> dict[date, pl.LazyFrame]:
    """Chains of one contract (id 5): a day's volume of None means that it was not listed."""
    frames = {}
    for day, volume in volumes.items():
        rows = [{"contract_id": 9, "strike": 120.0}]
        if volume is not None:
            open_interest = (interest or {}).get(day, 100)
            rows.append({"contract_id": 5, "volume": volume, "open_interest": open_interest})
        frames[day] = chain(day, rows, basis=basis).lazy()
    return frames


def baseline_of(frames, **kwargs) -> dict:
    today = chain(SESSION, [{"contract_id": 5, "volume": 999_999}, {"contract_id": 9, "strike": 120.0}])
    return contract_baselines(SESSION, today, frames, **kwargs).row(by_predicate=pl.col("contract_id") == 5, named=True)


def splits(effective_on: date, split_to: float = 10.0) -> pl.DataFrame:
    return pl.DataFrame(
        {
            "ticker": ["ABC"],
            "kind": ["split"],
            "effective_on": [effective_on],
            "split_from": [1.0],
            "split_to": [split_to],
        }
    )


@settings(max_examples=60, deadline=None)
@given(st.lists(st.one_of(st.none(), st.just(0), st.integers(0, 50_000)), min_size=1, max_size=60))
def test_statistics_equal_a_plain_recomputation(history):
    known = np.array([np.iinfo(np.int32).min if value is None else value for value in history], dtype=np.int32)
    found = {name: values[0] for name, values in summarise(known[:, None]).items()}
    values = np.array([value for value in history if value is not None], dtype=float)
    assert found["n"] == len(values)
    assert found["zero_days"] == (values == 0).sum()
    if len(values) == 0:
        assert np.isnan(found["mean"])
        assert np.isnan(found["median"])
        return
    assert found["mean"] == pytest.approx(values.mean())
    assert found["median"] == np.median(values)
    assert found["mad"] == np.median(np.abs(values - np.median(values)))
    assert found["max"] == values.max()
    if len(values) > 1:
        assert found["std"] == pytest.approx(values.std(ddof=1))


@settings(max_examples=40, deadline=None)
@given(st.lists(st.integers(-5_000, 5_000), min_size=3, max_size=59))
def test_statistics_of_signed_changes_equal_a_plain_recomputation(changes):
    values = np.array(changes, dtype=np.int32)
    found = {name: column[0] for name, column in summarise(values[:, None]).items()}
    assert found["median"] == np.median(values)
    assert found["mad"] == np.median(np.abs(values - np.median(values)))
    assert found["opened_mean"] == pytest.approx(np.maximum(values, 0).mean())


def test_a_contract_has_the_same_statistics_among_many_as_alone():
    rng = np.random.default_rng(5)
    values = rng.poisson(rng.gamma(0.3, 20.0, 9_000), (60, 9_000)).astype(np.int32)
    values[rng.random(values.shape) < 0.1] = np.iinfo(np.int32).min
    together = summarise(values)
    for contract in (0, 4_095, 4_096, 8_999):
        alone = summarise(values[:, [contract]])
        for name, column in together.items():
            assert column[[contract]].tobytes() == alone[name].tobytes()


def test_contracts_that_are_not_asked_for_leave_no_trace():
    listed = [5, 9, 7, 4_000]
    frames = {
        day: chain(day, [{"contract_id": n, "volume": n, "strike": 100.0 + n} for n in listed]).lazy() for day in DAYS
    }
    row = baseline_of(frames)
    assert (row["volume_mean_60"], row["volume_std_60"], row["previous_volume"]) == (5.0, 0.0, 5)


def test_windows_hold_the_sessions_strictly_before_and_nothing_of_today():
    row = baseline_of(trailing({day: n for n, day in enumerate(DAYS)}))
    assert (row["volume_n_20"], row["volume_n_60"]) == (20, 60)
    assert row["volume_max_60"] == 59
    assert row["volume_mean_20"] == pytest.approx(np.arange(40, 60).mean())
    assert row["previous_volume"] == 59


def test_a_later_session_among_the_trailing_ones_is_refused():
    with pytest.raises(FutureData, match="2026-06-30"):
        baseline_of(trailing({SESSION: 1}))


def test_a_missing_session_shortens_the_window_instead_of_reaching_further_back():
    row = baseline_of(trailing(dict.fromkeys(DAYS[:-3], 7)))
    assert row["volume_n_20"] == 17
    assert row["previous_volume"] is None
    assert row["previous_open_interest"] is None


def test_listing_age_counts_from_the_first_session_that_listed_the_contract():
    row = baseline_of(trailing({day: (None if day < DAYS[-4] else 1) for day in DAYS}))
    assert (row["listing_age"], row["listed_before_window"]) == (4, False)
    assert row["volume_n_60"] == 4


def test_the_first_day_of_a_lake_has_empty_baselines():
    row = baseline_of({})
    assert (row["volume_n_20"], row["listing_age"], row["volume_mean_20"]) == (0, 0, None)
    assert row["profile_volume_mean"] is None


def test_open_interest_changes_need_both_ends():
    interest = {day: 100 + 10 * n for n, day in enumerate(DAYS)}
    frames = trailing(dict.fromkeys(DAYS, 1), interest)
    assert baseline_of(frames)["oi_change_n_20"] == 19
    del frames[DAYS[-5]]
    row = baseline_of(frames)
    assert row["oi_change_n_20"] == 17
    assert row["oi_change_mean_20"] == pytest.approx(10.0)


def test_sessions_rebuilt_from_aggregates_contribute_volume_but_no_open_interest():
    row = baseline_of(trailing(dict.fromkeys(DAYS, 3), basis="aggregates"))
    assert row["volume_n_20"] == 20
    assert row["oi_change_n_20"] == 0
    assert row["previous_open_interest"] is None


@pytest.mark.parametrize("sessions_after", [0, 1])
def test_no_open_interest_is_carried_onto_or_across_a_split(sessions_after):
    effective_on = calendar.previous_session(SESSION, sessions_after) if sessions_after else SESSION
    row = baseline_of(trailing(dict.fromkeys(DAYS, 3)), actions=splits(effective_on))
    assert row["previous_open_interest"] is None


def test_changes_around_a_past_split_are_left_out_of_the_statistics():
    interest = {day: (100 if day <= DAYS[-10] else 1_000) for day in DAYS}
    frames = trailing(dict.fromkeys(DAYS, 3), interest)
    assert baseline_of(frames)["oi_change_max_20"] == 900
    row = baseline_of(frames, actions=splits(DAYS[-10]))
    assert row["oi_change_max_20"] == 0
    assert row["oi_change_n_20"] == 17
    assert row["previous_open_interest"] == 1_000


def test_the_profile_says_what_trades_where_the_contract_stands_today():
    """The contract was far-dated and quiet; contracts as near as it is now traded 40 a day."""
    frames = {
        day: chain(
            day,
            [
                {"contract_id": 5, "volume": 1, "expiration": SESSION.replace(month=12)},
                {"contract_id": 100 + n, "volume": 40, "strike": 100.0 + n},
            ],
        ).lazy()
        for n, day in enumerate(DAYS[-20:])
    }
    row = baseline_of(frames)
    assert row["volume_mean_20"] == 1.0
    assert row["profile_volume_mean"] == 40.0
    assert row["profile_n"] == 20


def test_ticker_baselines_equal_a_plain_recomputation():
    volumes = {day: 3 * n for n, day in enumerate(DAYS)}
    today = chain(SESSION, [{"contract_id": 5}])
    row = ticker_baselines(SESSION, today, trailing(volumes)).row(0, named=True)
    expected = np.array([3.0 * n for n in range(40, 60)])
    assert row["volume_mean_20"] == pytest.approx(expected.mean())
    assert row["volume_std_20"] == pytest.approx(expected.std(ddof=1))
    assert row["volume_mad_20"] == np.median(np.abs(expected - np.median(expected)))
    assert row["premium_mean_usd_20"] == pytest.approx(expected.mean() * 100)
    assert (row["n_60"], row["return_n"], row["return_std"]) == (60, 20, 0.0)


def test_an_underlying_whose_contracts_lie_apart_is_added_up_all_the_same():
    rows = [
        {"contract_id": n, "underlying": name, "right": right, "strike": 100.0 + n, "volume": n}
        for n, (name, right) in enumerate([("ABC", "C"), ("XYZ", "C"), ("ABC", "P"), ("XYZ", "P"), ("ABC", "C")])
    ]
    frames = {day: chain(day, rows).lazy() for day in DAYS}
    found = ticker_baselines(SESSION, chain(SESSION, rows), frames).sort("underlying")
    assert found["volume_mean_20"].to_list() == [6.0, 4.0]
    assert found["call_volume_mean_20"].to_list() == [4.0, 1.0]
    assert found["put_volume_mean_20"].to_list() == [2.0, 3.0]


def test_history_before_a_split_is_restated_in_todays_contracts_and_prices():
    frames = trailing(dict.fromkeys(DAYS, 10))
    frames[DAYS[-1]] = frames[DAYS[-1]].with_columns(spot=pl.lit(10.0))
    today = chain(SESSION, [{"contract_id": 5}])
    row = ticker_baselines(SESSION, today, frames, splits(DAYS[-1])).row(0, named=True)
    assert row["volume_median_20"] == 100.0
    assert row["sessions_since_split"] == 1
    assert row["return_std"] == pytest.approx(0.0)
    unadjusted = ticker_baselines(SESSION, today, frames).row(0, named=True)
    assert unadjusted["return_std"] > 0.5
