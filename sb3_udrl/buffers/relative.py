"""Relative labels: how much better it went than usual from such a situation."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from sb3_udrl.buffers.arrays import Array, Observation

Floats = NDArray[np.float64]
Rows = NDArray[np.int64]

_UNLIMITED = np.int64(2**62)  # more steps than any episode has
_MAX_FEATURES = 16  # search trees lose their speed in more dimensions
_MAX_SCORE = 3.0  # in standard deviations: a single accident would outweigh everything else
_MIN_DEVIATION = 0.1  # of the average: where nothing varies, rounding errors would be scaled up


class Outcomes(NamedTuple):
    """
    What followed each of ``n`` steps that lie end to end, episode by episode.

    :param returns: discounted return to the end of its episode, ``(n,)``
    :param steps: steps to the end of its episode, ``(n,)``
    :param open_ended: steps of episodes that a time limit cut off: what would have followed is unknown, ``(n,)``
    """

    returns: Floats
    steps: NDArray[np.int64]
    open_ended: NDArray[np.bool_]

    def over(self, rows: Rows, horizon: Rows, gamma: float) -> Floats:
        """
        Discounted return over a limited horizon.

        :param rows: where to begin, any shape
        :param horizon: number of steps, of the same shape; nothing follows the end of an episode
        :param gamma: discount factor
        """
        cut = horizon < self.steps[rows]
        beyond = self.returns[np.where(cut, rows + horizon, 0)] * gamma ** np.where(cut, horizon, 0).astype(np.float64)
        return self.returns[rows] - np.where(cut, beyond, 0.0)

    def differences(self, rows: Rows, others: Rows, gamma: float) -> Floats:
        """
        How much better each row went than others, over the steps that are known of both.

        :param rows: ``(n,)``
        :param others: ``(n, k)``
        :param gamma: discount factor
        :return: differences in discounted return, ``(n, k)``
        """
        rows = np.broadcast_to(rows[:, None], others.shape)
        known = np.where(self.open_ended, self.steps, _UNLIMITED)
        horizon = np.minimum(known[rows], known[others])
        return self.over(rows, horizon, gamma) - self.over(others, horizon, gamma)


def discounted_returns_to_go(rewards: Array, gamma: float) -> Floats:
    """
    Discounted return from each step to the end of the episode: ``R_t = r_t + gamma R_{t+1}``.

    :param rewards: raw rewards, ``(T,)``
    :param gamma: discount factor
    :return: ``(T,)``
    """
    returns = np.array(rewards, dtype=np.float64)
    for step in range(len(returns) - 2, -1, -1):
        returns[step] += gamma * returns[step + 1]
    return returns


def scores(differences: Floats) -> NDArray[np.float32]:
    """
    Mean difference to the neighbors, in standard deviations.

    :param differences: to each neighbor, ``(n, k)``
    :return: ``(n,)``, clipped to three standard deviations
    """
    deviations = differences.std(1)
    smallest = _MIN_DEVIATION * deviations.mean() + 1e-8
    return np.clip(differences.mean(1) / (deviations + smallest), -_MAX_SCORE, _MAX_SCORE).astype(np.float32)


def situation_features(observations: Observation) -> NDArray[np.float32]:
    """
    Observations as short vectors, near each other where the situations are alike: standardized, and projected at random
    where they are long, images too (arXiv 1606.04460, section 3).

    :param observations: ``(n, *observation_shape)``, or a dictionary of such
    :return: ``(n, n_features)``
    """
    parts = list(observations.values()) if isinstance(observations, dict) else [observations]
    vectors = np.concatenate([part.reshape(len(part), -1).astype(np.float32) for part in parts], axis=1)
    vectors -= vectors.mean(0)
    vectors /= vectors.std(0) + 1e-6
    if vectors.shape[1] <= _MAX_FEATURES:
        return vectors
    return vectors @ np.random.default_rng(0).standard_normal((vectors.shape[1], _MAX_FEATURES), dtype=np.float32)
