"""Acting in numpy: the same function as the network's own, wherever it takes its place."""

import numpy as np
import pytest
import torch as th
from gymnasium import spaces
from helpers import CommandSpy, make_vec, needs_gpu, obeying_model
from hypothesis import given
from hypothesis import strategies as st
from probe_envs import TwoArms
from stable_baselines3.common.utils import obs_as_tensor
from torch import nn

from sb3_udrl import CommandPolicy
from sb3_udrl.commands import make_command
from sb3_udrl.policies.standardize import Standardizer

OBSERVATIONS = [
    spaces.Box(-1, 1, (3,)),
    spaces.Box(-9, 9, (2, 2), np.float64),
    spaces.Box(0, 9, (4,), np.uint8),
    spaces.Dict(b=spaces.Box(-1, 1, (3,)), a=spaces.Box(-1, 1, (2, 2))),
]
ACTIONS = [
    spaces.Discrete(4, start=-1),
    spaces.MultiDiscrete([2, 3]),
    spaces.MultiBinary(3),
    spaces.Box(-2, 2, (2,)),
    spaces.Box(-np.inf, np.inf, (2,)),
]


def scrambled(observation_space=OBSERVATIONS[0], action_space=ACTIONS[0], seed=0, **kwargs):
    """A network whose weights and statistics are random, some gates far in saturation."""
    policy = CommandPolicy(observation_space, action_space, lambda _: 1e-3, **{"net_arch": [7, 5], **kwargs})
    generator = th.Generator().manual_seed(seed)
    with th.no_grad():
        for parameter in policy.parameters():
            parameter.copy_(3 * th.randn(parameter.shape, generator=generator))
        for standardizer in (policy.feature_standardizer, policy.command_standardizer):
            if isinstance(standardizer, Standardizer):
                standardizer.update(5 * th.randn(20, len(standardizer.mean), generator=generator) + 1)
    return policy


def sampled(space, n, seed=0):
    """A batch of observations."""
    space.seed(seed)
    draws = [space.sample() for _ in range(n)]
    return (
        {key: np.stack([draw[key] for draw in draws]) for key in space.spaces}
        if isinstance(space, spaces.Dict)
        else np.stack(draws)
    )


@given(
    observation_space=st.sampled_from(OBSERVATIONS),
    action_space=st.sampled_from(ACTIONS),
    conditioning=st.sampled_from(["gating", "first_gating", "concat", "concat_gating", "linear", "masked"]),
    activation_fn=st.sampled_from([nn.ReLU, nn.Tanh]),
    net_arch=st.lists(st.integers(1, 9), max_size=3),
    scales=st.tuples(st.sampled_from([None, 0.02]), st.sampled_from([None, 0.3])),
    standardize=st.booleans(),
    seed=st.integers(0, 2**16),
)
def test_the_network_computes_the_same_in_numpy(
    observation_space, action_space, conditioning, activation_fn, net_arch, scales, standardize, seed
):
    policy = scrambled(
        observation_space,
        action_space,
        seed,
        conditioning=conditioning,
        activation_fn=activation_fn,
        net_arch=net_arch,
        return_scale=scales[0],
        horizon_scale=scales[1],
        standardize_observations=standardize,
    )
    rng = np.random.default_rng(seed)
    observations = sampled(observation_space, 5, seed)
    command = make_command(100 * rng.standard_normal(5), 1 + 100 * rng.random(5), 5)
    with th.no_grad():
        expected = policy(obs_as_tensor(observations, "cpu"), policy.command_tensor(command)).numpy()
    network = policy.numpy_network()
    assert network is not None
    np.testing.assert_allclose(network(observations, command), expected, rtol=1e-4, atol=1e-3)


@pytest.mark.parametrize("dtype", [np.float64, np.int64])
def test_small_differences_between_large_numbers_count_in_both(dtype):
    """Seconds of the day, among other numbers, which single precision could not tell apart."""
    space = spaces.Dict(clock=spaces.Box(0, 2e9, (1,), dtype), other=spaces.Box(-1, 1, (2,)))
    policy = scrambled(space)
    observations = {
        "other": np.zeros((100, 2), np.float32),  # not in the order of the space
        "clock": (1_700_000_000 + np.arange(100))[:, None].astype(dtype),
    }
    command = make_command(3, 4, 100)
    tensors = obs_as_tensor(observations, "cpu")
    policy.feature_standardizer.n_updates.zero_()
    policy.update_statistics(tensors, policy.command_tensor(command))
    with th.no_grad():
        expected = policy(tensors, policy.command_tensor(command)).numpy()
    assert len(np.unique(expected, axis=0)) == 100
    np.testing.assert_allclose(policy.numpy_network()(observations, command), expected, rtol=1e-4, atol=1e-3)


def test_categorical_draws_have_the_probabilities_of_the_network():
    policy = scrambled(net_arch=[3])
    n = 20_000
    observation, command = np.full((n, 3), 0.3, np.float32), make_command(1.5, 2, n)
    with th.no_grad():
        policy.action_head.linear.weight *= 0.1
        params = policy(th.as_tensor(observation[:1]), policy.command_tensor(make_command(1.5, 2)))
    temperature = np.repeat(np.float32([[1.0], [0.5]]), n // 2, axis=0)
    drawn = policy.actor(np.random.default_rng(0))(observation, command, temperature) + 1
    for half, factor in ((drawn[: n // 2], 1.0), (drawn[n // 2 :], 2.0)):
        expected = th.softmax(factor * params[0], 0).numpy()
        np.testing.assert_allclose(np.bincount(half, minlength=4) / len(half), expected, atol=0.015)


@pytest.mark.parametrize("action_space", ACTIONS, ids=str)
@pytest.mark.parametrize("device", ["cpu", pytest.param("cuda", marks=needs_gpu)])
def test_without_temperature_the_mode_is_drawn(action_space, device):
    policy = scrambled(action_space=action_space, box_head="gaussian" if isinstance(action_space, spaces.Box) else None)
    policy = policy.to(device)
    observations, command = np.random.default_rng(0).standard_normal((6, 3)).astype(np.float32), make_command(3, 4, 6)
    drawn = policy.actor(np.random.default_rng(0))(observations, command, np.zeros((6, 1), np.float32))
    expected = policy.act(th.as_tensor(observations, device=device), command, deterministic=True)
    assert drawn.shape == expected.shape
    np.testing.assert_allclose(drawn, expected, rtol=1e-4, atol=1e-4)


class OwnForward(CommandPolicy):
    def forward(self, observation, command):
        return super().forward(observation, -command)


@pytest.mark.parametrize(
    "policy",
    [
        OwnForward(OBSERVATIONS[0], ACTIONS[0], lambda _: 1e-3),
        scrambled(conditioning="bilinear"),
        scrambled(conditioning="prelu"),
        scrambled(activation_fn=nn.ELU),
        scrambled(spaces.Discrete(3)),
        scrambled(spaces.Box(0, 255, (1, 36, 36), np.uint8), net_arch=[4]),
        scrambled(spaces.Dict(a=OBSERVATIONS[0], b=spaces.Discrete(2))),
    ],
    ids=lambda policy: f"{type(policy).__name__}-{policy.conditioning}-{type(policy.observation_space).__name__}",
)
def test_what_only_pytorch_knows_is_left_to_it(policy):
    """The default actor calls ``act`` with the same arguments: without temperature, both return the mode."""
    rng = np.random.default_rng(0)
    assert policy.numpy_network() is None
    one = sampled(policy.observation_space, 1)
    command = make_command(3, 4)
    drawn = policy.actor(rng)(one, command, np.zeros((1, 1), np.float32))
    np.testing.assert_array_equal(drawn, policy.act(obs_as_tensor(one, "cpu"), command, deterministic=True))


class OwnAct(CommandPolicy):
    def act(self, *args, **kwargs):
        self.n_calls = getattr(self, "n_calls", 0) + 1
        return super().act(*args, **kwargs)


def test_collecting_acts_in_numpy_also_while_it_is_watched(monkeypatch):
    model = obeying_model(make_vec(TwoArms, 2)).learn(64)
    calls = []
    monkeypatch.setattr(CommandPolicy, "__call__", lambda self, *args: calls.append(args) or nn.Module.__call__(self, *args))
    model.gradient_steps = 0
    with CommandSpy(model) as spy:
        model.learn(64, reset_num_timesteps=False)
    assert len(spy.commands) > 16
    assert not calls


def test_a_policy_that_acts_in_its_own_way_does_so_while_collecting():
    model = obeying_model(make_vec(TwoArms, 2), policy=OwnAct).learn(64)
    model.gradient_steps, model.policy.n_calls = 0, 0
    model.learn(64, reset_num_timesteps=False)
    assert model.policy.n_calls > 16
