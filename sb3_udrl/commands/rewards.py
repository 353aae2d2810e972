"""
The rewards of the running episode, read where they are already kept: in the ``Monitor`` of the environment.

SB3's evaluation loops and the Zoo's scripts never pass rewards to ``predict``. Inside of :func:`track` it can see them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from stable_baselines3.common.callbacks import BaseCallback, EvalCallback
from stable_baselines3.common.monitor import Monitor
from stable_baselines3.common.vec_env import VecEnv

# A context variable, not a global: Optuna runs several trials as threads of one process
_tracked_env: ContextVar[VecEnv | None] = ContextVar("sb3_udrl_tracked_env", default=None)


class TrackedRewards(NamedTuple):
    """
    What the Monitors have seen of the running episodes.

    :param n_steps: number of steps, ``(n_envs,)``
    :param last_rewards: raw reward of the last step, zero before the first, ``(n_envs,)``
    """

    n_steps: NDArray[np.int64]
    last_rewards: NDArray[np.float64]


@contextmanager
def track(env: VecEnv | None) -> Iterator[None]:
    """
    Let ``predict`` read raw rewards from an environment, in this thread, as long as the context lasts.

    :param env: the environment that is stepped with the predicted actions, with a ``Monitor`` in it; None tracks nothing
    """
    token = _tracked_env.set(env)
    try:
        yield
    finally:
        _tracked_env.reset(token)


def set_tracked_env(env: VecEnv | None) -> None:
    """
    As :func:`track`, for the rest of the thread: for scripts that make one environment and then run it.

    :param env: as in :func:`track`
    """
    _tracked_env.set(env)


def tracked_rewards(n_envs: int) -> TrackedRewards | None:
    """
    Read the tracked environment.

    :param n_envs: number of environments that are asked for
    :return: None if no environment is tracked, or it has no Monitor or another number of environments
    """
    env = _tracked_env.get()
    if env is None or env.num_envs != n_envs or not all(env.env_is_wrapped(Monitor)):
        return None
    rewards = env.get_attr("rewards")
    last = np.array([episode[-1] if episode else 0.0 for episode in rewards], dtype=np.float64)
    return TrackedRewards(np.array([len(episode) for episode in rewards], dtype=np.int64), last)


def walk_callbacks(callback: BaseCallback | None) -> Iterator[BaseCallback]:
    """
    A callback and all those inside of it.

    :param callback: any callback, or None
    """
    if callback is None:
        return
    yield callback
    for child in getattr(callback, "callbacks", [getattr(callback, "callback", None)]):
        if isinstance(child, BaseCallback):
            yield from walk_callbacks(child)


def track_evaluations(callback: BaseCallback) -> None:
    """
    Let every ``EvalCallback`` inside of a callback, the Zoo's included, run in the scope of its environment.

    :param callback: changed in place; doing so twice does no more
    """
    for found in walk_callbacks(callback):
        if isinstance(found, EvalCallback):
            found._on_step = _tracked_step(found)  # type: ignore[method-assign]


def _tracked_step(callback: EvalCallback) -> Callable[[], bool]:
    def on_step() -> bool:
        with track(callback.eval_env):
            return type(callback)._on_step(callback)  # the class's own method, never an earlier wrapper

    return on_step
