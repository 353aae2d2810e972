"""The environments of collectors: made as the learner's, with one file for all their monitors."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import gymnasium as gym
from stable_baselines3.common.env_util import unwrap_wrapper
from stable_baselines3.common.monitor import Monitor
from stable_baselines3.common.vec_env import SubprocVecEnv, VecEnv, unwrap_vec_normalize

from sb3_udrl.common.made_envs import MakeEnv, maker_of


def making(env: VecEnv) -> MakeEnv:
    """
    The function that makes environments like this one.

    :param env: the training environment of a model
    :raises ValueError: if it is not known, or each collector would need what it cannot have alone
    """
    make = maker_of(env)
    if make is None:
        raise ValueError(
            'collectors make environments of their own: pass env as an id, such as "CartPole-v1", or as a function that makes '
            'one, such as lambda: make_vec_env("CartPole-v1", n_envs=8); or leave collectors at 0'
        )
    if unwrap_vec_normalize(env) is not None:
        raise ValueError(
            "VecNormalize has statistics of all environments, which collectors do not share: leave it away, the behavior "
            "function standardizes by itself"
        )
    if isinstance(env.unwrapped, SubprocVecEnv):
        raise ValueError("collectors are processes already: let the function make a DummyVecEnv instead of a SubprocVecEnv")
    return make


@contextmanager
def without_monitor_files() -> Iterator[None]:
    """Let each ``Monitor`` that is made in this context write no file: the one of the learner writes for all of them."""
    original = Monitor.__init__

    def init(self: Monitor, env: gym.Env[Any, Any], filename: str | None = None, *args: Any, **kwargs: Any) -> None:
        original(self, env, None, *args, **kwargs)

    Monitor.__init__ = init  # type: ignore[method-assign]
    try:
        yield
    finally:
        Monitor.__init__ = original  # type: ignore[method-assign]


def monitors_with_files(env: VecEnv) -> list[Monitor | None]:
    """
    The ``Monitor`` of each environment, None where there is none or it writes no file.

    :param env: the training environment of the learner
    """
    monitors = [unwrap_wrapper(each, Monitor) for each in getattr(env.unwrapped, "envs", [None] * env.num_envs) if each]
    return [monitor if isinstance(monitor, Monitor) and monitor.results_writer is not None else None for monitor in monitors]
