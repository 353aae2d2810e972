"""Replay buffers of any size, filled quickly."""

import numpy as np
from gymnasium import spaces

from sb3_udrl import EpisodicReplayBuffer
from sb3_udrl.buffers import Episode

EPISODE_LENGTH = 100
CARTPOLE = spaces.Box(-5, 5, (4,))


def filled_buffer(n_transitions, observation_space=CARTPOLE, **kwargs):
    """
    A buffer with random episodes and two actions.

    :param n_transitions: number of transitions, a multiple of ``EPISODE_LENGTH``
    :param observation_space: by default CartPole's
    :param kwargs: arguments of the buffer
    """
    rng = np.random.default_rng(0)
    buffer = EpisodicReplayBuffer(n_transitions, observation_space, spaces.Discrete(2), seed=0, **kwargs)
    observations = (100 * rng.random((EPISODE_LENGTH, *observation_space.shape))).astype(observation_space.dtype)
    actions = rng.integers(2, size=EPISODE_LENGTH)
    for bonus in rng.random(n_transitions // EPISODE_LENGTH, dtype=np.float32):
        buffer.add(Episode(observations, actions, np.full(EPISODE_LENGTH, bonus)))
    return buffer
