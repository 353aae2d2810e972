"""Episodes and their hindsight labels."""

import numpy as np
import pytest
from helpers import episode

from sb3_udrl.buffers import returns_to_go, steps_to_go
from sb3_udrl.buffers.episodes import discounted_sums


def test_returns_to_go_by_hand():
    np.testing.assert_array_equal(returns_to_go(np.array([1.0, -2.0, 5.0])), [4, 3, 5])


def test_discounted_returns_to_go_by_hand():
    rewards = np.array([1, 2, 4], dtype=np.float32)
    np.testing.assert_array_equal(discounted_sums(rewards, steps_to_go(3), 0.5), [3, 4, 4])
    np.testing.assert_array_equal(discounted_sums(rewards, steps_to_go(3), 0.0), [1, 2, 4])
    np.testing.assert_array_equal(rewards, [1, 2, 4])  # not changed in place


def test_discounted_sums_end_with_each_episode():
    values, steps = np.array([1.0, 2.0, 4.0, 8.0, 16.0]), np.array([3, 2, 1, 2, 1])
    np.testing.assert_array_equal(discounted_sums(values, steps, 0.5), [3, 4, 4, 16, 16])


def test_first_step_command_is_full_return():
    """A prefix sum that wraps around at the first step would give 0 here, in every episode."""
    assert returns_to_go(np.array([3.0, 4.0]))[0] == 7


def test_steps_to_go_by_hand():
    np.testing.assert_array_equal(steps_to_go(4), [4, 3, 2, 1])


def test_one_step_episode():
    np.testing.assert_array_equal(returns_to_go(np.array([2.5])), [2.5])
    np.testing.assert_array_equal(steps_to_go(1), [1])


def test_labels_are_summed_in_double_precision():
    """In single precision, small rewards after a large one would be lost."""
    rewards = np.full(100_000, 0.1, dtype=np.float32)
    assert returns_to_go(rewards)[0] == pytest.approx(100_000 * float(np.float32(0.1)), rel=1e-9)


def test_length_is_the_number_of_steps():
    assert len(episode([1, 2, 3])) == 3
