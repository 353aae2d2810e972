"""How transitions are drawn from the buffer, and where their segments end."""

import numpy as np
import pytest
from helpers import assert_same_batches, episode, hindsight, small_buffer

N = 40_000


def frequencies(buffer, n_episodes):
    """How often each episode was drawn; their observations start at 0, 100, 200, ..."""
    drawn = (hindsight(buffer).sample(N).observations[:, 0] // 100).astype(int)
    return np.bincount(drawn, minlength=n_episodes) / N


def buffer_of(*episodes, **kwargs):
    buffer = small_buffer(1000, **kwargs)
    for i, rewards in enumerate(episodes):
        buffer.add(episode(rewards, first=100 * i))
    return buffer


def test_uniform_over_transitions():
    buffer = buffer_of([1], [1] * 3, [1] * 6)
    np.testing.assert_allclose(frequencies(buffer, 3), [0.1, 0.3, 0.6], atol=0.015)


def test_every_transition_is_drawn():
    drawn = np.unique(hindsight(buffer_of([1], [1] * 3, [1] * 6)).sample(N).observations)
    np.testing.assert_array_equal(drawn, [0, 100, 101, 102, 200, 201, 202, 203, 204, 205])


def test_steps_within_an_episode_are_equally_likely():
    steps = hindsight(buffer_of([1] * 5, sampling="return")).sample(N).observations[:, 0].astype(int)
    np.testing.assert_allclose(np.bincount(steps) / N, 0.2, atol=0.015)


def test_uniform_over_episodes():
    buffer = buffer_of([1], [1] * 3, [1] * 6, sampling="episodes")
    np.testing.assert_allclose(frequencies(buffer, 3), 1 / 3, atol=0.015)


def test_weighted_by_return():
    returns = np.array([0.0, 1.0, 3.0])
    weights = np.exp((returns - 3) / (0.5 * returns.std()))
    buffer = buffer_of([0], [0.5, 0.5], [3], sampling="return", sampling_temperature=0.5)
    np.testing.assert_allclose(frequencies(buffer, 3), weights / weights.sum(), atol=0.015)


def test_weights_by_return_ignore_their_scale_and_offset():
    one = buffer_of([0], [1], [3], sampling="return")
    other = buffer_of([-1000], [-900], [-700], sampling="return")
    np.testing.assert_array_equal(hindsight(one).sample(500).observations, hindsight(other).sample(500).observations)


def test_equal_returns_weigh_the_same():
    buffer = buffer_of([2], [1, 1], sampling="return")
    np.testing.assert_allclose(frequencies(buffer, 2), 0.5, atol=0.015)


def test_weighted_by_rank():
    weights = np.exp(-np.array([2, 0, 1]) / (0.4 * 3))
    buffer = buffer_of([-1e5], [7], [6.9], sampling="rank", sampling_temperature=0.4)
    np.testing.assert_allclose(frequencies(buffer, 3), weights / weights.sum(), atol=0.015)


def test_weights_follow_the_episodes_that_are_stored():
    buffer = buffer_of([1], [2], sampling="return", sampling_temperature=0.01)
    assert frequencies(buffer, 2)[1] > 0.99
    buffer.add(episode([50], first=200))
    assert frequencies(buffer, 3)[2] > 0.99


def test_the_same_seed_draws_the_same():
    first, second = (hindsight(buffer_of([1, 2], [3], trailing_probability=0.5)).sample(20) for _ in range(2))
    assert_same_batches(first, second)


# Rewards that are powers of two: every sum tells which steps are in it
POWERS = [1.0, 2.0, 4.0, 8.0]


def test_trailing_segments_run_to_the_end():
    batch = hindsight(buffer_of(POWERS)).sample(500)
    steps = batch.observations[:, 0].astype(int)
    np.testing.assert_array_equal(batch.command.desired_horizon, 4 - steps)
    np.testing.assert_array_equal(batch.command.desired_return, np.array([15.0, 14, 12, 8])[steps])


@pytest.mark.parametrize("trailing_probability", [0.0, 0.75])
def test_random_ends_are_labelled_by_the_rewards_between(trailing_probability):
    batch = hindsight(buffer_of(POWERS, trailing_probability=trailing_probability)).sample(5_000)
    starts, lengths = batch.observations[:, 0].astype(int), batch.command.desired_horizon.astype(int)
    for start, n_steps, desired in zip(starts, lengths, batch.command.desired_return, strict=True):
        assert 1 <= n_steps <= 4 - start
        assert desired == sum(POWERS[start : start + n_steps])


def test_random_ends_reach_every_step_from_the_first_to_the_last():
    batch = hindsight(buffer_of(POWERS, trailing_probability=0.0)).sample(5_000)
    found = set(zip(batch.observations[:, 0].astype(int), batch.command.desired_horizon.astype(int), strict=True))
    assert found == {(start, n_steps) for start in range(4) for n_steps in range(1, 5 - start)}


def test_random_ends_are_equally_likely():
    batch = hindsight(buffer_of(POWERS, trailing_probability=0.0)).sample(N)
    from_start = batch.command.desired_horizon[batch.observations[:, 0] == 0].astype(int)
    np.testing.assert_allclose(np.bincount(from_start)[1:] / len(from_start), 0.25, atol=0.025)


def test_share_of_trailing_segments():
    batch = hindsight(buffer_of(POWERS, trailing_probability=0.75)).sample(N)
    from_start = batch.command.desired_horizon[batch.observations[:, 0] == 0]
    assert (from_start == 4).mean() == pytest.approx(0.75 + 0.25 / 4, abs=0.02)


def test_cut_segments_do_not_touch_what_is_stored():
    buffer = buffer_of(POWERS, trailing_probability=0.0)
    hindsight(buffer).sample(1000)
    buffer.trailing_probability = 1.0
    np.testing.assert_array_equal(hindsight(buffer).transitions(np.array([0])).command.desired_return, [15, 14, 12, 8])
    np.testing.assert_array_equal(hindsight(buffer).transitions(np.array([0])).command.desired_horizon, [4, 3, 2, 1])


def test_segments_do_not_leak_into_the_next_episode():
    buffer = buffer_of([1, 1], [1000, 1000], trailing_probability=0.0)
    batch = hindsight(buffer).sample(2_000)
    assert batch.command.desired_return[batch.observations[:, 0] < 100].max() == 2
