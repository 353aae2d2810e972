"""Returns as the generator reads them: numbers from -1 for the worst policy to 1 for the best."""

from __future__ import annotations

import numpy as np
import torch as th
from numpy.typing import NDArray
from torch import nn

from sb3_udrl.buffers.bands import bands_of

Floats = NDArray[np.float64]

_N_KNOTS = 64
_N_BANDS = 32
_RANK_SHARE = 0.25
_TOP = 0.9  # quantile from which on the scale is continued beyond the best


def knots_of(values: Floats) -> tuple[Floats, Floats]:
    """
    A scale on which crowded values are told apart: a quarter of a place is a value's rank, the rest is where it lies between
    the lowest and the highest one. On a plain scale, a few bad policies leave little room to the best ones, which crowd in the
    end.

    :param values: at least one, ``(n,)``
    :return: some of the values and their places from -1 to 1, both ascending; straight lines lie in between
    """
    ranks = np.linspace(0, 1, _N_KNOTS)
    at, last = np.unique(np.quantile(values, ranks)[::-1], return_index=True)
    if len(at) == 1:
        return np.array([at[0] - max(1.0, abs(at[0])), at[0]]), np.array([-1.0, 1.0])
    return at, 2 * (_RANK_SHARE * ranks[::-1][last] + (1 - _RANK_SHARE) * (at - at[0]) / (at[-1] - at[0])) - 1


def places_of(values: Floats) -> Floats:
    """
    Where values lie on their own scale.

    :param values: ``(n,)``
    :return: from -1 to 1, ``(n,)``
    """
    return np.interp(values, *knots_of(values))


class ReturnScale(nn.Module):
    """
    What desired returns mean to the generator; it follows the stored policies.

    Policies are stored by a value, a cautious estimate of their return, and without what mere survival pays where that is
    taken off. Which return goes with which value is read off the stored policies, too.
    """

    knots: th.Tensor
    places: th.Tensor
    values: th.Tensor
    returns: th.Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("knots", th.linspace(0, 1, _N_KNOTS, dtype=th.float64))  # values
        self.register_buffer("places", th.linspace(-1, 1, _N_KNOTS, dtype=th.float64))  # of the knots
        self.register_buffer("values", th.linspace(0, 1, _N_BANDS, dtype=th.float64))
        self.register_buffer("returns", th.linspace(0, 1, _N_BANDS, dtype=th.float64))  # that go with them, rising

    def update(self, values: Floats, returns: Floats) -> None:
        """
        Follow the stored policies.

        :param values: of each policy, ``(n,)``
        :param returns: mean return of each, ``(n,)``
        """
        band = bands_of(values, _N_BANDS)
        _, inverse, counts = np.unique(band, return_inverse=True, return_counts=True)
        centers, means = (np.bincount(inverse, weights=x) / counts for x in (values, returns))
        means = np.maximum.accumulate(means)
        range_ = np.ptp(means) or np.ptp(centers) or 1.0
        means += 1e-6 * range_ * np.arange(len(means))  # so that there is a way back
        knots, places = knots_of(values)
        for name, column in {"knots": knots, "places": places, "values": centers, "returns": means}.items():
            buffer = getattr(self, name)
            padding = np.full(len(buffer) - len(column), column[0])  # the first one over and over
            buffer.copy_(th.from_numpy(np.concatenate((padding, column))))

    def values_of(self, returns: Floats) -> Floats:
        """
        The values that go with returns; beyond those that were met, one more for each more of return.

        :param returns: ``(n,)``
        """
        return _continued(returns, self.returns.cpu().numpy(), self.values.cpu().numpy())

    def returns_of(self, values: Floats) -> Floats:
        """
        The returns that go with values, the inverse of :meth:`values_of`.

        :param values: ``(n,)``
        """
        return _continued(values, self.values.cpu().numpy(), self.returns.cpu().numpy())

    def inputs(self, values: Floats) -> NDArray[np.float32]:
        """
        Values as the generator reads them.

        :param values: ``(n,)``
        :return: ``(n, 1)``
        """
        knots, places = self.knots.cpu().numpy(), self.places.cpu().numpy()
        below = np.minimum(values - knots[0], 0) / (knots[-1] - knots[0])
        beyond = np.maximum(values - knots[-1], 0) * 2 / self.spread
        return (np.interp(values, knots, places) + below + beyond)[:, None].astype(np.float32)

    @property
    def spread(self) -> float:
        """The range of values, if all of it were as crowded as it is among the best."""
        knots, places = self.knots.cpu().numpy(), self.places.cpu().numpy()
        first = min(int(np.searchsorted(places, 2 * _TOP - 1)), len(places) - 2)
        return float(2 * (knots[-1] - knots[first]) / (places[-1] - places[first]))


def _continued(at: Floats, known: Floats, results: Floats) -> Floats:
    """Straight lines between what is known, of slope one beyond it."""
    return np.interp(at, known, results) + (at - np.clip(at, known[0], known[-1]))
