"""Evaluation ends whatever the wrappers, and counts what SB3 counts."""

import functools
import warnings

import gymnasium as gym
import numpy as np
import pytest
from helpers import tiny_model
from probe_envs import Endless, Scripted
from stable_baselines3 import PPO
from stable_baselines3.common.callbacks import EvalCallback
from stable_baselines3.common.evaluation import evaluate_policy as sb3_evaluate_policy
from stable_baselines3.common.monitor import Monitor
from stable_baselines3.common.vec_env import DummyVecEnv, SubprocVecEnv, VecEnvWrapper, VecMonitor, VecNormalize

from sb3_udrl.commands import SummedPart
from sb3_udrl.evaluation import evaluate_policy, run_commands

fork = functools.partial(SubprocVecEnv, start_method="fork")
# `Endless` pays t at step t
THREE_STEPS = 6.0


class Lives(gym.Wrapper):
    """As ``EpisodicLifeEnv``: every third step is a lost life, after which the game goes on."""

    def __init__(self, env):
        super().__init__(env)
        self.t, self.game_over = 0, True

    def step(self, action):
        self.last, reward, self.game_over, _, info = self.env.step(action)
        self.t += 1
        return self.last, reward, self.game_over or self.t % 3 == 0, False, info

    def reset(self, **kwargs):
        if self.game_over:
            self.t, (self.last, _) = 0, self.env.reset(**kwargs)
        return self.last, {}


class EndsAfter(VecEnvWrapper):
    """Says that episodes end, but cannot reset single environments."""

    def __init__(self, venv, n_steps):
        super().__init__(venv)
        self.n_steps, self.t = n_steps, 0

    def reset(self):
        return self.venv.reset()

    def step_wait(self):
        observations, rewards, dones, infos = self.venv.step_wait()
        self.t += 1
        return observations, rewards, dones | (self.t % self.n_steps == 0), infos


def limited(env):
    return gym.wrappers.TimeLimit(env, 3)


def vec(*makes, kind=DummyVecEnv):
    return kind(list(makes))


ABOVE = {
    "time limit": lambda: vec(*[lambda: limited(Monitor(Endless()))] * 2),
    "time limit, subproc": lambda: vec(*[lambda: limited(Monitor(Endless()))] * 2, kind=fork),
    "time limit, normalized": lambda: VecNormalize(vec(*[lambda: limited(Monitor(Endless()))] * 2), norm_reward=True),
    "time limit, own rewards": lambda: vec(*[lambda: Shaping(limited(Monitor(Endless())))] * 2),
}
REPORTED = {
    "monitor above": lambda: vec(*[lambda: Monitor(limited(Endless()))] * 2),
    "vec monitor": lambda: VecMonitor(vec(*[lambda: limited(Endless())] * 2)),
    "vec monitor above monitor": lambda: VecMonitor(vec(*[lambda: limited(Monitor(Endless()))] * 2)),
}


class Shaping(gym.Wrapper):
    rewards, needs_reset, total_steps = None, False, "none"


@pytest.fixture(scope="module")
def model():
    return tiny_model(Endless())


@pytest.mark.filterwarnings("ignore:The environment is already wrapped")
@pytest.mark.parametrize("name", [*ABOVE, *REPORTED])
def test_episodes_end_where_the_agent_sees_them_end(model, name):
    env = {**ABOVE, **REPORTED}[name]()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        returns, lengths = evaluate_policy(model, env, 5, return_episode_rewards=True)
        achieved = run_commands(model, env, model.command_space.make((5, 5), 4))
    env.close()
    # Scripted pays ten more in every further episode
    assert lengths == [3] * 5 and np.allclose(np.array(returns) % 10, THREE_STEPS)
    np.testing.assert_array_equal(achieved["horizon"], 3)
    assert sum("end above the ``Monitor``" in str(warning.message) for warning in caught) == (name in ABOVE)


def test_warnings_can_be_turned_off(model):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        evaluate_policy(model, ABOVE["time limit"](), 3, warn=False)
        evaluate_policy(model, limited(Endless()), 3, warn=False)
    with pytest.warns(UserWarning, match="not wrapped with a ``Monitor``"):
        evaluate_policy(model, limited(Endless()), 3)


def test_without_monitor_returns_are_raw(model):
    env = VecNormalize(vec(lambda: Scripted(lengths=(2,), rewards=(100.0, 7.0))), norm_reward=True)
    assert evaluate_policy(model, env, 3, warn=False) == (107, 0)


@pytest.mark.parametrize("kind", [DummyVecEnv, fork])
def test_lost_lives_are_no_episodes_as_in_sb3(model, kind):
    env = vec(*[lambda length=length: Lives(Monitor(Scripted(lengths=(length,)))) for length in (8, 9)], kind=kind)
    expected = sb3_evaluate_policy(model, env, 3, return_episode_rewards=True)
    assert expected[1] == [8, 9, 9]
    returns, lengths = evaluate_policy(model, env, 3, return_episode_rewards=True)
    env.close()
    assert lengths == expected[1] and [r % 10 for r in returns] == [r % 10 for r in expected[0]]


@pytest.mark.parametrize(
    "make",
    [
        lambda: vec(lambda: Lives(Monitor(Endless()))),
        lambda: EndsAfter(vec(lambda: Monitor(Endless())), 3),
        lambda: EndsAfter(VecMonitor(vec(lambda: Endless())), 3),
    ],
)
def test_an_end_that_the_monitor_will_never_see_counts_in_the_end(model, make):
    with pytest.warns(UserWarning, match="end above the ``Monitor``"):
        _, lengths = evaluate_policy(model, make(), 4, return_episode_rewards=True)
    assert lengths == [3] * 4


def test_vectorized_environments_that_do_not_know_their_wrappers(model):
    class Foreign(DummyVecEnv):
        def env_is_wrapped(self, wrapper_class, indices=None):
            raise NotImplementedError

    with pytest.warns(UserWarning, match="not wrapped with a ``Monitor``"):
        assert evaluate_policy(model, Foreign([lambda: Scripted(lengths=(2,), rewards=(1.0,))]), 3) == (2, 0)


def test_models_of_other_algorithms_are_evaluated_as_by_sb3():
    env = vec(*[lambda: Monitor(gym.make("CartPole-v1"))] * 3)
    model = PPO("MlpPolicy", env, n_steps=8, batch_size=8, seed=0, device="cpu")
    outcomes = []
    for evaluate in (evaluate_policy, sb3_evaluate_policy):
        env.seed(3)
        outcomes.append(evaluate(model, env, 7, return_episode_rewards=True))
    assert outcomes[0] == outcomes[1]


def test_at_least_one_episode(model):
    with pytest.raises(ValueError, match="n_eval_episodes=0: must be at least 1"):
        evaluate_policy(model, Endless(), 0)


class Paid(SummedPart):
    """What ``info`` says was paid; ``predict`` needs the infos."""

    name = "paid"

    def amounts(self, step):
        return np.array([info["paid"] for info in step.infos], dtype=np.float64)


class Pays(gym.Wrapper):
    def step(self, action):
        *said, info = self.env.step(action)
        return *said, {**info, "paid": 2.0}


@pytest.mark.parametrize("n_envs", [1, 3])
def test_infos_reach_predict_inside_of_eval_callback(n_envs):
    """The desired sum of a part that reads infos falls by what these say."""
    make = functools.partial(vec, *[lambda: Pays(Monitor(Scripted(lengths=(4,))))] * n_envs)
    model = tiny_model(make(), commands=[Paid()], command_sampler="fixed", command_sampler_kwargs={"paid": 20.0})
    states, predict = [], model.policy.predict

    def spy(*args, **kwargs):
        actions, state = predict(*args, **kwargs)
        states.append(state[0][:, 0].tolist())
        return actions, state

    model.policy.predict = spy
    model.set_command({"paid": 20})
    model.learn(64, callback=EvalCallback(make(), n_eval_episodes=n_envs, eval_freq=60 // n_envs, verbose=0))
    assert states[:4] == [[asked] * n_envs for asked in (20, 18, 16, 14)]
    states.clear()
    evaluate_policy(model, make(), n_envs)
    assert states == [[asked] * n_envs for asked in (20, 18, 16, 14)]
