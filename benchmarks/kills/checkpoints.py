"""Trainings with checkpoints and buffers; each goes on from the last pair that is complete."""

from __future__ import annotations

import random
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium import spaces
from stable_baselines3.common.callbacks import CheckpointCallback
from stable_baselines3.common.monitor import Monitor
from stable_baselines3.common.vec_env import DummyVecEnv

from benchmarks.kills.children import Outcome, Report, partial_files, run_child
from sb3_udrl import UDRL

LENGTH = 10  # steps of an episode
CHECKPOINTS_EVERY = 45  # steps; not a multiple of the length, so that most find an episode under way


class Numbered(gym.Env[Any, Any]):
    """
    Observations say which process made them, in which episode and at which step.

    :param process: number of the process
    """

    observation_space = spaces.Box(0, 1e6, (3,))
    action_space = spaces.Discrete(2)

    def __init__(self, process: int) -> None:
        self.process, self.n_episodes, self.n_steps = process, 0, 0

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        """Begin an episode; those that have not ended do not count."""
        super().reset(seed=seed)
        self.n_steps = 0
        return self._observation(), {}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        """Each action pays itself."""
        self.n_steps += 1
        ended = self.n_steps == LENGTH
        self.n_episodes += ended
        return self._observation(), float(action), ended, False, {}

    def _observation(self) -> Any:
        return np.array([self.process, self.n_episodes, self.n_steps], np.float32)


def checkpoints(folder: Path, suffix: str) -> dict[int, Path]:
    """
    Files of SB3's ``CheckpointCallback``, by their number of steps, in their order.

    :param folder: the folder
    :param suffix: ``.zip`` for models, ``.pkl`` for buffers
    """
    numbers = {path: re.fullmatch(rf"rl_model(_replay_buffer)?_(\d+)_steps\{suffix}", path.name) for path in folder.iterdir()}
    return dict(sorted((int(match[2]), path) for path, match in numbers.items() if match))


def train_forever(folder: Path, process: int, report: Report) -> None:
    """
    The child: goes on from the last pair of files, and trains with checkpoints.

    :param folder: the folder of the checkpoints
    :param process: number of this process
    :param report: gets the number of steps that it goes on from
    """
    env = DummyVecEnv([lambda: Monitor(Numbered(process))])
    models, buffers = checkpoints(folder, ".zip"), checkpoints(folder, ".pkl")
    if buffers:
        start = max(buffers)
        model = UDRL.load(models[start], env, device="cpu", trusted=[])
        model.load_replay_buffer(buffers[start])
    else:
        start, settings = 0, {"learning_starts": 50, "train_freq": 50, "gradient_steps": 1}
        model = UDRL("CommandPolicy", env, buffer_size=1_000_000, seed=0, device="cpu", **settings)
    report(start)
    callback = CheckpointCallback(CHECKPOINTS_EVERY, str(folder), save_replay_buffer=True)
    model.learn(10**9, callback=callback, reset_num_timesteps=False)


def faults_of_checkpoints(folder: Path, process: int, start: int, before: Any, reader: UDRL) -> Iterator[str]:
    """
    Look at what a killed :func:`train_forever` left.

    :param folder: the folder
    :param process: number of the killed process
    :param start: number of steps that it went on from
    :param before: observations in the buffer that it went on from, ``(n, 3)``
    :param reader: loads the buffers
    :return: what is wrong
    """
    models, buffers = checkpoints(folder, ".zip"), checkpoints(folder, ".pkl")
    alone = sorted(models.keys() ^ buffers.keys())
    if set(alone) - {max(models, default=0)} or buffers.keys() - models.keys():
        yield f"process {process}: alone are {alone}"
    last = max(buffers, default=0)
    left = [name for name in partial_files(folder) if int(re.findall(r"\d+", name)[0]) <= last]
    yield from (f"{name} is there after the next save" for name in left)
    for number, path in models.items():
        try:
            n_timesteps = UDRL.load(path, device="cpu", trusted=[]).num_timesteps
        except (OSError, ValueError) as error:
            yield str(error)
            continue
        if n_timesteps != number:
            yield f"{path.name} has {n_timesteps} steps"
    for number, path in buffers.items():
        try:
            reader.load_replay_buffer(path)
        except (OSError, ValueError) as error:
            yield str(error)
            continue
        stored = observations_of(reader)
        yield from (f"{path.name}: {fault}" for fault in faults_of_observations(stored, before))
        n_whole, n_steps = np.sum(stored[:, 0] == process) // LENGTH, number - start
        if number > start and n_whole not in (n_steps // LENGTH, (n_steps - 1) // LENGTH):  # the last may be stored later
            yield f"{path.name}: {n_whole} episodes in {n_steps} steps"
        before = stored


def observations_of(model: UDRL) -> Any:
    """Observations in the buffer, in their order."""
    return np.array(model.replay_buffer.raw_observations(model.replay_buffer.stored_rows()))


def faults_of_observations(stored: Any, before: Any) -> Iterator[str]:
    """
    Look at the observations of a buffer.

    :param stored: all of them, ``(n, 3)``
    :param before: of the buffer before, ``(m, 3)``
    :return: what is wrong
    """
    if not np.array_equal(stored[: len(before)], before):
        yield "episodes of the file before are missing"
    if not np.array_equal(stored[:, 2], np.arange(len(stored)) % LENGTH):
        yield "episodes are not whole"
        return
    episodes = stored[:, :2].reshape(-1, LENGTH, 2)
    first = episodes[:, 0]
    expected = np.concatenate([[0], np.where(np.diff(first[:, 0]) > 0, 0, first[:-1, 1] + 1)]) if len(first) else []
    if (episodes != first[:, None]).any() or (np.diff(first[:, 0]) < 0).any() or not np.array_equal(first[:, 1], expected):
        yield "episodes are missing, or there twice"


def kill_checkpoints(n_kills: int, rng: random.Random, folder: Path) -> Outcome:
    """
    Kill :func:`train_forever`.

    :param n_kills: how often
    :param rng: draws the moments
    :param folder: an empty folder
    """
    outcome, before = Outcome("training with checkpoints and buffers"), np.zeros((0, 3))
    reader = UDRL("CommandPolicy", DummyVecEnv([lambda: Monitor(Numbered(0))]), buffer_size=1_000_000, device="cpu")
    for process in range(1, n_kills + 1):
        reports, _ = run_child(lambda report, process=process: train_forever(folder, process, report), rng.uniform(0, 1))
        outcome.n_kills += 1
        outcome.n_midway += bool(partial_files(folder))
        outcome.faults += faults_of_checkpoints(folder, process, reports[0], before, reader)
        models, buffers = checkpoints(folder, ".zip"), checkpoints(folder, ".pkl")
        outcome.n_read += len(models) + len(buffers)
        for number, path in [*models.items(), *buffers.items()]:
            if number < max(buffers, default=0):  # was looked at
                path.unlink()
        if buffers:
            before = observations_of(reader)
    return outcome
