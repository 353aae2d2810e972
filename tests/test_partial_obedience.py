"""Small worlds with known answers: a part of a command is obeyed whether the others are asked for or not."""

import functools

import numpy as np
import pytest
from helpers import make_vec, probe_model
from probe_envs import LuckyStart, Shift, TwoPaths

from sb3_udrl import UDRL
from sb3_udrl.evaluation import run_commands

OBEDIENCE = {"gradient_steps": 0.6, "learning_rate": 3e-3, "practice_share": 0.3, "practice_start": 0.0}
KINDS = {
    "any": {"commands": "any", "command_sampler": "adaptive", "obedience_kwargs": OBEDIENCE},
    "return and horizon": {
        "commands": ["return", "horizon"],
        "command_sampler": "quantile",
        "command_sampler_kwargs": {"low": 0.0},
    },
}
MASKED = {"conditioning": "masked"}
POLICIES = ["CommandPolicy", "ForestPolicy"]
RETURNS, HORIZONS = np.arange(6), np.arange(1, 6)


@functools.cache
def trained(env_class, kind, policy, n_timesteps=2_600):
    """A model for several tests; none of them changes it."""
    env, kwargs = make_vec(env_class), KINDS[kind]
    if policy == "CommandPolicy":
        return probe_model(env, n_timesteps, gradient_steps=30, **kwargs)
    forest = {"estimator_kwargs": {"n_estimators": 20, "min_samples_leaf": 5}}
    settings = {"learning_starts": 600, "train_freq": 100, "seed": 0, "device": "cpu"}
    return UDRL(policy, env, policy_kwargs=forest, **settings, **kwargs).learn(n_timesteps)


def achieved(model, env_class=Shift, guidance=None, **asked):
    asked = {name.removesuffix("_"): np.asarray(values, np.float64) for name, values in asked.items()}
    command = model.command_space.make(asked, len(next(iter(asked.values()))))
    return run_commands(model, make_vec(env_class), command, guidance=guidance)


@pytest.mark.parametrize("policy", POLICIES)
@pytest.mark.parametrize("kind", KINDS)
def test_the_return_alone(kind, policy):
    np.testing.assert_array_equal(achieved(trained(Shift, kind, policy), return_=RETURNS)["return"], RETURNS)


@pytest.mark.parametrize("policy", POLICIES)
@pytest.mark.parametrize("kind", KINDS)
def test_the_horizon_alone(kind, policy):
    np.testing.assert_array_equal(achieved(trained(Shift, kind, policy), horizon=HORIZONS)["horizon"], HORIZONS)


@pytest.mark.parametrize("policy", POLICIES)
@pytest.mark.parametrize("kind", KINDS)
def test_return_and_horizon(kind, policy):
    returns, horizons = [0, 0, 1, 1, 2, 3], [1, 2, 2, 3, 4, 4]
    result = achieved(trained(Shift, kind, policy), return_=returns, horizon=horizons)
    np.testing.assert_array_equal(result["return"], returns)
    np.testing.assert_array_equal(result["horizon"], horizons)


@pytest.mark.parametrize("policy", POLICIES)
def test_the_advantage_alone(policy):
    """A start may be lucky; what is asked for is what actions add to it."""
    model = trained(LuckyStart, "any", policy, 1_400)
    starts = np.linspace(-0.9, 0.9, 10, dtype=np.float32)[:, None]
    for advantage, expected in ((2, 1), (-2, 0)):
        actions, _ = model.predict(starts, deterministic=True, command={"advantage": advantage})
        assert actions.tolist() == [expected] * 10


@pytest.mark.parametrize("policy", POLICIES)
def test_all_parts(policy):
    """With an advantage, more return is asked for within the same horizon."""
    model = trained(Shift, "any", policy)
    result = achieved(model, return_=[1, 2, 3], horizon=[3, 4, 4], advantage=[0, 0, 0])
    np.testing.assert_array_equal(result["return"], [1, 2, 3])
    np.testing.assert_array_equal(result["horizon"], [3, 4, 4])
    result = achieved(model, horizon=[5, 5], advantage=[-1, 1])
    np.testing.assert_allclose(result["horizon"], 5, atol=1)
    assert result["return"][1] > result["return"][0]


@pytest.mark.parametrize("policy", POLICIES)
def test_ways_that_are_seldom_gone_stay_known(policy):
    """The one that strives for more goes one way; the one that obeys knows both."""
    model = trained(TwoPaths, "any", policy, 1_800)
    assert model.replay_buffer.returns[-20:].mean() > 4
    for asked in ({"return_": [1, 5]}, {"horizon": [2, 6]}, {"return_": [1, 5], "horizon": [2, 6]}):
        result = achieved(model, TwoPaths, **asked)
        np.testing.assert_array_equal(result["return"], [1, 5])
        np.testing.assert_array_equal(result["horizon"], [2, 6])


def test_a_model_that_sees_no_command_obeys_none():
    kwargs = {**KINDS["any"], "obedience_kwargs": {**OBEDIENCE, "policy_kwargs": MASKED}}
    for each in (kwargs, KINDS["return and horizon"]):
        model = probe_model(make_vec(Shift), 900, gradient_steps=30, **each, policy_kwargs=MASKED)
        for asked in ({"return_": RETURNS}, {"horizon": HORIZONS}):
            result = achieved(model, **asked)
            assert np.ptp(result["return"]) == np.ptp(result["horizon"]) == 0


@pytest.mark.parametrize("kind", KINDS)
def test_without_guidance_no_command_is_obeyed(kind):
    model = trained(Shift, kind, "CommandPolicy")
    for asked in ({"return_": RETURNS}, {"horizon": HORIZONS}):
        result = achieved(model, guidance=0.0, **asked)
        assert np.ptp(result["return"]) == np.ptp(result["horizon"]) == 0
