"""Where episodes of all returns are kept, so that what was ever shown stays learnable."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from gymnasium import spaces

from sb3_udrl.buffers import EpisodicReplayBuffer
from sb3_udrl.buffers.arrays import action_dtype, observation_arrays

MAX_BYTES = 2**29  # of observations and actions


def make_archive(
    observation_space: spaces.Space[Any],
    action_space: spaces.Space[Any],
    archive_size: int,
    recorded: Sequence[str],
    rng: np.random.Generator,
) -> EpisodicReplayBuffer:
    """
    A buffer that keeps, and draws from, equally wide bands of return alike (the buckets of arXiv 2501.16288, section 3).

    :param observation_space: space of one environment
    :param action_space: space of one environment
    :param archive_size: capacity in transitions, less where these would take more than ``MAX_BYTES``
    :param recorded: names of further amounts that are stored with every step
    :param rng: source of randomness
    :raises ValueError: if nothing fits
    """
    capacity = min(archive_size, MAX_BYTES // bytes_per_transition(observation_space, action_space))
    return EpisodicReplayBuffer(
        capacity, observation_space, action_space, retention="bands", sampling="bands", recorded=recorded, seed=rng
    )


def bytes_per_transition(observation_space: spaces.Space[Any], action_space: spaces.Space[Any]) -> int:
    """
    Bytes of one observation, one action, and what goes with them.

    :param observation_space: space of one environment
    :param action_space: space of one environment
    """

    def size(shape: tuple[int, ...], dtype: Any) -> int:
        return int(np.prod(shape)) * np.dtype(dtype).itemsize

    sizes = observation_arrays(observation_space, size)
    of_observation = sum(sizes.values()) if isinstance(sizes, dict) else sizes
    return of_observation + size(action_space.shape or (), action_dtype(action_space)) + 12
