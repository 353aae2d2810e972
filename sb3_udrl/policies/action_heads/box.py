"""Continuous actions, the components independent of each other: normal, squashed, Beta, or categorical over bins."""

from __future__ import annotations

import math
from typing import Any, ClassVar

import numpy as np
import torch as th
import torch.nn.functional as F
from gymnasium import spaces

from sb3_udrl.policies.action_heads.base import ActionHead, gumbel_like
from sb3_udrl.spaces.actions import BoxRange

_MAX_LOG_STD = 2.0  # beyond any use where actions lie between -1 and 1


class BoxHead(ActionHead):
    """
    Continuous actions, scaled from the range that is tried at first, see
    :class:`~sb3_udrl.spaces.actions.BoxRange`, to [-1, 1]; for double precision, and for whole numbers, in doubles.

    :param latent_dim: length of the latent vector
    :param params_per_dim: distribution parameters per component of the action
    :param action_space: space of one environment
    """

    discrete = False
    kind: ClassVar[str]  # of the distribution, in exported files
    center: th.Tensor
    half_range: th.Tensor

    def __init__(self, latent_dim: int, params_per_dim: int, action_space: spaces.Box) -> None:
        self.n_dims = int(np.prod(action_space.shape))
        super().__init__(latent_dim, params_per_dim * self.n_dims, action_space)
        tried = BoxRange.of(action_space)
        self.bounded = bool(tried.bounded.all())
        dtype = th.float32 if action_space.dtype in (np.float16, np.float32) else th.float64
        self.register_buffer("center", th.as_tensor(tried.center.ravel(), dtype=dtype))
        self.register_buffer("half_range", th.as_tensor(tried.half.ravel(), dtype=dtype))

    def scaled(self, actions: th.Tensor) -> th.Tensor:
        """Actions of the environment to [-1, 1], ``(n, n_dims)``; 0 where there is a single value."""
        offsets = actions.reshape(len(actions), -1).to(self.center.dtype) - self.center
        return (offsets / th.where(self.half_range > 0, self.half_range, th.inf)).float()

    def unscaled(self, actions: th.Tensor) -> th.Tensor:
        """The inverse of :meth:`scaled`, ``(n, *action_shape)``; still to be brought into the space."""
        return (actions * self.half_range + self.center).reshape(-1, *self.action_shape)

    def draw_rule(self) -> dict[str, Any]:
        return {"kind": self.kind, "center": self.center.tolist(), "half_range": self.half_range.tolist()}


class GaussianHead(BoxHead):
    """
    A normal distribution per component, mean and deviation depending on observation and command.

    Deviations that are fitted to one's own actions again and again dwindle, since every fit is a little too close, and with
    them what there is to learn from: ``min_std`` keeps actions apart.

    :param latent_dim: length of the latent vector
    :param action_space: space of one environment
    :param min_std: the least standard deviation, in halves of the range from bound to bound; in units of the action where
        there are no bounds
    :param final_min_std: what it becomes in the end, linearly over training; None keeps it at ``min_std``
    :raises ValueError: if one of the two is not above 0 and below 7.4
    """

    kind = "normal"
    min_log_std: th.Tensor  # part of the state: a model that is loaded draws as it did when it was saved

    def __init__(
        self, latent_dim: int, action_space: spaces.Box, min_std: float = 0.02, final_min_std: float | None = None
    ) -> None:
        super().__init__(latent_dim, 2, action_space)
        self.noise_dims = self.n_dims
        self.min_std, self.final_min_std = min_std, min_std if final_min_std is None else final_min_std
        for name, value in (("min_std", self.min_std), ("final_min_std", self.final_min_std)):
            if not 0 < value < math.exp(_MAX_LOG_STD):
                raise ValueError(f"{name}={value}: must be above 0 and below 7.4; 1 is half of the range from bound to bound")
        self.register_buffer("min_log_std", th.tensor(math.log(min_std)))

    def set_progress(self, remaining: float) -> None:
        remaining = max(remaining, 0.0)  # the last steps may go beyond the budget
        self.min_log_std.fill_(math.log(self.final_min_std + remaining * (self.min_std - self.final_min_std)))

    def split(self, params: th.Tensor) -> tuple[th.Tensor, th.Tensor]:
        """Mean and logarithm of the standard deviation, each ``(n, n_dims)``."""
        mean, log_std = params.chunk(2, dim=1)
        return mean, log_std.clamp_min(self.min_log_std).clamp_max(_MAX_LOG_STD)

    def distribution(self, params: th.Tensor) -> dict[str, th.Tensor]:
        mean, log_std = self.split(params)
        return {"mean": mean, "std": log_std.exp()}

    def loss(self, params: th.Tensor, actions: th.Tensor) -> th.Tensor:
        mean, log_std = self.split(params)
        z = (self.scaled(actions) - mean) * th.exp(-log_std)
        return (0.5 * z.square() + log_std + 0.5 * math.log(2 * math.pi)).sum(1).mean()

    def mode(self, params: th.Tensor) -> th.Tensor:
        return self.unscaled(self.split(params)[0])

    def sample(self, params: th.Tensor, temperature: th.Tensor) -> th.Tensor:
        return self.from_noise(params, temperature * th.randn_like(params[:, : self.n_dims]))

    def from_noise(self, params: th.Tensor, noise: th.Tensor) -> th.Tensor:
        """
        The actions that lie so far off the mean.

        :param params: ``(n, n_params)``
        :param noise: in standard deviations, ``(n, n_dims)``
        :return: ``(n, *action_shape)``
        """
        mean, log_std = self.split(params)
        return self.unscaled(mean + noise * th.exp(log_std))


class SquashedGaussianHead(GaussianHead):
    """A normal distribution squashed by tanh, as in SAC; needs bounds. ``min_std`` is that of the normal distribution."""

    kind = "squashed normal"

    def loss(self, params: th.Tensor, actions: th.Tensor) -> th.Tensor:
        squashed = self.scaled(actions).clamp(-1 + 1e-3, 1 - 1e-3)  # actions at the bounds would be infinitely far
        mean, log_std = self.split(params)
        z = (th.atanh(squashed) - mean) * th.exp(-log_std)
        log_prob = -0.5 * z.square() - log_std - 0.5 * math.log(2 * math.pi) - th.log1p(-squashed.square())
        return -log_prob.sum(1).mean()

    def mode(self, params: th.Tensor) -> th.Tensor:
        return self.unscaled(th.tanh(self.split(params)[0]))

    def from_noise(self, params: th.Tensor, noise: th.Tensor) -> th.Tensor:
        mean, log_std = self.split(params)
        return self.unscaled(th.tanh(mean + noise * th.exp(log_std)))


class BetaHead(BoxHead):
    """A Beta distribution per component, with its mass inside the bounds; its mean serves as mode."""

    kind = "beta"

    def __init__(self, latent_dim: int, action_space: spaces.Box) -> None:
        super().__init__(latent_dim, 2, action_space)

    def split(self, params: th.Tensor) -> tuple[th.Tensor, th.Tensor]:
        """The two shape parameters, each at least one, so that there is a single peak, ``(n, n_dims)``."""
        alpha, beta = (1 + F.softplus(params)).chunk(2, dim=1)
        return alpha, beta

    def distribution(self, params: th.Tensor) -> dict[str, th.Tensor]:
        return dict(zip(("alpha", "beta"), self.split(params), strict=True))

    def loss(self, params: th.Tensor, actions: th.Tensor) -> th.Tensor:
        alpha, beta = self.split(params)
        share = ((self.scaled(actions) + 1) / 2).clamp(1e-3, 1 - 1e-3)
        log_norm = th.lgamma(alpha) + th.lgamma(beta) - th.lgamma(alpha + beta)
        return (log_norm - (alpha - 1) * share.log() - (beta - 1) * th.log1p(-share)).sum(1).mean()

    def mode(self, params: th.Tensor) -> th.Tensor:
        alpha, beta = self.split(params)
        return self.unscaled(2 * alpha / (alpha + beta) - 1)

    def sample(self, params: th.Tensor, temperature: th.Tensor) -> th.Tensor:
        alpha, beta = (1 + (shape - 1) / temperature.clamp_min(1e-3) for shape in self.split(params))
        shares = th.distributions.Beta(alpha, beta, validate_args=False).sample()
        alpha, beta = self.split(params)
        return self.unscaled(2 * th.where(temperature == 0, alpha / (alpha + beta), shares) - 1)


class DiscretizedHead(BoxHead):
    """
    A categorical distribution over bins per component, so that several ways of acting can be remembered side by side.

    Sampled actions are uniform within their bin.

    :param latent_dim: length of the latent vector
    :param action_space: space of one environment, bounded
    :param n_bins: number of bins per component
    :raises ValueError: if ``n_bins`` is not positive
    """

    kind = "bins"

    def __init__(self, latent_dim: int, action_space: spaces.Box, n_bins: int = 21) -> None:
        if n_bins < 1:
            raise ValueError(f"n_bins={n_bins}: must be at least 1")
        super().__init__(latent_dim, n_bins, action_space)
        self.n_bins = n_bins

    def distribution(self, params: th.Tensor) -> dict[str, th.Tensor]:
        return {"logits": params.reshape(-1, self.n_dims, self.n_bins)}

    def loss(self, params: th.Tensor, actions: th.Tensor) -> th.Tensor:
        bins = ((self.scaled(actions) + 1) / 2 * self.n_bins).long().clamp(0, self.n_bins - 1)
        logits = params.reshape(-1, self.n_bins)
        return F.cross_entropy(logits, bins.flatten()) * self.n_dims

    def from_bins(self, bins: th.Tensor, within: th.Tensor | float) -> th.Tensor:
        """Bins, and positions within them from 0 to 1, to actions."""
        return self.unscaled((bins + within) / self.n_bins * 2 - 1)

    def mode(self, params: th.Tensor) -> th.Tensor:
        return self.from_bins(params.reshape(-1, self.n_dims, self.n_bins).argmax(2), 0.5)

    def sample(self, params: th.Tensor, temperature: th.Tensor) -> th.Tensor:
        logits = (params + temperature * gumbel_like(params)).reshape(-1, self.n_dims, self.n_bins)
        bins = logits.argmax(2)
        return self.from_bins(bins, th.rand(bins.shape, device=bins.device))


BOX_HEADS: dict[str, type[BoxHead]] = {
    "gaussian": GaussianHead,
    "squashed": SquashedGaussianHead,
    "beta": BetaHead,
    "discretized": DiscretizedHead,
}
