"""Recordings in the forms that others keep them, as episodes of given spaces."""

from __future__ import annotations

import pathlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
from gymnasium import spaces

from sb3_udrl.buffers import Episode, EpisodicReplayBuffer
from sb3_udrl.buffers.arrays import Array, map_observation
from sb3_udrl.recordings.arrays import channels_moved, from_arrays
from sb3_udrl.recordings.sources import open_recording


class Recorded(NamedTuple):
    """
    What was read.

    :param buffer: all episodes that ended
    :param n_dropped: steps of episodes without an end, which were left out
    """

    buffer: EpisodicReplayBuffer
    n_dropped: int


def read_episodes(data: Any, buffer: EpisodicReplayBuffer) -> Recorded:
    """
    Read a recording.

    :param data: a name that :func:`~sb3_udrl.recordings.open_recording` takes; a dictionary of arrays ``observations, actions,
        rewards, terminals, timeouts``, as D4RL has them; a Minari data set; trajectories of the imitation package, or a
        Hugging Face data set of such; a replay buffer of SB3 or of this package; or a list of ``Episode``
    :param buffer: empty; says by its spaces what is stored
    :raises FileNotFoundError: if there is no such file
    :raises ValueError: naming the episode, if it is not as the spaces say; or if no episode ends, or the form is unknown
    """
    if isinstance(data, str | pathlib.Path):
        data = open_recording(data)
    if isinstance(data, Mapping):
        return Recorded(*from_arrays(data, buffer))
    for reads, episodes in _FORMS:
        if reads(data):
            return _collected(episodes(data), buffer)
    if hasattr(data, "__len__") and len(data) == 0:
        raise ValueError(f"data: the {type(data).__name__} is empty: give at least one episode")
    raise ValueError(
        f"data: a {type(data).__name__} is none of the forms that are read: give the path of an .npz file, a dictionary of "
        "arrays, a Minari data set, trajectories of the imitation package, a replay buffer, or a list of Episode"
    )


def _collected(episodes: Iterable[Episode | int], buffer: EpisodicReplayBuffer) -> Recorded:
    """Episodes one by one; a number stands for an episode without an end, of so many steps."""
    settings = {**buffer.settings(), "buffer_size": 2**31, "max_episodes": None}
    like = buffer.arrays()
    stored, n_dropped = buffer.restored(like, settings), 0
    for number, episode in enumerate(episodes):
        if isinstance(episode, int):
            n_dropped += episode
            continue
        try:
            stored.add(_with_channels_as(like, episode))
        except ValueError as error:
            raise ValueError(f"episode {number}: {error}") from error
    if stored.n_episodes == 0:
        raise ValueError(f"data: no episode ends, and UDRL learns from whole ones; {n_dropped} steps without an end")
    return Recorded(stored, n_dropped)


def _with_channels_as(like: Mapping[str, Array], episode: Episode) -> Episode:
    """The episode, its pictures with their channels where those of the spaces have them."""

    def moved(rows: Any, name: str) -> Array:
        rows = np.asarray(rows)
        return channels_moved(rows, like.get(name, rows))

    observations = episode.observations
    names = {key: f"observations/{key}" for key in observations} if isinstance(observations, dict) else "observations"
    return replace(episode, observations=map_observation(moved, observations, names))


def _minari(data: Any) -> Iterator[Episode | int]:
    for episode in data.iterate_episodes():
        n = len(episode.rewards)
        terminated, truncated = bool(episode.terminations[-1]), bool(episode.truncations[-1])
        if not (terminated or truncated):
            yield n
            continue
        observations = map_observation(lambda rows, n=n: np.asarray(rows)[:n], episode.observations)
        yield Episode(observations, np.asarray(episode.actions), np.asarray(episode.rewards), truncated and not terminated)


def _trajectories(data: Any) -> Iterator[Episode | int]:
    """Rows or objects with ``obs`` (one more than steps), ``acts``, ``rews`` and ``terminal``."""
    for row in data:
        fields = (
            row if isinstance(row, Mapping) else {name: getattr(row, name) for name in ("obs", "acts", "rews", "terminal")}
        )
        rewards = np.asarray(fields["rews"])
        n = len(rewards)
        observations = map_observation(lambda rows, n=n: np.asarray(rows)[:n], fields["obs"])
        yield Episode(observations, np.asarray(fields["acts"]), rewards, not bool(fields["terminal"]))


def _sb3_buffer(data: Any) -> Iterator[Episode | int]:
    """Each environment of a replay buffer of SB3, from its oldest step on; the first episode may lack its beginning."""
    n = data.buffer_size if data.full else data.pos
    order = np.roll(np.arange(n), -data.pos) if data.full else np.arange(n)
    for env in range(data.n_envs):
        dones = data.dones[order, env].astype(bool)
        starts = np.append(0, np.flatnonzero(dones) + 1)
        for i, start in enumerate(starts):
            end = int(starts[i + 1]) if i + 1 < len(starts) else n
            rows = order[start:end]
            if i + 1 == len(starts) or (i == 0 and data.full):
                yield len(rows)
                continue
            observations = map_observation(
                lambda array, space, rows=rows, env=env: array[rows, env].reshape(len(rows), *space.shape),
                data.observations,
                data.observation_space,
            )
            actions = _unscaled(data.actions[rows, env].reshape(len(rows), *data.action_space.shape), data.action_space)
            yield Episode(observations, actions, data.rewards[rows, env], bool(data.timeouts[rows[-1], env]))


def _unscaled(actions: Array, space: spaces.Space[Any]) -> Array:
    """Actions as the environment got them: the algorithms of SB3 store those of boxes scaled to between -1 and 1."""
    if isinstance(space, spaces.Box):
        actions = np.clip(space.low + 0.5 * (actions + 1) * (space.high - space.low), space.low, space.high)
    return actions if space.dtype is None else actions.astype(space.dtype)


def _stored(data: Any) -> Iterator[Episode | int]:
    return map(data.episode, range(data.n_episodes))


def _own(data: Any) -> Iterator[Episode | int]:
    yield from data


_FORMS: list[tuple[Callable[[Any], bool], Callable[[Any], Iterator[Episode | int]]]] = [
    (lambda data: hasattr(data, "iterate_episodes"), _minari),
    (lambda data: hasattr(data, "timeouts") and hasattr(data, "dones"), _sb3_buffer),
    (lambda data: hasattr(data, "n_episodes") and hasattr(data, "episode"), _stored),
    (lambda data: _first_has(data, "obs", "acts", "rews", "terminal"), _trajectories),
    (lambda data: _first_has(data, "observations", "actions", "rewards", "truncated"), _own),
]


def _first_has(data: Any, *names: str) -> bool:
    """Whether the first of several things has some attributes or keys."""
    if not hasattr(data, "__getitem__") or not hasattr(data, "__len__") or len(data) == 0:
        return False
    first = data[0]
    return all(name in first if isinstance(first, Mapping) else hasattr(first, name) for name in names)
