"""Episodes of a finished model, or of random actions, as a recording."""

from __future__ import annotations

import pathlib
import warnings
from contextlib import suppress
from typing import Any

import numpy as np
from gymnasium import spaces
from stable_baselines3.common.type_aliases import PolicyPredictor
from stable_baselines3.common.vec_env import VecEnv

from sb3_udrl.buffers import EpisodicReplayBuffer
from sb3_udrl.recordings.read import read_episodes
from sb3_udrl.recordings.record import EpisodeListener, write_recording, written_path
from sb3_udrl.recordings.sources import open_recording, recorded_spaces


class RandomActions:
    """
    Draws actions from their space, with the signature of a model's ``predict``.

    :param action_space: the space
    :param seed: seed of the draws
    """

    def __init__(self, action_space: spaces.Space[Any], seed: int) -> None:
        self.action_space = action_space
        action_space.seed(seed)

    def predict(
        self,
        observation: Any,
        state: tuple[np.ndarray[Any, Any], ...] | None = None,
        episode_start: np.ndarray[Any, Any] | None = None,
        deterministic: bool = False,
    ) -> tuple[np.ndarray[Any, Any], None]:
        """
        An action for each environment.

        :param observation: is not looked at
        :param state: is not needed
        :param episode_start: which environments start an episode, ``(n_envs,)``
        :param deterministic: has no meaning here
        """
        assert episode_start is not None
        return np.stack([self.action_space.sample() for _ in episode_start]), None


def record_model(
    model: PolicyPredictor,
    env: VecEnv,
    n_steps: int,
    path: str | pathlib.Path,
    deterministic: bool = False,
    append: bool = False,
) -> EpisodicReplayBuffer:
    """
    Play whole episodes and record them. Each environment plays until it has its share of the steps and its episode ends, so
    short episodes are no more likely to be there.

    :param model: chooses the actions: a model of SB3 or of this package
    :param env: the environment to play in
    :param n_steps: at least so many, over all environments
    :param path: of the ``.npz`` file, with or without ``.npz``; or its address
    :param deterministic: take the likeliest actions instead of draws
    :param append: keep the episodes of a file that is there, before these
    :return: all episodes of the file
    :raises ValueError: if ``n_steps`` is not positive, or the file holds episodes of other spaces, or was written by others
    """
    if n_steps < 1:
        raise ValueError(f"n_steps={n_steps}: must be at least 1")
    with EpisodeListener(env) as listener:
        if append:
            with suppress(FileNotFoundError):
                listener.buffer.add_all(_recorded_by_us(written_path(path), listener.buffer))
        n_before = listener.buffer.n_episodes
        observations: Any = env.reset()
        state, starts = None, np.ones(env.num_envs, dtype=np.bool_)
        n_played = 0
        while not listener.closed.all():
            actions, state = model.predict(observations, state=state, episode_start=starts, deterministic=deterministic)
            observations, _, starts, _ = env.step(actions)
            n_played += env.num_envs
            if n_played >= n_steps:
                listener.closed |= starts
    if _is_among(listener.buffer, n_before):
        warnings.warn(f"{path}: the first of these episodes is there already: another seed makes others", stacklevel=2)
    write_recording(path, listener.buffer)
    return listener.buffer


def _recorded_by_us(path: str | pathlib.Path, like: EpisodicReplayBuffer) -> EpisodicReplayBuffer:
    data = open_recording(path)
    if recorded_spaces(data) is None:
        raise ValueError(f"{path}: was written by others, and what else it holds would be lost: give another name")
    return read_episodes(data, like).buffer


def _is_among(buffer: EpisodicReplayBuffer, n: int) -> bool:
    """Whether episode ``n`` is one of those before it."""
    episode = buffer.episode(n)
    alike = np.flatnonzero((buffer.lengths[:n] == len(episode)) & (buffer.returns[:n] == buffer.returns[n]))
    return any(np.array_equal(buffer.episode(int(i)).actions, episode.actions) for i in alike)
