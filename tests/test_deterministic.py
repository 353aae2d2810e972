"""The same seed gives the same run."""

import numpy as np
import pytest
from helpers import assert_same_parameters, make_vec, parameters_of, tiny_model
from probe_envs import Scripted, TellingArms
from stable_baselines3.common.env_util import make_vec_env


def run(env, **kwargs):
    model = tiny_model(env, **kwargs).learn(500)
    env = model.get_env()
    env.seed(1)
    observations, state, rewards, actions = env.reset(), None, [], []
    for _ in range(100):
        action, state = model.predict(observations, state, deterministic=False)
        observations, reward, _, _ = env.step(action)
        actions.append(action)
        rewards.append(reward)
    return parameters_of(model), np.array(actions), np.array(rewards)


def assert_same_runs(first, second):
    assert_same_parameters(first[0], second[0])
    np.testing.assert_array_equal(first[1], second[1])
    np.testing.assert_array_equal(first[2], second[2])


@pytest.mark.parametrize("env_id", ["CartPole-v1", "Pendulum-v1"])
def test_the_same_seed_gives_the_same_run(env_id):
    assert_same_runs(*(run(make_vec_env(env_id, 2, seed=0)) for _ in range(2)))


def test_another_seed_gives_another_run():
    first, second = (run(make_vec(TellingArms), seed=seed) for seed in (0, 1))
    assert (first[1] != second[1]).any()
    assert any((first[0][name] != second[0][name]).any() for name in first[0])


def test_without_a_seed_every_run_is_another():
    first, second = (run(make_vec(TellingArms), seed=None) for _ in range(2))
    assert any((first[0][name] != second[0][name]).any() for name in first[0])


@pytest.mark.parametrize(
    "kwargs",
    [
        {"warm_up": "mixed", "epsilon": 0.3, "temperature": [1.0, 0.3]},
        {"replay_buffer_kwargs": {"sampling": "rank", "retention": "mixed", "trailing_probability": 0.5}},
        {"patience": 2},
        {"command_sampler": "curriculum"},
        {"command_sampler": "mean_plus_std"},
    ],
    ids=str,
)
def test_every_source_of_randomness_follows_the_seed(kwargs):
    assert_same_runs(*(run(make_vec(Scripted, 2, lengths=(3, 5)), **kwargs) for _ in range(2)))


def test_the_global_generators_of_others_do_not_matter():
    first = run(make_vec(Scripted))
    np.random.seed(123)
    assert_same_runs(first, run(make_vec(Scripted)))
