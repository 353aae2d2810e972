"""The memory of UDRL: whole episodes in flat arrays."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, TypeVar

import numpy as np
import torch as th
from gymnasium import spaces
from numpy.typing import NDArray
from stable_baselines3.common.utils import get_device

from sb3_udrl.buffers.arrays import Array, GrowableArray
from sb3_udrl.buffers.checks import row_kinds
from sb3_udrl.buffers.episodes import Episode
from sb3_udrl.buffers.older import upgraded
from sb3_udrl.buffers.plain import check_settings, plain_arrays, restored_storage
from sb3_udrl.buffers.retention import RETENTIONS
from sb3_udrl.buffers.sampling import SAMPLINGS
from sb3_udrl.buffers.storage import Storage, by_name, empty_storage, find, sums_to_come
from sb3_udrl.buffers.stored_episodes import StoredEpisodes

_MOST = float(np.finfo(np.float32).max)

SelfBuffer = TypeVar("SelfBuffer", bound="EpisodicReplayBuffer")


class EpisodicReplayBuffer(StoredEpisodes):
    """
    Replay buffer of whole episodes (arXiv 1912.02877, section 2.3.1).

    All transitions lie end to end in flat arrays, so a batch is one gather, however many episodes there are.
    Rewards and observations are stored raw, images as ``uint8``; nothing is allocated before it is needed.

    :param buffer_size: capacity in transitions (a single longer episode is kept all the same)
    :param observation_space: space of one environment
    :param action_space: space of one environment
    :param max_episodes: capacity in episodes; no bound if None
    :param retention: what a full buffer keeps: ``"recent"`` (first in, first out), ``"best"`` (highest return,
        then longest), ``"mixed"`` (half and half, as in the upside-down-rl package) or ``"bands"`` (equally wide bands of
        return alike)
    :param sampling: ``"transitions"`` or ``"episodes"`` (uniform over these), ``"return"`` or ``"rank"``
        (exponentially weighted by return or by its rank), or ``"bands"`` (equally wide bands of return alike)
    :param sampling_temperature: width of the exponential weights; lower prefers better episodes more
    :param trailing_probability: share of segments that run to the end of their episode, the others end at random:
        1 in arXiv 1912.02877, 0.75 in the upside-down-rl package
    :param recorded: names of further amounts that are stored with every step
    :param seed: seed or generator of the draws
    :param device: keep a copy of the observations on this device, so that batches need not carry them there; not with
        ``VecNormalize``
    :raises ValueError: if an argument is out of its range or an unknown name
    """

    def __init__(
        self,
        buffer_size: int,
        observation_space: spaces.Space[Any],
        action_space: spaces.Space[Any],
        max_episodes: int | None = None,
        retention: str = "recent",
        sampling: str = "transitions",
        sampling_temperature: float = 0.3,
        trailing_probability: float = 1.0,
        recorded: Sequence[str] = (),
        seed: int | np.random.Generator | None = None,
        device: th.device | str | None = None,
    ) -> None:
        if buffer_size < 1:
            raise ValueError(f"buffer_size={buffer_size}: at least one transition must fit")
        if max_episodes is not None and max_episodes < 1:
            raise ValueError(f"max_episodes={max_episodes}: at least one episode must fit, or None for no bound")
        if retention not in RETENTIONS:
            raise ValueError(f"retention={retention!r}: choose one of {sorted(RETENTIONS)}")
        if sampling not in SAMPLINGS:
            raise ValueError(f"sampling={sampling!r}: choose one of {sorted(SAMPLINGS)}")
        if not sampling_temperature > 0:
            raise ValueError(f"sampling_temperature={sampling_temperature}: must be positive")
        if not 0 <= trailing_probability <= 1:
            raise ValueError(f"trailing_probability={trailing_probability}: must be between 0 and 1")
        self.buffer_size = int(buffer_size)
        self.observation_space, self.action_space = observation_space, action_space
        self.max_episodes, self.retention = None if max_episodes is None else int(max_episodes), retention
        self.sampling, self.sampling_temperature = sampling, float(sampling_temperature)
        self.trailing_probability, self.recorded = float(trailing_probability), tuple(recorded)
        self.rng = np.random.default_rng(seed)
        self.device = None if device is None else get_device(device)
        self._kinds = row_kinds(observation_space, action_space, self.recorded)
        self._weights: tuple[GrowableArray, NDArray[np.bool_] | None, NDArray[np.float64]] | None = None  # summed
        self.reset()

    def reset(self) -> None:
        """Forget all episodes."""
        capacity = self.buffer_size * 9 // 8  # there are no more rows at a time, unless episodes are very long
        self._storage = empty_storage(self._kinds, self.recorded, capacity, self.device)

    def __getstate__(self) -> dict[str, Any]:
        return {**vars(self), "_storage": replace(self._storage), "_weights": None}  # without what was computed from it

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state if "_storage" in state else upgraded(state))

    def add(self, episode: Episode) -> None:
        """
        Store a finished episode, and make room by the rule of ``retention``.

        All of that happens or nothing, also if it is interrupted.

        :param episode: raw observations, actions and rewards
        :raises ValueError: if it has no steps, or a reward, observation or amount is not finite or too large for single
            precision, or an action lies outside of its space, or an array has another shape than the spaces say
        """
        rows, total = self._rows(episode)
        storage = self._storage.with_episode(rows, total, episode.truncated)
        if storage.n_transitions > self.buffer_size or len(storage.lengths) > (self.max_episodes or np.inf):
            storage = storage.only(self._kept(storage.episodes["returns"].rows, storage.lengths))
        self._store(storage)

    def add_all(self, others: StoredEpisodes) -> None:
        """
        Store the episodes of another buffer, those alone that the rule of ``retention`` keeps of all together.

        All of that happens or nothing, also if it is interrupted.

        :param others: a buffer of the same spaces and amounts; its columns are not taken over
        """
        keep = self._kept(np.append(self.returns, others.returns), np.append(self.lengths, others.lengths))
        ours, theirs = np.split(keep, [self.n_episodes])
        storage = self._storage.with_episodes_of(others._storage, np.flatnonzero(theirs))
        self._store(storage if ours.all() else storage.only(np.append(ours, np.ones(theirs.sum(), dtype=np.bool_))))

    def _kept(self, returns: NDArray[np.float64], lengths: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Which of some episodes a buffer of this size keeps, oldest first."""
        return RETENTIONS[self.retention](returns, lengths, self.buffer_size, self.max_episodes or np.inf)

    def _store(self, storage: Storage) -> None:
        self._storage = storage
        if storage.n_rows - storage.n_transitions > storage.n_rows // 16:
            self._close_gaps()

    def _rows(self, episode: Episode) -> tuple[dict[str, Array], float]:
        """A row per step, by name, in the form in which they are stored; and the return."""
        if len(episode) == 0:
            raise ValueError("the episode has no steps: an episode needs at least one")
        given = {**by_name(episode.observations), "actions": episode.actions, "rewards": episode.rewards}
        given |= {f"amounts/{name}": amounts for name, amounts in episode.amounts.items()}
        missing = [name for name in self._kinds if name not in given]
        if missing:
            raise ValueError(f"the episode has no {', '.join(missing)}: it was recorded for other commands or spaces")
        rows = {name: kind.checked(given[name], len(episode)) for name, kind in self._kinds.items()}
        to_come = sums_to_come(rows["rewards"], {name: rows[f"amounts/{name}"] for name in self.recorded})
        total = float(to_come["sums_to_go/return"][0])
        for name, sums in to_come.items():
            if np.abs(sums).max() > _MOST:
                raise ValueError(
                    f"{name}: the numbers of the episode add up to more than single precision holds, scale them down"
                )
        return {**rows, **to_come}, total

    def _close_gaps(self) -> None:
        """Use no rows but those of stored episodes, oldest first; after each step the same is stored."""
        while self._storage.has_gaps:
            self._storage = self._storage.with_fewer_gaps()

    # Plain arrays and settings, for files

    def arrays(self) -> dict[str, Array]:
        """
        The stored episodes as plain arrays: a row per step, episodes end to end, oldest first. What can be computed from
        these is not among them.

        No row is copied: gaps between episodes are closed before, in place. The arrays are views until the next :meth:`add`.

        :return: ``observations``, or ``observations/KEY`` for each key of a ``Dict`` space, ``actions``, ``rewards``,
            ``amounts/NAME`` and ``columns/NAME``, and for each episode ``lengths`` and ``truncated``
        """
        self._close_gaps()
        return plain_arrays(self._storage, self._kinds)

    def settings(self) -> dict[str, Any]:
        """The arguments of the constructor and the counters as plain values, without spaces, generator and device."""
        names = ("buffer_size", "max_episodes", "retention", "sampling", "sampling_temperature", "trailing_probability")
        counters = {"n_episodes_added": self.n_episodes_added, "n_transitions_added": self.n_transitions_added}
        return {**{name: getattr(self, name) for name in names}, "recorded": list(self.recorded), **counters}

    def restored(self: SelfBuffer, arrays: Mapping[str, Array], settings: Mapping[str, Any]) -> SelfBuffer:
        """
        A buffer with the spaces, the generator and the device of this one, which itself is left as it is.

        Training goes on with it as with the buffer that gave ``arrays`` and ``settings``.

        :param arrays: as :meth:`arrays` gives them; they belong to the new buffer from then on, so pass copies of views
        :param settings: as :meth:`settings` gives them
        :raises ValueError: naming what is not as it would be in a buffer of these spaces
        """
        check_settings(settings)
        if tuple(settings["recorded"]) != self.recorded:
            raise ValueError(f"recorded={settings['recorded']}: this buffer stores amounts of {list(self.recorded)}")
        counters = {name: settings[name] for name in ("n_episodes_added", "n_transitions_added")}
        arguments = {name: value for name, value in settings.items() if name not in counters}
        buffer = copy.copy(self)
        EpisodicReplayBuffer.__init__(
            buffer,
            observation_space=self.observation_space,
            action_space=self.action_space,
            seed=self.rng,
            device=self.device,
            **arguments,
        )
        buffer._storage = restored_storage(arrays, self._kinds, buffer._storage, **counters)
        if buffer.n_episodes > 1 and buffer.n_transitions > buffer.buffer_size:
            raise ValueError(f"buffer_size={buffer.buffer_size}: fewer than the {buffer.n_transitions} steps that are stored")
        if buffer.n_episodes > (buffer.max_episodes or np.inf):
            raise ValueError(f"max_episodes={buffer.max_episodes}: fewer than the {buffer.n_episodes} that are stored")
        return buffer

    def draw_rows(self, n: int, kept: NDArray[np.bool_] | None = None) -> NDArray[np.int64]:
        """
        Draw transitions: an episode by its weight, then one of its steps (arXiv 1912.02877, section 2.3.3).

        :param n: how many
        :param kept: episodes to draw from, weighted as if there were no others, ``(n_episodes,)``; all if None
        :return: their rows, ``(n,)``
        :raises ValueError: if the buffer is empty
        """
        self._require_episodes()
        if self.sampling == "transitions" and kept is None:
            return self._storage.rows_of(self.rng.integers(self.n_transitions, size=n))
        table = self._storage.episodes["returns"]
        if self._weights is None or self._weights[0] is not table or self._weights[1] is not kept:
            among = slice(None) if kept is None else kept
            weights = np.zeros(self.n_episodes)
            weights[among] = SAMPLINGS[self.sampling](self.returns[among], self.lengths[among], self.sampling_temperature)
            self._weights = table, kept, np.append(0.0, np.cumsum(weights))
        edges = self._weights[2]
        episodes = np.minimum(find(edges, self.rng.random(n) * edges[-1]), self.n_episodes - 1)
        return self._storage.starts[episodes] + (self.rng.random(n) * self.lengths[episodes]).astype(np.int64)

    def draw_segments(self, rows: NDArray[np.int64]) -> NDArray[np.int32]:
        """
        Draw segments that begin at given rows: to the end of their episode, or as ``trailing_probability`` has it.

        :param rows: ``(n,)``
        :return: their lengths in steps, ``(n,)``
        """
        segments = self.steps_to_go.take(rows)
        if self.trailing_probability < 1:
            cut = self.rng.random(len(rows)) >= self.trailing_probability
            steps = self.rng.integers(1, segments + 1)  # ends t1 < t2 <= T, each equally likely
            cut &= steps < segments
            segments[cut] = steps[cut]
        return segments
