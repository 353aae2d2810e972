"""A replay buffer as plain arrays and settings, and back."""

import copy

import numpy as np
import pytest
from gymnasium import spaces

from sb3_udrl import EpisodicReplayBuffer
from sb3_udrl.buffers import Episode

SPACES = {
    "vectors": (spaces.Box(-1, 1, (3,)), spaces.Discrete(3, start=-1)),
    "pictures": (spaces.Box(0, 255, (1, 4, 4), np.uint8), spaces.Box(-1, 1, (2,))),
    "numbers": (spaces.Discrete(5, start=2), spaces.MultiDiscrete([2, 300])),
    "dictionary": (spaces.Dict(a=spaces.Box(-1, 1, (2,)), b=spaces.MultiBinary(3)), spaces.MultiBinary(2)),
}
RETENTIONS = ["recent", "best", "mixed", "bands"]


def random_episode(buffer, rng, recorded=()):
    """An episode of any length."""
    n = int(rng.integers(1, 15))

    def draw(space):
        space.seed(int(rng.integers(2**31)))
        return np.stack([space.sample() for _ in range(n)])

    space = buffer.observation_space
    observations = {key: draw(part) for key, part in space.items()} if isinstance(space, spaces.Dict) else draw(space)
    amounts = {name: rng.normal(size=n).astype(np.float32) for name in buffer.recorded}
    rewards = rng.normal(size=n).astype(np.float32)
    return Episode(observations, draw(buffer.action_space), rewards, bool(rng.random() < 0.5), amounts)


def random_buffer(seed, name, n_episodes=60, **kwargs):
    """A buffer that has forgotten episodes, with a column that is known of some steps."""
    rng = np.random.default_rng(seed)
    buffer = EpisodicReplayBuffer(100, *SPACES[name], recorded=("fuel",), seed=seed, **kwargs)
    for i in range(n_episodes):
        buffer.add(random_episode(buffer, rng))
        if i == n_episodes // 2:
            column = buffer.column("scores", np.float32)
            column[:] = rng.normal(size=len(column))
    return buffer


def assert_same_content(one, other):
    """The same episodes, columns and counters; rows may lie elsewhere."""
    np.testing.assert_array_equal(one.lengths, other.lengths)
    np.testing.assert_array_equal(one.returns, other.returns)
    np.testing.assert_array_equal(one.truncated, other.truncated)
    assert (one.n_episodes_added, one.n_transitions_added) == (other.n_episodes_added, other.n_transitions_added)
    rows, others = one.stored_rows(), other.stored_rows()
    for name, values in one._storage.steps.items():
        np.testing.assert_array_equal(values.rows[rows], other._storage.steps[name].rows[others], err_msg=name)


@pytest.mark.parametrize("name", SPACES)
@pytest.mark.parametrize("retention", RETENTIONS)
@pytest.mark.parametrize("sampling", ["transitions", "return"])
def test_there_and_back(name, retention, sampling):
    buffer = random_buffer(1, name, retention=retention, sampling=sampling, trailing_probability=0.5)
    before = copy.deepcopy(buffer)
    arrays = {key: array.copy() for key, array in buffer.arrays().items()}
    assert_same_content(buffer, before)
    empty = EpisodicReplayBuffer(7, *SPACES[name], recorded=("fuel",), seed=copy.deepcopy(buffer.rng))
    restored = empty.restored(arrays, buffer.settings())
    assert empty.n_episodes == 0 and empty.buffer_size == 7
    rng = np.random.default_rng(2)
    for _ in range(30):
        assert_same_content(buffer, restored)
        assert_same_content(buffer, before)
        draws = [each.draw_rows(50) for each in (buffer, restored, before)]
        segments = [each.draw_segments(rows) for each, rows in zip((buffer, restored, before), draws, strict=True)]
        drawn = [each.rewards[rows] for each, rows in zip((buffer, restored, before), draws, strict=True)]
        for others in (segments, drawn):
            np.testing.assert_array_equal(others[0], others[1])
            np.testing.assert_array_equal(others[0], others[2])
        episode = random_episode(buffer, rng)
        for each in (buffer, restored, before):
            each.add(episode)
