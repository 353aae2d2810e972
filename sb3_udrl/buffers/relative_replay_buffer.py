"""Replay buffer whose labels are relative: each step is compared to what followed in similar situations."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

from sb3_udrl.buffers.arrays import GrowableArray, map_observation
from sb3_udrl.buffers.episodes import Episode, returns_to_go
from sb3_udrl.buffers.relative import Outcomes, scores, situation_features
from sb3_udrl.buffers.replay_buffer import EpisodicReplayBuffer


class RelativeReplayBuffer(EpisodicReplayBuffer):
    """
    Replay buffer for relative commands: "do so much better than usual from here".

    The returns of whole episodes say little about a single action where the start state, later accidents or a time limit
    decide. So the discounted return that followed a step is compared to what followed the nearest neighbors of its
    situation among the stored steps; the label is the mean difference in standard deviations. Comparisons run over the
    steps that are known of both: what a time limit cut off counts neither way. Labels are made when their step is first
    needed, and are not changed afterwards.

    It takes the same idea as advantage-conditioned policies (arXiv 1912.13465), with neighbors in the place of a learned
    value function: nothing but actions is learned.

    :param buffer_size: as for :class:`EpisodicReplayBuffer`
    :param observation_space: as for :class:`EpisodicReplayBuffer`
    :param action_space: as for :class:`EpisodicReplayBuffer`
    :param gamma: discount factor: how far ahead consequences count, about ``1 / (1 - gamma)`` steps
    :param n_neighbors: situations to compare with
    :param n_references: number of stored steps, drawn anew each time, among which neighbors are searched
    :param kwargs: as for :class:`EpisodicReplayBuffer`
    :raises ValueError: if an argument is out of its range
    """

    relative: ClassVar[bool] = True

    def __init__(
        self,
        buffer_size: int,
        observation_space: spaces.Space[Any],
        action_space: spaces.Space[Any],
        gamma: float = 0.99,
        n_neighbors: int = 24,
        n_references: int = 8000,
        **kwargs: Any,
    ) -> None:
        if not 0 <= gamma <= 1:
            raise ValueError(f"gamma={gamma}: must be between 0 and 1")
        if not 1 <= n_neighbors <= n_references:
            raise ValueError(f"n_neighbors={n_neighbors}: must be between 1 and n_references={n_references}")
        if kwargs.get("trailing_probability", 1) != 1:
            raise ValueError(
                f"trailing_probability={kwargs['trailing_probability']}: relative labels have no segments, leave it at 1 and "
                "set gamma instead"
            )
        self.gamma, self.n_neighbors, self.n_references = gamma, n_neighbors, n_references
        super().__init__(buffer_size, observation_space, action_space, **kwargs)

    def reset(self) -> None:
        super().reset()
        self._discounted = GrowableArray((), np.float64)
        self._scores = GrowableArray((), np.float32)  # NaN until they are needed
        self._row_arrays += [self._discounted, self._scores]

    def _append(self, episode: Episode, to_go: NDArray[np.float64]) -> None:
        super()._append(episode, to_go)
        self._discounted.extend(returns_to_go(episode.rewards, self.gamma))
        self._scores.extend(np.full(len(episode), np.nan))

    def _labels(self, rows: NDArray[np.int64]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Scores, and no horizon: a relative command stands until the end of the episode."""
        if np.isnan(self._scores.rows[rows]).any():
            self._score_new_steps()
        return self._scores.rows[rows], np.full(len(rows), np.inf, dtype=np.float32)

    def _score_new_steps(self) -> None:
        from scipy.spatial import cKDTree  # slow to import

        stored = self._stored_rows()
        new = stored[np.isnan(self._scores.rows[stored])]
        references = self.rng.choice(stored, min(self.n_references, len(stored)), replace=False)
        rows = np.concatenate((references, new))
        observations = map_observation(lambda array: array.rows[rows], self._observations)
        features = situation_features(observations, self.observation_space)
        tree = cKDTree(features[: len(references)])
        n_neighbors = min(self.n_neighbors, len(references))
        _, neighbors = tree.query(features[len(references) :], k=range(1, n_neighbors + 1), eps=1.0)
        open_ended = np.zeros(len(self._rewards), dtype=np.bool_)
        open_ended[stored] = np.repeat(self._truncated.rows, self.lengths)
        outcomes = Outcomes(self._discounted.rows, self._steps_to_go.rows, open_ended)
        self._scores.rows[new] = scores(outcomes.differences(new, references[neighbors], self.gamma))

    def _stored_rows(self) -> NDArray[np.int64]:
        """The rows of all stored episodes; between them may lie those of forgotten ones."""
        ends = np.cumsum(self.lengths)
        return np.arange(ends[-1]) + np.repeat(self._starts.rows - (ends - self.lengths), self.lengths)
