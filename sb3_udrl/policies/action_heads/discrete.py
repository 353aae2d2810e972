"""Discrete actions: Discrete, MultiDiscrete and MultiBinary."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch as th
import torch.nn.functional as F
from gymnasium import spaces

from sb3_udrl.policies.action_heads.base import ActionHead, gumbel_like


class CategoricalHead(ActionHead):
    """Discrete actions."""

    discrete = True

    def __init__(self, latent_dim: int, action_space: spaces.Discrete) -> None:
        super().__init__(latent_dim, int(action_space.n), action_space)
        self.start = int(action_space.start)

    def distribution(self, params: th.Tensor) -> dict[str, th.Tensor]:
        return {"logits": params[:, None]}

    def draw_rule(self) -> dict[str, Any]:
        return {"kind": "categorical", "start": [self.start]}

    def loss(self, params: th.Tensor, actions: th.Tensor) -> th.Tensor:
        return F.cross_entropy(params, actions.long() - self.start)

    def mode(self, params: th.Tensor) -> th.Tensor:
        return params.argmax(1) + self.start

    def sample(self, params: th.Tensor, temperature: th.Tensor) -> th.Tensor:
        return (params + temperature * gumbel_like(params)).argmax(1) + self.start

    def numpy_draw(self, rng: np.random.Generator) -> Callable[[Any, Any], Any] | None:
        start = self.start
        return lambda logits, temperature: (logits + temperature * rng.gumbel(size=logits.shape)).argmax(1) + start


class MultiCategoricalHead(ActionHead):
    """MultiDiscrete actions: one independent categorical distribution per component."""

    discrete = True
    starts: th.Tensor

    def __init__(self, latent_dim: int, action_space: spaces.MultiDiscrete) -> None:
        self.sizes = [int(n) for n in action_space.nvec.ravel()]
        super().__init__(latent_dim, sum(self.sizes), action_space)
        self.register_buffer("starts", th.as_tensor(action_space.start.ravel(), dtype=th.float32))

    def distribution(self, params: th.Tensor) -> dict[str, th.Tensor]:
        columns = params.split(self.sizes, dim=1)
        most = max(self.sizes)  # what does not exist has no chance
        return {"logits": th.stack([F.pad(logits, (0, most - logits.shape[1]), value=-th.inf) for logits in columns], dim=1)}

    def draw_rule(self) -> dict[str, Any]:
        return {"kind": "categorical", "start": self.starts.long().tolist()}

    def loss(self, params: th.Tensor, actions: th.Tensor) -> th.Tensor:
        targets = (actions.flatten(1) - self.starts).long()
        losses = [F.cross_entropy(logits, targets[:, i]) for i, logits in enumerate(params.split(self.sizes, dim=1))]
        return th.stack(losses).sum()

    def mode(self, params: th.Tensor) -> th.Tensor:
        best = th.stack([logits.argmax(1) for logits in params.split(self.sizes, dim=1)], dim=1)
        return (best + self.starts).long().unflatten(1, self.action_shape)

    def sample(self, params: th.Tensor, temperature: th.Tensor) -> th.Tensor:
        return self.mode(params + temperature * gumbel_like(params))


class BernoulliHead(ActionHead):
    """MultiBinary actions: one independent coin per component."""

    discrete = True

    def __init__(self, latent_dim: int, action_space: spaces.MultiBinary) -> None:
        super().__init__(latent_dim, int(np.prod(action_space.shape)), action_space)

    def distribution(self, params: th.Tensor) -> dict[str, th.Tensor]:
        return {"logits": th.stack((th.zeros_like(params), params), dim=2)}

    def draw_rule(self) -> dict[str, Any]:
        return {"kind": "categorical", "start": [0]}

    def loss(self, params: th.Tensor, actions: th.Tensor) -> th.Tensor:
        targets = actions.flatten(1).float()
        return F.binary_cross_entropy_with_logits(params, targets, reduction="none").sum(1).mean()

    def mode(self, params: th.Tensor) -> th.Tensor:
        return (params > 0).to(th.int8).unflatten(1, self.action_shape)

    def sample(self, params: th.Tensor, temperature: th.Tensor) -> th.Tensor:
        noise = gumbel_like(params) - gumbel_like(params)  # logistic: the two-class case of the Gumbel trick
        return self.mode(params + temperature * noise)
