"""Situations that are explained: what an agent saw, what was asked of it, and what it did."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from stable_baselines3.common.vec_env import VecEnv

from sb3_udrl.buffers.arrays import Array, Observation, map_observation
from sb3_udrl.commands.command import Command, CommandLike
from sb3_udrl.commands.tracking import track
from sb3_udrl.explain.decisions import policy_of

if TYPE_CHECKING:
    from sb3_udrl.common.commanded_algorithm import CommandedAlgorithm
    from sb3_udrl.policies import BehaviorPolicy


class Situations(NamedTuple):
    """
    The steps of some episodes, one after the other.

    :param observations: as the policy saw them, ``(n, *observation_shape)``, or a dictionary of such
    :param command: what was still asked for at each step, ``(n,)``
    :param actions: what was done, ``(n, *action_shape)``
    :param episodes: number of the episode of each step, ``(n,)``
    :param steps: number of the step within its episode, ``(n,)``
    :param returns: raw return of each episode, ``(n_episodes,)``
    """

    observations: Observation
    command: Command
    actions: Array
    episodes: NDArray[np.int64]
    steps: NDArray[np.int64]
    returns: NDArray[np.float64]

    def rows(self, which: NDArray[np.int64]) -> Situations:
        """
        Some of the steps.

        :param which: their indices, ``(n,)``
        """
        return Situations(
            _take(self.observations, which),
            self.command.rows(which),
            self.actions[which],
            self.episodes[which],
            self.steps[which],
            self.returns,
        )


def play(
    model: CommandedAlgorithm | BehaviorPolicy,
    env: VecEnv,
    n_episodes: int = 10,
    deterministic: bool = True,
    command: CommandLike | None = None,
) -> Situations:
    """
    Play complete episodes, dealt out over the environments in advance, so that short ones are not preferred.

    :param model: a model or its policy
    :param env: the environment
    :param n_episodes: number of episodes
    :param deterministic: the most likely actions instead of draws
    :param command: what is asked for, as for ``predict``; by default the model's own
    :raises ValueError: if the number of episodes is below one
    """
    if n_episodes < 1:
        raise ValueError(f"n_episodes={n_episodes}: must be at least 1")
    policy = policy_of(model)
    last = np.cumsum([(n_episodes + i) // env.num_envs for i in range(env.num_envs)])  # first episode of the next environment
    current = np.concatenate(([0], last[:-1]))
    observations: Any = env.reset()
    state, starts = None, np.ones(env.num_envs, dtype=bool)
    numbers = np.zeros(env.num_envs, dtype=np.int64)
    returns = np.zeros(n_episodes)
    kept: list[tuple[Any, ...]] = []
    with track(env) as heard:
        while (playing := current < last).any():
            actions, state = policy.predict(observations, state, starts, deterministic, command=command)
            rows = np.flatnonzero(playing)
            kept.append((_take(observations, rows), state[0][rows], actions[rows], current[rows], numbers[rows]))
            observations, _, starts, _ = env.step(actions)
            returns[current[rows]] += heard.rewards[rows]
            numbers = np.where(starts, 0, numbers + 1)
            current = current + starts
    seen, *columns = zip(*kept, strict=True)
    asked, taken, episodes, steps = (np.concatenate(column) for column in columns)
    order = np.argsort(episodes, kind="stable")
    everything = map_observation(lambda *parts: np.concatenate(parts), *seen)
    command_of_each = policy.command_space.from_rows(asked[order])
    return Situations(_take(everything, order), command_of_each, taken[order], episodes[order], steps[order], returns)


def _take(observations: Observation, rows: NDArray[np.int64]) -> Observation:
    return map_observation(lambda part: part[rows], observations)
