"""Which episodes a full buffer keeps."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sb3_udrl.buffers.bands import bands_of

IntArray = NDArray[np.integer[Any]]
FloatArray = NDArray[np.floating[Any]]
BoolArray = NDArray[np.bool_]


def best_first(returns: FloatArray, lengths: IntArray) -> IntArray:
    """
    Episodes ordered by return, then by length (longer first), then by age (newer first).

    :param returns: episode returns, ``(n_episodes,)``, oldest episode first
    :param lengths: episode lengths in steps, ``(n_episodes,)``
    :return: indices, best episode first
    """
    return np.lexsort((lengths, returns))[::-1]


def fitting(order: IntArray, lengths: IntArray, max_transitions: float, max_episodes: float) -> BoolArray:
    """
    Mark the episodes that fit into a capacity, taken in an order of preference; the first one always fits.

    :param order: indices of episodes, preferred first
    :param lengths: episode lengths in steps, ``(n_episodes,)``
    :param max_transitions: capacity in steps
    :param max_episodes: capacity in episodes
    :return: mask of the episodes to keep, ``(n_episodes,)``
    """
    n_fitting = int(np.searchsorted(np.cumsum(lengths[order]), max_transitions, side="right"))
    keep = np.zeros(len(lengths), dtype=bool)
    keep[order[: max(1, min(n_fitting, int(min(max_episodes, len(order)))))]] = True
    return keep


def keep_recent(returns: FloatArray, lengths: IntArray, max_transitions: float, max_episodes: float) -> BoolArray:
    """First in, first out. Parameters as :func:`fitting` and :func:`best_first`."""
    return fitting(np.arange(len(lengths))[::-1], lengths, max_transitions, max_episodes)


def keep_best(returns: FloatArray, lengths: IntArray, max_transitions: float, max_episodes: float) -> BoolArray:
    """The highest returns so far (arXiv 1912.02877, section 2.3.1). Parameters as above."""
    return fitting(best_first(returns, lengths), lengths, max_transitions, max_episodes)


def keep_mixed(returns: FloatArray, lengths: IntArray, max_transitions: float, max_episodes: float) -> BoolArray:
    """Half of the capacity for the newest episodes, the rest for the best of the others. Parameters as above."""
    keep = keep_recent(returns, lengths, max_transitions // 2, max(1, np.floor(max_episodes / 2)))  # inf stays inf
    others = best_first(returns, lengths)
    others = others[~keep[others]]
    left = (max_transitions - lengths[keep].sum(), max_episodes - keep.sum())
    if len(others) and left[1] >= 1 and lengths[others[0]] <= left[0]:
        keep |= fitting(others, lengths, *left)
    return keep


def keep_bands(returns: FloatArray, lengths: IntArray, max_transitions: float, max_episodes: float) -> BoolArray:
    """
    Episodes of all returns alike: the fullest of equally wide bands of return lose their oldest episodes. Parameters as above.
    """
    band = bands_of(returns)
    order = np.argsort(band, kind="stable")[::-1]  # by band, newest first
    before = np.cumsum(lengths[order]) - lengths[order]
    bands_in_order = band[order]
    firsts = np.flatnonzero(np.r_[True, bands_in_order[1:] != bands_in_order[:-1]])
    within = before - np.repeat(before[firsts], np.diff(np.r_[firsts, len(order)]))  # transitions of newer ones in its band
    ranks = np.arange(len(order)) - np.repeat(firsts, np.diff(np.r_[firsts, len(order)]))
    level = np.lexsort((ranks, within + lengths[order]))  # bands fill up evenly, newest episodes first
    return fitting(order[level], lengths, max_transitions, max_episodes)


RETENTIONS: dict[str, Callable[[FloatArray, IntArray, float, float], BoolArray]] = {
    "recent": keep_recent,
    "best": keep_best,
    "mixed": keep_mixed,
    "bands": keep_bands,
}
