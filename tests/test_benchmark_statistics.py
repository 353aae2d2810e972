"""Statistics of the benchmark, against values computed by hand."""

import numpy as np
import pytest
from scipy import stats

from sb3_udrl.benchmark.statistics import (
    first_reached,
    interquartile_band,
    interquartile_mean,
    probability_of_improvement,
    score_estimate,
    share_of_wins,
)


def test_interquartile_mean_leaves_out_the_lowest_and_highest_quarter():
    assert interquartile_mean([100, 3, 1, 2, -50, 4, 5, 6]) == (2 + 3 + 4 + 5) / 4
    assert interquartile_mean([1, 2, 3, 4, 100]) == 3  # of five, one on each side
    assert interquartile_mean([1, 5]) == 3
    np.testing.assert_array_equal(interquartile_mean([[0, 1], [1, 2], [2, 3], [9, 90]], axis=0), [1.5, 2.5])


def test_band_covers_the_mean_and_has_no_width_without_spread():
    scores = np.stack((np.arange(10.0), np.full(10, 7.0)), axis=1)
    means, low, high = interquartile_band(scores)
    np.testing.assert_array_equal(means, [4.5, 7.0])
    assert low[0] < 4.5 < high[0]
    assert low[1] == high[1] == 7.0
    assert interquartile_band(scores)[1][0] == low[0]  # repeatable


def test_interval_is_about_as_wide_as_theory_says():
    scores = np.random.default_rng(0).normal(size=400)
    estimate = score_estimate(scores)
    # The interquartile mean of normal scores has a standard error of about 1.09 / sqrt(n)
    assert estimate.high - estimate.low == pytest.approx(2 * 1.96 * 1.09 / 20, rel=0.15)


def test_one_seed_has_no_interval():
    estimate = score_estimate([5.0])
    assert estimate.value == 5.0
    assert np.isnan([estimate.low, estimate.high]).all()
    assert np.isnan(probability_of_improvement([1.0], [0.0]).low)


def test_probability_of_improvement():
    assert probability_of_improvement([3, 4], [1, 2]) == (1.0, 1.0, 1.0)
    assert probability_of_improvement([1, 3], [2, 2]).value == 0.5
    assert probability_of_improvement([1, 1], [1, 1]) == (0.5, 0.5, 0.5)
    assert probability_of_improvement([1, 2, 3], [2, 0]).value == (3 + 1 + 0.5) / 6


def test_share_of_wins_is_the_statistic_of_mann_and_whitney():
    rng = np.random.default_rng(0)
    x, y = rng.integers(0, 10, 12).astype(float), rng.integers(0, 10, 9).astype(float)
    assert share_of_wins(x, y) == pytest.approx(stats.mannwhitneyu(x, y).statistic / (12 * 9))


def test_first_reached():
    assert first_reached([1, 5, 3, 6], [10, 20, 30, 40], 5) == 20
    assert first_reached([1, 5, 3, 6], [10, 20, 30, 40], 6) == 40
    assert first_reached([1, 5], [10, 20], 7) == np.inf
