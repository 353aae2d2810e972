"""Episodes that are looked at, and what their numbers are called."""

import gymnasium as gym
import numpy as np
import pytest
from gymnasium import spaces
from helpers import CommandSpy, make_vec, tiny_model
from probe_envs import AnySpaces, Scripted
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.vec_env import SubprocVecEnv

from sb3_udrl.commands import COMMAND_SPACES, CommandSpace
from sb3_udrl.explain import feature_names, input_names, play

LENGTHS = (3, 1, 2)


def test_situations_are_those_of_complete_episodes():
    env = make_vec(Scripted, 2, lengths=LENGTHS)
    model = tiny_model(env)
    model.set_command(100, 5)
    with CommandSpy(model) as spy:
        seen = play(model, env, 3)  # the second environment plays two of them
    assert seen.episodes.tolist() == [0, 0, 0, 1, 1, 1, 2]
    assert seen.steps.tolist() == [0, 1, 2, 0, 1, 2, 0]
    assert seen.observations.tolist() == [[0, 0], [0, 1], [0, 2], [0, 0], [0, 1], [0, 2], [1, 0]]
    assert seen.returns.tolist() == [1 + 2 + 3, 1 + 2 + 3, 11]
    np.testing.assert_array_equal(seen.command.desired_return, [100, 99, 97, 100, 99, 97, 100])
    np.testing.assert_array_equal(seen.command.desired_horizon, [5, 4, 3, 5, 4, 3, 5])
    assert len(spy.commands) == 4  # until the last of them is over
    assert seen.actions.shape == (7,)


def test_a_command_per_environment():
    env = make_vec(Scripted, 2, lengths=(1,))
    seen = play(tiny_model(env), env, 2, command=([1, 2], [3, 4]))
    assert seen.command.desired_return.tolist() == [1, 2] and seen.command.desired_horizon.tolist() == [3, 4]


def test_dictionary_observations():
    space = spaces.Dict({"vector": spaces.Box(-5, 5, (3,)), "number": spaces.Discrete(3)})
    env = make_vec(AnySpaces, 2, observation_space=space, action_space=spaces.Box(-1, 1, (2,)))
    seen = play(tiny_model(env), env, 2)
    assert seen.observations["vector"].shape == (10, 3) and seen.observations["number"].shape == (10,)
    assert seen.actions.shape == (10, 2)
    assert feature_names(env) == ["number", "vector[0]", "vector[1]", "vector[2]"]  # Gymnasium sorts the keys


def test_no_episodes():
    env = make_vec(Scripted)
    with pytest.raises(ValueError, match="n_episodes=0: must be at least 1"):
        play(tiny_model(env), env, 0)


@pytest.mark.parametrize("env_id", ["Acrobot-v1", "CartPole-v1", "LunarLander-v3", "MountainCar-v0", "Pendulum-v1"])
def test_environments_that_are_known(env_id):
    env = gym.make(env_id)
    names = feature_names(env)
    assert len(set(names)) == len(names) == env.observation_space.shape[0]
    assert not any("[" in name for name in names)
    vec = make_vec_env(env_id, 2, env_kwargs={"render_mode": None})
    assert input_names(vec, COMMAND_SPACES["absolute"]) == [*names, "desired return", "desired horizon"]


def test_names_of_commands():
    env = Scripted()
    names = ["observation[0]", "observation[1]"]
    assert input_names(env, COMMAND_SPACES["relative"]) == [*names, "desired advantage", "unasked advantage"]
    assert input_names(env, CommandSpace(["return", "horizon"])) == [
        *names,
        "desired return",
        "desired horizon",
        "desired return per step",
        "unasked return",
        "unasked horizon",
    ]


def test_names_that_the_environment_gives():
    class Named(Scripted):
        feature_names = ("episode", "time")

    assert feature_names(Named()) == ["episode", "time"]
    assert feature_names(make_vec(Named, 2)) == ["episode", "time"]
    Named.feature_names = ("time", "time")
    assert feature_names(Named()) == ["time [0]", "time [1]"]
    Named.feature_names = ("episode",)
    with pytest.raises(ValueError, match="the environment has 1 feature_names, and observations of 2 numbers"):
        feature_names(Named())


def test_asking_for_names_leaves_other_processes_alive():
    env = make_vec_env("CartPole-v1", 1, vec_env_cls=SubprocVecEnv)
    assert feature_names(env) == feature_names(gym.make("CartPole-v1"))
    assert env.reset().shape == (1, 4)
    env.close()


def test_names_by_index():
    assert feature_names(Scripted()) == ["observation[0]", "observation[1]"]
    arguments = {"action_space": spaces.Discrete(2), "length": 2}
    assert feature_names(AnySpaces(spaces.Discrete(3), **arguments)) == ["observation"]
    assert feature_names(AnySpaces(spaces.Box(-1, 1, (1, 2)), **arguments)) == ["observation[0, 0]", "observation[0, 1]"]
    stacked = gym.wrappers.FrameStackObservation(gym.make("CartPole-v1"), 2)  # known, but not in this shape
    assert feature_names(stacked)[-1] == "observation[1, 3]"
