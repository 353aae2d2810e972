"""Collecting under commands, beside the same environments under random actions."""

import time

import numpy as np
import pytest
from stable_baselines3.common.env_util import make_vec_env

from sb3_udrl import UDRL

ENVS = {"cartpole": "CartPole-v1", "lunarlander": "LunarLander-v3"}
N_STEPS = 250  # of all environments together
pytestmark = pytest.mark.benchmark(group="collecting", timer=time.process_time, warmup=False)


def make(name):
    return make_vec_env(ENVS[name], n_envs=8, seed=0, env_kwargs={"render_mode": None})


def measure(benchmark, function):
    """The time of ``N_STEPS`` steps."""
    benchmark.pedantic(function, rounds=40 if benchmark.enabled else 1, warmup_rounds=4 if benchmark.enabled else 0)


@pytest.mark.parametrize("name", ENVS)
def test_random_actions(benchmark, name):
    env = make(name)
    env.reset()
    actions = np.random.default_rng(0).integers(env.action_space.n, size=(N_STEPS, env.num_envs))

    def steps():
        for action in actions:
            env.step(action)

    measure(benchmark, steps)


@pytest.mark.parametrize(
    ("name", "n_timesteps"), [("cartpole", 3_000), ("cartpole", 30_000), ("lunarlander", 10_000)], ids=lambda value: f"{value}"
)
def test_collecting(benchmark, name, n_timesteps):
    """Commands, inference, storage and callbacks, as ``learn`` does it, but without training."""
    env = make(name)
    model = UDRL("MlpPolicy", env, seed=0).learn(n_timesteps if benchmark.enabled else 2_500)
    model.train = lambda *_: None
    measure(benchmark, lambda: model.learn(N_STEPS * env.num_envs, reset_num_timesteps=False, log_interval=None))
    benchmark.extra_info["mean_episode_length"] = float(np.mean([info["l"] for info in model.ep_info_buffer]))
