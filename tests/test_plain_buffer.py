"""A replay buffer as plain arrays and settings, and back."""

import copy

import numpy as np
import pytest
from random_buffers import RETENTIONS, SPACES, content, random_buffer, random_episode, same

from sb3_udrl import EpisodicReplayBuffer


@pytest.mark.parametrize("name", SPACES)
@pytest.mark.parametrize("retention", RETENTIONS)
@pytest.mark.parametrize("sampling", ["transitions", "return"])
def test_there_and_back(name, retention, sampling):
    buffer = random_buffer(1, name, retention=retention, sampling=sampling, trailing_probability=0.5)
    before = copy.deepcopy(buffer)
    arrays = {key: array.copy() for key, array in buffer.arrays().items()}
    assert same(content(buffer), content(before))
    empty = EpisodicReplayBuffer(7, *SPACES[name], recorded=("fuel",), seed=copy.deepcopy(buffer.rng))
    restored = empty.restored(arrays, buffer.settings())
    assert empty.n_episodes == 0 and empty.buffer_size == 7
    rng = np.random.default_rng(2)
    for _ in range(30):
        assert same(content(buffer), content(restored)) and same(content(buffer), content(before))
        draws = [each.draw_rows(50) for each in (buffer, restored, before)]
        segments = [each.draw_segments(rows) for each, rows in zip((buffer, restored, before), draws, strict=True)]
        drawn = [each.rewards[rows] for each, rows in zip((buffer, restored, before), draws, strict=True)]
        for others in (segments, drawn):
            np.testing.assert_array_equal(others[0], others[1])
            np.testing.assert_array_equal(others[0], others[2])
        episode = random_episode(buffer, rng)
        for each in (buffer, restored, before):
            each.add(episode)
