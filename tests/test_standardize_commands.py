"""A constant that is added to every reward does not hide what returns say."""

import numpy as np
import pytest
import torch as th
from gymnasium.wrappers import TransformReward
from helpers import assert_same_parameters, parameters_of, tiny_model
from probe_envs import FixedStart

from sb3_udrl import UDRL
from sb3_udrl.commands import make_command, make_command_space
from sb3_udrl.policies.standardize_commands import CommandStandardizer, common_amount

BEST = 36  # of FixedStart, by going right all the time: 1 + 2 + ... + 8


def constant_added(constant):
    return TransformReward(FixedStart(), lambda reward: reward + constant)


def labels(constant, n=2000):
    """Returns and horizons of steps that pay normally distributed rewards."""
    rng = np.random.default_rng(0)
    horizons = rng.integers(1, 9, n)
    returns = constant * horizons + np.sqrt(horizons) * rng.standard_normal(n)
    return th.tensor(np.stack((returns, horizons), axis=1), dtype=th.float32)


@pytest.mark.parametrize("constant", [1000, -1000, 1e5])
def test_the_constant_is_found(constant):
    assert common_amount(*labels(constant).T) == pytest.approx(constant, rel=1e-2)


@pytest.mark.parametrize(
    ("returns", "horizons"),
    [
        ([1, 2, 3, 4], [1, 2, 3, 4]),  # the horizon says it all, as in CartPole: the return stays what it is
        ([0.1, 0.2, 0.3, 0.4], [1, 2, 3, 4]),  # but for rounding errors
        ([5, 6, 7], [2, 2, 2]),
        ([5, 5, 5], [1, 2, 3]),
        ([3, 9, 1, 7], [1, 2, 3, 4]),  # it says little
    ],
)
def test_elsewhere_there_is_none(returns, horizons):
    assert common_amount(th.tensor(returns, dtype=th.float32), th.tensor(horizons, dtype=th.float32)) == 0


def test_the_same_with_a_constant_as_without():
    inputs = []
    for constant in (0, 1000):
        standardizer = CommandStandardizer(make_command_space("absolute"))
        standardizer.update(labels(constant))
        inputs.append(standardizer(labels(constant)))
    correlation = np.corrcoef(inputs[0][:, 0], inputs[1][:, 0])[0, 1]
    assert correlation > 0.99 and inputs[1][:, 0].std() == pytest.approx(1, abs=0.01)
    th.testing.assert_close(inputs[0][:, 1], inputs[1][:, 1])


def test_it_is_decided_once():
    standardizer = CommandStandardizer(make_command_space("absolute"))
    standardizer.update(labels(1000))
    per_step = standardizer.per_step.clone()
    standardizer.update(labels(5000))
    th.testing.assert_close(standardizer.per_step, per_step, atol=0, rtol=0)


@pytest.mark.parametrize("commands", ["relative", "any", ["return"], ["horizon"]])
def test_other_commands_need_none(commands):
    standardizer = CommandStandardizer(make_command_space(commands))
    standardizer.update(th.rand(10, len(standardizer.mean)))
    assert not standardizer.per_step.any()


def test_in_numpy_too():
    policy = tiny_model(constant_added(1000)).policy
    policy.command_standardizer.update(labels(1000))
    observations = np.random.default_rng(1).standard_normal((50, 2)).astype(np.float32)
    command = make_command(1000 * np.arange(1, 51) + np.linspace(-3, 3, 50), np.arange(1, 51), 50)
    with th.no_grad():
        policy.action_head.linear.weight *= 100
        expected = policy(th.from_numpy(observations), policy.command_tensor(command)).numpy()
    assert policy.command_standardizer.per_step.any()
    np.testing.assert_allclose(policy.numpy_network()(observations, command), expected, rtol=1e-4, atol=1e-4)


def test_it_is_saved(tmp_path):
    model = tiny_model(constant_added(1000)).learn(64)
    model.save(tmp_path / "model")
    loaded = UDRL.load(tmp_path / "model", device="cpu")
    assert model.policy.command_standardizer.per_step[0] == pytest.approx(1000, rel=0.01)
    assert_same_parameters(parameters_of(loaded), parameters_of(model))


@pytest.mark.parametrize("constant", [1000, -1000])
def test_returns_are_raised_with_a_constant_in_every_reward(constant):
    model = UDRL(
        "MlpPolicy",
        constant_added(constant),
        commands="absolute",
        learning_rate=3e-3,
        learning_starts=400,
        batch_size=64,
        train_freq=80,
        gradient_steps=20,
        policy_kwargs={"net_arch": [32]},
        seed=1,
        device="cpu",
    ).learn(4_000)
    achieved = model.replay_buffer.returns - 8 * constant
    assert achieved[:50].mean() < 12 and achieved[-50:].mean() > 30
    asked = model.outcomes.asked("return") - 8 * constant
    assert (asked < 10 * BEST).all()
    assert model.policy.own_command().desired_return[0] - 8 * constant < 2 * BEST
