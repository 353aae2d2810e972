"""Rewards that are paid at the end, against the environment that pays at once."""

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.wrappers import TimeLimit
from stable_baselines3.common.env_util import make_vec_env

from sb3_udrl.envs import DelayedReward


class Scripted(gym.Env):
    """Pays the given rewards in turn, and terminates after the last."""

    observation_space = gym.spaces.Box(0, 100, (1,))
    action_space = gym.spaces.Discrete(2)

    def __init__(self, rewards):
        self.rewards = rewards

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.t = 0
        return np.zeros(1, np.float32), {}

    def step(self, action):
        self.t += 1
        return np.array([self.t], np.float32), self.rewards[self.t - 1], self.t == len(self.rewards), False, {"t": self.t}


def play(env, actions=None, seed=0):
    """Rewards of an episode, and how it ended."""
    env.reset(seed=seed)
    rewards, terminated, truncated = [], False, False
    while not (terminated or truncated):
        _, reward, terminated, truncated, _ = env.step(0 if actions is None else actions[len(rewards)])
        rewards.append(reward)
    return rewards, terminated, truncated


def test_the_sum_comes_with_the_last_step():
    assert play(DelayedReward(Scripted([1, -2, 4.5]))) == ([0.0, 0.0, 3.5], True, False)
    assert play(DelayedReward(Scripted([7]))) == ([7.0], True, False)


def test_the_sum_comes_with_the_last_step_before_a_time_limit():
    assert play(DelayedReward(TimeLimit(Scripted([1, -2, 4.5]), 2))) == ([0.0, -1.0], False, True)


def test_episodes_do_not_share_rewards():
    env = DelayedReward(Scripted([1, 2, 4]))
    assert play(env) == play(env) == ([0.0, 0.0, 7.0], True, False)
    env.reset()
    env.step(0)
    assert play(env)[0] == [0.0, 0.0, 7.0]  # an unfinished one leaves nothing either


def test_all_else_passes_through():
    env = DelayedReward(Scripted([1, 2]))
    assert env.reset()[0] == 0
    observation, _, terminated, truncated, info = env.step(0)
    assert (observation, terminated, truncated, info) == (1, False, False, {"t": 1})


@pytest.fixture(scope="module")
def landers():
    return gym.make("LunarLander-v3"), gym.make("LunarLanderSparse-v3")


@pytest.mark.parametrize("seed", range(5))
def test_sparse_lander_pays_what_the_dense_one_does(landers, seed):
    actions = np.random.default_rng(seed).integers(4, size=1000)
    (dense, *dense_end), (sparse, *sparse_end) = (play(env, actions, seed) for env in landers)
    assert dense_end == sparse_end == [True, False]
    assert sparse[:-1] == [0.0] * (len(dense) - 1)
    assert sparse[-1] == pytest.approx(sum(dense)) and sparse[-1] != 0


def hover(env, seed):
    """Hold the height and come to rest in the air: the time limit of 1000 steps ends such an episode."""
    (x, y, vx, vy, angle, spin, *_), _ = env.reset(seed=seed)
    rewards, terminated, truncated = [], False, False
    while not (terminated or truncated):
        turn = 0.5 * (np.clip(0.5 * x + vx, -0.4, 0.4) - angle) - 0.5 * spin
        lift = 0.5 * (0.8 - y) - 0.5 * vy
        action = 2 if lift > abs(turn) and lift > 0.05 else 3 if turn < -0.05 else 1 if turn > 0.05 else 0
        (x, y, vx, vy, angle, spin, *_), reward, terminated, truncated, _ = env.step(action)
        rewards.append(reward)
    return rewards, terminated, truncated


def test_sparse_lander_pays_at_the_time_limit_too(landers):
    (dense, *_), (sparse, terminated, truncated) = (hover(env, seed=0) for env in landers)
    assert (len(sparse), terminated, truncated) == (1000, False, True)
    assert sparse[:-1] == [0.0] * 999
    assert sparse[-1] == pytest.approx(sum(dense)) and sparse[-1] != 0


def test_sparse_lander_is_registered_like_the_dense_one():
    dense, sparse = gym.spec("LunarLander-v3"), gym.spec("LunarLanderSparse-v3")
    assert (sparse.entry_point, sparse.kwargs) == (dense.entry_point, dense.kwargs)
    assert (sparse.max_episode_steps, sparse.reward_threshold) == (dense.max_episode_steps, dense.reward_threshold)
    env = gym.make("LunarLanderSparse-v3")
    assert isinstance(env, DelayedReward) and isinstance(env.env, TimeLimit)
    assert isinstance(gym.make(env.spec), DelayedReward)  # and can be made again from what it is


def test_monitors_see_the_whole_return():
    env = make_vec_env("LunarLanderSparse-v3", seed=0, env_kwargs={"render_mode": None})
    env.reset()
    paid, dones = 0.0, [False]
    while not dones[0]:
        _, (paid,), dones, infos = env.step([0])
    assert infos[0]["episode"]["r"] == pytest.approx(paid, abs=1e-3) and paid < -50
