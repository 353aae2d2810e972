"""How well mean returns are known, and what is worth another look (successive evaluation of what looks best)."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

_NEGLIGIBLE = 0.01  # an error that is known well enough, as a share of the range of returns
_FEWEST = 10  # candidates that were evaluated again, before their deviations say something of the others


def standard_errors(squares: Floats, counts: NDArray[np.int64]) -> Floats:
    """
    Standard errors of mean returns. A candidate's deviation is its own, though at least what is usual among those that were
    evaluated again.

    :param squares: sum of squared differences from each mean, ``(n,)``
    :param counts: episodes of each, ``(n,)``
    :return: ``(n,)``
    """
    variance = squares / np.maximum(counts - 1, 1)
    again = counts > 1
    usual = np.median(variance[again]) if again.sum() >= _FEWEST else 0.0
    return np.sqrt(np.maximum(variance, usual) / counts)


def worth_another_look(means: Floats, errors: Floats, counts: NDArray[np.int64], max_evaluations: int) -> int | None:
    """
    The candidate that may be the best.

    :param means: mean returns, ``(n,)``
    :param errors: their standard errors, ``(n,)``
    :param counts: episodes of each, those that are running included, ``(n,)``
    :param max_evaluations: episodes after which a candidate is known well enough
    :return: its index, None if there are none, or all are known well enough
    """
    if not len(means):
        return None
    certain = errors < _NEGLIGIBLE * np.ptp(means)
    still_open = counts < np.where(certain, min(2, max_evaluations), max_evaluations)
    return int(np.where(still_open, means + errors / 2, -np.inf).argmax()) if still_open.any() else None
