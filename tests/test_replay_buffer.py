"""What the replay buffer stores, how it labels it, and what it costs."""

import pickle
import tracemalloc

import numpy as np
import pytest
from gymnasium import spaces
from helpers import assert_same_batches, episode, hindsight, small_buffer
from random_buffers import RETENTIONS, content, random_buffer, same

from sb3_udrl import EpisodicReplayBuffer
from sb3_udrl.buffers import Episode
from sb3_udrl.buffers.retention import RETENTIONS as RULES


def image_buffer(capacity=1000):
    return EpisodicReplayBuffer(capacity, spaces.Box(0, 255, (1, 36, 36), np.uint8), spaces.Discrete(3))


def image_episode(n_steps):
    images = np.random.default_rng(0).integers(256, size=(n_steps, 1, 36, 36), dtype=np.uint8)
    return Episode(images, np.zeros(n_steps, int), np.ones(n_steps))


def test_labels_by_hand():
    buffer = small_buffer()
    buffer.add(episode([1, 2, 4], first=0, actions=[0, 1, 1]))
    buffer.add(episode([-1, 3], first=10, actions=[1, 0]))
    stored = hindsight(buffer).transitions(np.array([0, 1]))
    np.testing.assert_array_equal(stored.observations[:, 0], [0, 1, 2, 10, 11])
    np.testing.assert_array_equal(stored.actions, [0, 1, 1, 1, 0])
    np.testing.assert_array_equal(stored.command.desired_return, [7, 6, 4, 2, 3])
    np.testing.assert_array_equal(stored.command.desired_horizon, [3, 2, 1, 2, 1])
    np.testing.assert_array_equal(buffer.returns, [7, 2])
    np.testing.assert_array_equal(buffer.lengths, [3, 2])
    assert buffer.n_episodes == 2
    assert buffer.n_transitions == buffer.size() == 5


def test_sampled_rows_belong_together():
    buffer = small_buffer()
    for first in (0, 100, 200):
        buffer.add(episode(first + np.arange(5.0), first=first))
    batch = hindsight(buffer).sample(500)
    first, t = np.divmod(batch.observations[:, 0], 100)
    np.testing.assert_array_equal(batch.actions, t % 2)
    np.testing.assert_array_equal(batch.command.desired_horizon, 5 - t)
    expected = [sum(100 * f + k for k in range(int(s), 5)) for f, s in zip(first, t, strict=True)]
    np.testing.assert_allclose(batch.command.desired_return, expected)


def test_batches_have_the_types_that_networks_want():
    buffer = small_buffer()
    buffer.add(episode([1, 2]))
    batch = hindsight(buffer).sample(4)
    assert batch.observations.dtype == batch.command.desired_return.dtype == batch.command.desired_horizon.dtype == np.float32
    assert batch.observations.shape == (4, 1) and batch.actions.shape == batch.command.desired_return.shape == (4,)


def test_a_stored_episode_comes_back():
    buffer = small_buffer()
    buffer.add(episode([1, 1]))
    buffer.add(episode([3, 4, 5], first=7))
    found = buffer.episode(1)
    np.testing.assert_array_equal(found.observations[:, 0], [7, 8, 9])
    np.testing.assert_array_equal(found.rewards, [3, 4, 5])
    found.observations[:] = -1
    assert buffer.episode(1).observations[0, 0] == 7  # a copy


def test_one_step_episodes():
    buffer = small_buffer(trailing_probability=0.5)
    for reward in (1.0, 2.0, 3.0):
        buffer.add(episode([reward], first=reward))
    batch = hindsight(buffer).sample(100)
    np.testing.assert_array_equal(batch.command.desired_return, batch.observations[:, 0])
    np.testing.assert_array_equal(batch.command.desired_horizon, 1)
    assert set(batch.command.desired_return) == {1, 2, 3}


def test_best_episodes_come_in_order():
    buffer = small_buffer()
    for rewards in ([1], [5], [2, 3], [5], [0]):
        buffer.add(episode(rewards))
    # return first, then length, then the newer one
    np.testing.assert_array_equal(buffer.best(10), [2, 3, 1, 0, 4])
    for n_episodes in range(1, 5):
        np.testing.assert_array_equal(buffer.best(n_episodes), [2, 3, 1, 0, 4][:n_episodes])


def test_equal_returns_of_different_lengths_are_comparable():
    """A heap of tuples would compare arrays here, and fail."""
    buffer = small_buffer(10, retention="best")
    for _ in range(20):
        buffer.add(episode([1, 1, 1]))
    assert buffer.n_episodes == 3


def test_an_empty_buffer_says_so():
    for use in (lambda buffer: hindsight(buffer).sample(1), lambda buffer: buffer.best(1)):
        with pytest.raises(ValueError, match="replay buffer is empty"):
            use(small_buffer())


def test_reset_forgets_everything():
    buffer = small_buffer()
    buffer.add(episode([1, 2, 3]))
    buffer.reset()
    assert (buffer.n_episodes, buffer.n_transitions) == (0, 0)
    buffer.add(episode([4]))
    assert hindsight(buffer).sample(1).command.desired_return[0] == 4


@pytest.mark.parametrize("broken", [[1, np.nan], [np.inf, 1]])
def test_a_refused_episode_leaves_the_buffer_as_it_was(broken):
    buffer = small_buffer()
    buffer.add(episode([1, 2]))
    before = pickle.dumps(buffer)
    with pytest.raises(ValueError, match="must be finite"):
        buffer.add(episode(broken))
    assert pickle.dumps(buffer) == before


@pytest.mark.parametrize(
    "misfit",
    [
        Episode(np.zeros((3, 2), np.float32), np.zeros(3, int), np.zeros(3)),
        Episode(np.zeros((2, 1), np.float32), np.zeros(3, int), np.zeros(3)),
        Episode(np.zeros((3, 1), np.float32), np.zeros((3, 2), int), np.zeros(3)),
        Episode(np.zeros((3, 1), np.float32), np.zeros(2, int), np.zeros(3)),
    ],
)
def test_an_episode_of_the_wrong_shape_leaves_the_buffer_as_it_was(misfit):
    buffer = small_buffer()
    buffer.add(episode([1, 2]))
    before = pickle.dumps(buffer)
    with pytest.raises(ValueError, match="shape"):
        buffer.add(misfit)
    assert pickle.dumps(buffer) == before


BOX, TWO = spaces.Box(-np.inf, np.inf, (1,)), spaces.Discrete(2)
OBSERVATIONS, ACTIONS, REWARDS = np.zeros((3, 1), np.float32), np.array([0, 1, 0]), np.zeros(3)
LARGE = np.array([[0], [1e39], [0]])


@pytest.mark.parametrize(
    ("observation_space", "action_space", "refused", "message"),
    [
        (BOX, TWO, Episode(OBSERVATIONS, np.array([0, 2, 0]), REWARDS), r"the action of step 1 is 2, .*Discrete\(2\)"),
        (BOX, TWO, Episode(OBSERVATIONS, np.array([0, 1, -1]), REWARDS), "the action of step 2 is -1, .*outside"),
        (BOX, TWO, Episode(OBSERVATIONS, np.array([0, 256, 1]), REWARDS), "the action of step 1 is 256, .*outside"),
        (BOX, TWO, Episode(OBSERVATIONS, np.array([0.0, 1.0, 0.0]), REWARDS), "the actions are of type float64"),
        (BOX, TWO, Episode(OBSERVATIONS, np.array(["0", "1", "0"]), REWARDS), "the actions are of type <U1"),
        (BOX, spaces.Discrete(2, start=5), Episode(OBSERVATIONS, np.array([5, 4, 6]), REWARDS), "the action of step 1 is 4"),
        (
            BOX,
            spaces.MultiDiscrete([2, 3]),
            Episode(OBSERVATIONS, np.full((3, 2), 2), REWARDS),
            r"the action of step 0 is \[2 2\]",
        ),
        (BOX, spaces.MultiBinary(1), Episode(OBSERVATIONS, np.full((3, 1), 2), REWARDS), "the action of step 0 is"),
        (BOX, spaces.Box(-1, 1, (1,)), Episode(OBSERVATIONS, np.full((3, 1), 1.1), REWARDS), "the action of step 0 is"),
        (BOX, BOX, Episode(OBSERVATIONS, LARGE, REWARDS), r"the action of step 1 holds 1e\+39, which is too large"),
        (BOX, BOX, Episode(OBSERVATIONS, np.full((3, 1), np.nan), REWARDS), "the action of step 0 holds NaN"),
        (
            BOX,
            TWO,
            Episode(LARGE, ACTIONS, REWARDS),
            r"the observation of step 1 holds 1e\+39, which is too large for float32",
        ),
        (BOX, TWO, Episode(OBSERVATIONS, ACTIONS, LARGE[:, 0]), r"the reward of step 1 holds 1e\+39, which is too large"),
        (BOX, TWO, Episode(OBSERVATIONS, ACTIONS, np.full(3, 3e38)), "add up to more than single precision holds"),
        (BOX, TWO, Episode(OBSERVATIONS, ACTIONS, REWARDS, amounts={"fuel": LARGE[:, 0]}), "the fuel of step 1 holds"),
        (BOX, TWO, Episode(OBSERVATIONS, ACTIONS, REWARDS, amounts={}), "the episode has no amounts/fuel"),
        (TWO, TWO, Episode(np.array([0, 2, 1]), ACTIONS, REWARDS), "the observation of step 1 is 2"),
        (spaces.Dict(a=BOX), TWO, Episode({"a": LARGE}, ACTIONS, REWARDS), "the observation 'a' of step 1 holds"),
        (spaces.Dict(a=BOX), TWO, Episode({"b": OBSERVATIONS}, ACTIONS, REWARDS), "the episode has no observations/a"),
        (spaces.Box(0, 255, (1,), np.uint8), TWO, Episode(OBSERVATIONS / 2, ACTIONS, REWARDS), "the observations are of type"),
        (spaces.Box(0, 255, (1,), np.uint8), TWO, Episode(np.full((3, 1), 256), ACTIONS, REWARDS), "observation .* holds 256"),
        (BOX, TWO, Episode(OBSERVATIONS[:0], ACTIONS[:0], REWARDS[:0]), "no steps"),
    ],
)
def test_what_could_not_be_learned_from_is_refused_by_name(observation_space, action_space, refused, message):
    buffer = EpisodicReplayBuffer(10, observation_space, action_space, recorded=("fuel",) if "fuel" in message else ())
    before = content(buffer)
    with pytest.raises(ValueError, match=message):
        buffer.add(refused)
    assert same(content(buffer), before)


@pytest.mark.parametrize("dtype", [np.int64, np.int8, np.uint8, np.bool_])
def test_whole_numbers_of_any_type_are_taken(dtype):
    buffer = small_buffer()
    buffer.add(Episode(OBSERVATIONS.astype(float), ACTIONS.astype(dtype), REWARDS.astype(int)))
    np.testing.assert_array_equal(buffer.episode(0).actions, ACTIONS)


def test_bounds_of_actions_belong_to_their_space():
    space = spaces.Box(-0.7, 0.7, (1,))
    buffer = EpisodicReplayBuffer(10, BOX, space)
    buffer.add(Episode(OBSERVATIONS, np.array([[-0.7], [0.7], [0.0]]), REWARDS))  # in double precision beyond them
    assert buffer.n_transitions == 3


def test_dictionary_observations():
    space = spaces.Dict({"image": spaces.Box(0, 255, (1, 4, 4), np.uint8), "vector": spaces.Box(-1, 1, (2,))})
    buffer = EpisodicReplayBuffer(5, space, spaces.Discrete(2), seed=0)
    for value in range(4):
        observations = {
            "image": np.full((2, 1, 4, 4), value, np.uint8),
            "vector": np.full((2, 2), value / 10, np.float32),
        }
        buffer.add(Episode(observations, np.array([0, 1]), np.full(2, value)))
    assert buffer.n_episodes == 2  # five transitions hold two of these
    batch = hindsight(buffer).sample(50)
    assert batch.observations["image"].dtype == np.uint8 and batch.observations["image"].shape == (50, 1, 4, 4)
    np.testing.assert_allclose(batch.observations["vector"][:, 0], batch.observations["image"][:, 0, 0, 0] / 10)
    assert set(batch.observations["image"].ravel()) == {2, 3}
    np.testing.assert_array_equal(buffer.episode(0).observations["image"], 2)


def test_images_stay_bytes():
    buffer = image_buffer()
    buffer.add(image_episode(10))
    assert hindsight(buffer).sample(4).observations.dtype == np.uint8
    assert len(pickle.dumps(buffer)) < 10 * 36 * 36 + 10_000


def test_nothing_is_allocated_before_it_is_needed():
    tracemalloc.start()
    buffer = image_buffer(capacity=10**9)
    empty = tracemalloc.get_traced_memory()[0]
    buffer.add(image_episode(10))
    used = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    assert empty < 100_000
    assert used < 10 * 2**25  # a little for each array, untouched, and not 10^9 images


def test_pickling_drops_the_unused_tail():
    buffer = image_buffer()
    buffer.add(image_episode(3))
    assert len(buffer._observations._data) >= 1000
    copy = pickle.loads(pickle.dumps(buffer))
    assert len(copy._observations._data) == 3
    np.testing.assert_array_equal(copy.episode(0).observations, buffer.episode(0).observations)
    copy.add(image_episode(2))
    assert copy.n_transitions == 5


def test_a_pickled_buffer_draws_the_same_batches():
    buffer = small_buffer(trailing_probability=0.5)
    for length in (3, 1, 7):
        buffer.add(episode(np.arange(length)))
    copy = pickle.loads(pickle.dumps(buffer))
    for _ in range(3):
        assert_same_batches(hindsight(buffer).sample(16), hindsight(copy).sample(16))


def test_a_long_run_keeps_its_memory_bounded():
    buffer = small_buffer(200)
    for length in np.random.default_rng(0).integers(1, 20, size=1000):
        buffer.add(episode(np.ones(length)))
        assert buffer.n_transitions <= 200
        assert len(buffer.rewards) <= 260
    assert buffer.n_transitions > 180


@pytest.mark.parametrize("n_episodes", [10, 10_000])
def test_a_batch_is_one_gather_however_many_episodes_there_are(n_episodes):
    """The draw is checked by its result; that no loop over episodes is left shows in a batch larger than the buffer."""
    buffer = small_buffer(10**6)
    for _ in range(n_episodes):
        buffer.add(episode(np.arange(10.0)))
    assert hindsight(buffer).sample(100_000).command.desired_horizon.mean() == pytest.approx(5.5, abs=0.1)


def test_only_stored_rows_are_drawn_whether_or_not_there_are_gaps():
    """The best and the newest of 30 episodes: forgotten ones lie before, after and between the kept ones."""
    for retention in ("recent", "best", "mixed"):
        buffer = small_buffer(40, retention=retention)
        for i in range(30):
            buffer.add(episode([i % 7, 0.0], first=10 * i))
            kept = np.concatenate([buffer.episode(k).observations[:, 0] for k in range(buffer.n_episodes)])
            drawn, counts = np.unique(hindsight(buffer).sample(2_000).observations[:, 0], return_counts=True)
            np.testing.assert_array_equal(drawn, np.sort(kept))
            assert counts.min() > 2_000 / len(kept) / 3


def test_large_discrete_actions_are_stored_exactly():
    for n in (200, 300, 70_000):
        buffer = EpisodicReplayBuffer(10, spaces.Box(-1, 1, (1,)), spaces.Discrete(n))
        buffer.add(Episode(np.zeros((1, 1), np.float32), np.array([n - 1]), np.zeros(1)))
        assert hindsight(buffer).sample(1).actions[0] == n - 1


def test_actions_may_start_below_zero():
    buffer = EpisodicReplayBuffer(10, spaces.Box(-1, 1, (1,)), spaces.Discrete(3, start=-1))
    buffer.add(Episode(np.zeros((3, 1), np.float32), np.array([-1, 0, 1]), np.zeros(3)))
    np.testing.assert_array_equal(buffer.episode(0).actions, [-1, 0, 1])


@pytest.mark.parametrize(
    "space",
    [
        spaces.MultiDiscrete([3, 300]),
        spaces.MultiDiscrete([2, 30], start=[250, -5]),
        spaces.MultiDiscrete([2, 3], start=[70_000, 5]),
        spaces.MultiBinary([2, 2]),
    ],
    ids=str,
)
def test_every_action_of_a_composite_space_is_stored_exactly(space):
    space.seed(0)
    actions = np.stack([space.sample() for _ in range(50)])
    buffer = EpisodicReplayBuffer(100, spaces.Box(-1, 1, (1,)), space)
    buffer.add(Episode(np.zeros((50, 1), np.float32), actions, np.zeros(50)))
    np.testing.assert_array_equal(buffer.episode(0).actions, actions)


@pytest.mark.parametrize(
    ("argument", "value", "message"),
    [
        ("buffer_size", 0, "buffer_size=0.*at least one"),
        ("max_episodes", 0, "max_episodes=0.*None"),
        ("retention", "newest", r"retention='newest'.*\['bands', 'best', 'mixed', 'recent'\]"),
        ("sampling", "uniform", "sampling='uniform'.*'bands'.*'transitions'"),
        ("sampling_temperature", 0.0, "sampling_temperature=0.0.*positive"),
        ("sampling_temperature", np.nan, "sampling_temperature=nan.*positive"),
        ("trailing_probability", 1.5, "trailing_probability=1.5.*between 0 and 1"),
        ("trailing_probability", -0.1, "trailing_probability=-0.1.*between 0 and 1"),
    ],
)
def test_bad_arguments_are_refused(argument, value, message):
    arguments = {"buffer_size": 10, "observation_space": spaces.Discrete(2), "action_space": spaces.Discrete(2)}
    with pytest.raises(ValueError, match=message):
        EpisodicReplayBuffer(**{**arguments, argument: value})


def test_a_full_buffer_makes_little_more_room_than_its_capacity():
    """17 bytes a step: one of action, four each of observation, reward, return and steps to go; 25 bytes an episode."""
    buffer = small_buffer(20_000)
    tracemalloc.start()
    for i in range(3_000):
        buffer.add(episode(np.ones(10), first=i))
    used = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    assert len(buffer.rewards) <= 20_000 * 17 / 16 + 10
    assert used < 1.05 * (17 + 25) * 20_000 * 9 / 8  # untouched as far as it is not used


@pytest.mark.parametrize(
    ("returns", "lengths", "differ"),
    [
        ([], [], False),
        ([1], [2], False),
        ([1, 1], [2, 2], False),
        ([1, 2], [2, 2], True),  # no two are alike
        ([1, 1], [2, 3], True),
        ([1, 1, 2], [2, 2, 2], False),  # one other may be luck
        ([1] * 50 + [2] * 4, [2] * 54, False),
        ([1] * 50 + [2] * 5, [2] * 55, True),
        ([1] * 50 + [2] * 2 + [1] * 3, [2] * 52 + [3] * 3, True),
    ],
)
def test_whether_episodes_differ(returns, lengths, differ):
    buffer = small_buffer(1000)
    for total, length in zip(returns, lengths, strict=True):
        buffer.add(episode([total] + [0] * (length - 1)))
    assert buffer.has_differences() == differ


@pytest.mark.parametrize("retention", RETENTIONS)
@pytest.mark.parametrize("buffer_size", [1, 60, 200, 10_000])
def test_all_episodes_of_another_buffer_at_once(retention, buffer_size):
    """Where one by one does the same, all at once keeps the same; else what the rule keeps of all together."""
    others = random_buffer(2, "dictionary", 30, 10_000)
    at_once, one_by_one = (random_buffer(1, "dictionary", 30, buffer_size, retention=retention) for _ in range(2))
    returns, lengths = np.append(at_once.returns, others.returns), np.append(at_once.lengths, others.lengths)
    at_once.add_all(others)
    for i in range(others.n_episodes):
        one_by_one.add(others.episode(i))
    kept = RULES[retention](returns, lengths, buffer_size, np.inf)
    np.testing.assert_array_equal(at_once.returns, returns[kept])
    if retention == "recent" or buffer_size == 10_000:
        assert same(content(at_once), content(one_by_one))
    assert at_once.n_episodes_added == one_by_one.n_episodes_added
    assert at_once.n_transitions_added == one_by_one.n_transitions_added
    content(at_once)


def test_another_buffer_of_which_nothing_is_kept_or_with_no_episodes():
    buffer, others = small_buffer(3, retention="best"), small_buffer()
    buffer.add(episode([9, 9, 9]))
    buffer.add_all(others)
    others.add(episode([1, 1]))
    buffer.add_all(others)
    assert buffer.returns.tolist() == [27] and buffer.n_episodes_added == 2 and buffer.n_transitions_added == 5
    small_buffer().add_all(small_buffer())
