"""Open interest and what the session before did to it, by hand."""

from __future__ import annotations

import pytest

from flowlake.features.open_interest import open_interest_features
from flowlake_tests.features.chains import contract, lines, only


def features(*contracts, with_baselines=True) -> dict:
    return only(open_interest_features(lines(*contracts, with_baselines=with_baselines)))


CHAIN = (
    contract("C", 100, open_interest=150, previous_open_interest=100, previous_volume=80),
    contract("C", 105, open_interest=40, previous_open_interest=60, previous_volume=30),
    contract("P", 100, open_interest=90, previous_open_interest=40, previous_volume=40),
    contract("P", 95, open_interest=20),  # new today: nothing to compare with
)


def test_levels():
    found = features(*CHAIN)
    assert found["open_interest"] == 300
    assert found["call_open_interest"] == 190
    assert found["put_open_interest"] == 110
    assert found["put_call_open_interest_ratio"] == pytest.approx(110 / 190)


def test_build_up_and_unwinding():
    """Changes +50, -20, +50; opened min(80, 50) + 0 + min(40, 50) = 90 of 150 traded; 100 built on 200 open."""
    found = features(*CHAIN)
    assert found["oi_change"] == 80
    assert found["call_oi_change"] == 30
    assert found["put_oi_change"] == 50
    assert found["oi_build"] == 100
    assert found["oi_unwinding"] == 20
    assert found["oi_build_share"] == pytest.approx(100 / 200)
    assert found["opening_share"] == pytest.approx(90 / 150)


def test_without_a_session_before_no_change_is_known():
    found = features(*(contract("C", k, open_interest=5) for k in (100, 105)), with_baselines=False)
    assert found["open_interest"] == 10
    assert found["oi_change"] is None
    assert found["oi_build"] is None
    assert found["opening_share"] is None


def test_a_session_rebuilt_from_bars_has_no_open_interest():
    found = features(contract("C", 100, volume=5))
    assert found["open_interest"] is None
    assert found["put_call_open_interest_ratio"] is None
