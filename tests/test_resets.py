"""Episodes that an evaluation in the training environment has ended are dropped, not joined to later ones."""

import copy

import gymnasium as gym
import numpy as np
import pytest
from helpers import DEVICE, make_vec, tiny_model
from stable_baselines3.common.callbacks import EvalCallback, EveryNTimesteps
from stable_baselines3.common.evaluation import evaluate_policy as sb3_evaluate_policy
from stable_baselines3.common.monitor import Monitor
from stable_baselines3.common.vec_env import DummyVecEnv, VecNormalize

from sb3_udrl import UDRLPG
from sb3_udrl.common.resets import watch_resets
from sb3_udrl.evaluation import evaluate_policy


class Twenty(gym.Env):
    """Every episode has twenty steps, and pays one for each."""

    observation_space, action_space = gym.spaces.Box(0, 1, (1,)), gym.spaces.Discrete(2)

    def reset(self, seed=None, options=None):
        super().reset(seed=seed)
        self.now = 0
        return np.zeros(1, np.float32), {}

    def step(self, action):
        self.now += 1
        return np.array([self.now / 20], np.float32), 1.0, self.now == 20, False, {}


def generator_model(env):
    return UDRLPG("MlpPolicy", env, initial_policies=4, seed=0, device=DEVICE)


def model_of(make, env):
    return tiny_model(env) if make is tiny_model else make(env)


def lengths_of(model):
    return set(np.unique(model.replay_buffer.lengths).tolist())


@pytest.mark.parametrize("make", [tiny_model, generator_model])
@pytest.mark.parametrize("evaluate", [sb3_evaluate_policy, evaluate_policy])
@pytest.mark.parametrize("wrapped", [False, True])
def test_between_two_trainings(make, evaluate, wrapped):
    env = make_vec(Twenty, 2)
    env = VecNormalize(env, norm_reward=False) if wrapped else env
    model = model_of(make, env).learn(310)
    evaluate(model, env, 2)
    model.learn(1_000, reset_num_timesteps=False)
    assert lengths_of(model) == {20} and set(model.replay_buffer.returns) == {20.0}


@pytest.mark.parametrize("make", [tiny_model, generator_model])
def test_during_a_training(make):
    env = make_vec(Twenty, 2)
    model = model_of(make, env)

    class Evaluates(EveryNTimesteps):
        def _on_event(self):
            evaluate_policy(self.model, env, 2)
            return True

    with pytest.warns(UserWarning, match="was reset while a model trains in it"):
        model.learn(2_000, callback=Evaluates(210, None))
    assert lengths_of(model) == {20} and model.num_timesteps == 2_000


@pytest.mark.parametrize("make", [tiny_model, generator_model])
@pytest.mark.parametrize("wrap", [Monitor, lambda env: env])
@pytest.mark.parametrize("during", [False, True])
def test_in_the_single_environment_that_the_model_was_given(make, wrap, during):
    env = wrap(Twenty())
    model = model_of(make, env)
    if during:
        with pytest.warns(UserWarning, match="was reset while a model trains in it"):
            model.learn(2_000, callback=EvalCallback(env, n_eval_episodes=2, eval_freq=210, verbose=0))
    else:
        model.learn(310)
        sb3_evaluate_policy(model, env, 2, warn=False)
        model.set_env(model.get_env(), force_reset=False)
        model.learn(1_000, reset_num_timesteps=False)
    assert lengths_of(model) == {20}


class Late(Twenty):
    """Pays at the end alone, and another one sooner and more."""

    def __init__(self, length=20, pays=1.0):
        self.length, self.pays = length, pays

    def step(self, action):
        self.now += 1
        done = self.now == self.length
        return np.array([self.now / 20], np.float32), self.pays * done, done, False, {}


def test_rewards_are_those_of_the_step_although_a_callback_steps_the_normalizer():
    env = VecNormalize(DummyVecEnv([Late, lambda: Late(15, 100.0)]))
    model = tiny_model(env)
    with pytest.warns(UserWarning, match="was reset while a model trains in it"):
        model.learn(800, callback=EvalCallback(env, n_eval_episodes=3, eval_freq=20, verbose=0, warn=False))
    buffer = model.replay_buffer
    assert set(zip(buffer.lengths.tolist(), buffer.returns.tolist(), strict=True)) == {(20, 1.0), (15, 100.0)}


def test_a_training_that_goes_on_undisturbed_resets_nothing():
    env = make_vec(Twenty, 2)
    model = tiny_model(env).learn(50)
    before = model._resets_seen
    assert model.learn(50, reset_num_timesteps=False).num_timesteps == 100
    assert watch_resets(env).count == model._resets_seen == before + 2  # of the two episodes that end
    assert model.replay_buffer.n_transitions == 80  # two episodes of twenty each in both, and a half


def test_copies_of_an_environment_count_on_their_own():
    env = make_vec(Twenty, 2)
    resets = watch_resets(env)
    assert watch_resets(env) is resets and resets.count == 0
    other = copy.deepcopy(env)
    env.reset()
    assert (resets.count, watch_resets(other).count) == (3, 0)  # of both, and of each
    env.step(np.zeros(2, int))
    other.reset()
    assert (resets.count, watch_resets(other).count) == (3, 3)
    assert env.get_attr("now") == [1, 1] and other.get_attr("now") == [0, 0]
