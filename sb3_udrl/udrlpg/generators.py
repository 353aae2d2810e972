"""From a command to the weights of a policy: networks that can take each other's place."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import torch as th
from torch import nn

from sb3_udrl.udrlpg.network import PolicyNetwork


def mlp(sizes: Sequence[int]) -> nn.Sequential:
    """
    A multi-layer perceptron with ReLU between its layers.

    :param sizes: of inputs, hidden layers and outputs
    """
    layers = [module for n_in, n_out in pairwise(sizes) for module in (nn.Linear(n_in, n_out), nn.ReLU())]
    return nn.Sequential(*layers[:-1])


class PlainGenerator(nn.Module):
    """
    One network that puts out all weights at once.

    :param network: shape of the policies
    :param net_arch: sizes of the hidden layers
    """

    def __init__(self, network: PolicyNetwork, net_arch: Sequence[int] = (256, 256)) -> None:
        super().__init__()
        self.net = mlp([1, *net_arch, network.n_weights])

    def forward(self, command: th.Tensor) -> th.Tensor:
        """
        :param command: ``(n, 1)``
        :return: weights of a policy for each, in units of their initial scale, ``(n, n_weights)``
        """
        return self.net(command)


class TileGenerator(nn.Module):
    """
    Weights in square tiles, each made from the command and a learned embedding of the tile, by networks that all tiles of a
    kind of layer share: input, hidden and output layers (arXiv 2501.16288, section 3; Ha et al., arXiv 1609.09106).

    :param network: shape of the policies
    :param net_arch: sizes of the hidden layers of each network
    :param tile_size: rows and columns of a tile
    :param embedding_dim: numbers that tell a tile from the others
    """

    def __init__(
        self,
        network: PolicyNetwork,
        net_arch: Sequence[int] = (512, 512),
        tile_size: int = 32,
        embedding_dim: int = 32,
    ) -> None:
        super().__init__()
        self.shapes, self.tile_size = network.shapes, tile_size
        self.nets, self.embeddings = nn.ModuleDict(), nn.ParameterList()
        for kind in dict.fromkeys(self._kinds()):
            self.nets[f"{kind}_weights"] = mlp([embedding_dim + 1, *net_arch, tile_size**2])
            self.nets[f"{kind}_biases"] = mlp([embedding_dim + 1, *net_arch, tile_size])
        for n_in, n_out in self.shapes:
            n_rows, n_columns = -(-n_in // tile_size), -(-n_out // tile_size)
            self.embeddings.append(th.randn(n_rows * n_columns, embedding_dim))
            self.embeddings.append(th.randn(n_columns, embedding_dim))

    def _kinds(self) -> list[str]:
        """What each layer is."""
        last = len(self.shapes) - 1
        return ["output" if i == last else "input" if i == 0 else "hidden" for i in range(last + 1)]

    def forward(self, command: th.Tensor) -> th.Tensor:
        """
        :param command: ``(n, 1)``
        :return: weights of a policy for each, in units of their initial scale, ``(n, n_weights)``
        """
        n, size, parts = len(command), self.tile_size, []
        for layer, (kind, (n_in, n_out)) in enumerate(zip(self._kinds(), self.shapes, strict=True)):
            n_columns = -(-n_out // size)
            tiles = self._tiles(f"{kind}_weights", self.embeddings[2 * layer], command)
            rows = tiles.reshape(n, -1, n_columns, size, size).transpose(2, 3).reshape(n, -1, n_columns * size)
            biases = self._tiles(f"{kind}_biases", self.embeddings[2 * layer + 1], command).reshape(n, -1)
            parts += [rows[:, :n_in, :n_out].reshape(n, -1), biases[:, :n_out]]
        return th.cat(parts, dim=1)

    def _tiles(self, net: str, embeddings: th.Tensor, command: th.Tensor) -> th.Tensor:
        """A tile for every embedding, under every command, ``(n, n_tiles, n_outputs)``."""
        n, n_tiles = len(command), len(embeddings)
        inputs = th.cat((embeddings.expand(n, -1, -1), command[:, None].expand(-1, n_tiles, -1)), dim=2)
        return self.nets[net](inputs)


GENERATORS: dict[str, type[nn.Module]] = {"plain": PlainGenerator, "tiles": TileGenerator}


def make_generator(name: str, network: PolicyNetwork, kwargs: dict[str, Any] | None) -> nn.Module:
    """
    Build a generator.

    :param name: a key of ``GENERATORS``
    :param network: shape of the policies
    :param kwargs: its arguments
    :raises ValueError: if the name is unknown, or an argument is
    """
    if name not in GENERATORS:
        raise ValueError(f"generator={name!r}: choose one of {sorted(GENERATORS)}")
    try:
        return GENERATORS[name](network, **(kwargs or {}))
    except TypeError as error:
        raise ValueError(f"generator_kwargs={kwargs} do not fit {GENERATORS[name].__name__}: {error}") from error


@th.no_grad()
def generated(generator: nn.Module, commands: np.ndarray[Any, Any], network: PolicyNetwork) -> np.ndarray[Any, Any]:
    """
    Weights of policies.

    :param generator: makes them
    :param commands: as the generator reads them, ``(n, 1)``
    :param network: shape of the policies
    :return: ``(n, n_weights)``
    """
    device = next(generator.parameters()).device
    units = generator(th.as_tensor(commands, dtype=th.float32, device=device))
    return units.cpu().numpy() * network.scale
