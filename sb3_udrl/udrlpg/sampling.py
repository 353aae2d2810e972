"""Which stored policies are learned from: bands of return or all alike, the better ones more often or not."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from sb3_udrl.buffers.bands import bands_of

N_BANDS = 100
PREFERENCE = 0.3  # how much more often, in logarithms, one band is drawn than the next lower one

Floats = NDArray[np.float64]


def weighted_bands(values: Floats) -> Floats:
    """
    Bands by the rank ``r`` among those that hold policies, with weight ``exp(0.3 r)``; within a band, all alike.

    :param values: of the policies, ``(n,)``
    :return: probabilities, ``(n,)``
    """
    return _over_bands(values, PREFERENCE)


def even_bands(values: Floats) -> Floats:
    """
    All bands that hold policies alike; within a band, all alike.

    :param values: of the policies, ``(n,)``
    :return: probabilities, ``(n,)``
    """
    return _over_bands(values, 0.0)


def weighted(values: Floats) -> Floats:
    """
    Policies by their rank, which is brought to the number of bands so that the best hundredth gets as much as the best band.

    :param values: of the policies, ``(n,)``
    :return: probabilities, ``(n,)``
    """
    rank = np.argsort(np.argsort(values, kind="stable"), kind="stable")
    weights = np.exp(PREFERENCE * N_BANDS * (rank / len(values) - 1))
    return weights / weights.sum()


def uniform(values: Floats) -> Floats:
    """
    All policies alike.

    :param values: of the policies, ``(n,)``
    :return: probabilities, ``(n,)``
    """
    return np.full(len(values), 1 / len(values))


def _over_bands(values: Floats, preference: float) -> Floats:
    _, rank, counts = np.unique(bands_of(values, N_BANDS), return_inverse=True, return_counts=True)
    weights = np.exp(preference * (rank - rank.max())) / counts[rank]
    return weights / weights.sum()


SAMPLINGS: dict[str, Callable[[Floats], Floats]] = {
    "weighted_bands": weighted_bands,
    "even_bands": even_bands,
    "weighted": weighted,
    "uniform": uniform,
}
