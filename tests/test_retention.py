"""Which episodes a full buffer keeps."""

import numpy as np
import pytest
from helpers import episode, hindsight, small_buffer
from hypothesis import given
from hypothesis import strategies as st

# As (rewards): the returns are 5, 1, 9, 1, 3 with one step each
FIVE = [[5], [1], [9], [1], [3]]


def returns_after(episodes, capacity, **kwargs):
    buffer = small_buffer(capacity, **kwargs)
    for rewards in episodes:
        buffer.add(episode(rewards))
    return list(buffer.returns)


def test_recent_is_first_in_first_out():
    assert returns_after(FIVE, 3) == [9, 1, 3]


def test_best_keeps_the_highest_returns_in_order_of_age():
    assert returns_after(FIVE, 3, retention="best") == [5, 9, 3]


def test_best_prefers_the_longer_among_equal_returns():
    buffer = small_buffer(5, retention="best")
    for rewards in ([4], [2, 2], [1, 1, 2]):
        buffer.add(episode(rewards))
    np.testing.assert_array_equal(buffer.lengths, [2, 3])


def test_best_prefers_the_newer_among_equals():
    buffer = small_buffer(2, retention="best")
    for first in (0, 10, 20):
        buffer.add(episode([1], first=first))
    assert [buffer.episode(i).observations[0, 0] for i in range(2)] == [10, 20]


def test_best_is_not_the_tail_of_a_heap():
    """The last entries of a heap are not its largest: with these returns a heap would lose 9."""
    returns = [9, 7, 8, 1, 2, 3, 4, 5, 6]
    assert sorted(returns_after([[r] for r in returns], 3, retention="best")) == [7, 8, 9]


def test_mixed_keeps_the_newest_and_the_best_of_the_others():
    assert returns_after([[9], [8], [1], [2], [7], [3], [4]], 4, retention="mixed") == [9, 8, 3, 4]


def test_mixed_in_episodes():
    episodes = [[9], [8], [1], [2], [7], [3], [4]]
    assert returns_after(episodes, 100, retention="mixed", max_episodes=4) == [9, 8, 3, 4]


def test_mixed_with_room_for_one_keeps_the_newest():
    assert returns_after([[9], [8], [1]], 100, retention="mixed", max_episodes=1) == [1]


def test_mixed_fills_half_of_its_transitions_with_new_episodes():
    """Also when the number of episodes has no bound."""
    old = [[10, 10]] * 10
    new = [[0, 0]] * 10
    assert returns_after(old + new, 20, retention="mixed") == [20] * 5 + [0] * 5


def test_capacity_in_episodes():
    assert returns_after([[1, 1], [2], [3, 3, 3]], 100, max_episodes=2) == [2, 9]


def test_capacity_in_both_obeys_the_tighter_one():
    assert returns_after([[1], [2], [3], [4]], 3, max_episodes=2) == [3, 4]
    assert returns_after([[1], [2], [3], [4]], 2, max_episodes=3) == [3, 4]


def test_capacity_that_is_no_multiple_of_anything():
    """Whole episodes only: 10 transitions hold three episodes of 3 steps, at any time."""
    buffer = small_buffer(10)
    for _ in range(50):
        buffer.add(episode([1, 1, 1]))
        assert buffer.n_transitions <= 10
    assert buffer.n_episodes == 3


@pytest.mark.parametrize("retention", ["recent", "mixed"])
def test_an_episode_longer_than_the_buffer_is_kept_alone(retention):
    assert returns_after([[1], [2], [1] * 20], 10, retention=retention) == [20]


def naive_keep(episodes, capacity, max_episodes, retention):
    """The rules of retention, said once more with plain lists. Episodes are (return, length, number)."""

    def take(candidates, room, count):
        taken = []
        for one in candidates:
            if len(taken) >= count or sum(e[1] for e in taken) + one[1] > room:
                break
            taken.append(one)
        return taken

    best_first = sorted(episodes, reverse=True)
    newest_first = episodes[::-1]
    count = max_episodes or len(episodes)
    if retention == "recent":
        kept = take(newest_first, capacity, count) or newest_first[:1]
    elif retention == "best":
        kept = take(best_first, capacity, count) or best_first[:1]
    else:
        half = max(1, max_episodes // 2) if max_episodes else len(episodes)
        kept = take(newest_first, capacity // 2, half) or newest_first[:1]
        others = [one for one in best_first if one not in kept]
        kept = kept + take(others, capacity - sum(e[1] for e in kept), count - len(kept))
    return [one for one in episodes if one in kept]


@given(
    retention=st.sampled_from(["recent", "best", "mixed"]),
    capacity=st.integers(1, 60),
    max_episodes=st.none() | st.integers(1, 8),
    played=st.lists(st.tuples(st.integers(1, 12), st.integers(-3, 3)), min_size=1, max_size=60),
)
def test_a_buffer_equals_a_list_of_episodes(retention, capacity, max_episodes, played):
    """After every addition, compaction included: the same episodes, intact, with the right labels."""
    buffer = small_buffer(capacity, retention=retention, max_episodes=max_episodes)
    model, first_rewards = [], {}
    for number, (length, first_reward) in enumerate(played):
        rewards = np.zeros(length)
        rewards[0] = first_rewards[number] = first_reward
        buffer.add(episode(rewards, first=100 * number))
        model.append((first_reward, length, number))
        if sum(e[1] for e in model) > capacity or (max_episodes and len(model) > max_episodes):
            model = naive_keep(model, capacity, max_episodes, retention)
        assert [(r, n) for r, n, _ in model] == list(zip(buffer.returns, buffer.lengths, strict=True))
    stored = hindsight(buffer).transitions(np.arange(buffer.n_episodes))
    steps = [(number, t, length) for _, length, number in model for t in range(length)]
    np.testing.assert_array_equal(stored.observations[:, 0], [100 * number + t for number, t, _ in steps])
    np.testing.assert_array_equal(stored.command.desired_horizon, [length - t for _, t, length in steps])
    expected = [first_rewards[number] if t == 0 else 0 for number, t, _ in steps]
    np.testing.assert_array_equal(stored.command.desired_return, expected)
