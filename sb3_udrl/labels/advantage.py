"""Labels of advantages: each step is compared to what followed in similar situations."""

from __future__ import annotations

import copy
from collections import deque
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from sb3_udrl.buffers import EpisodicReplayBuffer
from sb3_udrl.buffers.arrays import Observation, map_observation
from sb3_udrl.buffers.episodes import discounted_sums
from sb3_udrl.labels.labeler import Labeler
from sb3_udrl.labels.neighbors import Followed, action_vectors, local_fit, own_shares, scores, situation_features
from sb3_udrl.labels.redistribution import EpisodeSummaries, redistributed_rewards
from sb3_udrl.saving.checks import checked_array, checked_count

_STEPS_AT_A_TIME = 4096  # bounds the memory that it takes to label them
_REMEMBERED_EPISODES = 1000  # to tell what earned their returns: the last ones, stored or not


class _Episode(NamedTuple):
    """What is remembered of an episode to tell what earned its return."""

    first: Observation
    last: Observation
    efforts: NDArray[np.float64]
    total: float
    truncated: bool


class AdvantageLabeler(Labeler):
    """
    How much better it went than usual, in standard deviations.

    The returns of whole episodes say little about a single action where the start state, later accidents or a time limit
    decide. So the discounted return that followed a step is compared to what followed the nearest neighbors of its
    situation among the stored steps: a linear fit to these says what is usual right there, and the label is the difference
    from that in standard deviations. Comparisons run over the steps that are known of both: what a time limit cut off counts
    neither way. What later steps of the episode did better is taken off, so that each step answers for itself.

    With the usual as V, labels are advantages by generalized advantage estimation (arXiv 1506.02438), and conditioning on
    them is that of advantage-conditioned policies (arXiv 1912.13465). The critic is made of nearest neighbors: nothing but
    actions is learned by gradient.

    :param name: the name of the part
    :param gamma: discount factor: how far ahead consequences count, about ``1 / (1 - gamma)`` steps
    :param gae_lambda: how far what follows a step is its own doing: at 1 all of it, at 0 just the change to the next step
    :param n_neighbors: situations to compare with
    :param n_references: number of stored steps, drawn anew each time, among which neighbors are searched
    :param local_scale: labels are in deviations of what is usual right there; if False, in the same unit everywhere, so that
        those stand out where much is at stake
    :param relabel_share: label everything anew when the buffer has seen so many new transitions, as a share of those it holds
    :param redistribute_rewards: where rewards are paid late, compare what steps are found to have earned instead, see
        :func:`~sb3_udrl.labels.redistribution.redistributed_rewards`
    :raises ValueError: if an argument is out of its range
    """

    def __init__(
        self,
        name: str = "advantage",
        gamma: float = 0.99,
        gae_lambda: float = 0.9,
        n_neighbors: int = 64,
        n_references: int = 8000,
        local_scale: bool = True,
        relabel_share: float = 1 / 3,
        redistribute_rewards: bool = False,
    ) -> None:
        super().__init__(name)
        if not 0 <= gamma <= 1:
            raise ValueError(f"gamma={gamma}: must be between 0 and 1")
        if not 0 <= gae_lambda <= 1:
            raise ValueError(f"gae_lambda={gae_lambda}: must be between 0 and 1")
        if not 1 <= n_neighbors <= n_references:
            raise ValueError(f"n_neighbors={n_neighbors}: must be between 1 and n_references={n_references}")
        if not relabel_share > 0:
            raise ValueError(f"relabel_share={relabel_share}: must be positive; infinity never labels anything anew")
        self.gamma, self.gae_lambda = gamma, gae_lambda
        self.n_neighbors, self.n_references, self.relabel_share = n_neighbors, n_references, relabel_share
        self.local_scale, self.redistribute_rewards = local_scale, redistribute_rewards
        self._forget()

    def _forget(self) -> None:
        """Begin with a buffer that was never labelled."""
        self._remembered: deque[_Episode] = deque(maxlen=_REMEMBERED_EPISODES)
        self._n_labelled = self._n_relabelled = 0  # transitions added until new steps, and all steps, were labelled last

    def label(self, buffer: EpisodicReplayBuffer, rows: NDArray[np.int64], segments: NDArray[np.int32]) -> NDArray[np.float32]:
        return self._scores(buffer)[rows]

    def state(self) -> dict[str, Any]:
        episodes = self._remembered
        firsts, lasts = ([getattr(episode, name) for episode in episodes] for name in ("first", "last"))
        return {
            "n_labelled": self._n_labelled,
            "n_relabelled": self._n_relabelled,
            "n_remembered": len(episodes),
            "first": map_observation(lambda *rows: np.stack(rows), *firsts) if firsts else None,
            "last": map_observation(lambda *rows: np.stack(rows), *lasts) if lasts else None,
            "efforts": np.array([episode.efforts for episode in episodes]),
            "totals": np.array([episode.total for episode in episodes], dtype=np.float64),
            "truncated": np.array([episode.truncated for episode in episodes], dtype=np.bool_),
        }

    def restored(self, state: Mapping[str, Any]) -> AdvantageLabeler:
        n = checked_count(state, "n_remembered")
        other = copy.copy(self)
        other._forget()
        other._n_labelled, other._n_relabelled = checked_count(state, "n_labelled"), checked_count(state, "n_relabelled")
        if n:
            efforts = checked_array(state, "efforts", (n, None))
            totals, truncated = checked_array(state, "totals", (n,)), checked_array(state, "truncated", (n,), "b")
            for i in range(n):
                first, last = (map_observation(lambda rows, i=i: rows[i], state[name]) for name in ("first", "last"))
                other._remembered.append(_Episode(first, last, efforts[i], float(totals[i]), bool(truncated[i])))
        return other

    def _scores(self, buffer: EpisodicReplayBuffer) -> NDArray[np.float32]:
        return buffer.column(f"{self.name} scores", np.float32)

    def _discounted(self, buffer: EpisodicReplayBuffer) -> NDArray[np.float64]:
        return buffer.column(f"{self.name} discounted returns", np.float64)

    def relabel(self, buffer: EpisodicReplayBuffer) -> None:
        """
        Label the new steps, or all steps where so many are new, since what is usual has changed.

        :param buffer: the stored episodes, at least one
        """
        if not buffer.has_column(f"{self.name} scores"):  # also after its reset
            self._forget()
        if buffer.n_transitions_added == self._n_labelled:
            return
        steps = stored = buffer.stored_rows()
        self._take_in(buffer)
        if buffer.n_transitions_added - self._n_relabelled < self.relabel_share * buffer.n_transitions:
            steps = stored[np.isnan(self._scores(buffer)[stored])]
        else:
            self._n_relabelled = buffer.n_transitions_added
        self._n_labelled = buffer.n_transitions_added
        if len(steps) == 0:  # all that was new has been forgotten again
            return
        if self.redistribute_rewards:
            self._redistribute(buffer, stored)
        references = buffer.rng.choice(stored, min(self.n_references, len(stored)), replace=False)
        open_ended = np.zeros(len(buffer.rewards), dtype=np.bool_)
        open_ended[stored] = np.repeat(buffer.truncated, buffer.lengths)
        followed = Followed(self._discounted(buffer), buffer.steps_to_go, open_ended)
        parts = np.split(steps, range(_STEPS_AT_A_TIME, len(steps), _STEPS_AT_A_TIME))
        compared = [self._compare(buffer, part, references, followed) for part in parts]
        differences, deviations = np.concatenate(compared, axis=1)
        shares = own_shares(differences, buffer.steps_to_go[steps], self.gamma, self.gae_lambda)
        if differences.any():  # what is usual varies as much less as shares are smaller
            deviations *= np.linalg.norm(shares) / np.linalg.norm(differences)
        self._scores(buffer)[steps] = scores(shares, deviations, self.local_scale)

    def _take_in(self, buffer: EpisodicReplayBuffer) -> None:
        """Compute the discounted returns of the episodes that are new, and remember what is needed of them."""
        discounted = self._discounted(buffer)
        starts = buffer.stored_rows()[np.cumsum(buffer.lengths) - buffer.lengths]
        for episode in np.flatnonzero(np.isnan(discounted[starts])):
            rows = buffer.episode_rows(np.array([episode]))
            rewards = buffer.rewards[rows]
            discounted[rows] = discounted_sums(rewards, buffer.steps_to_go[rows], self.gamma)
            if self.redistribute_rewards:
                first, last = (
                    map_observation(lambda array: array[0].copy(), buffer.raw_observations(rows[[t]])) for t in (0, -1)
                )
                efforts = action_vectors(buffer.raw_actions(rows), buffer.action_space).sum(0)
                total = float(rewards.sum(dtype=np.float64))
                self._remembered.append(_Episode(first, last, efforts, total, bool(buffer.truncated[episode])))

    def _redistribute(self, buffer: EpisodicReplayBuffer, stored: NDArray[np.int64]) -> None:
        """Let discounted returns be those of redistributed rewards."""
        first, last, efforts, totals, truncated = zip(*self._remembered, strict=True)
        observations = map_observation(
            lambda array, *ends: np.concatenate((array, ends)), buffer.raw_observations(stored), *first, *last
        )
        features = situation_features(observations, buffer.observation_space)
        situations, at_first, at_last = np.split(features, [len(stored), len(stored) + len(first)])
        summaries = EpisodeSummaries(at_first, at_last, np.array(efforts), np.array(totals), np.array(truncated))
        actions = action_vectors(buffer.raw_actions(stored), buffer.action_space)
        paid, to_go = buffer.rewards[stored].astype(np.float64), buffer.steps_to_go[stored]
        rewards = redistributed_rewards(summaries, situations, actions, paid, to_go)
        self._discounted(buffer)[stored] = discounted_sums(rewards, to_go, self.gamma)

    def _compare(
        self, buffer: EpisodicReplayBuffer, steps: NDArray[np.int64], references: NDArray[np.int64], followed: Followed
    ) -> NDArray[np.float64]:
        """How much better steps went than their neighbors among the references, and how much these vary, ``(2, n)``."""
        from scipy.spatial import cKDTree  # slow to import

        rows = np.concatenate((references, steps))
        features = situation_features(buffer.raw_observations(rows), buffer.observation_space)
        tree = cKDTree(features[: len(references)])
        n_neighbors = min(self.n_neighbors, len(references))
        situations = features[len(references) :]
        _, neighbors = tree.query(situations, k=range(1, n_neighbors + 1), eps=1.0)
        differences = followed.differences(steps, references[neighbors], self.gamma)
        offsets = features[neighbors].astype(np.float64) - situations[:, None]
        return np.stack(local_fit(differences, offsets))
