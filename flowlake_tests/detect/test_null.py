from __future__ import annotations

from itertools import pairwise

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flowlake.detect import null
from flowlake.detect.buckets import BUCKETS


def lines(deviances, bucket: int = 3) -> pl.DataFrame:
    values = np.asarray(deviances, dtype=float)
    return pl.DataFrame(
        {"volume_deviance": values, "volume_bucket": np.full(len(values), bucket, dtype=np.int16)},
        schema={"volume_deviance": pl.Float64, "volume_bucket": pl.Int16},
    )


def p_values(observed, trailing, bucket: int = 3) -> list[float]:
    bins = null.histogram(lines(trailing, bucket), "volume")
    return null.line_p_values(lines(observed, bucket), "volume", null.line_null(bins, "volume"))["volume_p"].to_list()


def test_without_a_trailing_session_there_is_no_p_value():
    empty = null.histogram(lines([]), "volume")
    found = null.line_p_values(lines([1.0]), "volume", null.line_null(empty, "volume"))
    assert found["volume_p"].to_list() == [None]
    assert found["volume_null_n"].to_list() == [0]


def test_p_values_are_uniform_where_the_null_holds():
    rng = np.random.default_rng(5)
    trailing, today = rng.gamma(2.0, 0.6, 200_000), rng.gamma(2.0, 0.6, 100_000)
    found = np.array(p_values(today, trailing))
    for level in (0.5, 0.1, 0.01, 0.001, 0.0001):
        expected = level * len(today)
        assert abs((found <= level).sum() - expected) < 4 * np.sqrt(expected) + 2, level


def test_the_fitted_tail_keeps_falling_beyond_the_data():
    rng = np.random.default_rng(6)
    trailing = rng.exponential(0.5, 50_000)
    far = p_values([6.0, 7.0, 8.0, 10.0], trailing)
    assert all(later < earlier for earlier, later in pairwise(far))
    # An exponential of scale 0.5 exceeds 7 with probability exp(-14); a fitted tail is right within an order or two.
    assert np.exp(-14.0) / 100 < far[1] < np.exp(-14.0) * 100


def test_nothing_above_expectation_has_p_one():
    assert p_values([0.0], np.random.default_rng(0).exponential(1.0, 5_000)) == [1.0]


def test_more_deviance_never_means_a_larger_p_value():
    trailing = np.random.default_rng(7).exponential(0.7, 20_000)
    found = np.array(p_values(np.linspace(0, 12, 700), trailing))
    within = found[found > 60 / 20_000]
    assert (np.diff(within) <= 1e-12).all()
    beyond = found[found < 30 / 20_000]
    assert (np.diff(beyond) <= 1e-12).all()


def test_a_thin_bucket_borrows_the_market():
    bins = pl.concat(
        [
            null.histogram(lines(np.full(10, 9.0), bucket=BUCKETS - 1), "volume"),
            null.histogram(lines(np.zeros(9_990)), "volume"),
        ]
    )
    found = null.line_p_values(lines([5.0], bucket=BUCKETS - 1), "volume", null.line_null(bins, "volume"))
    assert found["volume_null_n"][0] == 10_000
    assert found["volume_p"][0] < 0.01


def test_histograms_of_sessions_add_up():
    rng = np.random.default_rng(8)
    first, second = rng.exponential(1.0, 3_000), rng.exponential(1.0, 3_000)
    apart = pl.concat([null.histogram(lines(first), "volume"), null.histogram(lines(second), "volume")])
    together = null.histogram(lines(np.concatenate([first, second])), "volume")
    observed = lines(rng.exponential(2.0, 100))
    assert null.line_p_values(observed, "volume", null.line_null(apart, "volume")).equals(
        null.line_p_values(observed, "volume", null.line_null(together, "volume"))
    )


@settings(max_examples=80, deadline=None)
@given(
    st.lists(st.integers(0, 30), min_size=1, max_size=60),
    st.lists(st.integers(0, 30), min_size=1, max_size=20),
)
def test_empirical_p_values_are_the_conformal_ones(trailing, observed):
    found, n = null.empirical_p_values(
        np.array(observed, dtype=float),
        np.zeros(len(observed), dtype=int),
        np.array(trailing, dtype=float),
        np.zeros(len(trailing), dtype=int),
        smallest_class=1,
    )
    expected = [(1 + sum(t >= value for t in trailing)) / (len(trailing) + 1) for value in observed]
    assert found.tolist() == pytest.approx(expected)
    assert n.tolist() == [len(trailing)] * len(observed)


def test_unknown_values_get_no_p_value_and_do_not_enter_the_null():
    found, n = null.empirical_p_values(
        np.array([np.nan, 1.0]), np.zeros(2, int), np.array([np.nan, 0.0, 2.0]), np.zeros(3, int), smallest_class=1
    )
    assert np.isnan(found[0])
    assert (found[1], n[1]) == (pytest.approx(2 / 3), 2)


def test_a_class_with_too_few_trailing_rows_is_judged_among_all():
    null_values, null_classes = np.array([9.0, 1.0, 1.0, 1.0]), np.array([1, 0, 0, 0])
    found, n = null.empirical_p_values(np.array([5.0]), np.array([1]), null_values, null_classes, smallest_class=2)
    assert (found[0], n[0]) == (pytest.approx(2 / 5), 4)


def test_the_tail_is_believed_one_order_beyond_the_data_and_no_further():
    null_values = np.random.default_rng(3).normal(size=1_000)
    found, _ = null.empirical_p_values(np.array([1e6]), np.zeros(1, int), null_values, np.zeros(1_000, int), 1)
    assert found[0] == pytest.approx(0.1 / 1_001)


def test_a_bounded_sum_may_have_a_tail_lighter_than_exponential():
    rng = np.random.default_rng(3)
    fresh, rates = 10.0 * rng.beta(2.0, 3.0, 50_000), {-0.5: [], 0.0: []}
    for _ in range(20):
        trailing = 10.0 * rng.beta(2.0, 3.0, 5_000)
        one = np.zeros(len(fresh), dtype=np.int8), np.zeros(len(trailing), dtype=np.int8)
        for shape, shares in rates.items():
            p_value, _ = null.empirical_p_values(fresh, one[0], trailing, one[1], 1, smallest_shape=shape)
            shares.append((p_value <= 0.001).mean())
    assert 0.0006 < np.mean(rates[-0.5]) < 0.0016
    assert np.mean(rates[0.0]) < 0.0002
