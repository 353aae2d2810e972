"""Commands: how they are built, and what one step of experience does to them."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from sb3_udrl import Command
from sb3_udrl.buffers import returns_to_go, steps_to_go
from sb3_udrl.commands import advance, make_command


def test_numbers_become_one_row_per_environment():
    command = make_command(10, 5, n_envs=3)
    assert isinstance(command, Command)
    np.testing.assert_array_equal(command.desired_return, [10.0, 10.0, 10.0])
    np.testing.assert_array_equal(command.desired_horizon, [5.0, 5.0, 5.0])
    assert command.desired_return.dtype == command.desired_horizon.dtype == np.float64


def test_rows_are_independent_copies():
    asked = np.array([1.0, 2.0])
    command = make_command(asked, 5, n_envs=2)
    command.desired_return[0] = 99
    command.desired_horizon[0] = 99
    assert asked[0] == 1
    np.testing.assert_array_equal(command.desired_horizon, [99, 5])


def test_a_row_of_one_serves_all_environments():
    np.testing.assert_array_equal(make_command([7], [3], n_envs=2).desired_return, [7, 7])


@pytest.mark.parametrize(
    ("desired_return", "desired_horizon", "message"),
    [
        (np.nan, 5, "the desired return is NaN"),
        (np.inf, 5, "return=inf: a command must be finite"),
        (1, np.inf, 'horizon=inf: a command must be finite; leave "horizon" out'),
        (1, [np.inf, 5], "horizon=inf: a command must be finite"),
        (1, -np.inf, "horizon=-inf: a command must be finite"),
        (1, np.nan, "the desired horizon is NaN"),
        (1, 0, "horizon=0.0: must be at least 1"),
        (1, 0.5, "horizon=0.5: must be at least 1"),
        ([1, 2, 3], 5, r"desired return has shape \(3,\).*\(2,\)"),
        (1, [[5, 5]], r"desired horizon has shape \(1, 2\).*\(2,\)"),
        ([1, np.nan], 5, "the desired return is NaN"),
        ("much", 5, "desired return='much': give a number"),
    ],
)
def test_bad_commands_are_refused(desired_return, desired_horizon, message):
    with pytest.raises(ValueError, match=message):
        make_command(desired_return, desired_horizon, n_envs=2)


def test_advance_pays_off_the_reward_and_a_step():
    command = advance(make_command([10, -3], [5, 2], n_envs=2), np.array([4.0, -1.0]))
    np.testing.assert_array_equal(command.desired_return, [6, -2])
    np.testing.assert_array_equal(command.desired_horizon, [4, 1])


def test_the_horizon_never_falls_below_one():
    command = make_command(0, 2)
    horizons = []
    for _ in range(4):
        command = advance(command, 0)
        horizons.append(command.desired_horizon[0])
    assert horizons == [1, 1, 1, 1]


def test_the_desired_return_may_pass_zero():
    """Clipping it would hide from the agent that it overshot."""
    assert advance(make_command(1, 5), 3).desired_return[0] == -2


def test_advance_leaves_the_command_before_as_it_was():
    before = make_command(10, 5)
    advance(before, 1)
    assert before.desired_return[0] == 10 and before.desired_horizon[0] == 5


def test_where_replaces_rows():
    mixed = make_command([1, 2], [3, 4], 2).where(np.array([False, True]), make_command([5, 6], [7, 8], 2))
    np.testing.assert_array_equal(mixed.desired_return, [1, 6])
    np.testing.assert_array_equal(mixed.desired_horizon, [3, 8])


@given(hnp.arrays(np.float64, st.integers(1, 200), elements=st.floats(-1e4, 1e4)))
def test_replaying_an_episode_from_its_first_label_reproduces_every_later_label(rewards):
    """What is asked for while acting and what is learned in hindsight are the same thing, at every step."""
    labels, horizons = returns_to_go(rewards), steps_to_go(len(rewards))
    command = make_command(labels[0], horizons[0])
    for t, reward in enumerate(rewards):
        np.testing.assert_allclose(command.desired_return[0], labels[t], rtol=0, atol=1e-6)
        assert command.desired_horizon[0] == horizons[t]
        command = advance(command, reward)
    np.testing.assert_allclose(command.desired_return[0], 0, atol=1e-6)
