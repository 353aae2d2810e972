"""A video of a few episodes, each under a command of its own."""

from __future__ import annotations

from pathlib import Path

from stable_baselines3.common.vec_env import VecEnv

from sb3_udrl.commands.command import Command
from sb3_udrl.common.commanded_algorithm import CommandedAlgorithm
from sb3_udrl.evaluation.film import film, steps_per_second, write_mp4


def write_video(model: CommandedAlgorithm, env: VecEnv, command: Command, path: Path, deterministic: bool) -> None:
    """
    Film the first environment, one episode per command, one after the other.

    :param model: the model
    :param env: renders arrays
    :param command: a row per episode
    :param path: ``.mp4`` file to write
    :param deterministic: the most likely actions instead of draws
    :raises ImportError: if moviepy is missing
    """
    films = [film(model, env, command.rows([i]), deterministic) for i in range(len(command))]
    write_mp4([picture for one in films for picture in one.pictures], path, steps_per_second(env))
