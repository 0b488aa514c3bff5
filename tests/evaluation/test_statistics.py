"""Means, intervals, differences and bands: beside scipy, and where values are missing."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from rootpoint.evaluation import statistics
from rootpoint.evaluation.statistics import bands, difference, estimate

SKEWED = np.random.default_rng(0).exponential(size=40)
OTHER = SKEWED * 0.8 + np.random.default_rng(1).normal(size=40) * 0.4

numbers = st.lists(st.floats(-1e3, 1e3), min_size=1, max_size=12)


def test_the_interval_is_that_of_scipys_bootstrap() -> None:
    found = estimate(SKEWED)
    theirs = stats.bootstrap((SKEWED,), np.mean, method="percentile", n_resamples=20_000, rng=1)
    assert found.mean == SKEWED.mean()
    width = theirs.confidence_interval.high - theirs.confidence_interval.low
    assert found.low == pytest.approx(theirs.confidence_interval.low, abs=0.03 * width)
    assert found.high == pytest.approx(theirs.confidence_interval.high, abs=0.03 * width)


def test_the_interval_covers_the_true_mean_about_95_times_in_100() -> None:
    draws = np.random.default_rng(2).normal(size=(200, 50))
    covered = [(e := estimate(one)).low <= 0 <= e.high for one in draws]
    assert 0.89 <= np.mean(covered) <= 0.99


@pytest.mark.parametrize("shift", [0.0, 0.1, 0.3])
def test_p_is_that_of_scipys_permutation_test_of_pairs(shift: float) -> None:
    theirs = stats.permutation_test(
        (SKEWED + shift, OTHER),
        lambda a, b, axis: np.mean(a - b, axis=axis),
        permutation_type="samples",
        n_resamples=20_000,
        rng=1,
    )
    found = difference(SKEWED + shift, OTHER)
    assert found.mean == pytest.approx(theirs.statistic)
    assert found.p == pytest.approx(theirs.pvalue, abs=0.015)


def test_with_few_samples_p_approaches_the_exact_one() -> None:
    a = np.array([1.0, 2.0, 3.0, 4.0, 5.0])
    assert difference(a, 0 * a).p == pytest.approx(2 / 2**5, abs=0.01)
    mixed = np.array([1.0, 1.0, -1.0])  # as far from zero: 6 + 2 of 8
    assert difference(mixed, 0 * mixed).p == 1.0


def test_pairs_are_surer_than_two_means() -> None:
    a = np.random.default_rng(3).normal(size=60) * 10
    paired = difference(a + 0.1, a)
    assert (paired.low, paired.high) == pytest.approx((0.1, 0.1))
    assert estimate(a).high - estimate(a).low > 1


def test_samples_that_are_not_defined_are_left_out() -> None:
    whole = np.append(SKEWED, [np.nan, np.nan])
    assert estimate(whole) == estimate(SKEWED)
    paired = difference(whole, np.append(OTHER, [1.0, np.nan]))
    assert paired == difference(SKEWED, OTHER)
    assert difference([1.0, np.nan], [np.nan, 1.0]).samples == 0


def test_nothing_has_no_mean() -> None:
    for nothing in ([], [np.nan]):
        found = estimate(nothing)
        assert found.samples == 0
        assert np.isnan(found[:3]).all()


def test_infinite_values_are_kept() -> None:
    found = estimate([1.0, 2.0, np.inf])
    assert (found.mean, found.high) == (np.inf, np.inf)
    assert np.isfinite(found.low)
    assert np.isnan(difference([np.inf, 1.0], [0.0, 0.0]).p)
    assert difference([np.inf, 1.0], [np.inf, 0.0]).samples == 1


@settings(max_examples=20)
@given(numbers)
def test_the_mean_lies_in_its_interval_within_the_values(values: list[float]) -> None:
    found = estimate(values)
    rounding = 1e-9 * (1 + max(map(abs, values)))
    assert min(values) - rounding <= found.low <= found.high <= max(values) + rounding


@settings(max_examples=20)
@given(numbers)
def test_exchanging_both_changes_the_sign_and_nothing_else(values: list[float]) -> None:
    zero = [0.0] * len(values)
    one, other = difference(values, zero), difference(zero, values)
    assert one.mean == -other.mean
    assert one.p == other.p
    assert 0 < one.p <= 1


def test_a_seed_repeats_everything_and_blocks_change_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    before = estimate(SKEWED), difference(SKEWED, OTHER)
    assert before == (estimate(SKEWED), difference(SKEWED, OTHER))
    assert estimate(SKEWED, seed=1).low != before[0].low
    monkeypatch.setattr(statistics, "BLOCK", 40 * 1000)
    assert estimate(SKEWED) == before[0]


def test_the_random_state_of_numpy_stays_untouched() -> None:
    state = np.random.get_state()[1].copy()  # type: ignore[index]
    difference(SKEWED, OTHER)
    assert np.array_equal(state, np.random.get_state()[1])  # type: ignore[arg-type]


def test_a_band_is_the_interval_at_each_point() -> None:
    lines = np.stack([SKEWED, OTHER, SKEWED - OTHER], 1)
    mean, low, high = bands(lines)
    for k in range(3):
        alone = estimate(lines[:, k])
        width = alone.high - alone.low
        assert mean[k] == pytest.approx(alone.mean)
        assert low[k] == pytest.approx(alone.low, abs=0.1 * width)
        assert high[k] == pytest.approx(alone.high, abs=0.1 * width)


def test_points_that_are_not_defined_are_left_out_of_a_band() -> None:
    lines = np.array([[1.0, np.nan, np.nan], [3.0, 2.0, np.nan], [2.0, np.inf, np.nan]])
    mean, low, high = bands(lines)
    assert mean[:2].tolist() == [2.0, 2.0]
    assert (low[1], high[1]) == (2.0, 2.0)
    assert np.isnan([mean[2], low[2], high[2]]).all()
    assert low[0] < mean[0] < high[0]


def test_a_difference_reads_as_one_line() -> None:
    assert str(estimate([1.0, 1.0])) == "1 [1, 1]"
    assert str(estimate([1234.5])) == "1234 [1234, 1234]"
    assert str(difference([1.0], [0.5])) == "+0.5 [+0.5, +0.5], p = 1"
    assert str(difference([0.0, 0.0], [1.0, 1.0])) == "-1 [-1, -1], p = 0.5"
