"""Replay buffers of any size, filled quickly."""

import numpy as np
from gymnasium import spaces

from sb3_udrl import EpisodicReplayBuffer
from sb3_udrl.buffers import Episode

EPISODE_LENGTH = 100


def filled_buffer(n_transitions, **kwargs):
    """
    A buffer of CartPole's spaces with random episodes.

    :param n_transitions: number of transitions, a multiple of ``EPISODE_LENGTH``
    :param kwargs: arguments of the buffer
    """
    rng = np.random.default_rng(0)
    buffer = EpisodicReplayBuffer(n_transitions, spaces.Box(-5, 5, (4,)), spaces.Discrete(2), seed=0, **kwargs)
    observations = rng.standard_normal((EPISODE_LENGTH, 4), dtype=np.float32)
    actions = rng.integers(2, size=EPISODE_LENGTH)
    for bonus in rng.random(n_transitions // EPISODE_LENGTH, dtype=np.float32):
        buffer.add(Episode(observations, actions, np.full(EPISODE_LENGTH, bonus)))
    return buffer
