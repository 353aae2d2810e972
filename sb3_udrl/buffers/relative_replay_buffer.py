"""Replay buffer whose labels are relative: each step is compared to what followed in similar situations."""

from __future__ import annotations

from collections import deque
from typing import Any, ClassVar, NamedTuple

import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

from sb3_udrl.buffers.arrays import GrowableArray, Observation, map_observation
from sb3_udrl.buffers.episodes import Episode, discounted_sums, returns_to_go
from sb3_udrl.buffers.redistribution import EpisodeSummaries, redistributed_rewards
from sb3_udrl.buffers.relative import Outcomes, action_vectors, local_fit, own_shares, scores, situation_features
from sb3_udrl.buffers.replay_buffer import EpisodicReplayBuffer

_STEPS_AT_A_TIME = 4096  # bounds the memory that it takes to label them
_REMEMBERED_EPISODES = 1000  # to tell what earned their returns: the last ones, stored or not


class _Episode(NamedTuple):
    """What is remembered of an episode to tell what earned its return."""

    first: Observation
    last: Observation
    efforts: NDArray[np.float64]
    total: float
    truncated: bool


class RelativeReplayBuffer(EpisodicReplayBuffer):
    """
    Replay buffer for relative commands: "do so much better than usual from here".

    The returns of whole episodes say little about a single action where the start state, later accidents or a time limit
    decide. So the discounted return that followed a step is compared to what followed the nearest neighbors of its
    situation among the stored steps: a linear fit to these says what is usual right there, and the label is the difference
    from that in standard deviations. Comparisons run over the steps that are known of both: what a time limit cut off counts
    neither way. What later steps of the episode did better is taken off, so that each step answers for itself. New steps are
    labelled when they are needed, and all of them anew now and then, since what is usual changes.

    It takes the same idea as advantage-conditioned policies (arXiv 1912.13465), with neighbors in the place of a learned
    value function: nothing but actions is learned.

    :param buffer_size: as for :class:`EpisodicReplayBuffer`
    :param observation_space: as for :class:`EpisodicReplayBuffer`
    :param action_space: as for :class:`EpisodicReplayBuffer`
    :param gamma: discount factor: how far ahead consequences count, about ``1 / (1 - gamma)`` steps
    :param gae_lambda: how far what follows a step is its own doing: at 1 all of it, at 0 just the change to the next step
    :param n_neighbors: situations to compare with
    :param n_references: number of stored steps, drawn anew each time, among which neighbors are searched
    :param local_scale: labels are in deviations of what is usual right there; if False, in the same unit everywhere, so that
        those stand out where much is at stake
    :param relabel_share: label everything anew when the buffer has seen so many new transitions, as a share of those it holds
    :param redistribute_rewards: where rewards are paid late, compare what steps are found to have earned instead, see
        :func:`~sb3_udrl.buffers.redistribution.redistributed_rewards`
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
        gae_lambda: float = 0.9,
        n_neighbors: int = 64,
        n_references: int = 8000,
        local_scale: bool = True,
        relabel_share: float = 1 / 3,
        redistribute_rewards: bool = False,
        **kwargs: Any,
    ) -> None:
        if not 0 <= gamma <= 1:
            raise ValueError(f"gamma={gamma}: must be between 0 and 1")
        if not 0 <= gae_lambda <= 1:
            raise ValueError(f"gae_lambda={gae_lambda}: must be between 0 and 1")
        if not 1 <= n_neighbors <= n_references:
            raise ValueError(f"n_neighbors={n_neighbors}: must be between 1 and n_references={n_references}")
        if not relabel_share > 0:
            raise ValueError(f"relabel_share={relabel_share}: must be positive; infinity never labels anything anew")
        if kwargs.get("trailing_probability", 1) != 1:
            raise ValueError(
                f"trailing_probability={kwargs['trailing_probability']}: relative labels have no segments, leave it at 1 and "
                "set gamma instead"
            )
        self.gamma, self.gae_lambda = gamma, gae_lambda
        self.n_neighbors, self.n_references, self.relabel_share = n_neighbors, n_references, relabel_share
        self.local_scale, self.redistribute_rewards = local_scale, redistribute_rewards
        super().__init__(buffer_size, observation_space, action_space, **kwargs)

    def reset(self) -> None:
        super().reset()
        self._remembered: deque[_Episode] = deque(maxlen=_REMEMBERED_EPISODES)
        self._discounted = GrowableArray((), np.float64)
        self._scores = GrowableArray((), np.float32)  # NaN until they are needed
        self._n_labelled = self._n_relabelled = 0  # transitions added until new steps, and all steps, were labelled last
        self._row_arrays += [self._discounted, self._scores]

    def _append(self, episode: Episode, to_go: NDArray[np.float64]) -> None:
        super()._append(episode, to_go)
        self._discounted.extend(returns_to_go(episode.rewards, self.gamma))
        self._scores.extend(np.full(len(episode), np.nan))
        if self.redistribute_rewards:
            first, last = (map_observation(lambda array, t=t: array[t].copy(), episode.observations) for t in (0, -1))
            efforts = action_vectors(episode.actions, self.action_space).sum(0)
            total = float(episode.rewards.sum(dtype=np.float64))
            self._remembered.append(_Episode(first, last, efforts, total, episode.truncated))

    def _labels(self, rows: NDArray[np.int64]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Scores, and no horizon: a relative command stands until the end of the episode."""
        if self.n_transitions_added > self._n_labelled:
            self._update_scores()
        return self._scores.rows[rows], np.full(len(rows), np.inf, dtype=np.float32)

    def _update_scores(self) -> None:
        """Of the new steps, or of all steps where so many are new."""
        steps = stored = self._stored_rows()
        if self.n_transitions_added - self._n_relabelled < self.relabel_share * self.n_transitions:
            steps = stored[np.isnan(self._scores.rows[stored])]
        else:
            self._n_relabelled = self.n_transitions_added
        self._n_labelled = self.n_transitions_added
        if len(steps) == 0:  # all that was new has been forgotten again
            return
        if self.redistribute_rewards:
            self._redistribute(stored)
        references = self.rng.choice(stored, min(self.n_references, len(stored)), replace=False)
        open_ended = np.zeros(len(self._rewards), dtype=np.bool_)
        open_ended[stored] = np.repeat(self._truncated.rows, self.lengths)
        outcomes = Outcomes(self._discounted.rows, self._steps_to_go.rows, open_ended)
        parts = np.split(steps, range(_STEPS_AT_A_TIME, len(steps), _STEPS_AT_A_TIME))
        differences, deviations = np.concatenate([self._compare(part, references, outcomes) for part in parts], axis=1)
        shares = own_shares(differences, self._steps_to_go.rows[steps], self.gamma, self.gae_lambda)
        if differences.any():  # what is usual varies as much less as shares are smaller
            deviations *= np.linalg.norm(shares) / np.linalg.norm(differences)
        self._scores.rows[steps] = scores(shares, deviations, self.local_scale)

    def _redistribute(self, stored: NDArray[np.int64]) -> None:
        """Let discounted returns be those of redistributed rewards."""
        first, last, efforts, totals, truncated = zip(*self._remembered, strict=True)
        observations = map_observation(
            lambda array, *ends: np.concatenate((array.rows[stored], ends)), self._observations, *first, *last
        )
        features = situation_features(observations, self.observation_space)
        situations, at_first, at_last = np.split(features, [len(stored), len(stored) + len(first)])
        summaries = EpisodeSummaries(at_first, at_last, np.array(efforts), np.array(totals), np.array(truncated))
        actions = action_vectors(self._actions.rows[stored], self.action_space)
        paid, to_go = self._rewards.rows[stored].astype(np.float64), self._steps_to_go.rows[stored]
        rewards = redistributed_rewards(summaries, situations, actions, paid, to_go)
        self._discounted.rows[stored] = discounted_sums(rewards, to_go, self.gamma)

    def _compare(self, steps: NDArray[np.int64], references: NDArray[np.int64], outcomes: Outcomes) -> NDArray[np.float64]:
        """How much better steps went than their neighbors among the references, and how much these vary, ``(2, n)``."""
        from scipy.spatial import cKDTree  # slow to import

        rows = np.concatenate((references, steps))
        observations = map_observation(lambda array: array.rows[rows], self._observations)
        features = situation_features(observations, self.observation_space)
        tree = cKDTree(features[: len(references)])
        n_neighbors = min(self.n_neighbors, len(references))
        situations = features[len(references) :]
        _, neighbors = tree.query(situations, k=range(1, n_neighbors + 1), eps=1.0)
        differences = outcomes.differences(steps, references[neighbors], self.gamma)
        offsets = features[neighbors].astype(np.float64) - situations[:, None]
        return np.stack(local_fit(differences, offsets))

    def _stored_rows(self) -> NDArray[np.int64]:
        """The rows of all stored episodes; between them may lie those of forgotten ones."""
        ends = np.cumsum(self.lengths)
        return np.arange(ends[-1]) + np.repeat(self._starts.rows - (ends - self.lengths), self.lengths)
