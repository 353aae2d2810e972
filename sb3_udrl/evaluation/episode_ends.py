"""What counts as an episode, and what it came to: the Monitor's word where it has one, what the agent saw otherwise."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
from numpy.typing import NDArray
from stable_baselines3.common.monitor import Monitor
from stable_baselines3.common.vec_env import VecEnv, VecMonitor, unwrap_vec_wrapper

_MOST_LIVES = 200  # dones in a row that end no episode of the Monitor: it will never report one


class _AtStart(type):
    def __instancecheck__(cls, instance: object) -> bool:
        return isinstance(instance, Monitor) and not instance.rewards


class MonitorAtStart(metaclass=_AtStart):
    """Any ``Monitor`` whose episode has no step yet: with this, ``env_is_wrapped`` finds out in other processes, too."""


class EpisodeEnds:
    """
    Sums over the running episodes, until they end.

    :param env: the environment
    :param warn: warn as SB3 does if there is no ``Monitor``, and once if episodes end above it
    """

    def __init__(self, env: VecEnv, warn: bool = True) -> None:
        self.env, self.warn = env, warn
        self.returns, self.lengths = np.zeros(env.num_envs), np.zeros(env.num_envs, dtype=np.int64)
        self._vec_monitor = unwrap_vec_wrapper(env, VecMonitor)
        self._lives = np.zeros(env.num_envs, dtype=np.int64)  # dones since the Monitor's episode began
        self._monitored = self._find_monitors()
        if warn and not self._monitored.all():
            warnings.warn(
                "Evaluation environment is not wrapped with a ``Monitor`` wrapper: returns and lengths are those that the "
                "agent saw, which other wrappers may have modified. Consider wrapping it in a ``Monitor`` first.",
                UserWarning,
                stacklevel=3,
            )

    def _find_monitors(self) -> NDArray[np.bool_]:
        if self._vec_monitor is not None:
            return np.ones(self.env.num_envs, dtype=np.bool_)
        try:
            return np.array(self.env.env_is_wrapped(Monitor), dtype=np.bool_)
        except (AttributeError, NotImplementedError):  # some vectorized environments of others cannot say
            return np.zeros(self.env.num_envs, dtype=np.bool_)

    def add(self, rewards: NDArray[Any]) -> None:
        """
        Count a step of every environment.

        :param rewards: raw rewards, ``(n_envs,)``
        """
        self.returns += rewards
        self.lengths += 1

    def end(self, i: int, info: dict[str, Any]) -> tuple[float, int] | None:
        """
        What an episode came to; the next one begins.

        :param i: an environment that was done at the last step
        :param info: what it said at that step
        :return: return and length; None if only a life was lost, and the Monitor's episode goes on
        """
        outcome: tuple[float, int] | None = (float(self.returns[i]), int(self.lengths[i]))
        if self._monitored[i] and "episode" in info:
            outcome = float(info["episode"]["r"]), int(info["episode"]["l"])
        elif self._monitored[i] and self._monitor_is_at_start(i):
            self._warn_of_ends_above()
        elif self._monitored[i]:
            self._lives[i] += 1
            if self._lives[i] < _MOST_LIVES:
                return None
            self._monitored[i], outcome = False, None
            self._warn_of_ends_above()
        self.returns[i] = self.lengths[i] = self._lives[i] = 0
        return outcome

    def _monitor_is_at_start(self, i: int) -> bool:
        if self._vec_monitor is not None:
            return bool(self._vec_monitor.episode_lengths[i] == 0)
        return self.env.env_is_wrapped(MonitorAtStart, [i])[0]  # type: ignore[arg-type]

    def _warn_of_ends_above(self) -> None:
        if self.warn:
            warnings.warn(
                "Episodes end above the ``Monitor``, which does not report these: their returns and lengths are those that "
                "the agent saw. Put a ``Monitor`` above the wrapper that ends episodes, such as ``TimeLimit``.",
                UserWarning,
                stacklevel=4,
            )
            self.warn = False
