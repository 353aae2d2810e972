"""Returns as the generator reads them: numbers from -1 for the worst policy to 1 for the best."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch as th
from numpy.typing import NDArray
from torch import nn

from sb3_udrl.buffers.bands import bands_of

_N_KNOTS = 32


class ReturnScale(nn.Module):
    """
    What desired returns mean to the generator. Its edges and scale follow the stored policies.

    Policies are stored by a value, a cautious estimate of their return, and without what mere survival pays where that is
    taken off. Which return goes with which value is read off the stored policies, too.
    """

    edges: th.Tensor
    values: th.Tensor
    returns: th.Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("edges", th.tensor([0.0, 1.0], dtype=th.float64))  # lowest and highest value
        self.register_buffer("values", th.zeros(_N_KNOTS, dtype=th.float64))
        self.register_buffer("returns", th.zeros(_N_KNOTS, dtype=th.float64))  # that go with them, never falling

    def update(self, values: NDArray[np.float64], returns: NDArray[np.float64]) -> None:
        """
        Follow the stored policies.

        :param values: of each policy, ``(n,)``
        :param returns: mean return of each, ``(n,)``
        """
        low, high = values.min(), values.max()
        band = bands_of(values, _N_KNOTS)
        present, inverse, counts = np.unique(band, return_inverse=True, return_counts=True)
        knots, means = (np.bincount(inverse, weights=x) / counts for x in (values, returns))
        means = np.maximum.accumulate(means)
        padding = _N_KNOTS - len(present)  # the first knot over and over
        self.edges.copy_(th.tensor([low, high if high > low else low + 1]))
        self.values.copy_(th.from_numpy(np.concatenate((np.full(padding, knots[0]), knots))))
        self.returns.copy_(th.from_numpy(np.concatenate((np.full(padding, means[0]), means))))

    def values_of(self, returns: NDArray[np.float64]) -> NDArray[np.float64]:
        """
        The values that go with returns; beyond those that were met, one more for each more of return.

        :param returns: ``(n,)``
        """
        known, values = self.returns.cpu().numpy(), self.values.cpu().numpy()
        return np.interp(returns, known, values) + (returns - np.clip(returns, known[0], known[-1]))

    def inputs(self, values: NDArray[np.float64]) -> NDArray[np.float32]:
        """
        Values as the generator reads them.

        :param values: ``(n,)``
        :return: ``(n, 1)``
        """
        low, high = self.edges.cpu().numpy()
        scaled: NDArray[Any] = 2 * (values - low) / (high - low) - 1
        return scaled[:, None].astype(np.float32)
