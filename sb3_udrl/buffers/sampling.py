"""How likely each stored episode is to be drawn; within it, every step is equally likely."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sb3_udrl.buffers.bands import bands_of
from sb3_udrl.buffers.retention import best_first

_THIN_BAND = 500  # transitions: a single episode would be learned by heart

FloatArray = NDArray[np.floating[Any]]
IntArray = NDArray[np.integer[Any]]


def by_transitions(returns: FloatArray, lengths: IntArray, temperature: float) -> FloatArray:
    """
    Every stored transition is equally likely.

    :param returns: episode returns, ``(n_episodes,)``
    :param lengths: episode lengths in steps, ``(n_episodes,)``
    :param temperature: unused here, see :func:`by_return`
    :return: weights, not normalized, ``(n_episodes,)``
    """
    return lengths.astype(np.float64)


def by_episodes(returns: FloatArray, lengths: IntArray, temperature: float) -> FloatArray:
    """Every episode is equally likely, long or short. Parameters as :func:`by_transitions`."""
    return np.ones(len(lengths))


def by_return(returns: FloatArray, lengths: IntArray, temperature: float) -> FloatArray:
    """
    Episodes weigh ``exp((return - best return) / (temperature * std of returns))``, as in arXiv 1912.13465.

    Parameters as :func:`by_transitions`; a low temperature draws the best episodes almost alone.
    """
    spread = temperature * float(returns.std())
    return np.exp((returns - returns.max()) / spread) if spread > 0 else np.ones(len(returns))


def by_rank(returns: FloatArray, lengths: IntArray, temperature: float) -> FloatArray:
    """
    Episodes weigh ``exp(-rank / (temperature * n_episodes))``, rank 0 being the best; blind to the scale of returns.

    Parameters as :func:`by_transitions`.
    """
    weights = np.empty(len(returns))
    weights[best_first(returns, lengths)] = np.exp(-np.arange(len(returns)) / (temperature * len(returns)))
    return weights


def by_bands(returns: FloatArray, lengths: IntArray, temperature: float) -> FloatArray:
    """
    Equally wide bands of return are equally likely, and within each one every transition; thin bands, of fewer than 500
    transitions, less so. Parameters as :func:`by_transitions`.
    """
    band = bands_of(returns)
    transitions = np.bincount(band, weights=lengths)
    return lengths / np.maximum(transitions, _THIN_BAND)[band]


SAMPLINGS: dict[str, Callable[[FloatArray, IntArray, float], FloatArray]] = {
    "transitions": by_transitions,
    "episodes": by_episodes,
    "return": by_return,
    "rank": by_rank,
    "bands": by_bands,
}
