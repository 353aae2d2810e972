"""Observations as inputs of generated policies."""

from __future__ import annotations

from typing import Any

import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray
from stable_baselines3.common.preprocessing import get_flattened_obs_dim, is_image_space


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
