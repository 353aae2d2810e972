"""Small worlds with known answers: what a behavior function that learned must do."""

import numpy as np
import pytest
from helpers import make_vec, probe_model
from probe_envs import Clock, Corridor, CostlySteps, LuckyStart, TellingArms, TwoArms, TwoPaths

from sb3_udrl.commands import make_command
from sb3_udrl.evaluation import run_commands
from sb3_udrl.policies.conditioning import CONDITIONINGS


def act(model, observation, desired_return, desired_horizon):
    action, _ = model.predict(
        np.asarray(observation, np.float32), deterministic=True, command=(desired_return, desired_horizon)
    )
    return int(action)


def obeys_arms(model):
    return act(model, [1], 0, 1) == 0 and act(model, [1], 1, 1) == 1


@pytest.mark.parametrize("conditioning", CONDITIONINGS)
def test_two_arms_obey_the_command_unless_it_is_masked(conditioning):
    model = probe_model(make_vec(TwoArms), 1_000, policy_kwargs={"conditioning": conditioning})
    assert obeys_arms(model) == (conditioning != "masked")


def test_two_arms_without_hidden_layers():
    """The observation is constant, so its features are scaled by the command only."""
    model = probe_model(make_vec(TwoArms), 1_000, net_arch=(), policy_kwargs={"conditioning": "concat"})
    assert obeys_arms(model)


def test_two_arms_with_scaled_commands():
    policy_kwargs = {"return_scale": 1.0, "horizon_scale": 0.1}
    assert obeys_arms(probe_model(make_vec(TwoArms), 1_000, policy_kwargs=policy_kwargs))


@pytest.mark.parametrize("conditioning", [c for c in CONDITIONINGS if c != "masked"])
def test_observation_and_command_are_both_needed(conditioning):
    model = probe_model(make_vec(TellingArms), 1_500, policy_kwargs={"conditioning": conditioning})
    assert [act(model, [paying], desired, 1) for paying in (-1, 1) for desired in (0, 1)] == [1, 0, 0, 1]


def test_the_horizon_alone_can_decide():
    """Both doors pay 1; only the time that is left tells which one is meant."""
    model = probe_model(make_vec(Corridor, length=3), 2_500)
    achieved = run_commands(model, make_vec(Corridor, length=3), make_command(1, [1, 3], 2))
    np.testing.assert_array_equal(achieved["return"], [1, 1])
    np.testing.assert_array_equal(achieved["horizon"], [1, 3])


def test_different_returns_lead_down_different_paths():
    model = probe_model(make_vec(TwoPaths), 2_500)
    achieved = run_commands(model, make_vec(TwoPaths, 2), make_command([1, 5, 1, 5], [2, 6, 2, 6], 4))
    np.testing.assert_array_equal(achieved["return"], [1, 5, 1, 5])
    np.testing.assert_array_equal(achieved["horizon"], [2, 6, 2, 6])


def test_negative_rewards_and_a_command_that_says_when_to_stop():
    """Nothing but the remaining command changes during an episode."""
    model = probe_model(make_vec(CostlySteps), 3_000)
    env = make_vec(CostlySteps)
    asked = np.arange(1, 6)
    achieved = run_commands(model, env, make_command(-asked, asked, 5))
    np.testing.assert_array_equal(achieved["horizon"], asked)
    np.testing.assert_array_equal(achieved["return"], -asked)


def test_several_environments_learn_the_same():
    assert obeys_arms(probe_model(make_vec(TwoArms, 3), 1_200, train_freq=40))


@pytest.mark.parametrize("trailing_probability", [0.0, 0.75])
def test_random_segment_ends_teach_obedience_too(trailing_probability):
    model = probe_model(make_vec(TwoPaths), 5_000, replay_buffer_kwargs={"trailing_probability": trailing_probability})
    achieved = run_commands(model, make_vec(TwoPaths), make_command([1, 5], [2, 6], 2))
    np.testing.assert_array_equal(achieved["return"], [1, 5])


RELATIVE = {"commands": "relative", "command_sampler": "joint", "command_sampler_kwargs": {"optimism": 2.0}}


def actions_in(model, observations, command):
    observations = np.array(observations, np.float32)[:, None]
    actions, _ = model.predict(observations, deterministic=True, command=command)
    return actions.tolist()


def test_where_returns_say_more_of_the_start_than_of_the_behavior_relative_commands_tell_good_from_lucky():
    starts = np.linspace(-0.9, 0.9, 10)
    model = probe_model(make_vec(LuckyStart), 2_000, **RELATIVE)
    assert actions_in(model, starts, {"advantage": 2}) == [1] * 10
    assert actions_in(model, starts, {"advantage": -2}) == [0] * 10
    absolute = probe_model(make_vec(LuckyStart), 2_000)
    assert actions_in(absolute, starts, (100 * starts, 1)) == actions_in(absolute, starts, (100 * starts + 1, 1))


@pytest.mark.parametrize(("ends", "better"), [(False, 1), (True, 0)])
def test_what_a_time_limit_cuts_off_counts_neither_way_and_what_ends_counts(ends, better):
    model = probe_model(make_vec(Clock, ends=ends), 2_000, **RELATIVE)
    assert actions_in(model, [0, 0.25, 0.5, 0.75], {"advantage": 1.5}) == [better] * 4
