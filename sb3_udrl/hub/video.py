"""A video of a few episodes, each under a command of its own."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from stable_baselines3.common.vec_env import VecEnv

from sb3_udrl.commands.command import Command
from sb3_udrl.commands.tracking import track
from sb3_udrl.common.commanded_algorithm import CommandedAlgorithm

_MOST_STEPS = 1_000  # of each episode


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
    try:
        from moviepy import ImageSequenceClip
    except ImportError as error:
        raise ImportError("videos need moviepy: pip install sb3-udrl[hub]") from error
    frames = [frame for i in range(len(command)) for frame in _film(model, env, command.rows([i]), deterministic)]
    fps = env.metadata.get("render_fps", 30)
    clip: Any = ImageSequenceClip(frames, fps=fps)
    clip.write_videofile(str(path), codec="libx264", audio=False, logger=None)


def _film(model: CommandedAlgorithm, env: VecEnv, command: Command, deterministic: bool) -> list[Any]:
    """The frames of one episode of the first environment; the others play along."""
    command = command.rows(np.zeros(env.num_envs, dtype=np.int64))
    observations: Any = env.reset()
    state, starts, frames = None, np.ones(env.num_envs, dtype=bool), [env.get_images()[0]]
    with track(env):
        for _ in range(_MOST_STEPS):
            actions, state = model.predict(observations, state, starts, deterministic, command=command)
            observations, _, starts, _ = env.step(actions)
            if starts[0]:  # what is seen now is the next episode
                return frames
            frames.append(env.get_images()[0])
    return frames
