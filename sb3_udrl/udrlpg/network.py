"""Many small networks of one shape, each given by one vector of weights; all act in one batched product."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]


class PolicyNetwork:
    """
    The shape of a multi-layer perceptron with tanh between its layers.

    :param n_inputs: number of inputs
    :param net_arch: sizes of its hidden layers; none for a linear one
    :param n_outputs: number of outputs
    """

    def __init__(self, n_inputs: int, net_arch: Sequence[int], n_outputs: int) -> None:
        self.shapes = list(pairwise([n_inputs, *net_arch, n_outputs]))
        self.n_weights = sum((n_in + 1) * n_out for n_in, n_out in self.shapes)
        self.scale = np.concatenate(  # of initial weights and biases, ``(n_weights,)``
            [np.full((n_in + 1) * n_out, 1 / np.sqrt(n_in), np.float32) for n_in, n_out in self.shapes]
        )

    def layers(self, weights: NDArray[Any]) -> list[tuple[NDArray[Any], NDArray[Any]]]:
        """
        Weights by layer, as views.

        :param weights: of ``n`` networks, ``(n, n_weights)``
        :return: of each layer weights ``(n, n_in, n_out)`` and biases ``(n, n_out)``
        """
        layers, start = [], 0
        for n_in, n_out in self.shapes:
            middle, end = start + n_in * n_out, start + (n_in + 1) * n_out
            layers.append((weights[:, start:middle].reshape(-1, n_in, n_out), weights[:, middle:end]))
            start = end
        return layers

    def outputs(self, weights: Floats, inputs: Floats) -> Floats:
        """
        What each network makes of its own input.

        :param weights: a row per network, ``(n, n_weights)``
        :param inputs: a row per network, ``(n, n_inputs)``
        :return: ``(n, n_outputs)``
        """
        hidden = inputs[:, None]
        for index, (matrix, bias) in enumerate(self.layers(weights)):
            hidden = np.matmul(np.tanh(hidden) if index else hidden, matrix) + bias[:, None]
        return hidden[:, 0]

    def initial(self, n: int, rng: np.random.Generator) -> Floats:
        """
        Random networks.

        :param n: how many
        :param rng: source of randomness
        :return: ``(n, n_weights)``
        """
        return rng.standard_normal((n, self.n_weights), np.float32) * self.scale
