"""Labels of advantages: each step is compared to what followed in similar situations."""

from __future__ import annotations

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


class RememberedEpisode(NamedTuple):
    """
    What is remembered of an episode to tell what earned its return.

    :param first: its first observation
    :param last: the observation before its last step
    :param efforts: sum of its actions, as vectors
    :param total: its return
    :param truncated: whether a time limit cut it off
    """

    first: Observation
    last: Observation
    efforts: NDArray[np.float64]
    total: float
    truncated: bool


class Progress(NamedTuple):
    """
    How far the steps of a buffer are labelled: a note in that buffer.

    :param n_labelled: transitions that had been added when new steps were labelled last
    :param n_relabelled: transitions that had been added when all steps were labelled last
    :param remembered: the last episodes, stored or not
    """

    n_labelled: int = 0
    n_relabelled: int = 0
    remembered: tuple[RememberedEpisode, ...] = ()


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

    def label(self, buffer: EpisodicReplayBuffer, rows: NDArray[np.int64], segments: NDArray[np.int32]) -> NDArray[np.float32]:
        return buffer.column(f"{self.name} scores", np.float32)[rows]

    def state(self, buffer: EpisodicReplayBuffer) -> dict[str, Any]:
        progress = self._progress(buffer)
        episodes = progress.remembered
        firsts, lasts = ([getattr(episode, name) for episode in episodes] for name in ("first", "last"))
        return {
            **self._arguments,
            "n_labelled": progress.n_labelled,
            "n_relabelled": progress.n_relabelled,
            "n_remembered": len(episodes),
            "first": map_observation(lambda *rows: np.stack(rows), *firsts) if firsts else None,
            "last": map_observation(lambda *rows: np.stack(rows), *lasts) if lasts else None,
            "efforts": np.array([episode.efforts for episode in episodes]),
            "totals": np.array([episode.total for episode in episodes], dtype=np.float64),
            "truncated": np.array([episode.truncated for episode in episodes], dtype=np.bool_),
        }

    @property
    def _arguments(self) -> dict[str, Any]:
        """What stored labels depend on."""
        names = ("gamma", "gae_lambda", "local_scale", "redistribute_rewards")
        return {name: getattr(self, name) for name in names}

    def restore(self, buffer: EpisodicReplayBuffer, state: Mapping[str, Any]) -> None:
        if any(state.get(name, own) != own for name, own in self._arguments.items()):  # all is labelled anew
            columns = {f"{self.name} scores": np.float32, f"{self.name} discounted returns": np.float64}
            nothing = {name: np.full(len(buffer.rewards), np.nan, dtype) for name, dtype in columns.items()}
            buffer.write_columns(nothing, {self.name: Progress()})
            return
        n = checked_count(state, "n_remembered")
        n_labelled, n_relabelled = checked_count(state, "n_labelled"), checked_count(state, "n_relabelled")
        remembered = []
        if n:
            efforts = checked_array(state, "efforts", (n, None))
            totals, truncated = checked_array(state, "totals", (n,)), checked_array(state, "truncated", (n,), "b")
            for i in range(n):
                first, last = (map_observation(lambda rows, i=i: rows[i], state[name]) for name in ("first", "last"))
                remembered.append(RememberedEpisode(first, last, efforts[i], float(totals[i]), bool(truncated[i])))
        buffer.write_columns({}, {self.name: Progress(n_labelled, n_relabelled, tuple(remembered))})

    def _progress(self, buffer: EpisodicReplayBuffer) -> Progress:
        labelled = buffer.has_column(f"{self.name} scores")  # not after its reset
        return (buffer.note(self.name) if labelled else None) or Progress()

    def relabel(self, buffer: EpisodicReplayBuffer, episodes: NDArray[np.bool_] | None = None) -> None:
        """
        Label the new steps, or all steps where so many are new, since what is usual has changed.

        All of that happens or, if it is interrupted, nothing.

        :param buffer: the stored episodes, at least one; all of them say what is usual
        :param episodes: those whose labels are needed, ``(n_episodes,)``; all if None
        """
        known, n_added = self._progress(buffer), buffer.n_transitions_added
        if n_added == known.n_labelled:
            return
        labels = self._copied(buffer, "scores", np.float32)
        discounted = self._copied(buffer, "discounted returns", np.float64)
        steps = stored = buffer.stored_rows()
        remembered = (*known.remembered, *self._take_in(buffer, discounted))[-_REMEMBERED_EPISODES:]
        n_relabelled = known.n_relabelled
        if n_added - n_relabelled < self.relabel_share * buffer.n_transitions:
            steps = stored[np.isnan(labels[stored])]
        else:
            n_relabelled = n_added
        if episodes is not None:
            steps = steps[np.repeat(episodes, buffer.lengths)[np.searchsorted(stored, steps)]]
        if len(steps):  # else all that was new has been forgotten again
            if self.redistribute_rewards:
                discounted[stored] = self._redistributed(buffer, stored, remembered)
            labels[steps] = self._labels(buffer, steps, stored, discounted)
        buffer.write_columns(
            {f"{self.name} scores": labels, f"{self.name} discounted returns": discounted},
            {self.name: Progress(n_added, n_relabelled, remembered)},
        )

    def _copied(self, buffer: EpisodicReplayBuffer, column: str, dtype: Any) -> NDArray[Any]:
        name = f"{self.name} {column}"
        return buffer.column(name, dtype).copy() if buffer.has_column(name) else np.full(len(buffer.rewards), np.nan, dtype)

    def _labels(
        self,
        buffer: EpisodicReplayBuffer,
        steps: NDArray[np.int64],
        stored: NDArray[np.int64],
        discounted: NDArray[np.float64],
    ) -> NDArray[np.float32]:
        """The labels of some of the stored steps, by the discounted returns of all rows."""
        references = buffer.rng.choice(stored, min(self.n_references, len(stored)), replace=False)
        open_ended = np.zeros(len(buffer.rewards), dtype=np.bool_)
        open_ended[stored] = np.repeat(buffer.truncated, buffer.lengths)
        followed = Followed(discounted, buffer.steps_to_go, open_ended)
        parts = np.split(steps, range(_STEPS_AT_A_TIME, len(steps), _STEPS_AT_A_TIME))
        compared = [self._compare(buffer, part, references, followed) for part in parts]
        differences, deviations = np.concatenate(compared, axis=1)
        shares = own_shares(differences, buffer.steps_to_go[steps], self.gamma, self.gae_lambda)
        if differences.any():  # what is usual varies as much less as shares are smaller
            deviations *= np.linalg.norm(shares) / np.linalg.norm(differences)
        return scores(shares, deviations, self.local_scale)

    def _take_in(self, buffer: EpisodicReplayBuffer, discounted: NDArray[np.float64]) -> list[RememberedEpisode]:
        """Compute the discounted returns of the episodes that are new, in place; what is to be remembered of them."""
        fresh = []
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
                fresh.append(RememberedEpisode(first, last, efforts, total, bool(buffer.truncated[episode])))
        return fresh

    def _redistributed(
        self, buffer: EpisodicReplayBuffer, stored: NDArray[np.int64], remembered: tuple[RememberedEpisode, ...]
    ) -> NDArray[np.float64]:
        """Discounted returns of the stored steps, by redistributed rewards."""
        first, last, efforts, totals, truncated = zip(*remembered, strict=True)
        observations = map_observation(
            lambda array, *ends: np.concatenate((array, ends)), buffer.raw_observations(stored), *first, *last
        )
        features = situation_features(observations, buffer.observation_space)
        situations, at_first, at_last = np.split(features, [len(stored), len(stored) + len(first)])
        summaries = EpisodeSummaries(at_first, at_last, np.array(efforts), np.array(totals), np.array(truncated))
        actions = action_vectors(buffer.raw_actions(stored), buffer.action_space)
        paid, to_go = buffer.rewards[stored].astype(np.float64), buffer.steps_to_go[stored]
        rewards = redistributed_rewards(summaries, situations, actions, paid, to_go)
        return discounted_sums(rewards, to_go, self.gamma)

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
