"""Take Cover: what is seen, what is paid, and when it ends."""

import sys

import gymnasium as gym
import numpy as np
import pytest
from gymnasium import spaces
from probe_envs import AnySpaces
from stable_baselines3.common.env_checker import check_env
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.vec_env import SubprocVecEnv, VecFrameStack

from sb3_udrl.envs import SmallScreen
from sb3_udrl.envs.take_cover import make_take_cover


def wide_screen():
    return AnySpaces(spaces.Dict({"screen": spaces.Box(0, 255, (4, 8, 1), np.uint8)}), spaces.Discrete(2))


def test_screens_are_means_over_areas():
    env = SmallScreen(wide_screen(), size=2)
    assert env.observation_space == spaces.Box(0, 255, (2, 2, 1), np.uint8)
    screen = np.zeros((4, 8, 1), np.uint8)
    screen[:2, :4] = 200
    screen[:2, 4:6] = 100
    screen[3, 7] = 80
    small = env.observation({"screen": screen, "gamevariables": np.ones(1)})
    assert small.dtype == np.uint8
    np.testing.assert_array_equal(small[..., 0], [[200, 50], [0, 10]])


def test_every_pixel_of_the_screen_of_take_cover_counts_once():
    """120 rows are no multiple of 32: areas then have three or four rows, but none is counted twice or left out."""
    env = SmallScreen(wide_screen())
    rows = np.zeros(32)
    for row in range(120):
        screen = np.zeros((120, 160, 1), np.uint8)
        screen[row] = 240
        rows += env.observation({"screen": screen})[:, 0, 0] > 0
    assert set(rows) == {3, 4} and rows.sum() == 120


def test_missing_packages_are_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "vizdoom.gymnasium_wrapper.gymnasium_env_defns", None)
    with pytest.raises(ImportError, match=r'pip install "sb3-udrl\[vizdoom\]"'):
        gym.make("sb3_udrl.envs:TakeCover-v0")
    monkeypatch.setitem(sys.modules, "PIL", None)
    with pytest.raises(ImportError, match=r'pip install "sb3-udrl\[vizdoom\]"'):
        SmallScreen(wide_screen())


# -------------------------------------------------------------------------------------------------------- with VizDoom


def test_the_folder_of_vizdoom_is_there_before_processes_race_for_it(monkeypatch, tmp_path):
    wrapper = pytest.importorskip("vizdoom.gymnasium_wrapper.gymnasium_env_defns")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(wrapper, "VizdoomScenarioEnv", lambda *args, **kwargs: (tmp_path / "_vizdoom").is_dir())
    assert make_take_cover() and make_take_cover()


@pytest.fixture
def env(monkeypatch, tmp_path):
    pytest.importorskip("vizdoom")
    monkeypatch.chdir(tmp_path)  # VizDoom leaves an empty folder behind
    env = gym.make("sb3_udrl.envs:TakeCover-v0")
    yield env
    env.close()


def play(env, seed, policy):
    """Observations and rewards of an episode, and how it ended."""
    observation, _ = env.reset(seed=seed)
    observations, rewards, terminated, truncated = [observation], [], False, False
    while not (terminated or truncated):
        observation, reward, terminated, truncated, _ = env.step(policy(len(rewards)))
        observations.append(observation)
        rewards.append(reward)
    return np.array(observations), rewards, terminated, truncated


def test_spaces(env):
    check_env(env, warn=False)
    assert env.action_space == spaces.Discrete(3)
    assert env.observation_space == spaces.Box(0, 255, (32, 32, 1), np.uint8)


def test_every_step_survived_pays_one(env):
    observations, rewards, terminated, truncated = play(env, 0, lambda t: 0)
    assert (terminated, truncated) == (True, False)
    assert set(rewards) == {1.0} and 50 < len(rewards) < 600
    assert observations.shape == (len(rewards) + 1, 32, 32, 1)
    assert (observations[:-1].std(axis=(1, 2, 3)) > 5).all()  # something is to be seen
    assert (observations[-1] == 0).all()  # VizDoom shows nothing of the end


def test_actions_are_stay_right_and_left(env):
    import vizdoom

    position = []
    for action in range(3):
        env.reset(seed=0)
        for _ in range(20):
            env.step(action)
        position.append(env.unwrapped.game.get_game_variable(vizdoom.GameVariable.POSITION_Y))
    stay, right, left = position
    assert stay - right > 40 and left - stay == pytest.approx(stay - right, rel=0.1)  # facing along x, left is up in y
    assert env.unwrapped.button_map[1].tolist() == [0, 1]  # MOVE_LEFT, MOVE_RIGHT in VizDoom's take_cover.cfg


def test_episodes_follow_the_seed(env):
    actions = np.random.default_rng(0).integers(3, size=2100)
    first, again, other = (play(env, seed, actions.__getitem__) for seed in (1, 1, 2))
    np.testing.assert_array_equal(first[0], again[0])
    assert first[0].shape != other[0].shape or (first[0] != other[0]).any()


def test_time_limit(env):
    assert gym.spec("TakeCover-v0").max_episode_steps == 2100
    short = gym.make("TakeCover-v0", max_episode_steps=10)
    _, rewards, terminated, truncated = play(short, 0, lambda t: 0)
    assert (len(rewards), terminated, truncated) == (10, False, True)
    short.close()


def test_pictures_are_stacked_in_processes_of_their_own(env, tmp_path):
    vec_env = make_vec_env(
        "sb3_udrl.envs:TakeCover-v0", 2, seed=0, vec_env_cls=SubprocVecEnv, env_kwargs={"render_mode": None}
    )
    vec_env = VecFrameStack(vec_env, 8)
    first = vec_env.reset()
    assert first.shape == (2, 32, 32, 8) and (first[..., :7] == 0).all()
    second, rewards, *_ = vec_env.step(np.array([1, 2]))
    np.testing.assert_array_equal(second[..., 6], first[..., 7])
    assert rewards.tolist() == [1, 1]
    vec_env.close()
    assert {path.name for path in tmp_path.iterdir()} <= {"_vizdoom"}  # no configuration is written
