"""Rewards that are paid late, shared out among the steps that earned them."""

import gymnasium as gym
import numpy as np
import pytest
from helpers import probe_model, relative_hindsight
from hypothesis import given, settings
from hypothesis import strategies as st
from stable_baselines3.common.evaluation import evaluate_policy

from sb3_udrl.buffers import Episode
from sb3_udrl.envs import DelayedReward
from sb3_udrl.labels import redistribution
from sb3_udrl.labels.redistribution import EpisodeSummaries, redistributed_rewards


def random_walks(n_episodes, seed=0):
    """Positions on a line, steps to either side, and steps to go, of episodes of 5 to 14 steps that lie end to end."""
    rng = np.random.default_rng(seed)
    walks = []
    for length in rng.integers(5, 15, n_episodes):
        steps = rng.choice([-1.0, 1.0], length)
        walks.append((rng.normal() + np.append(0, steps[:-1].cumsum()), steps, np.arange(length, 0, -1)))
    positions, steps, to_go = (np.concatenate(part) for part in zip(*walks, strict=True))
    return positions[:, None].astype(np.float32), steps[:, None].astype(np.float32), to_go


def held_back(rewards, to_go):
    """All reward of an episode at its last step."""
    lasts = np.flatnonzero(to_go == 1)
    late = np.zeros(len(rewards))
    late[lasts] = np.add.reduceat(rewards, np.append(0, lasts[:-1] + 1))
    return late


def redistributed(situations, actions, rewards, to_go, truncated=None):
    """From a fit to the same episodes."""
    lasts = np.flatnonzero(to_go == 1)
    firsts = np.append(0, lasts[:-1] + 1)
    returns, efforts = np.add.reduceat(rewards, firsts), np.add.reduceat(actions.astype(float), firsts)
    truncated = np.zeros(len(lasts), bool) if truncated is None else truncated
    summaries = EpisodeSummaries(situations[firsts], situations[lasts], efforts, returns, truncated)
    return redistributed_rewards(summaries, situations, actions, rewards, to_go)


@pytest.mark.parametrize(
    ("by_action", "largest_error"),
    [([-1.0, 1.0], 0.25), ([0.0, -3.0], 0.4), ([1.0, 1.0], 0.4)],  # what all actions earn, the ending explains in part
)
def test_what_actions_earn_is_found_from_returns_alone(by_action, largest_error):
    """All that is known is the sum over the episode."""
    positions, steps, to_go = random_walks(200)
    actions = (steps[:, 0] > 0).astype(int)
    rewards = np.array(by_action)[actions]
    found = redistributed(positions, np.eye(2, dtype=np.float32)[actions], held_back(rewards, to_go), to_go)
    inside = to_go > 1
    assert np.abs(found - rewards)[inside].mean() < largest_error * np.abs(rewards)[inside].mean()  # as they are paid: 1


def test_getting_to_a_better_place_is_paid_at_once():
    """The return is how much nearer to 0 an episode ends than it began: no sum of what is linear in situations."""
    positions, actions, to_go = random_walks(200)
    nearness = -np.abs(positions[:, 0].astype(float))
    gains = np.append(np.diff(nearness), 0)
    gains[to_go == 1] = 0
    found = redistributed(positions, actions, held_back(gains, to_go), to_go)
    inside = to_go > 1
    assert np.corrcoef(found[inside], gains[inside])[0, 1] > 0.95


def test_an_accident_is_paid_when_it_happens_and_not_on_the_way_to_where_it_may_happen():
    """The return is how much nearer to 0 an episode ends, less 30 unless a time limit cut it off."""
    positions, actions, to_go = random_walks(200)
    nearness = -np.abs(positions[:, 0].astype(float))
    gains = np.append(np.diff(nearness), 0)
    gains[to_go == 1] = 0
    accident = np.arange(200) % 2 == 0
    late = held_back(gains, to_go)
    late[to_go == 1] -= 30 * accident
    found = redistributed(positions, actions, late, to_go, truncated=~accident)
    inside = to_go > 1
    assert np.corrcoef(found[inside], gains[inside])[0, 1] > 0.9
    assert found[to_go == 1][accident].mean() == pytest.approx(-30, abs=3)


@settings(max_examples=50, deadline=None)
@given(st.lists(st.integers(1, 6), min_size=1, max_size=8), st.integers(0, 2**32 - 1), st.integers(-3, 6))
def test_returns_stay_as_they_are(lengths, seed, exponent):
    rng = np.random.default_rng(seed)
    to_go = np.concatenate([np.arange(length, 0, -1) for length in lengths])
    rewards = rng.normal(size=len(to_go)) * 10.0**exponent
    situations = rng.normal(size=(len(to_go), 3)).astype(np.float32)
    actions = rng.normal(size=(len(to_go), 2)).astype(np.float32)
    found = redistributed(situations, actions, rewards, to_go)
    firsts = np.append(0, np.flatnonzero(to_go == 1)[:-1] + 1)
    expected = np.add.reduceat(rewards, firsts)
    np.testing.assert_allclose(np.add.reduceat(found, firsts), expected, rtol=1e-9, atol=1e-9 * np.abs(expected).max())


def test_episodes_of_one_step_are_paid_what_they_were():
    rewards = np.array([3.0, -1.0, 0.0])
    found = redistributed(np.zeros((3, 2), np.float32), np.ones((3, 1), np.float32), rewards, np.ones(3, np.int64))
    np.testing.assert_array_equal(found, rewards)


def test_the_unit_of_rewards_does_not_matter():
    positions, actions, to_go = random_walks(20)
    late = held_back(actions[:, 0].astype(float), to_go)
    found, found_in_thousandths = (redistributed(positions, actions, late * unit, to_go) for unit in (1, 1000))
    np.testing.assert_allclose(found * 1000, found_in_thousandths, rtol=1e-6, atol=1e-6)


def test_shares_do_not_depend_on_how_many_steps_are_looked_at_at_a_time(monkeypatch):
    positions, actions, to_go = random_walks(20)
    late = held_back(positions[:, 0].astype(float), to_go)
    at_once = redistributed(positions, actions, late, to_go)
    monkeypatch.setattr(redistribution, "_BLOCK", 7)
    np.testing.assert_allclose(redistributed(positions, actions, late, to_go), at_once, rtol=1e-5, atol=1e-5)


def late_pay(n_episodes, capacity=10_000, retention="recent", **kwargs):
    """Each of eight steps earns its action, 0 or 1, in a situation of its own; all is paid at the end."""
    relative, rng = relative_hindsight(capacity, {"retention": retention}, gamma=0.0, **kwargs), np.random.default_rng(0)
    for _ in range(n_episodes):
        actions = rng.integers(2, size=8)
        late = held_back(actions.astype(float), np.arange(8, 0, -1)).astype(np.float32)
        relative.buffer.add(Episode(np.arange(8, dtype=np.float32)[:, None], actions, late))
        if relative.buffer.n_episodes % 10 == 0:
            relative.relabel()
    relative.relabel()
    return relative


def test_labels_say_what_a_step_earned_where_it_is_paid_late():
    """With a discount of zero, a step counts for what it is paid itself."""
    stored = late_pay(100, redistribute_rewards=True).transitions(np.arange(100))
    early = stored.observations[:, 0] < 7
    np.testing.assert_array_equal(np.sign(stored.command["advantage"][early]), 2 * stored.actions[early].astype(int) - 1)
    plain = late_pay(100).transitions(np.arange(100))
    assert not plain.command["advantage"][early].any()


def test_labels_survive_what_is_forgotten_where_rewards_are_redistributed():
    relative = late_pay(100, capacity=200, retention="mixed", redistribute_rewards=True)
    stored = relative.transitions(np.arange(relative.buffer.n_episodes))
    early = stored.observations[:, 0] < 7
    agree = np.sign(stored.command["advantage"][early]) == 2 * stored.actions[early].astype(int) - 1
    assert len(relative.buffer.lengths) < 100
    assert agree.mean() > 0.9


class Toll(gym.Env):
    """Forty steps; each earns 1 by the action 1, and nothing by the others of four."""

    observation_space = gym.spaces.Box(0, 1, (1,))
    action_space = gym.spaces.Discrete(4)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.now = 0
        return self._observation(), {}

    def step(self, action):
        self.now += 1
        return self._observation(), float(action == 1), self.now == 40, False, {}

    def _observation(self):
        return np.array([self.now / 40], dtype=np.float32)


def sampled_toll(**kwargs):
    model = probe_model(DelayedReward(Toll()), commands="relative", n_timesteps=1_800, command_sampler="joint", **kwargs)
    return evaluate_policy(model, DelayedReward(Toll()), n_eval_episodes=10, deterministic=False, warn=False)[0]


def test_what_is_paid_late_is_learned_from_few_episodes():
    """Thirty episodes after the warm-up; chance returns 10."""
    assert sampled_toll(label_kwargs={"advantage": {"redistribute_rewards": True}}) > 18
    assert sampled_toll() < 18
