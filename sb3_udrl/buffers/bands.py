"""Equally wide bands of return (the buckets of arXiv 2501.16288, section 3)."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

N_BANDS = 25


def spread_over(values: NDArray[np.floating[Any]], n: int, n_bands: int = N_BANDS) -> NDArray[np.int64]:
    """
    The newest few entries from each of equally wide bands of the values.

    :param values: oldest first, ``(n_values,)``
    :param n: how many in all, at most
    :param n_bands: number of bands
    :return: their indices
    """
    band = bands_of(values, n_bands)
    return np.lexsort((band, newer_ones(band)))[:n]


def newer_ones(band: NDArray[np.int64]) -> NDArray[np.int64]:
    """
    How many entries of the same band are newer than each.

    :param band: of the entries, oldest first, ``(n,)``
    :return: ``(n,)``
    """
    newest_first = np.arange(len(band))[::-1]
    by_band = newest_first[np.argsort(band[newest_first], kind="stable")]
    newer = np.empty(len(band), dtype=np.int64)
    newer[by_band] = np.arange(len(band)) - np.searchsorted(band[by_band], band[by_band])
    return newer


def bands_of(values: NDArray[np.floating[Any]], n_bands: int = N_BANDS) -> NDArray[np.int64]:
    """
    Which of equally wide bands each value lies in. They span the values but for the lowest hundredth, which is in the first.

    :param values: ``(n,)``
    :param n_bands: number of bands
    :return: from 0 to ``n_bands - 1``, ``(n,)``
    """
    low, high = np.quantile(values, 0.01), values.max()
    if high <= low:
        return np.zeros(len(values), dtype=np.int64)
    return np.clip((values - low) / (high - low) * n_bands, 0, n_bands - 1).astype(np.int64)
