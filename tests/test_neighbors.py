"""How much better it went than usual: what followed, scores and situations, by hand and against a step-by-step reference."""

import tracemalloc

import numpy as np
import pytest
import torch as th
from gymnasium import spaces
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.distance import cdist
from stable_baselines3.common.buffers import RolloutBuffer

from sb3_udrl.labels.neighbors import Followed, local_fit, own_shares, scores, situation_features


def returns_to_go(rewards, gamma):
    """By the recursion, backwards from the last step."""
    returns = np.zeros(len(rewards) + 1)
    for i in reversed(range(len(rewards))):
        returns[i] = rewards[i] + gamma * returns[i + 1]
    return returns[:-1]


def followed(episodes, gamma):
    """What followed, of pairs of rewards and whether a time limit cut them off."""
    returns = [returns_to_go(np.array(rewards, dtype=np.float64), gamma) for rewards, _ in episodes]
    return Followed(
        np.concatenate(returns),
        np.concatenate([np.arange(len(rewards), 0, -1) for rewards, _ in episodes]),
        np.concatenate([np.full(len(rewards), truncated) for rewards, truncated in episodes]),
    )


# Returns


def test_returns_over_a_limited_horizon():
    both = followed([([1, 2, 4], False), ([8, 16], True)], gamma=0.5)
    found = both.over(np.array([0, 0, 0, 0, 2, 3, 3]), np.array([1, 2, 3, 9, 1, 1, 2]), 0.5)
    np.testing.assert_array_equal(found, [1, 2, 3, 3, 4, 8, 16])
    # rows of any shape
    np.testing.assert_array_equal(both.over(np.array([[0], [3]]), np.array([[2], [1]]), 0.5), [[2], [8]])


@pytest.mark.parametrize(
    ("long_is_cut", "short_is_cut", "expected"),
    [
        (False, False, [1.75 - 5, 1.5 - 5, 1 - 5]),  # both are known to their ends
        (True, False, [1.75 - 5, 1.5 - 5, 1 - 5]),  # after its end, the short one gets nothing, however long one looks
        (False, True, [1 - 5, 1 - 5, 1 - 5]),  # only one step is known of the short one
        (True, True, [1 - 5, 1 - 5, 1 - 5]),
    ],
)
def test_only_the_steps_that_are_known_of_both_are_compared(long_is_cut, short_is_cut, expected):
    pair = followed([([1, 1, 1], long_is_cut), ([5], short_is_cut)], gamma=0.5)
    rows = np.arange(3)
    np.testing.assert_array_equal(pair.differences(rows, np.full((3, 1), 3), 0.5)[:, 0], expected)
    np.testing.assert_array_equal(pair.differences(np.array([3]), rows[None, :], 0.5)[0], -np.array(expected))


def test_what_would_have_come_after_a_time_limit_counts_neither_way():
    """One episode goes on for longer, to a fortune or to ruin: not known of the other, so no difference."""
    for last in (1000, -1000):
        pair = followed([([1, 1, 1], True), ([1, 1, 1, last], False)], gamma=0.9)
        same = pair.differences(np.arange(3), np.array([[3], [4], [5]]), 0.9)
        np.testing.assert_array_equal(same, 0)
        assert pair.differences(np.array([2]), np.array([[6]]), 0.9) == 1 - last  # that step is known of both


episodes_of_rewards = st.lists(
    st.tuples(st.lists(st.integers(-10, 10), min_size=1, max_size=6), st.booleans()), min_size=1, max_size=5
)


@settings(max_examples=50)
@given(episodes_of_rewards, st.sampled_from([0.0, 0.5, 0.9, 1.0]))
def test_differences_agree_with_a_step_by_step_reference(episodes, gamma):
    """Episodes lie end to end: none may see the rewards of another one."""
    steps = [(rewards[t:], truncated) for rewards, truncated in episodes for t in range(len(rewards))]
    n = len(steps)
    found = followed(episodes, gamma).differences(np.arange(n), np.tile(np.arange(n), (n, 1)), gamma)
    for i, (own, own_cut) in enumerate(steps):
        for j, (other, other_cut) in enumerate(steps):
            known = min([len(rest) for rest, cut in ((own, own_cut), (other, other_cut)) if cut], default=100)
            mine, its = (sum(gamma**t * reward for t, reward in enumerate(rest[:known])) for rest in (own, other))
            np.testing.assert_allclose(found[i, j], mine - its, rtol=0, atol=1e-9)
    np.testing.assert_array_equal(found, -found.T)


@pytest.mark.parametrize("reward", [1e-4, 0.1, 1.0, 1e4, 1e8])
@pytest.mark.parametrize("gamma", [0.99, 0.999, 1.0])
def test_rounding_errors_are_no_differences(reward, gamma):
    """Every step pays the same and a limit cuts every episode off: nothing is better than anything, at any scale."""
    rng = np.random.default_rng(0)
    rewards = [np.full(length, reward, dtype=np.float32) for length in rng.integers(1, 300, size=30)]
    same = followed([(r, True) for r in rewards], gamma)
    rows = np.arange(len(same.returns))
    differences = same.differences(rows, rng.integers(len(rows), size=(len(rows), 10)), gamma)
    assert (differences == 0).all()
    expected, deviations = local_fit(differences, rng.normal(size=(*differences.shape, 3)))
    assert (scores(expected, deviations) == 0).all()


def test_small_differences_between_large_returns_count():
    pair = followed([([1e6, 1e-2], False), ([1e6, 0], False)], gamma=1.0)
    assert pair.differences(np.array([0]), np.array([[2]]), 1.0) == pytest.approx(1e-2)


# Local fits


def fit_at_zero(values, offsets):
    expected, deviation = local_fit(np.array([values], dtype=float), np.array([offsets], dtype=float)[:, :, None])
    return expected[0], deviation[0]


def test_neighbors_on_both_sides_are_averaged():
    """Their trend is 10 per unit, made a little flatter by the ridge: it adds 0.2 to a sum of squares of 2."""
    expected, deviation = fit_at_zero([10, 30], [-1, 1])
    assert expected == 20
    np.testing.assert_allclose(deviation, 10 * 0.1 / 1.1)


def test_a_trend_is_followed_to_where_no_neighbor_is():
    """Neighbors at 1, 2 and 3 with values 10, 20 and 30: about zero here, where their mean is 20."""
    expected, deviation = fit_at_zero([10, 20, 30], [1, 2, 3])
    np.testing.assert_allclose(expected, 20 - 2 * 10 / 1.1)
    np.testing.assert_allclose(deviation, np.sqrt(2 / 3) * 10 * 0.1 / 1.1)


def test_neighbors_in_one_place_are_averaged():
    expected, deviation = fit_at_zero([1, 2, 6], [0, 0, 0])
    assert expected == 3 and deviation == pytest.approx(np.std([1, 2, 6]))


@settings(max_examples=50)
@given(st.integers(0, 2**32 - 1), st.floats(-10, 10), st.sampled_from([1, 3, 20]))
def test_local_fit_agrees_with_least_squares(seed, constant, n_features):
    """The ridge as further equations, which pull the slopes, but not the constant, to zero."""
    rng = np.random.default_rng(seed)
    offsets, values = rng.normal(size=(5, 64, n_features)), rng.normal(size=(5, 64))
    expected, deviation = local_fit(np.full((5, 64), constant), offsets)
    np.testing.assert_allclose(expected, constant, atol=1e-12)
    np.testing.assert_allclose(deviation, 0, atol=1e-12)
    expected, deviation = local_fit(values, offsets)
    for row in range(5):
        ridge = 0.1 * offsets[row].var(0).mean() * 64 + 1e-9
        pulls = np.sqrt(ridge) * np.eye(n_features)
        equations = np.block([[np.ones((64, 1)), offsets[row]], [np.zeros((n_features, 1)), pulls]])
        solution, *_ = np.linalg.lstsq(equations, np.concatenate((values[row], np.zeros(n_features))))
        np.testing.assert_allclose(expected[row], solution[0])
        np.testing.assert_allclose(deviation[row], (values[row] - offsets[row] @ solution[1:]).std())


# Shares


def test_shares_by_hand():
    """Two episodes, of three steps and of two. With gae_lambda 1 nothing is taken off, with 0 all that is still to come."""
    differences, steps = np.array([1.0, 2, 4, 8, 16]), np.array([3, 2, 1, 2, 1])
    np.testing.assert_array_equal(own_shares(differences, steps, 0.5, 1.0), differences)
    np.testing.assert_array_equal(own_shares(differences, steps, 0.5, 0.0), [1 - 1, 2 - 2, 4, 8 - 8, 16])
    np.testing.assert_array_equal(own_shares(differences, steps, 0.5, 0.5), [0 + 0 / 4 + 4 / 16, 0 + 4 / 4, 4, 0 + 16 / 4, 16])


@settings(max_examples=50)
@given(st.lists(st.integers(1, 6), min_size=1, max_size=4), st.floats(0, 1), st.floats(0, 1), st.integers(0, 2**32 - 1))
def test_shares_are_generalized_advantage_estimates(lengths, gamma, gae_lambda, seed):
    """As SB3's rollout buffer computes them from rewards and values, episode by episode."""
    rng = np.random.default_rng(seed)
    rewards, values = [rng.normal(size=length) for length in lengths], [rng.normal(size=length) for length in lengths]
    expected = []
    for r, v in zip(rewards, values, strict=True):
        buffer = RolloutBuffer(len(r), spaces.Discrete(2), spaces.Discrete(2), gae_lambda=gae_lambda, gamma=gamma)
        buffer.rewards[:, 0], buffer.values[:, 0] = r, v
        buffer.compute_returns_and_advantage(th.zeros(1), np.ones(1))
        expected.append(buffer.advantages[:, 0])
    differences = np.concatenate([returns_to_go(r, gamma) - v for r, v in zip(rewards, values, strict=True)])
    steps = np.concatenate([np.arange(length, 0, -1) for length in lengths])
    np.testing.assert_allclose(own_shares(differences, steps, gamma, gae_lambda), np.concatenate(expected), atol=1e-4)


# Scores


def test_scores_by_hand():
    """A tenth of the mean deviation is added to each."""
    np.testing.assert_allclose(scores(np.array([1.0, -2.0]), np.array([1.0, 3.0])), [1 / 1.2, -2 / 3.2], rtol=1e-6)


def test_scores_in_one_unit_by_hand():
    """The geometric mean of 1.2 and 3.2."""
    found = scores(np.array([1.0, -2.0]), np.array([1.0, 3.0]), local_scale=False)
    np.testing.assert_allclose(found, np.array([1, -2]) / np.sqrt(1.2 * 3.2), rtol=1e-6)


def test_scores_are_clipped():
    found = scores(np.array([101.0, -101.0, 1.0]), np.ones(3))
    np.testing.assert_allclose(found, [10, -10, 1 / 1.1], rtol=1e-6)
    assert found.dtype == np.float32


def test_better_than_all_the_same_neighbors():
    """Without any deviation the sign still counts."""
    np.testing.assert_array_equal(scores(np.array([1.0, -1.0, 0.0]), np.zeros(3)), [10, -10, 0])


def test_where_hardly_anything_varies_trifles_are_not_scaled_up():
    found = scores(np.array([0.0, 1.5e-3]), np.array([10.0, 5e-4]))
    assert found[0] == 0 and 0 < found[1] < 0.01


@settings(max_examples=50)
@given(
    st.lists(st.tuples(st.floats(-100, 100), st.floats(0, 100)), min_size=1, max_size=10), st.integers(-12, 12), st.booleans()
)
def test_scores_do_not_depend_on_the_unit_of_rewards(pairs, exponent, local_scale):
    differences, deviations = np.round(np.array(pairs), 3).T
    unit = 10.0**exponent
    found = scores(differences, deviations, local_scale)
    scaled = scores(differences * unit, deviations * unit, local_scale)
    assert (np.abs(found) <= 10).all() and (found * differences >= 0).all()
    np.testing.assert_allclose(scaled, found, rtol=1e-5, atol=1e-6)


# Situations


def distances(features):
    return cdist(features, features)


def test_vectors_are_standardized():
    vectors = np.random.default_rng(0).normal([3, -50], [0.1, 20], size=(1000, 2)).astype(np.float32)
    features = situation_features(vectors, spaces.Box(-np.inf, np.inf, (2,)))
    assert features.dtype == np.float32 and features.shape == (1000, 2)
    np.testing.assert_allclose(features.mean(0), 0, atol=1e-4)
    np.testing.assert_allclose(features.std(0), 1, rtol=1e-3)
    other_units = situation_features(vectors * np.float32([1000, 0.01]), spaces.Box(-np.inf, np.inf, (2,)))
    np.testing.assert_allclose(other_units, features, atol=1e-3)


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.int64])
def test_what_never_changes_tells_nothing(dtype):
    """Rounding errors of its mean must not be taken for deviations."""
    vectors = np.zeros((5000, 2), dtype)
    vectors[:, 0], vectors[::2, 1] = 1_000_001 if dtype == np.int64 else 0.7e6, 1
    features = situation_features(vectors, spaces.Box(-np.inf, np.inf, (2,), dtype))
    assert (features[:, 0] == 0).all()
    np.testing.assert_allclose(np.abs(features[:, 1]), 1, rtol=1e-3)


def test_large_values_stay_finite():
    vectors = np.random.default_rng(0).standard_normal((100, 1)) * 1e100
    assert np.isfinite(situation_features(vectors, spaces.Box(-np.inf, np.inf, (1,), np.float64))).all()


@pytest.mark.parametrize("length", [17, 300])
def test_long_vectors_become_short_and_stay_near_each_other(length):
    rng = np.random.default_rng(0)
    vectors = rng.standard_normal((200, length)).astype(np.float32)
    shifted = vectors + 0.05 * rng.standard_normal(vectors.shape).astype(np.float32)
    both, space = np.concatenate((vectors, shifted)), spaces.Box(-9, 9, (length,))
    features = situation_features(both, space)
    assert features.shape == (400, 16)
    np.testing.assert_array_equal(distances(features)[:200, 200:].argmin(1), np.arange(200))
    ratio = distances(features)[:200, :200].sum() / distances(vectors).sum()
    assert ratio == pytest.approx(1, abs=0.1)  # of comparable size, beside other parts of a dictionary
    np.testing.assert_array_equal(features, situation_features(both, space))  # the same projection every time


def test_images():
    rng = np.random.default_rng(0)
    images = rng.integers(256, size=(50, 1, 36, 36), dtype=np.uint8)
    noisy = np.clip(images + rng.integers(-5, 6, size=images.shape), 0, 255).astype(np.uint8)
    features = situation_features(np.concatenate((images, noisy)), spaces.Box(0, 255, (1, 36, 36), np.uint8))
    assert features.shape == (100, 16) and features.dtype == np.float32
    np.testing.assert_allclose(features.std(0), 1, rtol=1e-4)
    np.testing.assert_array_equal(distances(features)[:50, 50:].argmin(1), np.arange(50))


def test_images_are_not_all_converted_at_once():
    images = np.zeros((8192, 1, 36, 36), np.uint8)
    tracemalloc.start()
    situation_features(images, spaces.Box(0, 255, (1, 36, 36), np.uint8))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 2 * images.nbytes  # four times as much in single precision


@pytest.mark.parametrize("start", [0, -2])
def test_numbers_of_discrete_observations_are_names(start):
    """In a grid world, states 3 and 4 may be at opposite ends."""
    features = situation_features(np.array([0, 3, 4, 4, 15]) + start, spaces.Discrete(16, start=start))
    expected = np.sqrt(2) * (1 - np.eye(5))
    expected[2, 3] = expected[3, 2] = 0
    np.testing.assert_allclose(distances(features), expected, rtol=1e-6)


def test_many_discrete_observations():
    features = situation_features(np.arange(1000).repeat(2), spaces.Discrete(1000))
    assert features.shape == (2000, 16)
    np.testing.assert_array_equal(features[::2], features[1::2])
    apart = distances(features[::2])
    assert apart[~np.eye(1000, dtype=bool)].min() > 0.2  # none are taken for each other


@pytest.mark.parametrize(("nvec", "start"), [([3, 4], [0, 0]), ([3, 4], [5, -1]), ([[3], [4]], [[0], [2]])])
def test_multi_discrete_observations_differ_by_the_number_of_other_parts(nvec, start):
    space = spaces.MultiDiscrete(nvec, start=start)
    rows = np.array([[0, 0], [0, 3], [2, 3], [2, 1]]).reshape(4, *space.shape) + space.start
    differing = [[0, 1, 2, 2], [1, 0, 1, 2], [2, 1, 0, 1], [2, 2, 1, 0]]
    np.testing.assert_allclose(distances(situation_features(rows, space)), np.sqrt(2 * np.array(differing)), rtol=1e-6)


def test_many_values_of_multi_discrete_observations():
    space = spaces.MultiDiscrete([10] * 5)
    space.seed(0)
    rows = np.stack([space.sample() for _ in range(100)])
    one_part_off = rows.copy()
    one_part_off[:, 0] = (rows[:, 0] + 1) % 10
    features = situation_features(np.concatenate((rows, one_part_off)), space)
    assert features.shape == (200, 16)
    apart = distances(features)
    assert np.diag(apart[:100, 100:]).mean() < apart[:100, :100].mean() < 5


def test_multi_binary_observations():
    rows = np.array([[0, 0, 1], [0, 1, 1], [1, 1, 0]], np.int8)
    apart = distances(situation_features(rows, spaces.MultiBinary(3)))
    assert 0 < apart[0, 1] < apart[1, 2] < apart[0, 2]


def test_dictionaries_of_everything():
    space = spaces.Dict(
        vector=spaces.Box(-1, 1, (2,)), number=spaces.Discrete(3), image=spaces.Box(0, 255, (1, 36, 36), np.uint8)
    )
    rng = np.random.default_rng(0)
    rows = {
        "vector": rng.standard_normal((60, 2)).astype(np.float32),
        "number": rng.integers(3, size=60),
        "image": rng.integers(256, size=(60, 1, 36, 36), dtype=np.uint8),
    }
    assert situation_features(rows, space).shape == (60, 16)
    del rows["image"], space.spaces["image"]
    features = situation_features(rows, space)
    assert features.shape == (60, 5)
    for part in rows:  # every part tells situations apart
        same = {key: np.repeat(array[:1], 60, axis=0) if key != part else array for key, array in rows.items()}
        assert distances(situation_features(same, space)).max() > 1
