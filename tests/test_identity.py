"""SB3's smallest learning tasks: do what the observation shows. Every step pays 1 if it was done."""

from functools import partial

import pytest
from helpers import DEFAULT_SAMPLER, probe_model
from stable_baselines3.common.envs import (
    IdentityEnv,
    IdentityEnvBox,
    IdentityEnvMultiBinary,
    IdentityEnvMultiDiscrete,
)
from stable_baselines3.common.monitor import Monitor
from stable_baselines3.common.vec_env import DummyVecEnv

from sb3_udrl.evaluation import evaluate_policy


def make(env_class, **kwargs):
    """Four environments with episodes of five steps."""

    def environment(seed):
        env = env_class(ep_length=5, **kwargs)
        env.action_space.seed(seed)
        return Monitor(env)

    return DummyVecEnv([partial(environment, seed) for seed in range(4)])


def achieved(env_class, policy_kwargs=None, **kwargs):
    settings = {"gradient_steps": 100, "policy_kwargs": policy_kwargs or {}, "command_sampler": DEFAULT_SAMPLER}
    model = probe_model(make(env_class, **kwargs), 9_000, **settings)
    mean, _ = evaluate_policy(model, make(env_class, **kwargs), 40)
    return mean / 5


@pytest.mark.parametrize(
    ("env_class", "dim"),
    [(IdentityEnv, 2), (IdentityEnv, 4), (IdentityEnvMultiDiscrete, 2), (IdentityEnvMultiBinary, 2)],
)
def test_more_than_90_percent(env_class, dim):
    assert achieved(env_class, dim=dim) > 0.9


@pytest.mark.parametrize("box_head", ["gaussian", "squashed", "beta", "discretized"])
def test_more_than_90_percent_with_continuous_actions(box_head):
    """Within half a unit of a number between -1 and 1."""
    assert achieved(IdentityEnvBox, {"box_head": box_head}, eps=0.5) > 0.9
