"""Labels that compare each step with what followed in similar situations."""

import pickle

import numpy as np
import pytest
from gymnasium import spaces
from helpers import episode, relative_buffer

from sb3_udrl.buffers import Episode, RelativeReplayBuffer, relative_replay_buffer


def labels(buffer):
    """Relative labels of all stored steps, by their observation."""
    stored = buffer.transitions(np.arange(buffer.n_episodes))
    return dict(zip(stored.observations[:, 0].tolist(), stored.desired_return.tolist(), strict=True))


def test_labels_by_hand():
    """
    Ten episodes pay nothing, one pays 1 at each of its three steps. With a discount of one half, 1.75, 1.5 and 1 followed
    there. Each step is compared with all eleven of its time, itself included.
    """
    followed = np.array([1.75, 1.5, 1])
    deviations = followed * np.sqrt(10) / 11
    check_labels_of_one_better_episode(1, followed, deviations)


def test_labels_by_hand_where_steps_answer_for_less_of_what_follows():
    """As above. With gae_lambda of one half, 1 + 0.5 / 2 + ... of the rewards count, which vary by so much less."""
    followed, shares = np.array([1.75, 1.5, 1]), np.array([1.3125, 1.25, 1])
    everywhere = [np.append(np.repeat(-x / 11, 10), x * 10 / 11) for x in (followed, shares)]
    ratio = np.linalg.norm(everywhere[1]) / np.linalg.norm(everywhere[0])
    check_labels_of_one_better_episode(0.5, shares, followed * np.sqrt(10) / 11 * ratio)


def check_labels_of_one_better_episode(gae_lambda, followed, deviations):
    buffer = relative_buffer(gamma=0.5, gae_lambda=gae_lambda, n_neighbors=11)
    for _ in range(10):
        buffer.add(episode([0, 0, 0]))
    buffer.add(episode([1, 1, 1]))
    smallest = 0.1 * deviations.mean()
    better = buffer.transitions(np.array([10]))
    np.testing.assert_allclose(better.desired_return, followed * 10 / 11 / (deviations + smallest), rtol=1e-5)
    worse = buffer.transitions(np.array([3]))
    np.testing.assert_allclose(worse.desired_return, -followed / 11 / (deviations + smallest), rtol=1e-5)


def test_only_similar_situations_are_compared():
    """What a start state pays whatever is done there counts neither for nor against what was done."""
    buffer = relative_buffer(n_neighbors=20)
    for i in range(40):
        start, good = i % 2, i // 2 % 2
        buffer.add(episode([1000 * start + good], first=1000 * start, actions=[good]))
    stored = buffer.transitions(np.arange(40))
    np.testing.assert_array_equal(np.sign(stored.desired_return), 2 * stored.actions.astype(int) - 1)


@pytest.mark.parametrize(("local_scale", "ratio"), [(True, 1), (False, 4)])
def test_in_one_unit_labels_stand_out_where_much_is_at_stake(local_scale, ratio):
    """From one start the better half of the episodes gets 1 more, from the other 4 more; nothing else is paid."""
    buffer = relative_buffer(n_neighbors=20, local_scale=local_scale)
    for i in range(40):
        start, good = i % 2, i // 2 % 2
        buffer.add(episode([good * (1 + 3 * start)], first=1000 * start, actions=[good]))
    stored = buffer.transitions(np.array([2, 3]))
    assert stored.observations[:, 0].tolist() == [0, 1000]
    assert stored.desired_return[1] / stored.desired_return[0] == pytest.approx(ratio, rel=0.25)


def test_relative_commands_have_no_horizon():
    buffer = relative_buffer()
    buffer.add(episode([1, 2, 3]))
    batch = buffer.sample(50)
    assert np.isposinf(batch.desired_horizon).all()
    assert batch.desired_return.dtype == batch.desired_horizon.dtype == np.float32
    assert batch.observations.shape == (50, 1) and batch.actions.shape == batch.desired_return.shape == (50,)


@pytest.mark.parametrize("truncated", [True, False])
def test_a_time_limit_counts_neither_way(truncated):
    """Every step pays 1, in episodes of different lengths: shorter is worse, unless they were only cut off."""
    buffer = relative_buffer(n_neighbors=8)
    for length in (2, 9) * 4:
        buffer.add(episode(np.ones(length), truncated=truncated))
    short = buffer.transitions(np.array([0])).desired_return
    assert (short == 0).all() if truncated else (short < 0).all()


def grown(relabel_share):
    """Labels of ten episodes that pay 0 to 9, before and after ten came that pay 1000 to 1900 among them."""
    buffer = relative_buffer(n_neighbors=40, relabel_share=relabel_share)
    for i in range(10):
        buffer.add(episode([i, 0], first=10 * i))
    before = labels(buffer)
    for i in range(10, 20):
        buffer.add(episode([100 * i, 0], first=10 * (i - 10) + 5))
    return before, labels(buffer)


def test_labels_follow_what_is_usual_now():
    before, after = grown(relabel_share=0.5)
    best_at_first = 90.0
    assert before[best_at_first] > 0 > after[best_at_first]


def test_labels_stay_as_they_were_made_until_enough_is_new():
    before, after = grown(relabel_share=0.51)
    assert len(after) == 40 and before.items() <= after.items()


@pytest.mark.parametrize("retention", ["recent", "best", "mixed"])
def test_labels_survive_what_is_forgotten(retention):
    """Rows move when others are reclaimed; labels, returns and time limits move with them."""
    rng = np.random.default_rng(0)
    buffer = relative_buffer(60, retention=retention, n_neighbors=4, n_references=20, relabel_share=np.inf)
    known = {}
    for i in range(200):
        length = int(rng.integers(1, 12))
        buffer.add(episode(rng.normal(size=length), first=100 * i, truncated=i % 3 == 0))
        if i % 4 == 0:
            found = labels(buffer)
            assert np.abs(list(found.values())).max() <= 10  # also says that none is NaN
            assert {key: found[key] for key in known.keys() & found.keys()} == {
                key: known[key] for key in known.keys() & found.keys()
            }
            known = found
    for i in range(buffer.n_episodes):
        stored = buffer.episode(i)
        assert stored.truncated == (stored.observations[0, 0] // 100 % 3 == 0)
        last = int(buffer._starts.rows[i] + buffer.lengths[i]) - 1
        assert buffer._discounted.rows[last] == stored.rewards[-1]


def test_a_single_step_is_as_usual():
    buffer = relative_buffer(n_neighbors=50)
    buffer.add(episode([7]))
    assert buffer.sample(3).desired_return.tolist() == [0, 0, 0]


@pytest.mark.parametrize("n_neighbors", [1, 3, 1000])
def test_one_step_episodes(n_neighbors):
    """Also fewer of them than neighbors are asked for."""
    buffer = relative_buffer(n_neighbors=n_neighbors, n_references=1000)
    for reward in (-1, 0, 1):
        buffer.add(episode([reward]))
    found = buffer.transitions(np.arange(3)).desired_return
    assert found.shape == (3,) and np.isfinite(found).all()
    if n_neighbors >= 3:
        assert found[0] < 0 == found[1] < found[2]


def test_neighbors_are_searched_among_a_sample_of_a_large_buffer():
    buffer = relative_buffer(n_neighbors=10, n_references=40)
    for i in range(200):
        buffer.add(episode([i % 2]))
    stored = buffer.transitions(np.arange(200)).desired_return
    assert (stored[::2] < 0).all() and (stored[1::2] > 0).all()


def test_a_pickled_buffer_draws_the_same_batches():
    buffer = relative_buffer(n_neighbors=3, n_references=5)
    for length in (3, 1, 7):
        buffer.add(episode(np.arange(length)))
    buffer.sample(4)
    buffer.add(episode(np.arange(5)))  # not labelled yet
    copy = pickle.loads(pickle.dumps(buffer))
    for _ in range(3):
        for mine, its in zip(buffer.sample(16), copy.sample(16), strict=True):
            np.testing.assert_array_equal(mine, its)
    for restored in (buffer, copy):
        restored.add(episode(np.arange(4), truncated=True))
    np.testing.assert_array_equal(buffer.sample(64).desired_return, copy.sample(64).desired_return)


def test_a_copy_on_a_device_changes_no_label():
    plain, mirrored = (relative_buffer(60, n_neighbors=4, n_references=20, device=device) for device in (None, "cpu"))
    for i in range(30):
        for buffer in (plain, mirrored):
            buffer.add(episode(np.arange(i % 5 + 1.0) % 3, first=10 * i))
        np.testing.assert_array_equal(mirrored.sample(20).desired_return, plain.sample(20).desired_return)


def test_reset_forgets_everything():
    buffer = relative_buffer()
    buffer.add(episode([1, 2, 3]))
    buffer.sample(1)
    buffer.reset()
    buffer.add(episode([4]))
    assert labels(buffer) == {0: 0}


@pytest.mark.parametrize(
    "space",
    [
        spaces.Discrete(16),
        spaces.MultiDiscrete([3, 4]),
        spaces.MultiBinary([2, 2]),
        spaces.Box(-1, 1, (40,)),
        spaces.Box(0, 255, (1, 36, 36), np.uint8),
        spaces.Dict(a=spaces.Box(-1, 1, (2,)), b=spaces.Discrete(3), c=spaces.Box(0, 255, (1, 36, 36), np.uint8)),
    ],
    ids=lambda space: type(space).__name__ + str(space.shape or ""),
)
@pytest.mark.parametrize("redistribute_rewards", [False, True])
def test_all_observations(redistribute_rewards, space):
    """Two situations; in each, action 1 pays more than action 0."""
    space.seed(0)
    kwargs = {"n_neighbors": 10, "seed": 0, "redistribute_rewards": redistribute_rewards}
    buffer = RelativeReplayBuffer(1000, space, spaces.Discrete(2), **kwargs)
    situations = [space.sample(), space.sample()]
    for i in range(40):
        here, action = situations[i % 2], i // 2 % 2
        row = {key: value[None] for key, value in here.items()} if isinstance(here, dict) else np.asarray(here)[None]
        row = {key: np.asarray(value) for key, value in row.items()} if isinstance(row, dict) else row
        buffer.add(Episode(row, np.array([action]), np.array([100 * (i % 2) + action], dtype=np.float32)))
    stored = buffer.transitions(np.arange(40))
    assert np.mean(np.sign(stored.desired_return) == 2 * stored.actions.astype(int) - 1) == 1


def test_labels_do_not_depend_on_how_many_steps_are_compared_at_a_time(monkeypatch):
    """All are compared with the same draw of references."""
    found = []
    for steps_at_a_time in (4096, 7):
        monkeypatch.setattr(relative_replay_buffer, "_STEPS_AT_A_TIME", steps_at_a_time)
        situations = spaces.Discrete(4)  # without units, so that nothing is standardized
        buffer = RelativeReplayBuffer(1000, situations, spaces.Discrete(2), n_neighbors=5, n_references=20, seed=0)
        rng = np.random.default_rng(0)
        for _ in range(10):
            buffer.add(Episode(rng.integers(4, size=6), np.zeros(6, dtype=np.int64), rng.random(6, dtype=np.float32)))
        found.append(buffer.transitions(np.arange(10)).desired_return)
    np.testing.assert_allclose(*found, rtol=1e-5)


@pytest.mark.parametrize(
    ("argument", "value", "message"),
    [
        ("gamma", 1.01, "gamma=1.01: must be between 0 and 1"),
        ("gamma", -0.1, "gamma=-0.1: must be between 0 and 1"),
        ("gamma", np.nan, "gamma=nan: must be between 0 and 1"),
        ("gae_lambda", 1.01, "gae_lambda=1.01: must be between 0 and 1"),
        ("gae_lambda", np.nan, "gae_lambda=nan: must be between 0 and 1"),
        ("n_neighbors", 0, "n_neighbors=0: must be between 1 and n_references="),
        ("n_neighbors", 10**9, "n_neighbors=1000000000: must be between 1 and n_references="),
        ("trailing_probability", 0.5, "trailing_probability=0.5: relative labels have no segments.*gamma"),
        ("retention", "newest", "retention='newest': choose one of"),
    ],
)
def test_bad_arguments_are_refused(argument, value, message):
    with pytest.raises(ValueError, match=message):
        relative_buffer(**{argument: value})
