"""What every head does: a distribution over actions whose parameters are linear in the latent values."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any

import numpy as np
import torch as th
from gymnasium import spaces
from torch import nn


class ActionHead(nn.Module, ABC):
    """
    A distribution over actions whose parameters are linear in the latent values.

    Sampled with plain tensor operations: building ``torch.distributions`` objects would take most of the time of a step.

    :param latent_dim: length of the latent vector
    :param n_params: number of distribution parameters
    :param action_space: space of one environment
    """

    discrete: bool  # whether actions can be exactly right, so that accuracy says something
    noise_dims = 0  # how many draws of a standard normal distribution make an action; 0 where other draws do

    def __init__(self, latent_dim: int, n_params: int, action_space: spaces.Space[Any]) -> None:
        super().__init__()
        self.linear = nn.Linear(latent_dim, n_params)
        self.action_shape = action_space.shape or ()

    def forward(self, latent: th.Tensor) -> th.Tensor:
        """
        :param latent: ``(n, latent_dim)``
        :return: distribution parameters, ``(n, n_params)``
        """
        return self.linear(latent)

    def set_progress(self, remaining: float) -> None:
        """
        Called before every training; here, nothing depends on it.

        :param remaining: share of the environment steps of ``learn`` that is still to come, from 1 to 0
        """

    def numpy_draw(self, rng: np.random.Generator) -> Callable[[Any, Any], Any] | None:
        """
        A function that draws as :meth:`sample` does, of parameters and temperatures in numpy; None if PyTorch has to.

        :param rng: source of randomness
        """
        return None

    @abstractmethod
    def distribution(self, params: th.Tensor) -> dict[str, th.Tensor]:
        """
        What :meth:`sample` draws from, in the form that exported files have.

        :param params: ``(n, n_params)``
        :return: ``logits``, ``(n, n_components, n_values)``; or, each ``(n, n_dims)``, ``mean`` and ``std``, or ``alpha`` and
            ``beta``, for actions scaled to [-1, 1]
        """

    @abstractmethod
    def draw_rule(self) -> dict[str, Any]:
        """How actions are drawn from :meth:`distribution`, as plain values for files."""

    @abstractmethod
    def loss(self, params: th.Tensor, actions: th.Tensor) -> th.Tensor:
        """
        Mean negative log-likelihood.

        :param params: ``(n, n_params)``
        :param actions: ``(n, *action_shape)``
        """

    @abstractmethod
    def mode(self, params: th.Tensor) -> th.Tensor:
        """
        The most likely actions.

        :param params: ``(n, n_params)``
        :return: ``(n, *action_shape)``
        """

    @abstractmethod
    def sample(self, params: th.Tensor, temperature: th.Tensor) -> th.Tensor:
        """
        Draw actions.

        :param params: ``(n, n_params)``
        :param temperature: 1 draws from the distribution, less nearer to its mode, more wider, ``(n, 1)``
        :return: ``(n, *action_shape)``
        """


def gumbel_like(logits: th.Tensor) -> th.Tensor:
    """Standard Gumbel noise: ``argmax(logits + noise)`` is a draw from their softmax."""
    return -th.empty_like(logits).exponential_().log()
