"""
What the report says about scores: robust means with intervals, over seeds (Agarwal et al., arXiv 2108.13264).

A score is one number per seed: the mean return of the episodes of an evaluation.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import stats

FloatArray = NDArray[np.float64]
N_RESAMPLES = 2_000


class Estimate(NamedTuple):
    """
    A figure and its 95 % bootstrap interval; NaN at both ends if there is one seed only.

    :param value: the figure
    :param low: lower end
    :param high: upper end
    """

    value: float
    low: float
    high: float


def interquartile_mean(scores: ArrayLike, axis: int = -1) -> Any:
    """
    Mean of the middle half: the lowest and the highest quarter, rounded down to whole scores, are left out.

    :param scores: one per seed along ``axis``
    :param axis: the axis of the seeds
    """
    return stats.trim_mean(scores, 0.25, axis=axis)


def interquartile_band(scores: ArrayLike) -> tuple[FloatArray, FloatArray, FloatArray]:
    """
    Interquartile means over seeds with 95 % bootstrap intervals.

    :param scores: ``(n_seeds, n)``
    :return: means, lower and upper ends, ``(n,)`` each
    """
    scores = np.asarray(scores, dtype=np.float64)
    means = np.asarray(interquartile_mean(scores, axis=0))
    if len(scores) < 2:
        return means, np.full(means.shape, np.nan), np.full(means.shape, np.nan)
    interval = stats.bootstrap(
        (scores,), interquartile_mean, axis=0, n_resamples=N_RESAMPLES, method="percentile", rng=0
    ).confidence_interval
    return means, interval.low, interval.high


def score_estimate(scores: ArrayLike) -> Estimate:
    """
    :param scores: one per seed
    :return: their interquartile mean
    """
    means, low, high = interquartile_band(np.asarray(scores)[:, None])
    return Estimate(float(means[0]), float(low[0]), float(high[0]))


def share_of_wins(x: FloatArray, y: FloatArray, axis: int = -1) -> FloatArray:
    """
    :param x: scores of one algorithm along ``axis``
    :param y: scores of another along ``axis``
    :param axis: the axis of the seeds
    :return: share of pairs in which ``x`` is larger; ties count one half
    """
    x, y = np.moveaxis(x, axis, -1)[..., :, None], np.moveaxis(y, axis, -1)[..., None, :]
    return ((x > y) + 0.5 * (x == y)).mean(axis=(-2, -1))


def probability_of_improvement(x: ArrayLike, y: ArrayLike) -> Estimate:
    """
    How likely a run of one algorithm is better than a run of another (arXiv 2108.13264, section 4.3).

    :param x: scores of the one, one per seed
    :param y: scores of the other, one per seed
    """
    x, y = np.asarray(x, dtype=np.float64), np.asarray(y, dtype=np.float64)
    value = float(share_of_wins(x, y))
    if min(len(x), len(y)) < 2:
        return Estimate(value, np.nan, np.nan)
    interval = stats.bootstrap((x, y), share_of_wins, n_resamples=N_RESAMPLES, method="percentile", rng=0).confidence_interval
    return Estimate(value, float(interval.low), float(interval.high))


def first_reached(scores: ArrayLike, cost: ArrayLike, threshold: float) -> float:
    """
    :param scores: one per evaluation of a run, ``(n,)``
    :param cost: what had been spent at each, steps or seconds, ``(n,)``
    :param threshold: score to reach
    :return: what had been spent when it was first reached, infinity if never
    """
    reached = np.flatnonzero(np.asarray(scores) >= threshold)
    return float(np.asarray(cost)[reached[0]]) if len(reached) else np.inf
