"""Which commands to practice: those that are thinly covered, and those that are badly obeyed."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from sb3_udrl.buffers.bands import N_BANDS, bands_of


def practice_weights(
    returns: NDArray[np.float64],
    lengths: NDArray[np.int64],
    asked: NDArray[np.float64],
    achieved: NDArray[np.float64],
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """
    How much each band of return is worth practicing: the more, the fewer transitions are stored of it, and the further off
    recent practice of it was.

    :param returns: of the stored episodes, ``(n_episodes,)``
    :param lengths: of the stored episodes, ``(n_episodes,)``
    :param asked: returns that recent practice asked for, ``(n,)``
    :param achieved: returns that it got, ``(n,)``
    :return: edges of the bands, ``(n_bands + 1,)``, and their weights, which add up to one, ``(n_bands,)``
    """
    low, high = float(np.quantile(returns, 0.01)), float(returns.max())
    edges = np.linspace(low, high, N_BANDS + 1)
    stored = np.bincount(bands_of(returns), weights=lengths, minlength=N_BANDS)
    thin = 1 / np.sqrt(1 + stored / max(stored.mean(), 1.0))
    band = np.clip(np.searchsorted(edges, asked, side="right") - 1, 0, N_BANDS - 1)
    n_asked = np.bincount(band, minlength=N_BANDS)
    off = np.bincount(band, np.abs(asked - achieved), minlength=N_BANDS)
    usual = off.sum() / max(n_asked.sum(), 1) or 1.0
    badly = (off + usual) / (n_asked + 1) / usual  # a band without practice counts as usual
    weights = thin * badly
    return edges, weights / weights.sum()
