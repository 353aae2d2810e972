"""The memory of UDRL: whole episodes in flat arrays."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

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
        self.max_episodes, self.retention = max_episodes, retention
        self.sampling, self.sampling_temperature = sampling, sampling_temperature
        self.trailing_probability, self.recorded = trailing_probability, tuple(recorded)
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
        self._rewards, self._steps_to_go = make((), np.float32), make((), np.int32)
        self._amounts = {name: make((), np.float32) for name in self.recorded}
        self._sums_to_go = {name: make((), np.float32) for name in ("return", *self.recorded)}
        self._columns: dict[str, GrowableArray] = {}
        # One entry per kept episode, oldest first
        self._starts, self._lengths = make((), np.int64), make((), np.int64)
        self._returns, self._truncated = make((), np.float64), make((), np.bool_)
        self._n_transitions = 0
        self.n_episodes_added, self.n_transitions_added = 0, 0  # so far, also those that were forgotten since
        self._cumulative_weights: NDArray[np.float64] | None = None

    def __setstate__(self, state: dict[str, Any]) -> None:
        if "_returns_to_go" in state:  # written before labels left the buffer
            state = {**state, "recorded": (), "_amounts": {}, "_columns": {}}
            state["_sums_to_go"] = {"return": state.pop("_returns_to_go")}
            state.pop("_row_arrays")
            for name, column in (("scores", "_scores"), ("discounted returns", "_discounted")):
                if column in state:
                    state["_columns"][f"advantage {name}"] = state.pop(column)
        self.__dict__.update(state)

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
        Store a finished episode, and make room by the rule of ``retention``.

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
        """Add a row per step to every array."""
        map_observation(GrowableArray.extend, self._observations, episode.observations)
        self._actions.extend(episode.actions)
        self._rewards.extend(episode.rewards)
        self._sums_to_go["return"].extend(to_go)
        self._steps_to_go.extend(steps_to_go(len(episode)))
        for name, amounts in self._amounts.items():
            amounts.extend(episode.amounts[name])
            self._sums_to_go[name].extend(returns_to_go(episode.amounts[name]))
        for column in self._columns.values():
            column.extend(np.full(len(episode), np.nan))

    def _row_arrays(self) -> list[GrowableArray]:
        """All arrays with a row per step, but for the observations."""
        tables = (self._amounts, self._sums_to_go, self._columns)
        return [self._actions, self._rewards, self._steps_to_go, *(array for table in tables for array in table.values())]

    def _check_shapes(self, episode: Episode) -> None:
        def check(rows: Array, stored: GrowableArray) -> None:
            expected = (len(episode), *stored.rows.shape[1:])
            if rows.shape != expected:
                raise ValueError(
                    f"the episode holds an array of shape {rows.shape} where {expected} belongs: "
                    "observations and actions have one row per step, in the shapes of their spaces"
                )

        missing = sorted(set(self.recorded) - set(episode.amounts))
        if missing:
            raise ValueError(f"the episode has no amounts of {', '.join(missing)}: it was recorded for other commands")
        map_observation(check, episode.observations, self._observations)
        check(episode.actions, self._actions)
        for name, amounts in self._amounts.items():
            check(episode.amounts[name], amounts)

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
        for array in self._row_arrays():
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
            {name: amounts.rows[steps].copy() for name, amounts in self._amounts.items()},
        )

    # Rows: what labels and batches are made of

    @property
    def rewards(self) -> NDArray[np.float32]:
        """Raw reward of every row; between the rows of stored episodes may lie those of forgotten ones, ``(n_rows,)``."""
        return self._rewards.rows

    @property
    def steps_to_go(self) -> NDArray[np.int32]:
        """Steps to the end of the episode of every row, ``(n_rows,)``."""
        return self._steps_to_go.rows

    @property
    def truncated(self) -> NDArray[np.bool_]:
        """Whether a time limit cut off each stored episode, oldest first, ``(n_episodes,)``."""
        return self._truncated.rows

    def sums_to_go(self, name: str) -> NDArray[np.float32]:
        """
        Sum of the amounts from every row to the end of its episode, ``(n_rows,)``.

        :param name: ``"return"`` or one of ``recorded``
        """
        return self._sums_to_go[name].rows

    def column(self, name: str, dtype: Any) -> NDArray[Any]:
        """
        A further number for every row, NaN until it is written, for those who label: made at the first call, and kept in
        step with the rows from then on, ``(n_rows,)``.

        :param name: its name
        :param dtype: a floating type
        """
        if name not in self._columns:
            self._columns[name] = GrowableArray((), dtype, self.buffer_size * 9 // 8)
            self._columns[name].extend(np.full(len(self._rewards), np.nan))
        return self._columns[name].rows

    def has_column(self, name: str) -> bool:
        """
        Whether :meth:`column` has made this one since the buffer was made or reset.

        :param name: its name
        """
        return name in self._columns

    def stored_rows(self) -> NDArray[np.int64]:
        """The rows of all stored episodes, oldest first, ``(n_transitions,)``."""
        ends = np.cumsum(self.lengths)
        return np.arange(ends[-1]) + np.repeat(self._starts.rows - (ends - self.lengths), self.lengths)

    def episode_rows(self, episodes: NDArray[Any]) -> NDArray[np.int64]:
        """
        The rows of some episodes, one episode after the other.

        :param episodes: their indices
        """
        starts = self._starts.rows
        return np.concatenate([np.arange(starts[i], starts[i] + self.lengths[i]) for i in episodes])

    def draw_rows(self, n: int) -> NDArray[np.int64]:
        """
        Draw transitions: an episode by its weight, then one of its steps (arXiv 1912.02877, section 2.3.3).

        :param n: how many
        :return: their rows, ``(n,)``
        :raises ValueError: if the buffer is empty
        """
        self._require_episodes()
        return self._draw_rows(n)

    def draw_segments(self, rows: NDArray[np.int64]) -> NDArray[np.int32]:
        """
        Draw segments that begin at given rows: to the end of their episode, or as ``trailing_probability`` has it.

        :param rows: ``(n,)``
        :return: their lengths in steps, ``(n,)``
        """
        segments = self._steps_to_go.take(rows)
        if self.trailing_probability < 1:
            cut = self.rng.random(len(rows)) >= self.trailing_probability
            steps = self.rng.integers(1, segments + 1)  # ends t1 < t2 <= T, each equally likely
            cut &= steps < segments
            segments[cut] = steps[cut]
        return segments

    def take(self, rows: NDArray[np.int64], env: VecNormalize | None = None) -> tuple[Observation, Array]:
        """
        Observations and actions of some rows; tensors if the buffer has a device.

        :param rows: ``(n,)``
        :param env: normalizes the observations as it does now, if given
        :return: ``(n, *observation_shape)``, or a dictionary of such, and ``(n, *action_shape)``
        """
        if env is not None and self.device is not None:
            raise ValueError(
                f"device={str(self.device)!r}: VecNormalize works in numpy, so leave the device of the buffer at None"
            )
        observations = self.take_observations(rows)
        return observations if env is None else env.normalize_obs(observations), self._actions.take(rows)

    def take_observations(self, rows: NDArray[np.int64]) -> Any:
        """
        Observations of some rows, as :meth:`take` does without ``env``.

        :param rows: ``(n,)``
        """
        return map_observation(lambda array: array.take(rows), self._observations)

    def raw_observations(self, rows: NDArray[np.int64]) -> Any:
        """
        Observations of some rows in numpy, whatever the device.

        :param rows: ``(n,)``
        """
        return map_observation(lambda array: array.rows[rows], self._observations)

    def raw_actions(self, rows: NDArray[np.int64]) -> Array:
        """
        Actions of some rows in numpy.

        :param rows: ``(n,)``
        """
        return self._actions.rows[rows]

    def _draw_rows(self, n: int) -> NDArray[np.int64]:
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
