"""Parts of networks in numpy: for the few rows of a step, PyTorch's bookkeeping costs several times the arithmetic."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import nn

Floats = NDArray[Any]
NumpyLayer = Callable[[Floats, Floats], Floats]  # hidden values, standardized commands -> hidden values

_ACTIVATIONS: dict[str, Callable[[Floats], Floats]] = {  # by what PyTorch calls them
    repr(nn.ReLU()): lambda hidden: np.maximum(hidden, 0),
    repr(nn.Tanh()): np.tanh,
    repr(nn.Identity()): lambda hidden: hidden,
}


def numpy_activation(module: nn.Module) -> Callable[[Floats], Floats] | None:
    """
    An activation function in numpy, None if it is not one of the common ones.

    :param module: the activation function
    """
    return _ACTIVATIONS.get(repr(module))


def numpy_linear(module: nn.Linear, factor: float = 1.0) -> Callable[[Floats], Floats]:
    """
    A linear layer in numpy, by its weights as they are now.

    :param module: the layer
    :param factor: of its output
    """
    weight: Floats = (factor * module.weight.detach()).cpu().numpy().T
    bias: Floats = (factor * module.bias.detach()).cpu().numpy()
    return lambda vectors: vectors @ weight + bias


def numpy_plain(linear: nn.Linear, activation: Callable[[Floats], Floats]) -> NumpyLayer:
    """
    A layer that ignores the command.

    :param linear: its linear part
    :param activation: its non-linearity
    """
    transform = numpy_linear(linear)
    return lambda hidden, condition: activation(transform(hidden))


def numpy_gated(linear: nn.Linear, gate: nn.Linear, activation: Callable[[Floats], Floats]) -> NumpyLayer:
    """
    A layer with gates that start near one.

    :param linear: its linear part
    :param gate: from command to gates
    :param activation: its non-linearity
    """
    transform, half_gate = numpy_linear(linear), numpy_linear(gate, 0.5)
    # 2 sigmoid(x) = 1 + tanh(x / 2), which does not overflow
    return lambda hidden, condition: activation(transform(hidden)) * (1 + np.tanh(half_gate(condition)))


def numpy_concat(layer: NumpyLayer) -> NumpyLayer:
    """
    A layer that reads the command as a further input.

    :param layer: the layer behind that
    """
    return lambda hidden, condition: layer(np.concatenate((hidden, condition), axis=1), condition)
