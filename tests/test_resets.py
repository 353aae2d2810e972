"""Episodes that an evaluation in the training environment has ended are dropped, not joined to later ones."""

import copy

import gymnasium as gym
import numpy as np
import pytest
from helpers import DEVICE, make_vec, tiny_model
from stable_baselines3.common.callbacks import EveryNTimesteps
from stable_baselines3.common.evaluation import evaluate_policy as sb3_evaluate_policy
from stable_baselines3.common.vec_env import VecNormalize

from sb3_udrl import UDRLPG
from sb3_udrl.common.resets import count_resets
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


def test_a_training_that_goes_on_undisturbed_resets_nothing():
    env = make_vec(Twenty, 2)
    model = tiny_model(env).learn(50)
    before = count_resets(env)
    assert model.learn(50, reset_num_timesteps=False).num_timesteps == 100
    assert count_resets(env) == before
    assert model.replay_buffer.n_transitions == 80  # two episodes of twenty each in both, and a half


def test_copies_of_an_environment_count_on_their_own():
    env = make_vec(Twenty, 2)
    assert count_resets(env) == 0
    other = copy.deepcopy(env)
    env.reset()
    assert (count_resets(env), count_resets(other)) == (1, 0)
    env.step(np.zeros(2, int))
    other.reset()
    assert (count_resets(env), count_resets(other)) == (1, 1)
    assert env.get_attr("now") == [1, 1] and other.get_attr("now") == [0, 0]
