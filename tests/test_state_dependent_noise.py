"""Noise, a share of which is one function of the situation through an episode."""

from importlib.util import find_spec

import numpy as np
import pytest
import torch as th
from gymnasium import spaces
from helpers import make_vec, tiny_model
from probe_envs import Scripted
from torch import nn

from sb3_udrl import UDRL
from sb3_udrl.exploration.state_dependent_noise import StateDependentNoise, make_noise
from sb3_udrl.policies import CommandPolicy
from sb3_udrl.policies.action_heads import GaussianHead, SquashedGaussianHead

FOREST = pytest.param("Pendulum-v1", "ForestPolicy", marks=pytest.mark.skipif(not find_spec("sklearn"), reason="extra"))
EVERYWHERE = np.ones(2, dtype=bool)


def make(share, n_envs=2, n_dims=3, seed=0):
    return StateDependentNoise(share, n_envs, n_dims, np.random.default_rng(seed))


def situations(n, seed=1):
    return np.random.default_rng(seed).standard_normal((n, 2, 4)) * [1, 10, 100, 0] + [0, 5, 0, 7]


def test_draws_of_many_episodes_are_standard_normal_in_every_situation():
    noise, seen, drawn = make(0.5), situations(4_000), []
    for observations in seen:
        noise.renew(EVERYWHERE)
        drawn.append(noise(observations))
    drawn = np.concatenate(drawn)
    assert drawn.dtype == np.float32
    np.testing.assert_allclose(drawn.mean(0), 0, atol=0.05)
    np.testing.assert_allclose(np.cov(drawn.T), np.eye(3), atol=0.06)
    far = np.abs(seen.reshape(-1, 4)[:, 2]) > 150
    assert 0 < far.sum() < 4_000
    np.testing.assert_allclose(drawn[far].std(0), 1, atol=0.06)


@pytest.mark.parametrize("share", [0.0, 0.3, 1.0])
def test_the_share_is_that_of_what_two_visits_have_in_common(share):
    """Of one situation in one episode."""
    noise, pairs, here = make(share), [], np.tile([1.0, -2.0, 0.5, 3.0], (2, 1))
    for observations in situations(50):
        noise(observations)
    noise.inputs.statistics.update = lambda _: None  # so that both visits see the very same
    for _ in range(3_000):
        noise.renew(EVERYWHERE)
        pairs.append((noise(here), noise(here)))
    first, second = np.asarray(pairs).transpose(1, 0, 2, 3).reshape(2, -1)
    assert np.corrcoef(first, second)[0, 1] == pytest.approx(share, abs=0.03)


def test_situations_that_are_opposite_are_answered_in_opposite_ways():
    noise = make(1.0)
    for observations in situations(2_000):
        noise(observations)
    noise.inputs.statistics.update = lambda _: None
    noise.functions[:, -1] = 0  # without the constant
    center = noise.inputs.statistics.mean
    offset = np.array([0.3, 4.0, -20.0, 0.0])
    np.testing.assert_allclose(noise(np.tile(center + offset, (2, 1))), -noise(np.tile(center - offset, (2, 1))), atol=1e-6)


def test_only_environments_where_an_episode_starts_change():
    noise, here = make(1.0), np.ones((2, 4))
    noise(here)
    noise.inputs.statistics.update = lambda _: None
    before = noise(here)
    np.testing.assert_array_equal(noise(here), before)
    noise.renew(np.array([False, True]))
    after = noise(here)
    np.testing.assert_array_equal(after[0], before[0])
    assert (after[1] != before[1]).all()


def test_dictionaries_are_seen_as_vectors():
    parts = situations(20)
    whole, split = make(0.5), make(0.5)
    for observations in parts:
        together = split({"a": observations[:, :1], "b": observations[:, 1:]})
        np.testing.assert_array_equal(together, whole(observations))


def test_noise_is_counted_in_standard_deviations():
    space = spaces.Box(np.array([0.0, -1.0]), np.array([4.0, 1.0]), dtype=np.float64)
    params = th.tensor([[0.5, 0.0, np.log(0.1), np.log(0.5)]])
    noise = th.tensor([[1.0, -2.0]])
    np.testing.assert_allclose(GaussianHead(1, space).from_noise(params, noise), [[3.2, -1.0]], rtol=1e-6)
    expected = [[2 + 2 * np.tanh(0.6), np.tanh(-1)]]
    np.testing.assert_allclose(SquashedGaussianHead(1, space).from_noise(params, noise), expected, rtol=1e-6)


def actions_of_episodes(share, **kwargs):
    """Of a model that has done with its warm-up, ``(n_episodes, length)``; it sees one number that never changes."""
    env = make_vec(Unmoved, n_envs=2)
    model = tiny_model(env, net_arch=(4,), commands="relative", gradient_steps=0, sde_share=share, **kwargs)
    model.replay_buffer.has_differences = lambda: True
    model._n_updates = 1
    model.learn(400)
    return np.stack([model.replay_buffer.episode(i).actions[:, 0] for i in range(6, model.replay_buffer.n_episodes)])


class Unmoved(Scripted):
    """Always the same to see, for ten steps."""

    observation_space = spaces.Box(0, 1, (1,))

    def __init__(self):
        super().__init__(lengths=(10,), action_space=spaces.Box(-1e3, 1e3, (1,)))

    def _observation(self):
        return np.ones(1, np.float32)


@pytest.mark.parametrize("activation", [nn.ReLU, nn.ELU])
def test_episodes_are_of_one_piece(activation):
    """With both kinds of actors: numpy does not know ELU."""
    policy_kwargs = {"box_head": "gaussian", "activation_fn": activation, "conditioning": "masked"}  # commands change nothing
    kwargs = {"temperature": 0.1, "policy_kwargs": policy_kwargs}  # within the bounds
    actions = actions_of_episodes(1.0, **kwargs)
    assert actions.std(1).max() < 1e-3 * actions.mean(1).std()
    assert len(np.unique(actions[:, 0].round(3))) == len(actions) > 20  # a new function in every one
    actions = actions_of_episodes(0.0, **kwargs)
    assert actions.mean(1).std() < 0.6 * actions.std(1).mean()  # a tenth of the variance, were there infinitely many


def test_no_temperature_is_no_noise():
    assert np.ptp(actions_of_episodes(0.5, temperature=0.0, policy_kwargs={"box_head": "gaussian"}), axis=1).max() == 0


def test_a_behavior_function_draws_for_itself_by_default():
    model = tiny_model("Pendulum-v1")
    assert model._exploration.noise is None
    assert make_noise(0.0, model.policy, 1, model.rng) is None


@pytest.mark.parametrize("share", [-0.1, 1.1, np.nan])
def test_a_share_outside_of_its_range(share):
    with pytest.raises(ValueError, match=r"sde_share=.*between 0 and 1"):
        tiny_model("Pendulum-v1", sde_share=share, policy_kwargs={"box_head": "gaussian"})


@pytest.mark.parametrize("env, policy", [("CartPole-v1", "CommandPolicy"), ("Pendulum-v1", "CommandPolicy"), FOREST])
def test_actions_that_are_not_normally_distributed(env, policy):
    with pytest.raises(ValueError, match=r"sde_share=0\.5 is for normally distributed actions"):
        UDRL(policy, env, sde_share=0.5)


class OwnActions(CommandPolicy):
    """Acts in a way of its own, as by masks."""

    def act(self, *args, **kwargs):
        return np.zeros_like(super().act(*args, **kwargs))


def test_a_policy_whose_own_way_to_act_would_be_passed_over():
    with pytest.raises(ValueError, match=r"sde_share=0\.5 is for .* that does not override act.*OwnActions"):
        UDRL(OwnActions, "Pendulum-v1", sde_share=0.5, policy_kwargs={"box_head": "gaussian"})
