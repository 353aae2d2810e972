"""What to ask for without noise, so that the generator learns to deliver what it is asked for."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from sb3_udrl.buffers.bands import bands_of, newer_ones

Floats = NDArray[np.float64]

N_BANDS = 100
PER_BAND = 4
_N_TRIES = 16
_LOWEST = 0.01  # quantile


def values_to_practice(values: Floats, practiced: Floats, n: int, rng: np.random.Generator) -> Floats:
    """
    Values between those of the worst and the best policy: half of them drawn evenly, half of them from the widest gaps
    between what was achieved in practice so far.

    :param values: of all policies, ``(n_policies,)``
    :param practiced: of those that were generated without noise, ``(n_practiced,)``
    :param n: how many are wanted
    :param rng: source of randomness
    :return: ``(n,)``
    """
    tries = rng.uniform(np.quantile(values, _LOWEST), values.max(), (n, _N_TRIES))
    if len(practiced) == 0:
        return tries[:, 0]
    distance = np.abs(tries[:, :, None] - practiced).min(2)
    chosen = np.where(rng.random(n) < 0.5, distance.argmax(1), 0)
    return tries[np.arange(n), chosen]


def newest_by_band(places: Floats) -> NDArray[np.int64]:
    """
    The newest few policies of each band: what older generators made for the same return was another policy, and the mean of
    the two is a third one.

    :param places: of the policies, oldest first, ``(n,)``
    :return: their indices
    """
    return np.flatnonzero(newer_ones(bands_of(places, N_BANDS)) < PER_BAND)
