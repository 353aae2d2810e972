"""Inputs brought to zero mean and unit variance, with statistics that are part of the network."""

from __future__ import annotations

import torch as th
from torch import nn

CLIP = 10.0  # in standard deviations; far outside of the data a network only extrapolates


class Standardizer(nn.Module):
    """
    Standardize vectors by running statistics of the batches it was shown.

    :param dim: length of the vectors
    :param momentum: share of a new batch in the statistics, once there were ``1 / momentum`` of them
    """

    clip = CLIP
    mean: th.Tensor
    inverse_std: th.Tensor
    second_moment: th.Tensor
    n_updates: th.Tensor

    def __init__(self, dim: int, momentum: float = 0.1) -> None:
        super().__init__()
        self.momentum = momentum
        self.register_buffer("mean", th.zeros(dim))
        self.register_buffer("second_moment", th.ones(dim))
        self.register_buffer("inverse_std", th.ones(dim))
        self.register_buffer("n_updates", th.zeros(1))  # a float, as all of SB3's state

    @th.no_grad()
    def update(self, batch: th.Tensor) -> None:
        """
        Take the statistics of a batch into account.

        :param batch: ``(n, dim)``; NaN where there is nothing
        """
        self.n_updates += 1
        rate = max(self.momentum, 1.0 / self.n_updates.item())
        there = ~batch.isnan()
        values, n_there = batch.nan_to_num(), there.sum(0)
        seen = n_there > 0
        self.mean.copy_(th.where(seen, self.mean.lerp(values.sum(0) / n_there, rate), self.mean))
        self.second_moment.copy_(
            th.where(seen, self.second_moment.lerp(values.square().sum(0) / n_there, rate), self.second_moment)
        )
        variance = self.second_moment - self.mean.square()
        # a constant input has no scale: leave it at the mean instead of blowing up rounding errors
        smallest = 1e-6 * self.second_moment + 1e-12
        self.inverse_std.copy_(th.where(variance > smallest, variance.clamp_min(1e-12).rsqrt(), th.ones_like(variance)))

    def forward(self, vectors: th.Tensor) -> th.Tensor:
        """
        :param vectors: ``(n, dim)``; NaN where there is nothing
        :return: the same, standardized and clipped; NaN stays NaN
        """
        return ((vectors - self.mean) * self.inverse_std).clamp(-CLIP, CLIP)
