"""Bands of return: what is kept, and drawn, of each."""

import numpy as np
import pytest
from helpers import episode, small_buffer
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from sb3_udrl.buffers.bands import N_BANDS, bands_of, spread_over
from sb3_udrl.buffers.retention import keep_bands
from sb3_udrl.buffers.sampling import by_bands

some_values = hnp.arrays(np.float64, st.integers(1, 60), elements=st.floats(-1e6, 1e6))
some_episodes = st.lists(st.tuples(st.sampled_from([0.0, 1.0, 5.0, 9.0, 10.0]), st.integers(1, 20)), min_size=1, max_size=60)


def kept(returns, lengths, max_transitions, max_episodes=np.inf):
    return np.flatnonzero(keep_bands(np.array(returns, float), np.array(lengths), max_transitions, max_episodes)).tolist()


# Bands


def test_bands_are_equally_wide():
    assert bands_of(np.array([0.0] * 200 + [1.9, 2.1, 5, 9.9, 10]), 5)[200:].tolist() == [0, 1, 2, 4, 4]


def test_the_lowest_hundredth_does_not_widen_them():
    values = np.array([-1e6, *np.linspace(0, 100, 999)])
    bands = bands_of(values, 10)
    assert bands[0] == 0
    np.testing.assert_allclose(np.bincount(bands), 100, atol=11)


def test_values_that_are_all_alike_are_one_band():
    assert bands_of(np.full(5, 3.0)).tolist() == [0] * 5
    assert bands_of(np.array([3.0])).tolist() == [0]


@given(some_values, st.integers(1, 30))
def test_bands_ascend_with_the_values_and_the_highest_is_in_the_last(values, n_bands):
    bands = bands_of(values, n_bands)
    assert bands.min() >= 0 and bands.max() < n_bands
    assert (np.diff(bands[np.argsort(values, kind="stable")]) >= 0).all()
    if np.quantile(values, 0.01) < values.max():
        assert bands[values.argmax()] == n_bands - 1


# A few of each


def test_the_newest_of_each_band_in_turn():
    values = np.array([0.0, 0, 0, 10, 10])
    assert [spread_over(values, n, 2).tolist() for n in (1, 2, 3, 4)] == [[2], [2, 4], [2, 4, 1], [2, 4, 1, 3]]
    assert sorted(spread_over(values, 99, 2).tolist()) == [0, 1, 2, 3, 4]


@given(some_values, st.integers(1, 80))
def test_a_few_are_different_ones_and_no_band_has_much_more_than_another_that_has_others(values, n):
    chosen = spread_over(values, n)
    assert len(chosen) == len(set(chosen.tolist())) == min(n, len(values))
    bands = bands_of(values)
    stored, taken = np.bincount(bands, minlength=N_BANDS), np.bincount(bands[chosen], minlength=N_BANDS)
    left_over = taken < stored
    if left_over.any():
        assert taken.max() <= taken[left_over].min() + 1
    for band in np.unique(bands[chosen]):
        newest = np.flatnonzero(bands == band)[::-1][: taken[band]]
        assert set(newest) == set(chosen[bands[chosen] == band])


# What a full buffer keeps


def test_the_fullest_band_loses_its_oldest_episodes():
    returns = [0, 10, 0, 0, 10, 0]
    assert kept(returns, [1] * 6, 6) == [0, 1, 2, 3, 4, 5]
    assert kept(returns, [1] * 6, 5) == [1, 2, 3, 4, 5]
    assert kept(returns, [1] * 6, 4) == [1, 3, 4, 5]
    assert kept(returns, [1] * 6, 2) == [4, 5]


def test_a_band_is_full_by_its_transitions():
    """Two episodes of 6 steps are more than five of 2."""
    returns, lengths = [0, 0, 10, 10, 10, 10, 10], [6, 6, 2, 2, 2, 2, 2]
    assert kept(returns, lengths, 16) == [1, 2, 3, 4, 5, 6]
    assert kept(returns, lengths, 12) == [1, 4, 5, 6]


def test_capacity_in_episodes():
    assert kept([0, 10, 0, 0, 10, 0], [1] * 6, 100, max_episodes=3) in ([1, 4, 5], [3, 4, 5])


def test_one_episode_is_kept_however_long():
    assert kept([1], [100], 10) == [0]
    assert kept([1, 1], [100, 100], 10) == [1]


@given(some_episodes, st.integers(1, 200), st.integers(1, 60))
def test_what_is_kept_fits_and_is_the_newest_of_each_band(episodes, capacity, max_episodes):
    returns, lengths = map(np.array, zip(*episodes, strict=True))
    keep = keep_bands(returns, lengths, capacity, max_episodes)
    assert keep.any()
    assert keep.sum() == 1 or (lengths[keep].sum() <= capacity and keep.sum() <= max_episodes)
    bands = bands_of(returns)
    for band in np.unique(bands):
        of_band = keep[bands == band]
        assert (np.diff(of_band.astype(int)) >= 0).all()  # none is forgotten before an older one


@given(some_episodes, st.integers(0, 100))
def test_every_band_keeps_its_newest_episode_if_there_is_room_for_one_of_each(episodes, further):
    returns, lengths = map(np.array, zip(*episodes, strict=True))
    bands = bands_of(returns)
    newest = [np.flatnonzero(bands == band)[-1] for band in np.unique(bands)]
    capacity = len(newest) * lengths[newest].max() + further
    assert keep_bands(returns, lengths, capacity, np.inf)[newest].all()


def test_a_buffer_of_bands_remembers_what_has_become_rare():
    buffer = small_buffer(40, retention="bands")
    for i in range(200):
        buffer.add(episode([10.0 if i < 10 else 0.0, 0.0], first=10.0 * i))
    assert buffer.n_transitions == 40
    assert sorted(buffer.returns)[10:] == [10.0] * 10 and sorted(buffer.returns)[:10] == [0.0] * 10
    assert buffer.episode(19).observations[0] == 1990  # the newest of those that come often


# What is drawn


def test_bands_weigh_alike_and_transitions_within_them():
    weights = by_bands(np.array([0.0, 0, 10]), np.array([500, 1500, 1000]), 1.0)
    np.testing.assert_allclose(weights, [0.25, 0.75, 1])


def test_thin_bands_weigh_less():
    weights = by_bands(np.array([0.0, 10, 10]), np.array([5000, 50, 50]), 1.0)
    np.testing.assert_allclose(weights, [1, 0.1, 0.1])


@given(some_episodes)
def test_no_band_weighs_more_than_another_that_is_thick(episodes):
    returns, lengths = map(np.array, zip(*episodes, strict=True))
    lengths = lengths * 100
    weights, bands = by_bands(returns, lengths, 1.0), bands_of(returns)
    sums, transitions = np.bincount(bands, weights), np.bincount(bands, lengths)
    assert (sums <= 1 + 1e-9).all() and (weights > 0).all()
    np.testing.assert_allclose(sums[transitions >= 500], 1)


def test_a_buffer_draws_from_bands_alike():
    buffer = small_buffer(100_000, sampling="bands")
    for i in range(100):
        buffer.add(episode([float(i >= 90)] + [0.0] * 59))
    rows = buffer.draw_rows(20_000)
    best = np.repeat(buffer.returns == 1, 60)
    assert best[rows].mean() == pytest.approx(0.5, abs=0.02)
