"""Acting in numpy while collecting: the network and its draws as plain functions."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

import numpy as np
import torch as th
from gymnasium import spaces
from numpy.typing import NDArray
from torch import nn

from sb3_udrl.buffers.arrays import Array
from sb3_udrl.commands.command import Command
from sb3_udrl.commands.command_space import CommandSpace
from sb3_udrl.policies.action_heads import ActionHead
from sb3_udrl.policies.numpy_parts import NumpyLayer, numpy_linear

Floats = NDArray[np.float32]


class VectorNetwork(Protocol):
    """A network that reads vectors, as far as it matters here; see ``CommandPolicy``."""

    observation_space: spaces.Space[Any]
    command_space: CommandSpace
    features_extractor: Any
    feature_standardizer: Any
    command_standardizer: Any
    trunk: Any
    action_head: ActionHead

    def fixed_scales(self) -> list[tuple[int, float]]:
        """Columns of the command that are scaled by a given factor, with that factor."""

    def guided(self, network: Callable[[Command], Any], command: Command) -> Any:
        """Parameters of the action distribution under guidance."""


def numpy_network(policy: VectorNetwork, layers: list[NumpyLayer]) -> Callable[[Any, Command], Floats]:
    """
    A function of observations and commands with the results of ``policy.forward``, by its weights as they are now. It
    computes on the CPU, wherever the network lies.

    :param policy: a network that reads vectors
    :param layers: the layers of its trunk
    """
    dim, space = policy.features_extractor.features_dim, policy.observation_space
    command_space = policy.command_space
    keys = list(space.spaces) if isinstance(space, spaces.Dict) else None
    mean, factor, bound = _standardization(policy)
    per_step, horizon = policy.command_standardizer.per_step.cpu().numpy(), policy.command_standardizer.horizon
    head, linear_in_command = numpy_linear(policy.action_head.linear), policy.trunk.linear_in_command

    def forward(observations: Any, command: Command) -> Floats:
        n = len(command)
        inputs = np.empty((n, len(mean)))  # double precision: small differences between large numbers count
        if keys is None:
            inputs[:, :dim] = observations.reshape(n, dim)
        else:
            inputs[:, :dim] = np.concatenate([observations[key].reshape(n, -1) for key in keys], axis=1)
        inputs[:, dim:] = command_space.inputs(command)
        if per_step.any():
            inputs[:, dim:] -= per_step * inputs[:, dim + horizon, None]
        inputs = ((inputs - mean) * factor).clip(-bound, bound).astype(np.float32)
        if command_space.partial:
            inputs[:, dim:][np.isnan(inputs[:, dim:])] = 0
        hidden, condition = inputs[:, :dim], inputs[:, dim:]
        for layer in layers:
            hidden = layer(hidden, condition)
        if linear_in_command:
            hidden = np.concatenate((hidden, *(hidden * part[:, None] for part in condition.T)), axis=1)
        return head(hidden)

    return forward


def numpy_actor(
    policy: VectorNetwork, network: Callable[[Any, Command], Floats], rng: np.random.Generator
) -> Callable[[Any, Command, Floats], Array]:
    """
    A function that draws actions as ``policy.act`` does.

    :param policy: the network
    :param network: the same in numpy
    :param rng: source of randomness
    """
    draw = policy.action_head.numpy_draw(rng) or _torch_draw(policy.action_head)

    def act(observations: Any, command: Command, temperature: Floats) -> Array:
        return draw(policy.guided(lambda asked: network(observations, asked), command), temperature)

    return act


def _standardization(policy: VectorNetwork) -> tuple[Array, Array, Array]:
    """Mean, factor and bound of each feature and of each input of the command, ``(features_dim + n_inputs,)`` each."""
    dims = (policy.features_extractor.features_dim, len(policy.command_space.input_names))
    modules: tuple[nn.Module, ...] = (policy.feature_standardizer, policy.command_standardizer)
    rows = [_affine(module, dim) for module, dim in zip(modules, dims, strict=True)]
    mean, factor, bound = (np.concatenate(parts).astype(np.float64) for parts in zip(*rows, strict=True))
    for column, scale in policy.fixed_scales():
        column += policy.features_extractor.features_dim
        mean[column], factor[column], bound[column] = 0, scale, np.inf
    return mean, factor, bound


def _affine(module: Any, dim: int) -> tuple[Array, Array, Array]:
    """What a standardizer does, or nothing at all where there is none."""
    if not hasattr(module, "inverse_std"):
        return np.zeros(dim), np.ones(dim), np.full(dim, np.inf)
    mean, rest, factor = (
        part.cpu().numpy().astype(np.float64) for part in (module.mean, module.mean_rest, module.inverse_std)
    )
    return mean + rest, factor, np.full(dim, module.clip)


def _torch_draw(head: ActionHead) -> Callable[[Floats, Floats], Array]:
    """A function of distribution parameters ``(n, n_params)`` and temperatures ``(n, 1)`` that draws actions."""
    device = head.linear.weight.device

    def draw(params: Floats, temperature: Floats) -> Array:
        with th.no_grad():
            return head.sample(th.as_tensor(params, device=device), th.as_tensor(temperature, device=device)).cpu().numpy()

    return draw
