"""The episodes that are being played: their steps so far and what was asked of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

from sb3_udrl.buffers import EpisodeRecorder
from sb3_udrl.buffers.arrays import Array, Observation, map_observation, n_rows
from sb3_udrl.commands.command import Command
from sb3_udrl.commands.command_space import CommandSpace
from sb3_udrl.commands.parts import Step
from sb3_udrl.spaces.finite import refuse_what_is_not_finite


def refuse_bad_numbers(values: Any, name: str) -> None:
    """
    Refuse what environments return where it enters, before anything is computed from it.

    :param values: a row per environment, ``(n_envs, ...)``, or a dictionary of such
    :param name: what they are
    :raises ValueError: if a number is not finite or does not fit into single precision, with the index of the environment
    """
    try:
        refuse_what_is_not_finite(values, name)
    except ValueError:
        for env in range(n_rows(values)):
            try:
                refuse_what_is_not_finite(map_observation(lambda rows, env=env: rows[env], values), name)
            except ValueError as error:
                raise ValueError(f"environment {env}: {error}") from None


class Order(NamedTuple):
    """
    How one episode is to be played.

    :param command: one row; without a meaning in warm-up episodes
    :param warm_up: whether it is played without a command
    :param temperature: how freely actions are drawn, where that is its own; else NaN
    """

    command: Command
    warm_up: bool
    temperature: float


class RunningEpisodes:
    """
    One running episode per environment.

    :param observation_space: space of one environment
    :param action_space: space of one environment
    :param command_space: the commands that episodes are played under
    :param n_envs: number of environments
    :param max_episode_steps: longest episode that is believed to end
    """

    def __init__(
        self,
        observation_space: spaces.Space[Any],
        action_space: spaces.Space[Any],
        command_space: CommandSpace,
        n_envs: int,
        max_episode_steps: int,
    ) -> None:
        self.command_space = command_space
        self.recorder = EpisodeRecorder(
            observation_space, action_space, n_envs, max_episode_steps, recorded=command_space.recorded
        )
        self.command = command_space.make(command_space.default(), n_envs)  # what is still to be fulfilled
        self.asked = self.command  # what was asked for at the start
        self.warm_up = np.ones(n_envs, dtype=bool)  # played without a command
        self.starts = np.ones(n_envs, dtype=bool)  # at their first step
        self.resumed = np.zeros(n_envs, dtype=bool)  # loaded, and about to take their first step
        self.undecided = True  # nothing was asked of any episode yet
        self.temperature = np.full((n_envs, 1), np.nan, dtype=np.float32)  # of episodes with their own: those of practice

    @property
    def practicing(self) -> NDArray[np.bool_]:
        """Which episodes practice obedience, ``(n_envs,)``."""
        return ~np.isnan(self.temperature[:, 0])

    def resume(self, command: Command, asked: Command, warm_up: NDArray[np.bool_], at_start: NDArray[np.bool_]) -> None:
        """
        Take over what another run had decided about its next episodes.

        :param command: of each episode
        :param asked: of each episode
        :param warm_up: episodes without a command, ``(n_envs,)``
        :param at_start: episodes that have not taken a step, the only ones that can still be played, ``(n_envs,)``
        """
        self.command, self.asked, self.warm_up, self.resumed = command, asked, warm_up, at_start

    def start_over(self, keep_resumed: bool) -> NDArray[np.bool_]:
        """
        Drop all running episodes, as after a reset of the environments.

        :param keep_resumed: play the episodes that were loaded
        :return: environments that need a decision about their next episode, ``(n_envs,)``
        """
        self.recorder.discard()
        undecided = ~self.resumed if keep_resumed else np.ones_like(self.resumed)
        self.resumed = np.zeros_like(self.resumed)
        self.starts = np.ones_like(self.starts)
        self.undecided = False
        return undecided

    def begin(self, starts: NDArray[np.bool_], command: Command | None, temperature: float = np.nan) -> None:
        """
        Start the next episodes in some environments.

        :param starts: which ones, ``(n_envs,)``
        :param command: a row for each of them; None for warm-up episodes
        :param temperature: of these episodes, where it is their own
        """
        self.warm_up = np.where(starts, command is None, self.warm_up)
        self.temperature = np.where(starts[:, None], np.float32(temperature), self.temperature)
        if command is not None:
            self.command = self.command.put(starts, command)
            self.asked = self.asked.put(starts, command)

    def order(self, env: int) -> Order:
        """
        How an episode that has just begun is to be played.

        :param env: index of the environment
        """
        return Order(self.asked.rows([env]), bool(self.warm_up[env]), float(self.temperature[env, 0]))

    def obey(self, env: int, order: Order) -> None:
        """
        Start the next episode in one environment.

        :param env: index of the environment
        :param order: how it is to be played
        """
        starts = np.arange(len(self.warm_up)) == env
        self.begin(starts, None if order.warm_up else order.command, order.temperature)

    def record(
        self,
        observations: Observation,
        actions: Array,
        rewards: Array,
        dones: NDArray[np.bool_],
        infos: Sequence[dict[str, Any]],
    ) -> None:
        """
        Add a step to every episode and advance its command.

        :param observations: raw observations before the step, ``(n_envs, *observation_shape)``
        :param actions: ``(n_envs, *action_shape)``
        :param rewards: raw rewards, ``(n_envs,)``
        :param dones: episodes that this step ends, ``(n_envs,)``
        :param infos: what the environments say besides
        """
        step = Step(rewards, infos)
        self.recorder.record(observations, actions, rewards, self.command_space.amounts(step))
        self.advance(step, dones)

    def advance(self, step: Step, dones: NDArray[np.bool_]) -> None:
        """
        Advance the commands by a step, without recording it.

        :param step: what it brought
        :param dones: episodes that it ends, ``(n_envs,)``
        """
        self.command = self.command_space.advance(self.command, step)
        self.starts = dones
