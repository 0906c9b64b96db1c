"""The report of differences from the vendor."""

from __future__ import annotations

import polars as pl
import pytest

from flowlake.options.vendor import vendor_differences


def test_differences_are_reported_by_right_and_moneyness_of_rows_both_solved():
    chain = pl.DataFrame(
        {
            "right": ["C", "C", "C", "P", "P"],
            "strike": [100.0, 100.0, 120.0, 90.0, 100.0],
            "forward": [100.0] * 5,
            "years": [0.25] * 5,
            "implied_volatility": [0.40, 0.41, 0.40, 0.42, None],
            "vendor_iv": [0.39, 0.42, 0.40, 0.40, 0.40],
            "delta": [0.55, 0.55, 0.2, -0.25, None],
            "vendor_delta": [0.54, 0.52, 0.2, None, -0.5],
        }
    )
    report = vendor_differences(chain)
    assert report.select("right", "deviations", "rows").rows() == [("C", 0, 2), ("C", 1, 1), ("P", -1, 1)]
    at_the_money = report.row(0, named=True)
    assert at_the_money["median_points"] == pytest.approx(0.0)
    assert at_the_money["typical_points"] == pytest.approx(1.0)
    assert at_the_money["typical_delta"] == pytest.approx(0.02)
    assert report["typical_delta"][2] is None


def test_without_vendor_figures_there_is_nothing_to_report():
    schema = dict.fromkeys(
        ("strike", "forward", "years", "implied_volatility", "vendor_iv", "delta", "vendor_delta"), pl.Float64
    )
    assert vendor_differences(pl.DataFrame(schema={"right": pl.String, **schema})).height == 0
