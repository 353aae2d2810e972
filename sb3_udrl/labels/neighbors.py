"""The arithmetic of advantage labels: how much better it went than usual from such a situation."""

from __future__ import annotations

from typing import Any, NamedTuple, cast

import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

from sb3_udrl.buffers.arrays import Array, Observation
from sb3_udrl.buffers.episodes import discounted_sums
from sb3_udrl.statistics.moments import moments_of, standardized

Floats = NDArray[np.float64]
Rows = NDArray[np.int64]
Features = NDArray[np.float32]

_UNLIMITED = np.int64(2**62)  # more steps than any episode has
_MAX_FEATURES = 16  # search trees lose their speed in more dimensions
_MAX_SCORE = 10.0  # in standard deviations: what is so rare should stand out, but not outweigh everything else
_RIDGE = 0.1  # of the variance among the neighbors
_MIN_DEVIATION = 0.1  # of the average: where next to nothing varies, trifles would be scaled up
_RESOLUTION = 1e-12  # of the returns: what differs by less, differs by rounding errors
_BLOCK = 1024  # images converted at a time


class Followed(NamedTuple):
    """
    What followed each of ``n`` steps that lie end to end, episode by episode.

    :param returns: discounted return to the end of its episode, ``(n,)``
    :param steps: steps to the end of its episode, ``(n,)``
    :param open_ended: steps of episodes that a time limit cut off: what would have followed is unknown, ``(n,)``
    """

    returns: Floats
    steps: NDArray[np.integer[Any]]
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
        :return: differences in discounted return, ``(n, k)``; zero where they are no larger than rounding errors
        """
        rows = np.broadcast_to(rows[:, None], others.shape)
        known = np.where(self.open_ended, self.steps, _UNLIMITED)
        horizon = np.minimum(known[rows], known[others])
        differences = self.over(rows, horizon, gamma) - self.over(others, horizon, gamma)
        magnitude = np.maximum(np.abs(self.returns[rows]), np.abs(self.returns[others]))
        return np.where(np.abs(differences) > _RESOLUTION * magnitude, differences, 0.0)


def local_fit(values: Floats, offsets: Floats) -> tuple[Floats, Floats]:
    """
    What to expect right here, by what was found around: a linear fit to the neighbors, with a ridge on its slopes.

    A plain mean would be off where the neighbors lie to one side, or differ along a trend.

    :param values: found at each neighbor, ``(n, k)``
    :param offsets: from here to each neighbor, ``(n, k, n_features)``
    :return: value here, and standard deviation of the neighbors from the fit, both ``(n,)``
    """
    center, mean = offsets.mean(1), values.mean(1)
    offsets, values = offsets - center[:, None], values - mean[:, None]
    moments = offsets.transpose(0, 2, 1) @ offsets
    n_features = moments.shape[1]
    spread = np.trace(moments, axis1=1, axis2=2) / n_features
    ridge = np.where(spread > 0, _RIDGE * spread, 1.0)  # where all lie in one place, there is no slope
    moments[:, np.arange(n_features), np.arange(n_features)] += ridge[:, None]
    slopes = np.linalg.solve(moments, offsets.transpose(0, 2, 1) @ values[:, :, None])
    residuals = values - (offsets @ slopes)[:, :, 0]
    return mean - (center * slopes[:, :, 0]).sum(1), residuals.std(1)


def own_shares(differences: Floats, steps: NDArray[np.integer[Any]], gamma: float, gae_lambda: float) -> Floats:
    """
    What each step has to answer for itself of how much better it went than usual: what went better from later steps on is
    these steps' doing, the less so the later they come. It is the weighting of generalized advantage estimation
    (arXiv 1506.02438, equation 16), with differences from what is usual in the place of errors of a value function.

    :param differences: from what is usual, of whole episodes that lie end to end, ``(n,)``
    :param steps: steps to the end of the episode, ``(n,)``
    :param gamma: discount factor of the differences
    :param gae_lambda: 1 leaves the differences as they are, 0 leaves each step the change to the next one alone
    :return: ``(n,)``
    """
    sums = discounted_sums(differences, steps, gamma * gae_lambda)
    following = np.append(sums[1:], 0.0)
    return sums - gamma * np.where(steps > 1, following, 0.0)


def scores(differences: Floats, deviations: Floats, local_scale: bool = True) -> NDArray[np.float32]:
    """
    Differences in standard deviations.

    :param differences: from what is usual, ``(n,)``
    :param deviations: of what is usual, ``(n,)``
    :param local_scale: each in its own deviation; if False, all in the geometric mean of these
    :return: ``(n,)``, clipped
    """
    scales = deviations + _MIN_DEVIATION * moments_of(deviations[:, None])[0]
    with np.errstate(divide="ignore", invalid="ignore"):  # where nothing varies, whatever differs stands out
        if not local_scale:
            scales = np.exp(np.log(scales).mean())
        return np.nan_to_num(np.clip(differences / scales, -_MAX_SCORE, _MAX_SCORE)).astype(np.float32)


def situation_features(observations: Observation, space: spaces.Space[Any]) -> Features:
    """
    Observations as short vectors, near each other where the situations are alike: standardized, and projected at random
    where they are long (arXiv 1606.04460, section 3). The numbers of discrete observations are names: one is as far from
    the next as from any other.

    :param observations: ``(n, *observation_shape)``, or a dictionary of such
    :param space: their space
    :return: ``(n, n_features)``
    """
    if isinstance(observations, dict):
        parts = [situation_features(part, cast(spaces.Dict, space)[key]) for key, part in observations.items()]
        return _projected(np.concatenate(parts, axis=1))
    if isinstance(space, spaces.Discrete):
        return _categories(observations, np.array([space.n]), np.array([space.start]))
    if isinstance(space, spaces.MultiDiscrete):
        return _categories(observations, space.nvec.ravel(), space.start.ravel())
    vectors = observations.reshape(len(observations), -1)
    if vectors.dtype == np.uint8:  # pixels have one unit in common
        return standardized(_projected(vectors))
    return _projected(standardized(vectors))


def action_vectors(actions: Array, space: spaces.Space[Any]) -> Floats:
    """
    Actions as vectors whose sums say what was done how often, or how much.

    :param actions: ``(n, *action_shape)``
    :param space: their space
    :return: ``(n, n_features)``
    """
    if isinstance(space, spaces.Discrete | spaces.MultiDiscrete):
        return situation_features(actions, space).astype(np.float64)
    return actions.reshape(len(actions), -1).astype(np.float64)


def _projection(length: int) -> Features:
    """A matrix that brings vectors of some length to at most ``_MAX_FEATURES``, and leaves short ones as they are."""
    if length <= _MAX_FEATURES:
        return np.eye(length, dtype=np.float32)
    return np.random.default_rng(0).standard_normal((length, _MAX_FEATURES), dtype=np.float32) / np.float32(_MAX_FEATURES**0.5)


def _projected(vectors: Array) -> Features:
    matrix = _projection(vectors.shape[1])
    blocks = [vectors[start : start + _BLOCK].astype(np.float32) @ matrix for start in range(0, len(vectors), _BLOCK)]
    return np.concatenate(blocks)


def _categories(numbers: Array, n_values: Array, first: Array) -> Features:
    """What :func:`_projected` makes of numbers that are written as one-hot vectors, without writing these."""
    columns = numbers.reshape(len(numbers), -1) - first + np.cumsum(n_values) - n_values
    return _projection(int(n_values.sum()))[columns].sum(1)
