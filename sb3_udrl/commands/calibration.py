"""What to ask for to get what one wants, where what a model delivers follows from what it is asked for but is not the same."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

N_KNOTS = 64
_MIN_EPISODES = 20
_N_FOLDS = 5
_WORTHWHILE = 0.25  # share of the squared error that must be systematic: else the correction adds more noise than it takes
_BENDS = 0.9  # a curve that may fall must leave less than this share of the error of one that never does


def delivered(asked: Floats, achieved: Floats, at: Floats) -> Floats:
    """
    What is delivered on average, as a curve that never falls: isotonic regression, and straight lines in between.

    :param asked: of some episodes, ``(n,)``
    :param achieved: by these episodes, ``(n,)``
    :param at: where the curve is wanted, ``(n_points,)``
    :return: ``(n_points,)``
    """
    from scipy.optimize import isotonic_regression  # slow to import

    order = np.argsort(asked, kind="stable")
    values, inverse, counts = np.unique(asked[order], return_inverse=True, return_counts=True)
    means = np.bincount(inverse, achieved[order]) / counts
    curve = isotonic_regression(means, weights=counts.astype(np.float64))
    blocks = list(pairwise(np.asarray(curve.blocks).tolist()))
    centers = np.array([np.average(values[a:b], weights=counts[a:b]) for a, b in blocks])  # of each level part
    levels = np.array([curve.x[a] for a, _ in blocks])
    return np.interp(at, centers, levels)


def bending(asked: Floats, achieved: Floats, at: Floats) -> Floats:
    """
    What is delivered, as a curve that may fall: straight lines from episode to episode.

    :param asked: of some episodes, ``(n,)``
    :param achieved: by these episodes, ``(n,)``
    :param at: where the curve is wanted, ``(n_points,)``
    :return: ``(n_points,)``
    """
    order = np.argsort(asked, kind="stable")
    return np.interp(at, asked[order], achieved[order])


def systematic_share(asked: Floats, achieved: Floats, curve: Callable[[Floats, Floats, Floats], Floats] = delivered) -> float:
    """
    Share of the squared distance between asked and achieved that a curve predicts for episodes that it was not fitted to.

    :param asked: ``(n,)``
    :param achieved: ``(n,)``
    :param curve: :func:`delivered` or :func:`bending`
    """
    off = float(((achieved - asked) ** 2).sum())
    if off == 0:
        return 0.0
    left, fold = 0.0, np.argsort(np.argsort(asked, kind="stable"), kind="stable") % _N_FOLDS
    for i in range(_N_FOLDS):
        others, own = fold != i, fold == i
        left += float(((achieved[own] - curve(asked[others], achieved[others], asked[own])) ** 2).sum())
    return 1 - left / off


def calibration(asked: Floats, achieved: Floats) -> Floats | None:
    """
    Points of the correction: what is delivered, and what has to be asked for.

    :param asked: of some episodes, ``(n,)``
    :param achieved: by these episodes, ``(n,)``
    :return: ``(2, N_KNOTS)``, the first row ascending; None where there are too few episodes, or the error is chance for the
        most part
    """
    if len(asked) < _MIN_EPISODES:
        return None
    rises, bends = systematic_share(asked, achieved), systematic_share(asked, achieved, bending)
    if max(rises, bends) < _WORTHWHILE:
        return None
    return _nearest(asked, achieved) if 1 - bends < _BENDS * (1 - rises) else _inverse(asked, achieved)


def _inverse(asked: Floats, achieved: Floats) -> Floats | None:
    """Of the curve that never falls; both rows ascend."""
    low, high = np.quantile(asked, [0.02, 0.98])
    to_ask = np.linspace(low, high, N_KNOTS)
    got = delivered(asked, achieved, to_ask)
    if got[-1] <= got[0]:
        return None
    rising = got + np.arange(N_KNOTS) * 1e-9 * (got[-1] - got[0])  # level parts answer with one end
    return np.stack((rising, to_ask))


def _nearest(asked: Floats, achieved: Floats) -> Floats:
    """Steps: around each level, ask for what was asked for in the episode that came nearest to it."""
    levels = np.linspace(achieved.min(), achieved.max(), N_KNOTS // 2)
    distance = np.abs(achieved - levels[:, None])
    distance += 1e-6 * np.abs(asked - levels[:, None])  # of several, the one that was asked for the most like it
    ends = np.repeat((levels[1:] + levels[:-1]) / 2, 2)
    ends[1::2] += 1e-9 * (levels[-1] - levels[0])
    return np.stack((np.concatenate((levels[:1], ends, levels[-1:])), np.repeat(asked[distance.argmin(1)], 2)))


def corrected(wanted: Floats, points: Floats) -> Floats:
    """
    What to ask for.

    :param wanted: what should be delivered, ``(n,)``
    :param points: as from :func:`calibration`; beyond them, the last one is asked for
    :return: ``(n,)``
    """
    return np.interp(wanted, points[0], points[1])
