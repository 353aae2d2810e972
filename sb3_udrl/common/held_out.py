"""Episodes that are not learned from, and what they say of the learning."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from stable_baselines3.common.vec_env import VecNormalize

from sb3_udrl.buffers import EpisodicReplayBuffer
from sb3_udrl.labels import Hindsight
from sb3_udrl.policies import BehaviorPolicy

Groups = list[NDArray[np.int64]]  # of episodes, as rows of their steps

_GROUPS, _MOST_OF_GROUP = 20, 1_000  # steps of a group that are looked at


def split_episodes(
    buffer: EpisodicReplayBuffer, best: float, validation_fraction: float, rng: np.random.Generator
) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """
    The best episodes, and those to look at: as large a share of the best as of the others.

    :param buffer: the episodes
    :param best: share of the episodes with the highest returns
    :param validation_fraction: share of the episodes to look at
    :param rng: source of randomness
    :return: both ``(n_episodes,)``; at least one of the best is left to learn from
    :raises ValueError: if a share is out of its range
    """
    if not (isinstance(best, int | float | np.number) and 0 < best <= 1):
        raise ValueError(f"best={best!r}: the share of the episodes to learn from, must be above 0 and at most 1")
    if not (isinstance(validation_fraction, int | float | np.number) and 0 <= validation_fraction < 1):
        raise ValueError(f"validation_fraction={validation_fraction!r}: must be at least 0 and below 1")
    among_best, held_out = np.zeros((2, buffer.n_episodes), dtype=np.bool_)
    among_best[buffer.best(max(1, round(best * buffer.n_episodes)))] = True
    for episodes in (np.flatnonzero(among_best), np.flatnonzero(~among_best)):
        n_held_out = min(int(np.ceil(validation_fraction * len(episodes))), len(episodes) - 1)
        held_out[rng.permutation(episodes)[: max(n_held_out, 0)]] = True
    return among_best, held_out


def groups_of(
    buffer: EpisodicReplayBuffer, episodes: NDArray[np.bool_], others: NDArray[np.bool_], rng: np.random.Generator
) -> Groups:
    """
    Episodes, dealt out at random to at most twenty groups.

    :param buffer: the episodes
    :param episodes: which of them, ``(n_episodes,)``
    :param others: those to take if these are none, ``(n_episodes,)``
    :param rng: source of randomness
    """
    order = rng.permutation(np.flatnonzero(episodes if episodes.any() else others))
    groups = [buffer.episode_rows(np.sort(order[i::_GROUPS])) for i in range(min(_GROUPS, len(order)))]
    return [rng.permutation(rows)[:_MOST_OF_GROUP] for rows in groups]


def held_out_figures(
    learner: BehaviorPolicy, hindsight: Hindsight, groups: Groups, normalizer: VecNormalize | None, rng: np.random.Generator
) -> tuple[float, float]:
    """
    How well a behavior function predicts, and how much commands tell it. The loss is a mean over the middle half of groups:
    one long episode of random actions must not decide when learning ends.

    :param learner: the behavior function
    :param hindsight: stored steps with the commands that they fulfilled
    :param groups: of episodes that were not learned from
    :param normalizer: normalizes the stored raw observations, if given
    :param rng: source of randomness
    """
    losses = np.sort([learner.loss_of(hindsight.batch(rows, normalizer)) for rows in groups])
    cut = len(losses) // 4
    everything = hindsight.batch(np.concatenate(groups), normalizer)
    return float(losses[cut : len(losses) - cut].mean()), learner.command_gain(everything, rng)
