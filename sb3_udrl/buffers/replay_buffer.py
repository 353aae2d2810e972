"""The memory of UDRL: whole episodes in flat arrays, labelled in hindsight."""

from __future__ import annotations

from functools import partial
from typing import Any, ClassVar, NamedTuple

import numpy as np
import torch as th
from gymnasium import spaces
from numpy.typing import NDArray
from stable_baselines3.common.utils import get_device
from stable_baselines3.common.vec_env import VecNormalize

from sb3_udrl.buffers.arrays import (
    Array,
    GrowableArray,
    MirroredArray,
    Observation,
    action_dtype,
    map_observation,
    observation_arrays,
)
from sb3_udrl.buffers.episodes import Episode, returns_to_go, steps_to_go
from sb3_udrl.buffers.retention import RETENTIONS, best_first
from sb3_udrl.buffers.sampling import SAMPLINGS

_ENOUGH_OTHERS = 5  # a single one may have been luck that does not come again


class CommandBatch(NamedTuple):
    """
    Supervised examples: in this situation, under this command, this was done.

    :param observations: ``(n, *observation_shape)``, or a dictionary of such; tensors if the buffer has a device
    :param actions: ``(n, *action_shape)``
    :param desired_return: return that followed, in raw reward units, ``(n,)``
    :param desired_horizon: steps in which it followed, ``(n,)``
    """

    observations: Observation
    actions: Array
    desired_return: NDArray[np.float32]
    desired_horizon: NDArray[np.float32]


class EpisodicReplayBuffer:
    """
    Replay buffer of whole episodes (arXiv 1912.02877, section 2.3.1).

    All transitions lie end to end in flat arrays, so a batch is one gather, however many episodes there are.
    Rewards and observations are stored raw, images as ``uint8``; nothing is allocated before it is needed.

    :param buffer_size: capacity in transitions (a single longer episode is kept all the same)
    :param observation_space: space of one environment
    :param action_space: space of one environment
    :param max_episodes: capacity in episodes; no bound if None
    :param retention: what a full buffer keeps: ``"recent"`` (first in, first out), ``"best"`` (highest return,
        then longest) or ``"mixed"`` (half and half, as in the upside-down-rl package)
    :param sampling: ``"transitions"`` or ``"episodes"`` (uniform over these), ``"return"`` or ``"rank"``
        (exponentially weighted by return or by its rank)
    :param sampling_temperature: width of the exponential weights; lower prefers better episodes more
    :param trailing_probability: share of segments that run to the end of their episode, the others end at random:
        1 in arXiv 1912.02877, 0.75 in the upside-down-rl package
    :param seed: seed or generator of the draws
    :param device: keep a copy of the observations on this device, so that batches need not carry them there; not with
        ``VecNormalize``
    :raises ValueError: if an argument is out of its range or an unknown name
    """

    relative: ClassVar[bool] = False  # whether its labels are relative scores instead of returns and horizons

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
        self.max_episodes, self.retention = max_episodes, retention
        self.sampling, self.sampling_temperature = sampling, sampling_temperature
        self.trailing_probability = trailing_probability
        self.rng = np.random.default_rng(seed)
        self.device = None if device is None else get_device(device)
        self.reset()

    def reset(self) -> None:
        """Forget all episodes."""
        capacity = self.buffer_size * 9 // 8  # there are no more rows at a time, unless episodes are very long
        make = partial(GrowableArray, capacity=capacity)
        mirrored = make if self.device is None else partial(MirroredArray, capacity=capacity, device=self.device)
        self._observations = observation_arrays(self.observation_space, mirrored)
        self._actions = make(self.action_space.shape or (), action_dtype(self.action_space))
        self._rewards, self._returns_to_go = make((), np.float32), make((), np.float32)
        self._steps_to_go = make((), np.int32)
        self._row_arrays = [self._actions, self._rewards, self._returns_to_go, self._steps_to_go]
        # One entry per kept episode, oldest first
        self._starts, self._lengths = make((), np.int64), make((), np.int64)
        self._returns, self._truncated = make((), np.float64), make((), np.bool_)
        self._n_transitions = 0
        self.n_episodes_added, self.n_transitions_added = 0, 0  # so far, also those that were forgotten since
        self._cumulative_weights: NDArray[np.float64] | None = None

    @property
    def returns(self) -> NDArray[np.float64]:
        """Returns of the stored episodes, oldest first, ``(n_episodes,)``."""
        return self._returns.rows

    @property
    def lengths(self) -> NDArray[np.int64]:
        """Lengths of the stored episodes in steps, oldest first, ``(n_episodes,)``."""
        return self._lengths.rows

    @property
    def n_episodes(self) -> int:
        """Number of stored episodes."""
        return len(self._lengths)

    @property
    def n_transitions(self) -> int:
        """Number of stored transitions."""
        return self._n_transitions

    def size(self) -> int:
        """Number of stored transitions, under the name that SB3's buffers use."""
        return self.n_transitions

    def has_differences(self) -> bool:
        """Whether five or more stored episodes differ in return or length from the most frequent outcome, or no two agree."""
        if self.n_episodes < 2:
            return False
        # pairs as complex numbers: 24 times as fast as unique columns
        _, counts = np.unique(self.returns + 1j * self.lengths, return_counts=True)
        return bool(counts.max() == 1 or self.n_episodes - counts.max() >= _ENOUGH_OTHERS)

    def add(self, episode: Episode) -> None:
        """
        Store a finished episode, label it, and make room by the rule of ``retention``.

        :param episode: raw observations, actions and rewards
        :raises ValueError: if a reward or an observation is not finite, or has another shape than the spaces say; the
            buffer is left as it was
        """
        episode.check()
        self._check_shapes(episode)
        to_go = returns_to_go(episode.rewards)
        self._starts.extend(np.array([len(self._rewards)]))
        self._lengths.extend(np.array([len(episode)]))
        self._returns.extend(to_go[:1])
        self._truncated.extend(np.array([episode.truncated]))
        self._n_transitions += len(episode)
        self.n_episodes_added += 1
        self.n_transitions_added += len(episode)
        self._append(episode, to_go)
        self._cumulative_weights = None
        max_episodes = self.max_episodes or np.inf
        if self.n_transitions > self.buffer_size or self.n_episodes > max_episodes:
            self._keep(RETENTIONS[self.retention](self.returns, self.lengths, self.buffer_size, max_episodes))

    def _append(self, episode: Episode, to_go: NDArray[np.float64]) -> None:
        """Add a row per step to every array in ``_row_arrays`` and to the observations."""
        map_observation(GrowableArray.extend, self._observations, episode.observations)
        self._actions.extend(episode.actions)
        self._rewards.extend(episode.rewards)
        self._returns_to_go.extend(to_go)
        self._steps_to_go.extend(steps_to_go(len(episode)))

    def _check_shapes(self, episode: Episode) -> None:
        def check(rows: Array, stored: GrowableArray) -> None:
            expected = (len(episode), *stored.rows.shape[1:])
            if rows.shape != expected:
                raise ValueError(
                    f"the episode holds an array of shape {rows.shape} where {expected} belongs: "
                    "observations and actions have one row per step, in the shapes of their spaces"
                )

        map_observation(check, episode.observations, self._observations)
        check(episode.actions, self._actions)

    def _keep(self, mask: NDArray[np.bool_]) -> None:
        """Forget the other episodes; their rows are reclaimed once they are a sixteenth of all."""
        for table in (self._starts, self._lengths, self._returns, self._truncated):
            table.keep(mask)
        self._n_transitions = int(self.lengths.sum())
        n_rows = len(self._rewards)
        if n_rows - self.n_transitions <= n_rows // 16:
            return
        edges = np.zeros(n_rows + 1, dtype=np.int8)
        edges[self._starts.rows] += 1
        edges[self._starts.rows + self.lengths] -= 1
        alive = np.cumsum(edges[:-1], dtype=np.int8).astype(bool)
        map_observation(lambda array: array.keep(alive), self._observations)
        for array in self._row_arrays:
            array.keep(alive)
        self._starts.rows[:] = np.cumsum(self.lengths) - self.lengths

    def best(self, n_episodes: int) -> NDArray[Any]:
        """
        The episodes with the highest return, the longer first among equals.

        :param n_episodes: how many, at most
        :return: their indices into ``returns`` and ``lengths``, best first
        :raises ValueError: if the buffer is empty
        """
        self._require_episodes()
        if n_episodes >= self.n_episodes:
            return best_first(self.returns, self.lengths)
        cutoff = np.partition(self.returns, -n_episodes)[-n_episodes]  # so that only the best need to be put in order
        candidates = np.flatnonzero(self.returns >= cutoff)
        return candidates[best_first(self.returns[candidates], self.lengths[candidates])[:n_episodes]]

    def episode(self, index: int) -> Episode:
        """
        A copy of one stored episode.

        :param index: position among the stored episodes, oldest first
        """
        start, length = int(self._starts.rows[index]), int(self.lengths[index])
        steps = slice(start, start + length)
        return Episode(
            map_observation(lambda array: array.rows[steps].copy(), self._observations),
            self._actions.rows[steps].copy(),
            self._rewards.rows[steps].copy(),
            bool(self._truncated.rows[index]),
        )

    def sample(self, batch_size: int, env: VecNormalize | None = None) -> CommandBatch:
        """
        Draw transitions, each with the command that it fulfilled in hindsight (arXiv 1912.02877, section 2.3.3).

        :param batch_size: number of transitions
        :param env: normalizes the observations as it does now, if given
        :raises ValueError: if the buffer is empty
        """
        return self._batch(self._draw_rows(batch_size), env)

    def transitions(self, episodes: NDArray[Any], env: VecNormalize | None = None) -> CommandBatch:
        """
        All transitions of some episodes, labelled as by :meth:`sample`.

        :param episodes: their indices
        :param env: normalizes the observations as it does now, if given
        """
        starts = self._starts.rows
        rows = [np.arange(starts[i], starts[i] + self.lengths[i]) for i in episodes]
        return self._batch(np.concatenate(rows), env)

    def _batch(self, rows: NDArray[np.int64], env: VecNormalize | None) -> CommandBatch:
        """Gather rows."""
        if env is not None and self.device is not None:
            raise ValueError(
                f"device={str(self.device)!r}: VecNormalize works in numpy, so leave the device of the buffer at None"
            )
        desired_return, desired_horizon = self._labels(rows)
        observations = map_observation(lambda array: array.take(rows), self._observations)
        return CommandBatch(
            observations if env is None else env.normalize_obs(observations),
            self._actions.take(rows),
            desired_return,
            desired_horizon,
        )

    def _labels(self, rows: NDArray[np.int64]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """The returns and horizons that rows fulfilled, their segments cut short by chance."""
        desired_return, desired_horizon = self._returns_to_go.take(rows), self._steps_to_go.take(rows)
        if self.trailing_probability < 1:
            cut = self.rng.random(len(rows)) >= self.trailing_probability
            steps = self.rng.integers(1, desired_horizon + 1)  # ends t1 < t2 <= T, each equally likely
            cut &= steps < desired_horizon
            desired_return[cut] -= self._returns_to_go.rows[rows[cut] + steps[cut]]
            desired_horizon[cut] = steps[cut]
        return desired_return, desired_horizon.astype(np.float32)

    def _draw_rows(self, n: int) -> NDArray[np.int64]:
        """Rows of ``n`` transitions: an episode by its weight, then one of its steps."""
        self._require_episodes()
        first, last = int(self._starts.rows[0]), int(self._starts.rows[-1] + self.lengths[-1])
        if self.sampling == "transitions" and last - first == self.n_transitions:  # no gaps: no search for the episode
            return self.rng.integers(first, last, size=n)
        if self._cumulative_weights is None:
            weights = SAMPLINGS[self.sampling](self.returns, self.lengths, self.sampling_temperature)
            self._cumulative_weights = np.cumsum(weights)
        targets = self.rng.random(n) * self._cumulative_weights[-1]
        order = targets.argsort()  # a search in order stays in the cache, however many episodes there are
        episodes = np.empty(n, dtype=np.int64)
        episodes[order] = np.searchsorted(self._cumulative_weights, targets[order], side="right")
        np.minimum(episodes, self.n_episodes - 1, out=episodes)
        return self._starts.rows[episodes] + (self.rng.random(n) * self.lengths[episodes]).astype(np.int64)

    def _require_episodes(self) -> None:
        if self.n_episodes == 0:
            raise ValueError("the replay buffer is empty: add episodes, or raise learning_starts until one has ended")
