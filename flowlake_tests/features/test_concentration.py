"""Concentration by hand."""

from __future__ import annotations

import pytest

from flowlake.features.concentration import concentration_features
from flowlake_tests.features.chains import contract, lines, only


def features(*contracts) -> dict:
    return only(concentration_features(lines(*contracts)))


def test_shares_of_one_half_and_two_quarters():
    """0.5^2 + 2 x 0.25^2 = 0.375, by volume as by premium (equal prices)."""
    found = features(
        contract("C", 100, volume=20, price=1.0),
        contract("P", 100, volume=10, price=1.0),
        contract("C", 105, volume=10, price=1.0, dte=60),
        contract("C", 110, volume=0, price=9.0),
    )
    assert found["premium_herfindahl"] == pytest.approx(0.375)
    assert found["volume_herfindahl"] == pytest.approx(0.375)
    assert found["top_line_premium_share"] == 0.5
    assert found["top_line_volume_share"] == 0.5
    assert found["top_expiration_premium_share"] == 0.75


def test_one_line_is_everything():
    found = features(contract("C", 100, volume=7, price=0.05))
    assert found["premium_herfindahl"] == 1.0
    assert found["top_expiration_premium_share"] == 1.0


def test_nothing_traded_is_not_known_rather_than_zero():
    assert set(features(contract("C", 100, volume=0)).values()) == {"A", None}


def test_volume_without_a_price_has_no_premium():
    found = features(contract("C", 100, volume=7))
    assert found["volume_herfindahl"] == 1.0
    assert found["premium_herfindahl"] is None
