"""Episodes: their hindsight labels, and how running ones are recorded."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import accumulate
from typing import Any, NamedTuple

import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

from sb3_udrl.buffers.arrays import Array, Observation, action_dtype, map_observation, observation_arrays


@dataclass(frozen=True)
class Episode:
    """
    One finished episode of ``T`` steps; being cut off by a time limit is one way of finishing.

    :param observations: raw observations before each step, ``(T, *observation_shape)``, or a dictionary of such
    :param actions: ``(T, *action_shape)``
    :param rewards: raw rewards, ``(T,)``
    :param truncated: whether a time limit cut it off
    :param amounts: what each step contributed to further parts of commands, by the name of the part, each ``(T,)``
    """

    observations: Observation
    actions: Array
    rewards: NDArray[Any]
    truncated: bool = False
    amounts: Mapping[str, NDArray[Any]] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.rewards)


def returns_to_go(rewards: NDArray[Any]) -> NDArray[np.float64]:
    """
    Return from each step to the end of the episode: ``R_t = r_t + R_{t+1}``.

    :param rewards: raw rewards, ``(T,)``
    :return: ``(T,)``; the first entry is the return of the whole episode
    """
    return np.cumsum(rewards[::-1], dtype=np.float64)[::-1]


def discounted_sums(values: NDArray[Any], steps: NDArray[Any], gamma: float) -> NDArray[np.float64]:
    """
    Sums from each step to the end of its episode, ``S_t = v_t + gamma S_{t+1}``.

    :param values: of whole episodes that lie end to end, ``(n,)``
    :param steps: steps to the end of the episode, ``(n,)``
    :param gamma: discount factor
    :return: ``(n,)``
    """
    backwards = accumulate(  # floats in lists are faster than anything of numpy here
        zip(values[::-1].tolist(), (gamma * (steps[::-1] > 1)).tolist(), strict=True),
        lambda following, step: step[0] + step[1] * following,
        initial=0.0,
    )
    return np.fromiter(backwards, np.float64, len(values) + 1)[:0:-1]


def steps_to_go(length: int) -> NDArray[np.int32]:
    """
    Steps from each step to the end of the episode: ``T, ..., 2, 1``.

    :param length: number of steps ``T``
    """
    return np.arange(length, 0, -1, dtype=np.int32)


class _Running(NamedTuple):
    """
    The running episodes, in one object that is replaced: if that is interrupted, a step is recorded wholly or not at all.

    :param observations: a row per step, ``(n_rows, n_envs, *observation_shape)``, or a dictionary of such
    :param actions: ``(n_rows, n_envs, *action_shape)``
    :param rewards: ``(n_rows, n_envs)``
    :param amounts: by name, each ``(n_rows, n_envs)``
    :param starts: row at which the episode of each environment began, ``(n_envs,)``
    :param now: row of the next step; what lies there and beyond, or before all starts, belongs to no episode
    """

    observations: Observation
    actions: Array
    rewards: Array
    amounts: Mapping[str, Array]
    starts: NDArray[np.int64]
    now: int

    def with_room(self) -> _Running:
        """With the episodes at the front; in arrays of twice the size if they still fill more than half."""
        first = int(self.starts.min())
        n = self.now - first

        def moved(rows: Array) -> Array:
            target = rows if 2 * n <= len(rows) else np.empty((2 * len(rows), *rows.shape[1:]), rows.dtype)
            target[:n] = rows[first : self.now]
            return target

        amounts = {name: moved(values) for name, values in self.amounts.items()}
        observations = map_observation(moved, self.observations)
        return _Running(observations, moved(self.actions), moved(self.rewards), amounts, self.starts - first, n)


class EpisodeRecorder:
    """
    Collects the running episode of every environment; one vectorized write per step.

    :param observation_space: space of one environment
    :param action_space: space of one environment
    :param n_envs: number of environments that step together
    :param max_episode_steps: longest episode that is believed to end
    :param recorded: names of further amounts that are recorded at every step
    """

    def __init__(
        self,
        observation_space: spaces.Space[Any],
        action_space: spaces.Space[Any],
        n_envs: int,
        max_episode_steps: int,
        recorded: Sequence[str] = (),
    ) -> None:
        def rows(shape: tuple[int, ...], dtype: Any) -> Array:
            return np.empty((min(256, max_episode_steps + 1), n_envs, *shape), dtype)

        self.max_episode_steps = max_episode_steps
        self._running = _Running(
            observation_arrays(observation_space, rows),
            rows(action_space.shape or (), action_dtype(action_space)),
            rows((), np.float32),
            {name: rows((), np.float32) for name in recorded},
            np.zeros(n_envs, dtype=np.int64),
            0,
        )

    @property
    def n_steps(self) -> NDArray[np.int64]:
        """Steps taken so far in the running episodes, ``(n_envs,)``."""
        return self._running.now - self._running.starts

    def record(
        self, observations: Observation, actions: Array, rewards: Array, amounts: Mapping[str, Array] | None = None
    ) -> None:
        """
        Add one step of every environment.

        :param observations: raw observations before the step, ``(n_envs, *observation_shape)``
        :param actions: ``(n_envs, *action_shape)``
        :param rewards: raw rewards, ``(n_envs,)``
        :param amounts: the further amounts, each ``(n_envs,)``
        :raises ValueError: if a running episode would have more than ``max_episode_steps`` steps
        """
        running = self._running
        now = running.now
        if now - running.starts.min() >= self.max_episode_steps:
            raise ValueError(
                f"an episode has not ended after max_episode_steps={self.max_episode_steps} steps: UDRL learns from whole "
                "episodes, so wrap the environment in gymnasium.wrappers.TimeLimit or raise max_episode_steps"
            )
        if now == len(running.rewards):
            running = running.with_room()
            now = running.now

        def write(rows: Array, row: Array) -> None:
            rows[now] = row

        map_observation(write, running.observations, observations)
        running.actions[now] = actions
        running.rewards[now] = rewards
        for name, recorded in running.amounts.items():
            recorded[now] = (amounts or {})[name]
        self._running = running._replace(now=now + 1)

    def finish(self, env: int, truncated: bool = False) -> Episode:
        """
        End the running episode of one environment.

        :param env: index of the environment
        :param truncated: whether a time limit cut it off
        :return: the episode, with arrays of its own
        """
        running = self._running
        steps, starts = slice(int(running.starts[env]), running.now), running.starts.copy()
        starts[env] = running.now
        episode = Episode(
            map_observation(lambda rows: rows[steps, env].copy(), running.observations),
            running.actions[steps, env].copy(),
            running.rewards[steps, env].copy(),
            truncated,
            {name: amounts[steps, env].copy() for name, amounts in running.amounts.items()},
        )
        self._running = running._replace(starts=starts)
        return episode

    def discard(self) -> int:
        """
        Forget all running episodes, as after a reset of the environments.

        :return: number of steps that were dropped
        """
        dropped = int(self.n_steps.sum())
        self._running = self._running._replace(starts=np.zeros_like(self._running.starts), now=0)
        return dropped
