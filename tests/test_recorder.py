"""Running episodes become stored ones."""

import numpy as np
import pytest
from gymnasium import spaces
from helpers import Recorder, make_vec, tiny_model
from probe_envs import Endless, Scripted

from sb3_udrl.buffers import EpisodeRecorder


def recorder(n_envs, max_episode_steps=10_000):
    return EpisodeRecorder(spaces.Box(-1e6, 1e6, (1,)), spaces.Discrete(5), n_envs, max_episode_steps)


def test_environments_whose_episodes_have_different_lengths():
    """Each environment counts its own steps; observation, action and reward of a step tell environment and time."""
    lengths = [1, 3, 7]
    rec, finished, ages = recorder(3), [[], [], []], np.zeros(3, int)
    for now in range(2000):
        observations = (1000 * np.arange(3) + ages)[:, None]
        rec.record(observations, np.full(3, now % 5), np.arange(3) + ages / 10)
        ages += 1
        np.testing.assert_array_equal(rec.n_steps, ages)
        for env in range(3):
            if ages[env] == lengths[env]:
                finished[env].append((now, rec.finish(env)))
                ages[env] = 0
    for env, length in enumerate(lengths):
        assert len(finished[env]) == 2000 // length
        for now, episode in finished[env]:
            np.testing.assert_array_equal(episode.observations[:, 0], 1000 * env + np.arange(length))
            np.testing.assert_array_equal(episode.actions, np.arange(now - length + 1, now + 1) % 5)
            np.testing.assert_allclose(episode.rewards, env + np.arange(length) / 10, rtol=1e-6)


def test_finished_episodes_are_not_overwritten():
    rec = recorder(1)
    rec.record(np.ones((1, 1)), np.ones(1), np.ones(1))
    first = rec.finish(0)
    for _ in range(1000):
        rec.record(np.zeros((1, 1)), np.zeros(1), np.zeros(1))
        rec.finish(0)
    assert first.observations[0, 0] == first.rewards[0] == 1


def test_long_episodes_make_the_recorder_grow():
    rec = recorder(2)
    for t in range(3_000):
        rec.record(np.full((2, 1), t), np.zeros(2), np.full(2, t))
    np.testing.assert_array_equal(rec.finish(1).rewards, np.arange(3_000))
    np.testing.assert_array_equal(rec.finish(0).observations[:, 0], np.arange(3_000))


def test_short_episodes_do_not_make_it_grow():
    rec = recorder(2)
    for t in range(50_000):
        rec.record(np.zeros((2, 1)), np.zeros(2), np.zeros(2))
        if t % 10 == 9:
            rec.finish(0)
            rec.finish(1)
    assert len(rec._running.rewards) <= 256


@pytest.mark.parametrize("limit", [1, 5, 300, 1000])
def test_an_episode_may_be_as_long_as_the_limit_and_not_longer(limit):
    rec = recorder(2, max_episode_steps=limit)
    for _ in range(3):
        for _ in range(limit):
            rec.record(np.zeros((2, 1)), np.zeros(2), np.zeros(2))
        assert len(rec.finish(0)) == len(rec.finish(1)) == limit
    with pytest.raises(ValueError, match=f"max_episode_steps={limit}.*TimeLimit"):
        for t in range(limit + 1):
            rec.record(np.zeros((2, 1)), np.zeros(2), np.zeros(2))
            if t % 100 == 50:
                rec.finish(1)


def test_discard_forgets_running_episodes_and_counts_their_steps():
    rec = recorder(2)
    for _ in range(5):
        rec.record(np.zeros((2, 1)), np.zeros(2), np.zeros(2))
    rec.finish(0)
    rec.record(np.zeros((2, 1)), np.zeros(2), np.zeros(2))
    assert rec.discard() == 1 + 6
    rec.record(np.ones((2, 1)), np.ones(2), np.ones(2))
    np.testing.assert_array_equal(rec.finish(1).rewards, [1])


@pytest.mark.parametrize("truncate", [False, True])
def test_learn_stores_every_episode_exactly(truncate):
    """Two environments whose episodes end at different times; truncated episodes are episodes."""
    env = make_vec(Scripted, 2, lengths=(3, 1, 4), truncate=truncate)
    model = tiny_model(env, learning_starts=100, train_freq=8).learn(64)
    buffer = model.replay_buffer
    # 32 steps each: lengths 3 1 4 3 1 4 3 1 4 3 1 4 twice, in the order in which they end
    assert sorted(buffer.lengths) == sorted([3, 1, 4] * 8)
    for i in range(buffer.n_episodes):
        stored = buffer.episode(i)
        number, steps = stored.observations[0, 0], np.arange(len(stored))
        assert len(stored) == (3, 1, 4)[int(number) % 3]
        np.testing.assert_array_equal(stored.observations[:, 0], number)
        np.testing.assert_array_equal(stored.observations[:, 1], steps)
        np.testing.assert_array_equal(stored.rewards, 10 * number + steps + 1)
        assert buffer.returns[i] == stored.rewards.sum()
        assert stored.truncated is truncate


def test_stored_actions_are_those_that_were_taken():
    taken = []
    model = tiny_model(make_vec(Scripted), learning_starts=20, train_freq=10)
    model.learn(50, callback=Recorder(lambda callback: taken.append(callback.locals["actions"][0])))
    stored = model.hindsight.transitions(np.arange(model.replay_buffer.n_episodes))
    np.testing.assert_array_equal(stored.actions, taken)
    assert set(taken) == {0, 1}


def test_an_unfinished_episode_is_dropped_when_the_environment_starts_anew():
    model = tiny_model(make_vec(Scripted, lengths=(6,)), learning_starts=1000, train_freq=10).learn(10)
    model.learn(6)  # resets
    assert model.replay_buffer.n_episodes == 2
    np.testing.assert_array_equal(model.replay_buffer.episode(1).observations[:, 1], np.arange(6))


def test_a_running_episode_goes_on_when_learning_does():
    model = tiny_model(make_vec(Scripted, lengths=(6,)), learning_starts=1000, train_freq=10).learn(10)
    model.learn(2, reset_num_timesteps=False)
    assert model.replay_buffer.n_episodes == 2
    np.testing.assert_array_equal(model.replay_buffer.episode(1).observations[:, 1], np.arange(6))


def test_an_environment_without_an_end_is_an_error():
    model = tiny_model(make_vec(Endless), max_episode_steps=50)
    with pytest.raises(ValueError, match=r"max_episode_steps=50 .*gymnasium.wrappers.TimeLimit"):
        model.learn(1000)
    assert model.num_timesteps <= 52
