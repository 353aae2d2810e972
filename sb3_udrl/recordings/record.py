"""Recordings of what any algorithm of SB3 does, in training or evaluation."""

from __future__ import annotations

import pathlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
from gymnasium import spaces
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.vec_env import VecEnv, VecNormalize, unwrap_vec_normalize

from sb3_udrl.buffers import EpisodeRecorder, EpisodicReplayBuffer
from sb3_udrl.recordings.arrays import to_arrays
from sb3_udrl.recordings.sources import describe_arrays
from sb3_udrl.saving.files import written_at_once

_NO_LIMIT = 2**31


class EpisodeListener:
    """
    Takes down the steps of an environment, raw, until it is detached; as a context, for as long as that lasts.

    :param env: the environment that is stepped
    """

    def __init__(self, env: VecEnv) -> None:
        self._env = env.venv if isinstance(env, VecNormalize) else env
        normalize = unwrap_vec_normalize(self._env)
        if normalize is not None:
            raise ValueError("VecNormalize below another wrapper: what it changes cannot be taken back, so wrap it last")
        self.observation_space, self.action_space = self._env.observation_space, self._env.action_space
        self.buffer = EpisodicReplayBuffer(_NO_LIMIT, self.observation_space, self.action_space)
        self._recorder = EpisodeRecorder(self.observation_space, self.action_space, env.num_envs, _NO_LIMIT)
        self._last: Any = None  # observations before the next step
        self._whole = np.zeros(env.num_envs, dtype=np.bool_)  # whose running episode was seen from its start
        self.closed = np.zeros(env.num_envs, dtype=np.bool_)  # whose further episodes are not taken down
        self._actions = np.zeros(0)
        self._step_async, self._step_wait, self._reset = self._env.step_async, self._env.step_wait, self._env.reset
        self._replaced = {name: vars(self._env).get(name) for name in ("step_async", "step_wait", "reset")}
        for name, listen in (("step_async", self._on_act), ("step_wait", self._on_step), ("reset", self._on_reset)):
            setattr(self._env, name, listen)

    def __enter__(self) -> EpisodeListener:
        return self

    def __exit__(self, *exception: object) -> None:
        self.detach()

    def detach(self) -> None:
        """Leave the environment as it was, if that has not been done."""
        for name, former in self._replaced.items():
            vars(self._env).pop(name, None)
            if former is not None:
                setattr(self._env, name, former)
        self._replaced = {}

    def _on_reset(self) -> Any:
        self._recorder.discard()
        self.begin(self._reset())
        return self._last

    def _on_act(self, actions: Any) -> None:
        self._actions = np.array(actions)
        self._step_async(actions)

    def _on_step(self) -> Any:
        observations, rewards, dones, infos = self._step_wait()
        if self._last is not None:
            actions = self._actions
            if isinstance(self.action_space, spaces.Box):
                actions = np.clip(actions, self.action_space.low, self.action_space.high)
            self._recorder.record(self._last, actions, rewards)
            for env in np.flatnonzero(dones).tolist():
                episode = self._recorder.finish(env, infos[env].get("TimeLimit.truncated", False))
                if self._whole[env] and not self.closed[env]:
                    self.buffer.add(episode)
        self._whole |= dones
        self._last = observations
        return observations, rewards, dones, infos

    def begin(self, observations: Any) -> None:
        """
        Episodes begin in all environments.

        :param observations: their first ones, raw
        """
        self._last, self._whole = observations, np.ones_like(self._whole)


def write_recording(path: str | pathlib.Path, buffer: EpisodicReplayBuffer) -> None:
    """
    Write episodes and their spaces to an ``.npz`` file, which appears only when it is complete.

    :param path: with or without ``.npz``; or an address
    :param buffer: the episodes
    """
    about = describe_arrays(buffer.observation_space, buffer.action_space)
    with written_at_once(written_path(path)) as target, open(target, "wb") as file:
        np.savez(file, **to_arrays(buffer), **about)  # type: ignore[arg-type]


def written_path(path: str | pathlib.Path) -> str | pathlib.Path:
    """
    Where :func:`write_recording` writes to.

    :param path: path or address
    :return: with ``.npz``, if it had no suffix
    """
    return path if pathlib.PurePath(path).suffix else f"{path}.npz"


@contextmanager
def record_episodes(env: VecEnv, path: str | pathlib.Path) -> Iterator[EpisodicReplayBuffer]:
    """
    Record the episodes that end while the context lasts, such as those of ``evaluate_policy``; they are written at its end.

    :param env: the environment that is stepped; episodes that run already are not recorded
    :param path: of the ``.npz`` file
    :return: context of the episodes so far
    """
    with EpisodeListener(env) as listener:
        try:
            yield listener.buffer
        finally:
            if listener.buffer.n_episodes:
                write_recording(path, listener.buffer)


class RecordEpisodes(BaseCallback):
    """
    Record all episodes of a training, of any algorithm of SB3: raw observations and rewards, below ``VecNormalize``.

    :param path: of the ``.npz`` file
    :param save_freq: write it every so many steps of the environments together, and at the end of training
    :param verbose: as in SB3
    """

    def __init__(self, path: str | pathlib.Path, save_freq: int = 100_000, verbose: int = 0) -> None:
        super().__init__(verbose)
        if save_freq < 1:
            raise ValueError(f"save_freq={save_freq}: must be at least 1")
        self.path, self.save_freq = path, save_freq
        self._listener: EpisodeListener | None = None
        self._written = 0

    def _on_training_start(self) -> None:
        if getattr(self.model, "collectors", 0):
            raise ValueError(
                "RecordEpisodes hears the environment of the model, which collectors do not step: train without collectors, "
                "or give model.replay_buffer, which holds their episodes, to write_recording or learn_from"
            )
        env, former = self.training_env, self._listener
        if former is not None:  # of a training before, which may have been interrupted
            former.detach()
        self._listener = EpisodeListener(env)
        if former is not None:
            self._listener.buffer = former.buffer
        if self.model.num_timesteps == 0:  # the environment was reset just before
            self._listener.begin(env.get_original_obs() if isinstance(env, VecNormalize) else self.model._last_obs)
        self._written = self.model.num_timesteps

    def _on_step(self) -> bool:
        if self.num_timesteps - self._written >= self.save_freq:
            self._write()
        return True

    def _on_training_end(self) -> None:
        assert self._listener is not None
        self._listener.detach()
        self._write()

    def _write(self) -> None:
        assert self._listener is not None
        if self._listener.buffer.n_episodes:
            write_recording(self.path, self._listener.buffer)
        self._written = self.num_timesteps
