from __future__ import annotations

from datetime import date

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from flowlake import calendar
from flowlake.detect import expectation
from flowlake.detect.baselines import contract_baselines, ticker_baselines
from flowlake_tests.detect.markets import chain

SESSION = date(2026, 6, 30)
DAYS = calendar.trailing_sessions(SESSION, 20)
STRIKES = range(80, 121, 2)


def rows(volume: dict[float, int] | int, **extra: object) -> list[dict[str, object]]:
    return [
        {
            "contract_id": n,
            "strike": float(strike),
            "volume": volume if isinstance(volume, int) else volume.get(float(strike), 10),
            **extra,
        }
        for n, strike in enumerate(STRIKES)
    ]


def judged(today: pl.DataFrame, **history: object) -> pl.DataFrame:
    trailing = {day: chain(day, rows(10, **history)).lazy() for day in DAYS}
    contracts = contract_baselines(SESSION, today, trailing)
    lines = expectation.lines(today, contracts, ticker_baselines(SESSION, today, trailing))
    lines = expectation.expect(
        lines, "volume", "volume_mean_20", "volume_n_20", "volume", profile="profile_volume_mean"
    )
    return expectation.expect(lines, "opened", "oi_change_opened_mean_20", "oi_change_n_20", "open_interest")


def test_a_busy_chain_explains_its_lines():
    quiet = judged(chain(SESSION, rows({100.0: 200})))
    busy = judged(chain(SESSION, rows(200)))
    line = pl.col("strike") == 100.0
    assert quiet.filter(line)["volume_expected"][0] == pytest.approx(10.0, rel=0.05)
    assert busy.filter(line)["volume_expected"][0] > 100.0
    assert quiet.filter(line)["volume_deviance"][0] > 3 * busy.filter(line)["volume_deviance"][0]


def test_a_ladder_does_not_explain_itself_away():
    ladder = {98.0: 300, 100.0: 300, 102.0: 300}
    lines = judged(chain(SESSION, rows(ladder)))
    assert lines.filter(pl.col("strike") == 100.0)["volume_expected"][0] == pytest.approx(10.0, rel=0.05)


def test_the_rest_of_the_chain_leaves_out_the_line_and_two_strikes_on_either_side():
    volumes = {float(strike): 5 + strike % 7 for strike in STRIKES}
    lines = judged(chain(SESSION, rows(volumes)))
    strikes = lines["strike"].to_list()
    for at, strike in enumerate(strikes):
        rest = [volumes[s] for n, s in enumerate(strikes) if abs(n - at) > 2]
        factor = (sum(rest) + 25.0) / (10.0 * len(rest) + 25.0)
        assert lines["volume_expected"][at] == pytest.approx(10.0 * factor), strike


@given(st.floats(1e-2, 1e4), st.floats(0.05, 5.0), st.floats(1.0, 1e8), st.floats(1.01, 10.0))
def test_the_deviance_grows_with_the_count_and_never_saturates_to_infinity(mu, k, x, more):
    counts = np.array([x, x * more])
    low, high = expectation.root_deviance(counts, np.full(2, mu), np.full(2, k))
    assert np.isfinite(high)
    assert (high > low) if x > mu else (high >= low == 0.0)


def test_counts_at_or_below_expectation_have_no_deviance():
    assert expectation.root_deviance(np.array([0.0, 3.0]), np.array([1.0, 3.0]), np.array([0.5, 0.5])).tolist() == [
        0,
        0,
    ]


def test_open_interest_rises_count_only_up_to_the_volume_that_could_have_opened_them():
    possible = judged(chain(SESSION, rows(10, open_interest=109)))
    impossible = judged(chain(SESSION, rows(10, open_interest=1_000)))
    assert possible["opened"].to_list() == [9] * len(STRIKES)
    assert impossible["opened"].null_count() == len(STRIKES)
    assert impossible["open_interest_deviance"].null_count() == len(STRIKES)


def test_adjusted_contracts_are_not_judged():
    today = chain(SESSION, rows(10, is_adjusted=True))
    assert judged(today).is_empty()


def test_an_underlying_without_history_is_not_judged():
    today = chain(SESSION, rows(10))
    nothing = contract_baselines(SESSION, today, {})
    assert expectation.lines(today, nothing, ticker_baselines(SESSION, today, {})).is_empty()


def test_an_underlying_is_not_judged_until_its_lines_have_history_after_a_split():
    today = chain(SESSION, rows(10))
    trailing = {day: chain(day, rows(10)).lazy() for day in DAYS}
    action = {"ticker": ["ABC"], "kind": ["split"], "split_from": [1.0], "split_to": [4.0]}
    for since, is_judged in ((0, False), (4, False), (5, True)):
        effective = calendar.previous_session(SESSION, since) if since else SESSION
        actions = pl.DataFrame({**action, "effective_on": [effective]})
        tickers = ticker_baselines(SESSION, today, trailing, actions)
        assert tickers["sessions_since_split"].to_list() == [since]
        lines = expectation.lines(today, contract_baselines(SESSION, today, trailing, actions), tickers)
        assert lines.is_empty() is not is_judged, since


def test_leveraged_lines_weigh_more_but_every_line_weighs_something():
    today = chain(SESSION, [{"contract_id": 0, "delta": 0.2}, {"contract_id": 1, "delta": 0.8, "strike": 90.0}])
    rest, leveraged = sorted(judged(today)["weight"].to_list())
    assert leveraged > rest > 0
