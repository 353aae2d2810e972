"""Behavior functions that learn by gradient: their optimizer, and one step of it."""

from __future__ import annotations

from typing import Any

import torch as th
from stable_baselines3.common.type_aliases import Schedule

from sb3_udrl.policies.base import BehaviorPolicy


class GradientPolicy(BehaviorPolicy):
    """
    A behavior function whose parameters one optimizer changes. A subclass makes its layers, then calls :meth:`make_optimizer`.

    :param args: as for :class:`BehaviorPolicy`
    :param optimizer_class: optimizer of all parameters
    :param optimizer_kwargs: its arguments, except for the learning rate; ``fused=True`` for Adam by default
    :param kwargs: as for :class:`BehaviorPolicy`
    """

    def __init__(
        self,
        *args: Any,
        optimizer_class: type[th.optim.Optimizer] = th.optim.Adam,
        optimizer_kwargs: dict[str, Any] | None = None,
        **kwargs: Any,
    ) -> None:
        if optimizer_kwargs is None and optimizer_class is th.optim.Adam:
            optimizer_kwargs = {"fused": True}  # takes a quarter of the time on networks of this size
        super().__init__(*args, optimizer_class=optimizer_class, optimizer_kwargs=optimizer_kwargs, **kwargs)

    def _get_constructor_parameters(self) -> dict[str, Any]:
        optimizer = {"optimizer_class": self.optimizer_class, "optimizer_kwargs": self.optimizer_kwargs}
        return {**super()._get_constructor_parameters(), **optimizer}

    def make_optimizer(self, lr_schedule: Schedule) -> None:
        """
        Make the optimizer of all parameters that there are.

        :param lr_schedule: learning rate by remaining progress
        """
        self.optimizer = self.optimizer_class(self.parameters(), lr=lr_schedule(1), **self.optimizer_kwargs)  # type: ignore[call-arg]

    def gradient_step(self, loss: th.Tensor) -> th.Tensor:
        """
        Take one step down the gradient.

        :param loss: of the parameters as they are, a scalar
        :return: the loss, detached
        """
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()
        return loss.detach()
