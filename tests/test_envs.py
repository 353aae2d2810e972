"""Catch, by hand."""

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env

from sb3_udrl.envs import CatchEnv


@pytest.mark.parametrize("kwargs", [{}, {"size": 9}, {"size": 12, "render_mode": "rgb_array"}], ids=str)
def test_gymnasium_finds_nothing_to_complain_about(kwargs):
    check_env(CatchEnv(**kwargs), skip_render_check=True)


def test_it_is_registered():
    env = gym.make("sb3_udrl.envs:Catch-v0")
    assert isinstance(env.unwrapped, CatchEnv) and env.unwrapped.size == 10
    assert gym.make("Catch-v0", size=11).observation_space.shape == (44, 44, 1)


def cells(picture):
    """Row and column of ball (255) and paddle (128)."""
    small = picture[::4, ::4, 0]
    return [tuple(int(i) for i in np.argwhere(small == value)[0]) for value in (255, 128)]


def test_pictures():
    env = CatchEnv()
    picture, _ = env.reset(seed=0)
    assert picture.shape == (40, 40, 1) and picture.dtype == np.uint8
    ball, paddle = cells(picture)
    assert ball == (0, env.ball_column) and paddle == (9, 5)
    assert (picture == 255).sum() == (picture == 128).sum() == 16  # four by four pixels
    assert (picture == 0).sum() == 1600 - 32
    for t, action in enumerate([0, 0, 1, 2], start=1):
        picture, *_ = env.step(action)
        assert cells(picture) == [(t, ball[1]), (9, (4, 3, 3, 4)[t - 1])]


def play(env, ball_column, policy):
    env.reset(seed=0)
    env.ball_column = ball_column
    rewards, done = [], False
    while not done:
        _, reward, done, truncated, _ = env.step(policy(env))
        rewards.append(reward)
        assert not truncated
    return rewards


@pytest.mark.parametrize("ball_column", range(10))
def test_following_the_ball_catches_it(ball_column):
    rewards = play(CatchEnv(), ball_column, lambda env: int(np.sign(env.ball_column - env.paddle)) + 1)
    assert rewards == [0] * 8 + [1]


@pytest.mark.parametrize(("ball_column", "expected"), [(4, -1), (5, 1), (6, -1)])
def test_standing_still_catches_what_falls_from_above(ball_column, expected):
    assert play(CatchEnv(), ball_column, lambda env: 1)[-1] == expected


def test_the_paddle_stays_in_the_field():
    env = CatchEnv()
    assert play(env, 0, lambda env: 0)[-1] == 1 and env.paddle == 0
    assert play(env, 9, lambda env: 2)[-1] == 1 and env.paddle == 9


def test_balls_fall_from_everywhere_and_follow_the_seed():
    env = CatchEnv()
    env.reset(seed=0)
    first = [env.ball_column] + [env.reset() and env.ball_column for _ in range(99)]
    assert set(first) == set(range(10))
    env.reset(seed=0)
    assert first == [env.ball_column] + [env.reset() and env.ball_column for _ in range(99)]


def test_rendering():
    env = CatchEnv(render_mode="rgb_array")
    picture, _ = env.reset(seed=0)
    rendered = env.render()
    assert rendered.shape == (40, 40, 3) and rendered.dtype == np.uint8
    for channel in range(3):
        np.testing.assert_array_equal(rendered[..., channel], picture[..., 0])


def test_small_fields_are_refused():
    with pytest.raises(ValueError, match="size=8: must be at least 9"):
        CatchEnv(size=8)
