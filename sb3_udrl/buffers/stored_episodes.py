"""Stored episodes as those see them who label them and learn from them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch as th
from gymnasium import spaces
from numpy.typing import NDArray
from stable_baselines3.common.vec_env import VecNormalize

from sb3_udrl.buffers.arrays import Array, Observation, map_observation
from sb3_udrl.buffers.episodes import Episode
from sb3_udrl.buffers.retention import best_first
from sb3_udrl.buffers.storage import Storage

_ENOUGH_OTHERS = 5  # a single one may have been luck that does not come again


class StoredEpisodes:
    """
    Access to all that is stored. Each step has a row; which one changes whenever episodes come and go.

    """

    observation_space: spaces.Space[Any]
    recorded: tuple[str, ...]
    device: th.device | None
    _storage: Storage

    @property
    def returns(self) -> NDArray[np.float64]:
        """Returns of the stored episodes, oldest first, ``(n_episodes,)``."""
        return self._storage.episodes["returns"].rows

    @property
    def lengths(self) -> NDArray[np.int64]:
        """Lengths of the stored episodes in steps, oldest first, ``(n_episodes,)``."""
        return self._storage.lengths

    @property
    def truncated(self) -> NDArray[np.bool_]:
        """Whether a time limit cut off each stored episode, oldest first, ``(n_episodes,)``."""
        return self._storage.episodes["truncated"].rows

    @property
    def n_episodes(self) -> int:
        """Number of stored episodes."""
        return len(self.lengths)

    @property
    def n_transitions(self) -> int:
        """Number of stored transitions."""
        return self._storage.n_transitions

    @property
    def n_episodes_added(self) -> int:
        """Number of episodes so far, also those that were forgotten since."""
        return self._storage.n_episodes_added

    @property
    def n_transitions_added(self) -> int:
        """Number of transitions so far, also those that were forgotten since."""
        return self._storage.n_transitions_added

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
        rows = self.episode_rows(np.array([index]))
        return Episode(
            self.raw_observations(rows),
            self.raw_actions(rows),
            self.rewards[rows],
            bool(self.truncated[index]),
            {name: self._storage.steps[f"amounts/{name}"].rows[rows] for name in self.recorded},
        )

    # Rows: what labels and batches are made of

    @property
    def rewards(self) -> NDArray[np.float32]:
        """Raw reward of every row; between the rows of stored episodes may lie those of forgotten ones, ``(n_rows,)``."""
        return self._storage.steps["rewards"].rows

    @property
    def steps_to_go(self) -> NDArray[np.int32]:
        """Steps to the end of the episode of every row, ``(n_rows,)``."""
        return self._storage.steps["steps_to_go"].rows

    def sums_to_go(self, name: str) -> NDArray[np.float32]:
        """
        Sum of the amounts from every row to the end of its episode, ``(n_rows,)``.

        :param name: ``"return"`` or one of ``recorded``
        """
        return self._storage.steps[f"sums_to_go/{name}"].rows

    def column(self, name: str, dtype: Any) -> NDArray[Any]:
        """
        A further number for every row, NaN until it is written, for those who label: made at the first call, and kept in
        step with the rows from then on, ``(n_rows,)``.

        :param name: its name
        :param dtype: a floating type
        """
        if not self.has_column(name):
            self.write_columns({name: np.full(self._storage.n_rows, np.nan, dtype)}, {})
        return self._storage.steps[f"columns/{name}"].rows

    def write_columns(self, columns: Mapping[str, Array], notes: Mapping[str, Any]) -> None:
        """
        Write columns and notes, all of them or, if that is interrupted, none.

        :param columns: by name, each ``(n_rows,)``; they are copied
        :param notes: what whoever writes them remembers of that, by name, see :meth:`note`
        """
        self._storage = self._storage.with_columns({f"columns/{name}": rows for name, rows in columns.items()}, notes)

    def note(self, name: str) -> Any:
        """
        A note of :meth:`write_columns`; None if there is none since the buffer was made or reset.

        :param name: its name
        """
        return self._storage.notes.get(name)

    def has_column(self, name: str) -> bool:
        """
        Whether :meth:`column` has made this one since the buffer was made or reset.

        :param name: its name
        """
        return f"columns/{name}" in self._storage.steps

    def stored_rows(self) -> NDArray[np.int64]:
        """The rows of all stored episodes, oldest first, ``(n_transitions,)``."""
        return self._storage.rows_of(np.arange(self.n_transitions))

    def episode_rows(self, episodes: NDArray[Any]) -> NDArray[np.int64]:
        """
        The rows of some episodes, one episode after the other.

        :param episodes: their indices
        """
        return self._storage.rows_of_episodes(episodes)

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
        return observations if env is None else env.normalize_obs(observations), self._storage.steps["actions"].take(rows)

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
        return self._storage.steps["actions"].rows[rows]

    @property
    def _observations(self) -> Any:
        """The array of observations, or a dictionary of them."""
        steps = self._storage.steps
        if isinstance(self.observation_space, spaces.Dict):
            return {key: steps[f"observations/{key}"] for key in self.observation_space.spaces}
        return steps["observations"]

    def _require_episodes(self) -> None:
        if self.n_episodes == 0:
            raise ValueError("the replay buffer is empty: add episodes, or raise learning_starts until one has ended")
