"""Observations as inputs of generated policies, and their outputs as actions."""

from __future__ import annotations

from typing import Any

import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray
from stable_baselines3.common.preprocessing import get_flattened_obs_dim, is_image_space

from sb3_udrl.spaces.actions import BoxRange, into_space


def check_flat(space: spaces.Space[Any]) -> None:
    """
    Refuse observations that no small network can read.

    :param space: of one environment
    :raises NotImplementedError: naming what helps
    """
    if isinstance(space, spaces.Dict):
        raise NotImplementedError(
            f"observation space {space}: UDRLPG generates policies for flat observations. "
            "gymnasium.wrappers.FlattenObservation makes one vector of it, or use UDRL"
        )
    if is_image_space(space):
        raise NotImplementedError(
            f"observation space {space} holds pictures: UDRLPG generates policies for flat observations. Use UDRL"
        )


def count_inputs(space: spaces.Space[Any]) -> int:
    """
    Columns of :func:`flat_inputs`.

    :param space: of one environment
    """
    return int(get_flattened_obs_dim(space))


def flat_inputs(observations: NDArray[Any], space: spaces.Space[Any]) -> NDArray[np.float64]:
    """
    Observations as rows of numbers; choices are ones and zeros, as SB3 reads them.

    :param observations: ``(n, *observation_shape)``
    :param space: of one environment
    :return: ``(n, n_inputs)``
    """
    if isinstance(space, spaces.Discrete):
        return np.eye(int(space.n))[np.asarray(observations).reshape(-1).astype(np.int64) - int(space.start)]
    rows = np.asarray(observations).reshape(len(observations), -1)
    if isinstance(space, spaces.MultiDiscrete):
        columns = rows.astype(np.int64) - np.asarray(space.start).reshape(-1)
        return np.concatenate([np.eye(int(n))[columns[:, i]] for i, n in enumerate(space.nvec)], axis=1)
    return rows.astype(np.float64, copy=False)


class Actions:
    """
    What outputs of a network mean: the most likely choice is the one with the highest output; numbers of a Box are outputs
    in half ranges from its center, clipped to its bounds.

    :param space: the action space of one environment
    """

    def __init__(self, space: spaces.Space[Any]) -> None:
        self.space = space
        if isinstance(space, spaces.Box):
            self.range = BoxRange.of(space)
            self.n_outputs = int(np.prod(space.shape))
        elif isinstance(space, spaces.Discrete):
            self.n_outputs = int(space.n)
        elif isinstance(space, spaces.MultiDiscrete):
            self.n_outputs = int(np.sum(space.nvec))
        else:
            self.n_outputs = int(np.prod(space.shape or ()))

    def of(self, outputs: NDArray[np.floating[Any]]) -> NDArray[Any]:
        """
        The actions that outputs stand for.

        :param outputs: ``(n, n_outputs)``
        :return: ``(n, *action_shape)``, in the space
        :raises ValueError: if there is NaN among them
        """
        space = self.space
        if isinstance(space, spaces.Box):
            box = self.range
            return into_space(box.center + box.half * outputs.reshape(-1, *space.shape), space)
        if isinstance(space, spaces.Discrete):
            return (outputs.argmax(1) + space.start).astype(space.dtype)
        if isinstance(space, spaces.MultiDiscrete):
            edges = np.cumsum(space.nvec.reshape(-1))[:-1]
            chosen = np.stack([part.argmax(1) for part in np.split(outputs, edges, axis=1)], axis=1)
            return (chosen.reshape(-1, *space.shape) + space.start).astype(space.dtype)
        return (outputs > 0).reshape(-1, *(space.shape or ())).astype(space.dtype)
