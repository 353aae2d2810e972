"""Many episodes at once: how returns are distributed under one command, and how they follow a grid of commands."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from stable_baselines3.common.vec_env import VecEnv

from sb3_udrl.commands.command import CommandLike
from sb3_udrl.common.commanded_algorithm import CommandedAlgorithm
from sb3_udrl.evaluation import run_commands
from sb3_udrl.evaluation.following import PartFollowing, commands_to_show


class Distribution(NamedTuple):
    """
    Episodes under one command.

    :param asked: what was asked for, by part; parts that were not asked for are missing
    :param achieved: what came of it, by part, each ``(n_episodes,)``
    """

    asked: dict[str, float]
    achieved: dict[str, NDArray[np.float64]]

    def histogram(self, part: str = "return", n_bins: int = 10) -> dict[str, list[float]]:
        """
        How often which values were achieved.

        :param part: its name
        :param n_bins: number of ranges of equal width
        :return: the middle of each range, and the number of episodes
        """
        counts, edges = np.histogram(self.achieved[part], n_bins)
        return {part: ((edges[1:] + edges[:-1]) / 2).tolist(), "episodes": counts.astype(float).tolist()}


def distribution(
    model: CommandedAlgorithm, env: VecEnv, command: CommandLike | None, deterministic: bool, n_episodes: int = 20
) -> Distribution:
    """
    Play episodes under one command.

    :param model: the model
    :param env: the environments
    :param command: what is asked for; None for the model's own
    :param deterministic: the most likely actions instead of draws
    :param n_episodes: how many
    """
    one = model.policy.own_command() if command is None else model.command_space.make(command, 1)
    achieved = run_commands(model, env, one.rows(np.zeros(n_episodes, dtype=np.int64)), deterministic)
    asked = {name: float(one[name][0]) for name in model.command_space.names if one.asks_for(name)[0]}
    return Distribution(asked, achieved)


class Curve(NamedTuple):
    """
    Achieved against desired values.

    :param part: what was asked for
    :param achieved_part: what was achieved: the same, or the return under advantages
    :param following: asked and achieved
    """

    part: str
    achieved_part: str
    following: PartFollowing


def curve(model: CommandedAlgorithm, env: VecEnv, deterministic: bool, n_commands: int = 9, n_episodes: int = 5) -> Curve:
    """
    Play episodes under a grid of commands that the model has experience with.

    :param model: the model
    :param env: the environments
    :param deterministic: the most likely actions instead of draws
    :param n_commands: how many commands
    :param n_episodes: episodes per command
    """
    commands = commands_to_show(model, n_commands)
    part = "advantage" if model.policy.experience is None else model.policy.experience.names[0]
    achieved = run_commands(model, env, commands.rows(np.repeat(np.arange(n_commands), n_episodes)), deterministic)
    achieved_part = part if part in achieved else "return"
    desired = np.asarray(commands[part], dtype=np.float64)
    return Curve(part, achieved_part, PartFollowing(desired, achieved[achieved_part].reshape(n_commands, n_episodes)))
