"""How a network takes a command in. One name chooses it; each way is a pair of layer types."""

from __future__ import annotations

from typing import Any

import torch as th
from torch import nn

from sb3_udrl.policies.numpy_parts import NumpyLayer, numpy_activation, numpy_concat, numpy_gated, numpy_plain


class ConditionedLayer(nn.Module):
    """
    A layer of the behavior function: hidden values and a command in, hidden values out.

    A subclass may have a fast numpy twin; one that brings its own ``forward`` has none until it brings its own
    ``numpy_twin`` too.

    :param in_dim: number of inputs
    :param out_dim: number of outputs
    :param command_dim: length of the command vector
    :param activation_fn: non-linearity of the layer
    """

    def __init__(self, in_dim: int, out_dim: int, command_dim: int, activation_fn: type[nn.Module]) -> None:
        super().__init__()
        self.linear = nn.Linear(in_dim, out_dim)
        self.activation = activation_fn()

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if "forward" in cls.__dict__ and "numpy_twin" not in cls.__dict__:
            cls.numpy_twin = _no_twin  # type: ignore[method-assign,assignment]

    def forward(self, hidden: th.Tensor, command: th.Tensor) -> th.Tensor:
        """
        :param hidden: ``(n, in_dim)``
        :param command: ``(n, command_dim)``
        :return: ``(n, out_dim)``; here the command is ignored
        """
        return self.activation(self.linear(hidden))

    def numpy_twin(self) -> NumpyLayer | None:
        """The same function in numpy, by the weights as they are now; None if only PyTorch knows it."""
        activation = numpy_activation(self.activation)
        return None if activation is None else numpy_plain(self.linear, activation)


def _no_twin(layer: ConditionedLayer) -> NumpyLayer | None:
    return None


class GatedLayer(ConditionedLayer):
    """``act(W h) * 2 sigmoid(U c)``: the gate starts near one (arXiv 1912.02877, section 3.2, without the factor 2)."""

    def __init__(self, in_dim: int, out_dim: int, command_dim: int, activation_fn: type[nn.Module]) -> None:
        super().__init__(in_dim, out_dim, command_dim, activation_fn)
        self.gate = nn.Linear(command_dim, out_dim)

    def forward(self, hidden: th.Tensor, command: th.Tensor) -> th.Tensor:
        return self.activation(self.linear(hidden)) * (2 * th.sigmoid(self.gate(command)))

    def numpy_twin(self) -> NumpyLayer | None:
        activation = numpy_activation(self.activation)
        return None if activation is None else numpy_gated(self.linear, self.gate, activation)


class ConcatGatedLayer(GatedLayer):
    """``act(W [h, c]) * 2 sigmoid(U c)``: the command is one more input, and a gate besides."""

    def __init__(self, in_dim: int, out_dim: int, command_dim: int, activation_fn: type[nn.Module]) -> None:
        super().__init__(in_dim + command_dim, out_dim, command_dim, activation_fn)

    def forward(self, hidden: th.Tensor, command: th.Tensor) -> th.Tensor:
        return super().forward(th.cat((hidden, command), dim=1), command)

    def numpy_twin(self) -> NumpyLayer | None:
        gated = super().numpy_twin()
        return None if gated is None else numpy_concat(gated)


class PReLULayer(ConditionedLayer):
    """``prelu(W h) * prelu(U c)``, as in the upside-down-rl package."""

    def __init__(self, in_dim: int, out_dim: int, command_dim: int, activation_fn: type[nn.Module]) -> None:
        super().__init__(in_dim, out_dim, command_dim, nn.PReLU)
        self.embedding = nn.Sequential(nn.Linear(command_dim, out_dim), nn.PReLU())

    def forward(self, hidden: th.Tensor, command: th.Tensor) -> th.Tensor:
        return self.activation(self.linear(hidden)) * self.embedding(command)


class BilinearLayer(ConditionedLayer):
    """Weights and biases are linear functions of the command: ``act((W_0 + sum_k c_k W_k) h + b_0 + sum_k c_k b_k)``."""

    def __init__(self, in_dim: int, out_dim: int, command_dim: int, activation_fn: type[nn.Module]) -> None:
        super().__init__(in_dim, out_dim, command_dim, activation_fn)
        self.by_command = nn.Linear(in_dim, command_dim * out_dim)

    def forward(self, hidden: th.Tensor, command: th.Tensor) -> th.Tensor:
        terms = self.by_command(hidden).unflatten(1, (command.shape[1], -1))  # (n, command_dim, out_dim)
        return self.activation(self.linear(hidden) + (terms * command.unsqueeze(2)).sum(1))


class ConcatLayer(ConditionedLayer):
    """``act(W [h, c])``: the command is one more input."""

    def __init__(self, in_dim: int, out_dim: int, command_dim: int, activation_fn: type[nn.Module]) -> None:
        super().__init__(in_dim + command_dim, out_dim, command_dim, activation_fn)

    def forward(self, hidden: th.Tensor, command: th.Tensor) -> th.Tensor:
        return self.activation(self.linear(th.cat((hidden, command), dim=1)))

    def numpy_twin(self) -> NumpyLayer | None:
        activation = numpy_activation(self.activation)
        return None if activation is None else numpy_concat(numpy_plain(self.linear, activation))


def with_products(hidden: th.Tensor, command: th.Tensor) -> th.Tensor:
    """
    ``[h, c_1 h, c_2 h, ...]``: a linear layer that follows returns what is linear in the command.

    :param hidden: ``(n, dim)``
    :param command: ``(n, command_dim)``
    :return: ``(n, (1 + command_dim) * dim)``
    """
    products = command.unsqueeze(2) * hidden.unsqueeze(1)  # (n, command_dim, dim)
    return th.cat((hidden, products.flatten(1)), dim=1)


# name -> (first layer, further layers)
CONDITIONINGS: dict[str, tuple[type[ConditionedLayer], type[ConditionedLayer]]] = {
    "gating": (GatedLayer, GatedLayer),  # reward-conditioned policies, arXiv 1912.13465
    "first_gating": (GatedLayer, ConditionedLayer),  # arXiv 1912.02877, section 3.2
    "prelu": (PReLULayer, ConditionedLayer),
    "bilinear": (BilinearLayer, BilinearLayer),
    "concat": (ConcatLayer, ConditionedLayer),
    "concat_gating": (ConcatGatedLayer, GatedLayer),
    "linear": (ConditionedLayer, ConditionedLayer),  # the command comes in behind them, see with_products
    "masked": (ConditionedLayer, ConditionedLayer),  # no command: plain imitation of the buffer
}


class ConditionedMlp(nn.Module):
    """
    The trunk of the behavior function: features and a command in, latent values out.

    :param features_dim: length of the feature vector
    :param net_arch: sizes of the hidden layers; with none, the command acts on the features themselves
    :param activation_fn: non-linearity of the hidden layers
    :param conditioning: a key of ``CONDITIONINGS``
    :param n_inputs: length of the standardized command
    :raises ValueError: if ``conditioning`` is unknown
    """

    def __init__(
        self,
        features_dim: int,
        net_arch: list[int],
        activation_fn: type[nn.Module],
        conditioning: str,
        n_inputs: int = 2,
    ) -> None:
        super().__init__()
        if conditioning not in CONDITIONINGS:
            raise ValueError(f"conditioning={conditioning!r}: choose one of {sorted(CONDITIONINGS)}")
        first, further = CONDITIONINGS[conditioning]
        if net_arch:
            sizes = [features_dim, *net_arch]
            layers = [(further if i else first)(sizes[i], sizes[i + 1], n_inputs, activation_fn) for i in range(len(net_arch))]
        else:
            layers = [first(features_dim, features_dim, n_inputs, nn.Identity)]
        self.layers = nn.ModuleList(layers)
        self.linear_in_command = conditioning == "linear"
        self.latent_dim = (net_arch[-1] if net_arch else features_dim) * (1 + n_inputs * self.linear_in_command)

    def conditioned_layers(self) -> list[ConditionedLayer]:
        """The layers, first to last."""
        return [layer for layer in self.layers if isinstance(layer, ConditionedLayer)]

    def forward(self, features: th.Tensor, command: th.Tensor) -> th.Tensor:
        """
        :param features: ``(n, features_dim)``
        :param command: standardized, ``(n, n_inputs)``
        :return: ``(n, latent_dim)``
        """
        for layer in self.layers:
            features = layer(features, command)
        return with_products(features, command) if self.linear_in_command else features

    def numpy_twins(self) -> list[NumpyLayer] | None:
        """The layers in numpy; None if one is known to PyTorch alone."""
        twins = [layer.numpy_twin() for layer in self.conditioned_layers()]
        known = [twin for twin in twins if twin is not None]
        return known if len(known) == len(twins) else None
