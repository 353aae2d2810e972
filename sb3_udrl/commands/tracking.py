"""
What the last step of an environment brought, heard while it is stepped.

SB3's evaluation loops and the Zoo's scripts never pass rewards or infos to ``predict``. Inside of :func:`track` it knows them,
as training does: raw, and with the effect of all wrappers, a ``Monitor`` among them or not.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from contextvars import ContextVar
from typing import Any, cast, overload

import numpy as np
from numpy.typing import NDArray
from stable_baselines3.common.callbacks import BaseCallback, EvalCallback
from stable_baselines3.common.vec_env import VecEnv, VecNormalize, unwrap_vec_normalize
from stable_baselines3.common.vec_env.base_vec_env import VecEnvStepReturn


class TrackedSteps:
    """
    The steps of a vectorized environment, from now on until :meth:`stop`.

    :param env: the environment that is stepped
    :raises ValueError: if it is not vectorized
    """

    def __init__(self, env: VecEnv) -> None:
        if not isinstance(cast(object, env), VecEnv):
            raise ValueError(f"env={env}: give a VecEnv, such as make_vec_env(...) makes, or model.get_env()")
        self.n_envs, self.n_steps = env.num_envs, 0
        self.rewards: NDArray[Any] = np.zeros(env.num_envs)  # raw, of the last step
        self.infos: list[dict[str, Any]] | None = None
        # VecNormalize writes all of its attributes to its file, so ours must not be among them
        self._source = env.venv if isinstance(env, VecNormalize) else env
        self._normalize = unwrap_vec_normalize(self._source)
        self._before = vars(self._source).get("step_wait")  # of another one who listens
        self._source.step_wait = self._listening(self._source.step_wait)  # type: ignore[method-assign]

    def _listening(self, step_wait: Callable[[], VecEnvStepReturn]) -> Callable[[], VecEnvStepReturn]:
        def listen() -> VecEnvStepReturn:
            observations, rewards, dones, infos = step_wait()
            self.rewards = rewards if self._normalize is None else self._normalize.get_original_reward()
            self.infos = infos
            self.n_steps += 1
            return observations, rewards, dones, infos

        return listen

    def stop(self) -> None:
        """Leave the environment as it was."""
        vars(self._source).pop("step_wait", None)
        if self._before is not None:
            self._source.step_wait = self._before  # type: ignore[method-assign]


# A context variable, not a global: Optuna runs several trials as threads of one process
_tracked: ContextVar[TrackedSteps | None] = ContextVar("sb3_udrl_tracked", default=None)


@overload
def track(env: VecEnv) -> AbstractContextManager[TrackedSteps]: ...


@overload
def track(env: None) -> AbstractContextManager[None]: ...


@contextmanager
def track(env: VecEnv | None) -> Iterator[Any]:
    """
    Let ``predict`` know raw rewards and infos of an environment, in this thread, as long as the context lasts.

    :param env: the environment that is stepped with the predicted actions; None tracks nothing
    :return: context of what was heard
    :raises ValueError: if it is not vectorized
    """
    steps = None if env is None else TrackedSteps(env)
    token = _tracked.set(steps)
    try:
        yield steps
    finally:
        _tracked.reset(token)
        if steps is not None:
            steps.stop()


def set_tracked_env(env: VecEnv | None) -> None:
    """
    As :func:`track`, for the rest of the thread: for scripts that make one environment and then run it.

    :param env: as in :func:`track`
    """
    former = _tracked.get()
    if former is not None:
        former.stop()
    _tracked.set(None if env is None else TrackedSteps(env))


def tracked_steps(n_envs: int) -> TrackedSteps | None:
    """
    The steps that are tracked in this thread.

    :param n_envs: number of environments that are asked for
    :return: None if no environment is tracked, or it has another number of environments
    """
    steps = _tracked.get()
    return None if steps is None or steps.n_envs != n_envs else steps


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
