"""Small models, episodes and buffers that many tests start from."""

import inspect
import os

import numpy as np
import pytest
import torch as th
from gymnasium import spaces
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.monitor import Monitor
from stable_baselines3.common.vec_env import DummyVecEnv

from sb3_udrl import UDRL, EpisodicReplayBuffer
from sb3_udrl.buffers import Episode
from sb3_udrl.commands import make_command_space
from sb3_udrl.labels import Hindsight

DEVICE = os.environ.get("SB3_UDRL_TEST_DEVICE", "cpu")  # where the networks of the tests lie
needs_gpu = pytest.mark.skipif(not th.cuda.is_available(), reason="needs a GPU")
TINY = {
    "learning_starts": 32,
    "train_freq": 32,
    "gradient_steps": 4,
    "batch_size": 32,
    "seed": 0,
    "device": DEVICE,
}


def tiny_model(env, policy="CommandPolicy", net_arch=(16,), **kwargs):
    """A model that learns next to nothing, fast: one behavior function, unless commands are named."""
    policy_kwargs = {"net_arch": list(net_arch), **kwargs.pop("policy_kwargs", {})}
    return UDRL(policy, env, **{"commands": "absolute", **TINY, "policy_kwargs": policy_kwargs, **kwargs})


def obeying_model(env, **kwargs):
    """A tiny model whose warm-up ends after ``learning_starts`` steps, although all episodes of its environment are alike."""
    model = tiny_model(env, **kwargs)
    model.replay_buffer.has_differences = lambda: True
    return model


DEFAULT_SAMPLER = inspect.signature(UDRL).parameters["command_sampler"].default


def probe_model(env, n_timesteps=1_500, **kwargs):
    """A model trained well enough to answer the question that a probe environment asks, and asked for everything so far."""
    settings = {"learning_starts": 600, "train_freq": 100, "gradient_steps": 60, "net_arch": (32,)}
    if "command_sampler" not in kwargs:
        kwargs |= {"command_sampler": "quantile", "command_sampler_kwargs": {"low": 0.0}}
    model = tiny_model(env, **{**settings, "learning_rate": 3e-3, "batch_size": 64, **kwargs})
    return model.learn(n_timesteps)


def make_vec(env_class, n_envs=1, monitor=True, vec_env_class=DummyVecEnv, **kwargs):
    """Several copies of an environment in one vectorized environment."""

    def make():
        env = env_class(**kwargs)
        return Monitor(env) if monitor else env

    return vec_env_class([make for _ in range(n_envs)])


def episode(rewards, first=0.0, actions=None, truncated=False):
    """An episode whose observations count up from ``first`` and tell the steps of a buffer apart."""
    n = len(rewards)
    observations = (first + np.arange(n, dtype=np.float32))[:, None]
    actions = np.arange(n) % 2 if actions is None else np.asarray(actions)
    return Episode(observations, actions, np.asarray(rewards, dtype=np.float32), truncated)


def small_buffer(capacity=100, **kwargs):
    """A buffer for :func:`episode`."""
    return EpisodicReplayBuffer(capacity, spaces.Box(-1e6, 1e6, (1,)), spaces.Discrete(2), **{"seed": 0, **kwargs})


def hindsight(buffer, commands="absolute", **label_kwargs):
    """The episodes of a buffer with the commands that they fulfilled."""
    return Hindsight(buffer, make_command_space(commands), label_kwargs)


def relative_hindsight(capacity=1000, buffer_kwargs=None, **kwargs):
    """Labels of advantages for the episodes of a :func:`small_buffer`."""
    return hindsight(small_buffer(capacity, **(buffer_kwargs or {})), "relative", advantage=kwargs)


def parameters_of(model):
    """A copy of all that the policy has learned, by name."""
    return {name: value.clone().cpu() for name, value in model.policy.state_dict().items()}


def assert_same_parameters(first, second):
    """Bit-identical, not just close."""
    assert first.keys() == second.keys()
    for name in first:
        assert np.array_equal(first[name], second[name], equal_nan=True), name


def assert_same_batches(first, second):
    """The same examples, commands included."""
    np.testing.assert_array_equal(first.observations, second.observations)
    np.testing.assert_array_equal(first.actions, second.actions)
    assert first.command.parts.keys() == second.command.parts.keys()
    for name, values in first.command.parts.items():
        np.testing.assert_array_equal(values, second.command[name])


class CommandSpy:
    """Remembers the command under which every action is chosen, in prediction and collection, on the paths of production."""

    def __init__(self, model):
        self.policy = getattr(model, "policy", model)
        self.commands = []  # one (n_envs, n_parts) array per call

    def __enter__(self):
        act, actor = type(self.policy).act, type(self.policy).actor

        def spying_act(observation, command, *args, **kwargs):
            self.commands.append(self.policy.command_space.to_rows(command))
            return act(self.policy, observation, command, *args, **kwargs)

        def spying_actor(*args, **kwargs):
            self.policy.__dict__.pop("act")  # who calls it while collecting is counted once
            draw = actor(self.policy, *args, **kwargs)
            self.policy.act = spying_act

            def spying_draw(observations, command, temperature):
                self.commands.append(self.policy.command_space.to_rows(command))
                self.policy.__dict__.pop("act")
                try:
                    return draw(observations, command, temperature)
                finally:
                    self.policy.act = spying_act

            return spying_draw

        self.policy.act, self.policy.actor = spying_act, spying_actor
        return self

    def __exit__(self, *_):
        del self.policy.act, self.policy.actor


class Recorder(BaseCallback):
    """Calls a function with the callback at every step; stops when that returns False."""

    def __init__(self, function):
        super().__init__()
        self.function = function

    def _on_step(self):
        return self.function(self) is not False
