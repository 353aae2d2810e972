"""Acting in numpy while collecting: for the few rows of a step, PyTorch's bookkeeping costs several times the arithmetic."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
import torch as th
from gymnasium import spaces
from numpy.typing import NDArray
from stable_baselines3.common.preprocessing import is_image_space
from stable_baselines3.common.torch_layers import CombinedExtractor, FlattenExtractor
from torch import nn

from sb3_udrl.buffers.arrays import Array
from sb3_udrl.commands.command import Command
from sb3_udrl.policies.action_heads import ActionHead, CategoricalHead
from sb3_udrl.policies.base import Actor
from sb3_udrl.policies.conditioning import ConcatGatedLayer, ConcatLayer, ConditionedLayer, GatedLayer
from sb3_udrl.policies.standardize import CLIP, Standardizer

if TYPE_CHECKING:
    from sb3_udrl.policies.command_policy import CommandPolicy

Floats = NDArray[np.float32]
Layer = Callable[[Floats, Floats], Floats]  # hidden values, standardized commands -> hidden values

_ACTIVATIONS: dict[type[nn.Module], Callable[[Floats], Floats]] = {
    nn.ReLU: lambda hidden: np.maximum(hidden, 0),
    nn.Tanh: np.tanh,
    nn.Identity: lambda hidden: hidden,
}


def numpy_actor(policy: CommandPolicy, rng: np.random.Generator) -> Actor | None:
    """
    A function that draws actions as ``policy.act`` does, for a network with vectors as observations. It computes on the CPU,
    wherever the network lies.

    :param policy: the network; the function goes by its weights as they are now
    :param rng: source of randomness
    :return: the function, or None if the network has parts that only PyTorch knows
    """
    if not is_known(policy):
        return None
    network, draw = numpy_network(policy), _draw(policy.action_head, rng)

    def act(observations: Any, command: Command, temperature: Floats) -> Array:
        return draw(policy.guided(lambda asked: network(observations, asked), command), temperature)

    return act


def numpy_network(policy: CommandPolicy) -> Callable[[Any, Command], Floats]:
    """
    A function of observations and commands with the results of ``policy.forward``.

    :param policy: a network for which :func:`is_known` holds
    """
    dim, space = policy.features_extractor.features_dim, policy.observation_space
    command_space, command_dim = policy.command_space, len(policy.command_space.input_names)
    keys = list(space.spaces) if isinstance(space, spaces.Dict) else None
    mean, factor, bound = _standardization(policy)
    layers = [_LAYERS[type(layer)](layer) for layer in policy.trunk.conditioned_layers()]
    head, linear_in_command = _linear(policy.action_head.linear), policy.trunk.linear_in_command

    def forward(observations: Any, command: Command) -> Floats:
        n = len(command)
        inputs = np.empty((n, dim + command_dim), dtype=np.float32)
        if keys is None:
            inputs[:, :dim] = observations.reshape(n, dim)
        else:
            inputs[:, :dim] = np.concatenate([observations[key].reshape(n, -1) for key in keys], axis=1)
        inputs[:, dim:] = command_space.inputs(command)
        inputs = ((inputs - mean) * factor).clip(-bound, bound)
        if command_space.partial:
            inputs[:, dim:][np.isnan(inputs[:, dim:])] = 0
        hidden, condition = inputs[:, :dim], inputs[:, dim:]
        for layer in layers:
            hidden = layer(hidden, condition)
        if linear_in_command:
            hidden = np.concatenate((hidden, *(hidden * part[:, None] for part in condition.T)), axis=1)
        return head(hidden)

    return forward


def is_known(policy: CommandPolicy) -> bool:
    """
    Whether every part is one that this file knows, and none is replaced by a subclass or on the instance.

    :param policy: the network
    """
    from sb3_udrl.policies.command_policy import CommandPolicy

    space, layers = policy.observation_space, policy.trunk.conditioned_layers()
    parts = list(space.spaces.values()) if isinstance(space, spaces.Dict) else [space]
    return (
        all(getattr(getattr(policy, name), "__func__", None) is getattr(CommandPolicy, name) for name in _METHODS)
        and all(isinstance(part, spaces.Box) and not is_image_space(part) for part in parts)
        and type(policy.features_extractor) in (FlattenExtractor, CombinedExtractor)
        and type(policy.trunk.embed) is nn.Identity
        and all(type(layer) in _LAYERS and type(layer.activation) in _ACTIVATIONS for layer in layers)
        and type(policy.action_head).forward is ActionHead.forward
    )


_METHODS = ("act", "forward", "_features", "_command_input")


def _standardization(policy: CommandPolicy) -> tuple[Floats, Floats, Floats]:
    """Mean, factor and bound of each feature and of each input of the command, ``(features_dim + n_inputs,)`` each."""
    rows = []
    for module, dim in (
        (policy.feature_standardizer, policy.features_extractor.features_dim),
        (policy.command_standardizer, len(policy.command_space.input_names)),
    ):
        if isinstance(module, Standardizer):
            rows.append((module.mean.cpu().numpy(), module.inverse_std.cpu().numpy(), np.full(dim, CLIP)))
        else:
            rows.append((np.zeros(dim), np.ones(dim), np.full(dim, np.inf)))
    mean, factor, bound = (np.concatenate(parts).astype(np.float32) for parts in zip(*rows, strict=True))
    for column, scale in policy.fixed_scales():
        column += policy.features_extractor.features_dim
        mean[column], factor[column], bound[column] = 0, scale, np.inf
    return mean, factor, bound


def _linear(module: nn.Linear, factor: float = 1.0) -> Callable[[Floats], Floats]:
    weight: Floats = (factor * module.weight.detach()).cpu().numpy().T
    bias: Floats = (factor * module.bias.detach()).cpu().numpy()
    return lambda vectors: vectors @ weight + bias


def _plain(layer: ConditionedLayer) -> Layer:
    linear, activation = _linear(layer.linear), _ACTIVATIONS[type(layer.activation)]
    return lambda hidden, condition: activation(linear(hidden))


def _gated(layer: GatedLayer) -> Layer:
    linear, half_gate, activation = _linear(layer.linear), _linear(layer.gate, 0.5), _ACTIVATIONS[type(layer.activation)]
    # 2 sigmoid(x) = 1 + tanh(x / 2), which does not overflow
    return lambda hidden, condition: activation(linear(hidden)) * (1 + np.tanh(half_gate(condition)))


def _concat(layer: ConcatLayer) -> Layer:
    linear, activation = _linear(layer.linear), _ACTIVATIONS[type(layer.activation)]
    return lambda hidden, condition: activation(linear(np.concatenate((hidden, condition), axis=1)))


def _concat_gated(layer: ConcatGatedLayer) -> Layer:
    gated = _gated(layer)
    return lambda hidden, condition: gated(np.concatenate((hidden, condition), axis=1), condition)


_LAYERS: dict[type[ConditionedLayer], Callable[[Any], Layer]] = {
    ConditionedLayer: _plain,
    GatedLayer: _gated,
    ConcatLayer: _concat,
    ConcatGatedLayer: _concat_gated,
}


def _draw(head: ActionHead, rng: np.random.Generator) -> Callable[[Floats, Floats], Array]:
    """A function of distribution parameters ``(n, n_params)`` and temperatures ``(n, 1)`` that draws actions."""
    if type(head) is CategoricalHead:
        start = head.start
        return lambda logits, temperature: (logits + temperature * rng.gumbel(size=logits.shape)).argmax(1) + start

    device = head.linear.weight.device

    def draw(params: Floats, temperature: Floats) -> Array:
        with th.no_grad():
            return head.sample(th.as_tensor(params, device=device), th.as_tensor(temperature, device=device)).cpu().numpy()

    return draw
