"""What is learned does not depend on the units of observations and rewards, nor on where their zero lies."""

import numpy as np
import pytest
from gymnasium import spaces
from helpers import probe_model
from probe_envs import TellingArms


class Measured(TellingArms):
    """
    As ``TellingArms``, in other units, and with a sensor that only makes noise. Once, both sensors may go astray.

    :param far: what the sensors show in the middle of their range
    :param unit: one step of the sensors
    :param dtype: of the observations
    :param pay: for the right arm
    :param constant: for both arms
    :param astray: a factor of the observation of the 100th episode
    """

    def __init__(self, far=0.0, unit=1.0, dtype=np.float32, pay=1.0, constant=0.0, astray=1.0):
        self.far, self.unit, self.pay, self.constant, self.astray = far, unit, pay, constant, astray
        self.observation_space = spaces.Box(-np.inf, np.inf, (2,), dtype)
        self.n_episodes = 0

    def reset(self, *, seed=None, options=None):
        self.n_episodes += 1
        return super().reset(seed=seed)

    def shows(self, paying, noise):
        return np.array([self.far + self.unit * (2 * paying - 1), self.far + self.unit * noise])

    def _observation(self):
        shown = self.shows(getattr(self, "paying", 1), self.np_random.standard_normal())
        return (shown * (self.astray if self.n_episodes == 100 else 1)).astype(self.observation_space.dtype)

    def _pays(self, action):
        return self.constant + self.pay * (action == self.paying)


SCALES = {
    "1e5 +- 50": {"far": 1e5, "unit": 50.0},
    "times of day": {"far": 1.7e9, "unit": 50.0, "dtype": np.float64},
    "whole numbers": {"far": 1.7e9, "unit": 50, "dtype": np.int64},
    "small": {"unit": 1e-7},
    "small rewards": {"pay": 1e-9},
    "large rewards": {"pay": 1e9},
    "constant rewards": {"constant": 1000.0},
    "an outlier": {"astray": 1e6},
    "a large outlier": {"astray": 1e21},
}


def trained(env, **kwargs):
    return probe_model(env, 1_000, learning_starts=400, gradient_steps=40, **kwargs)


def decisions(model, env, command):
    """For each arm that pays, and some noise."""
    shown = np.array([env.shows(paying, noise) for paying in (0, 1) for noise in (-1, 1)])
    return model.predict(shown.astype(env.observation_space.dtype), command=command, deterministic=True)[0].tolist()


@pytest.mark.parametrize("scale", SCALES)
def test_any_unit_is_learned_from(scale):
    env = Measured(**SCALES[scale])
    model = trained(env)
    assert decisions(model, env, (env.constant + env.pay, 1)) == [0, 0, 1, 1]
    assert decisions(model, env, (env.constant, 1)) == [1, 1, 0, 0]


@pytest.mark.parametrize("scale", ["1e5 +- 50", "small", "small rewards", "constant rewards", "a large outlier"])
def test_advantages_are_found_in_any_unit(scale):
    env = Measured(**SCALES[scale])
    model = trained(env, commands="relative", command_sampler="adaptive", command_sampler_kwargs={})
    assert decisions(model, env, {"advantage": 1.0}) == [0, 0, 1, 1]
