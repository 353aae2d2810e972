"""Replay buffers with random episodes of all kinds of spaces, and what they hold."""

import numpy as np
from gymnasium import spaces

from sb3_udrl import EpisodicReplayBuffer
from sb3_udrl.buffers import Episode, returns_to_go, steps_to_go

SPACES = {
    "vectors": (spaces.Box(-1, 1, (3,)), spaces.Discrete(3, start=-1)),
    "pictures": (spaces.Box(0, 255, (1, 4, 4), np.uint8), spaces.Box(-1, 1, (2,))),
    "numbers": (spaces.Discrete(5, start=2), spaces.MultiDiscrete([2, 300])),
    "dictionary": (spaces.Dict(a=spaces.Box(-1, 1, (2,)), b=spaces.MultiBinary(3)), spaces.MultiBinary(2)),
}
RETENTIONS = ["recent", "best", "mixed", "bands"]


def random_episode(buffer, rng):
    """An episode of 1 to 14 steps."""
    n = int(rng.integers(1, 15))

    def draw(space):
        space.seed(int(rng.integers(2**31)))
        return np.stack([space.sample() for _ in range(n)])

    space = buffer.observation_space
    observations = {key: draw(part) for key, part in space.items()} if isinstance(space, spaces.Dict) else draw(space)
    amounts = {name: rng.normal(size=n).astype(np.float32) for name in buffer.recorded}
    rewards = rng.normal(size=n).astype(np.float32)
    return Episode(observations, draw(buffer.action_space), rewards, bool(rng.random() < 0.5), amounts)


def random_buffer(seed, name, n_episodes=60, buffer_size=100, **kwargs):
    """A buffer that has forgotten episodes, with a column that is known of some steps."""
    rng = np.random.default_rng(seed)
    buffer = EpisodicReplayBuffer(buffer_size, *SPACES[name], recorded=("fuel",), seed=seed, **kwargs)
    for i in range(n_episodes):
        buffer.add(random_episode(buffer, rng))
        if i == n_episodes // 2:
            column = buffer.column("scores", np.float32)
            column[:] = rng.normal(size=len(column))
    return buffer


def content(buffer):
    """All that is stored, by name, wherever it lies; after a check of what holds in any buffer."""
    storage, lengths, rows = buffer._storage, buffer.lengths, buffer.stored_rows()
    assert {len(table) for table in storage.episodes.values()} == {buffer.n_episodes}
    assert {len(array) for array in storage.steps.values()} == {storage.n_rows}
    assert buffer.n_transitions == lengths.sum() == len(rows)
    assert len(np.unique(rows)) == len(rows) and (len(rows) == 0 or rows.max() < storage.n_rows)
    assert (storage.starts >= np.cumsum(lengths) - lengths).all()  # what closing gaps relies upon
    found = {name: array.rows[rows] for name, array in storage.steps.items()}
    edges = np.cumsum(lengths)[:-1]
    if buffer.n_episodes:
        to_go = [returns_to_go(rewards) for rewards in np.split(found["rewards"], edges)]
        assert np.array_equal(buffer.returns, [sums[0] for sums in to_go])
        assert np.array_equal(found["sums_to_go/return"], np.concatenate(to_go).astype(np.float32))
        assert np.array_equal(found["steps_to_go"], np.concatenate([steps_to_go(n) for n in lengths]))
        for name in buffer.recorded:
            sums = np.concatenate([returns_to_go(values) for values in np.split(found[f"amounts/{name}"], edges)])
            assert np.array_equal(found[f"sums_to_go/{name}"], sums.astype(np.float32))
    counters = {"episodes": buffer.n_episodes_added, "transitions": buffer.n_transitions_added}
    return {**found, "lengths": lengths.copy(), "truncated": buffer.truncated.copy(), **counters}


def same(one, other):
    """Whether contents are the same, bit by bit."""
    return one.keys() == other.keys() and all(np.array_equal(one[name], other[name], equal_nan=True) for name in one)
