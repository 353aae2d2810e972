"""Inputs of generated policies, standardized by statistics that stay as they are once policies are stored."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch as th
from numpy.typing import NDArray
from torch import nn

from sb3_udrl.saving.checks import checked_array
from sb3_udrl.statistics.moments import Moments, updated


class InputScale(nn.Module):
    """
    Mean and scale of each input.

    They are found out during the warm-up and frozen then: with other statistics, the weights of a stored policy would make
    another policy, which does not earn the return that is stored with it.

    :param dim: number of inputs
    """

    mean: th.Tensor
    variance: th.Tensor
    factor: th.Tensor
    n_seen: th.Tensor
    is_frozen: th.Tensor

    def __init__(self, dim: int) -> None:
        super().__init__()
        for name in ("mean", "variance"):
            self.register_buffer(name, th.zeros(dim, dtype=th.float64))
        self.register_buffer("factor", th.ones(dim, dtype=th.float64))  # one over the deviation, 0 where nothing varies
        self.register_buffer("n_seen", th.zeros(()))
        self.register_buffer("is_frozen", th.zeros(()))

    @property
    def frozen(self) -> bool:
        """Whether the statistics stay as they are from now on."""
        return bool(self.is_frozen)

    def freeze(self) -> None:
        """Keep the statistics as they are."""
        self.is_frozen.fill_(1)

    def update(self, inputs: NDArray[np.float64], dtype: th.dtype) -> None:
        """
        Take further inputs into account.

        :param inputs: ``(n, dim)``
        :param dtype: of the observations
        """
        self.n_seen += len(inputs)
        known = Moments(self.mean.cpu(), self.variance.cpu())
        moments = updated(known, th.from_numpy(inputs), len(inputs) / self.n_seen.item())
        deviation = moments.deviation(dtype)
        self.mean.copy_(moments.mean)
        self.variance.copy_(moments.variance)
        self.factor.copy_(th.where(deviation > 0, deviation.reciprocal(), 0.0))

    def state(self) -> dict[str, NDArray[np.float64]]:
        """All of it, by the names of the buffers."""
        return {name: tensor.cpu().double().numpy() for name, tensor in self.named_buffers()}

    def checked(self, state: Mapping[str, Any]) -> dict[str, th.Tensor]:
        """
        What ``load_state_dict`` can take.

        :param state: as from :meth:`state`
        :raises ValueError: if it is damaged
        """
        return {
            name: th.from_numpy(np.array(checked_array(state, name, tuple(tensor.shape))))
            for name, tensor in self.named_buffers()
        }

    def standardized(self, inputs: NDArray[np.float64]) -> NDArray[np.float32]:
        """
        :param inputs: ``(n, dim)``
        :return: the same, in deviations from the mean; not clipped, so that it can become part of the first layer
        """
        mean, factor = self.mean.cpu().numpy(), self.factor.cpu().numpy()
        return ((inputs - mean) * factor).astype(np.float32)
