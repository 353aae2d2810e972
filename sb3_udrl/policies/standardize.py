"""Inputs brought to zero mean and unit variance, with statistics that are part of the network."""

from __future__ import annotations

from typing import Any

import torch as th
from torch import nn

from sb3_udrl.statistics.moments import CLIP, Moments, updated


class Standardizer(nn.Module):
    """
    Standardize vectors by running statistics of the batches it was shown.

    Data of any size, at any distance from zero, look alike afterwards. The mean is kept in two numbers of single precision,
    since one alone would be off by more than data far from zero vary.

    :param dim: length of the vectors
    :param momentum: share of a new batch in the statistics, once there were ``1 / momentum`` of them
    """

    clip = CLIP
    mean: th.Tensor
    mean_rest: th.Tensor
    deviation: th.Tensor
    inverse_std: th.Tensor
    n_updates: th.Tensor

    def __init__(self, dim: int, momentum: float = 0.1) -> None:
        super().__init__()
        self.momentum = momentum
        self.register_buffer("mean", th.zeros(dim))
        self.register_buffer("mean_rest", th.zeros(dim))  # of the exact mean, what single precision leaves out
        self.register_buffer("deviation", th.ones(dim))
        self.register_buffer("inverse_std", th.ones(dim))
        self.register_buffer("n_updates", th.zeros(1))  # a float, as all of SB3's state

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *args: Any) -> None:
        second_moment = state_dict.pop(f"{prefix}second_moment", None)  # as earlier revisions wrote it
        if second_moment is not None:
            mean = state_dict[f"{prefix}mean"]
            state_dict[f"{prefix}mean_rest"] = th.zeros_like(mean)
            state_dict[f"{prefix}deviation"] = (second_moment - mean.square()).clamp_min(0).sqrt()
        super()._load_from_state_dict(state_dict, prefix, *args)

    @th.no_grad()
    def update(self, batch: th.Tensor) -> None:
        """
        Take the statistics of a batch into account.

        :param batch: ``(n, dim)``; NaN where there is nothing
        """
        self.n_updates += 1
        rate = max(self.momentum, 1.0 / self.n_updates.item())

        def double(tensor: th.Tensor) -> th.Tensor:
            return tensor.to("cpu" if tensor.device.type == "mps" else tensor.device, th.float64)  # MPS has no doubles

        known = Moments(double(self.mean) + double(self.mean_rest), double(self.deviation).square())
        moments = updated(known, double(batch), rate)
        deviation = moments.deviation(batch.dtype)
        self.mean.copy_(moments.mean)
        self.mean_rest.copy_(moments.mean - double(self.mean))
        self.deviation.copy_(moments.variance.sqrt())
        # a constant input has no scale: leave it at the mean instead of blowing up rounding errors
        self.inverse_std.copy_(th.where(deviation > 0, deviation.reciprocal(), 1.0).clamp_max(th.finfo(th.float32).max))

    def forward(self, vectors: th.Tensor) -> th.Tensor:
        """
        :param vectors: ``(n, dim)``, in double precision where they have it; NaN where there is nothing
        :return: the same, standardized and clipped, in single precision; NaN stays NaN
        """
        return ((vectors - self.mean - self.mean_rest) * self.inverse_std).clamp(-CLIP, CLIP).float()
