"""Whatever parts an observation has and whatever actions there are: which arm pays is learned."""

import gymnasium as gym
import numpy as np
import pytest
from gymnasium import spaces
from helpers import make_vec, probe_model
from stable_baselines3.common.vec_env import VecTransposeImage
from test_forest_policy import forest_model

from sb3_udrl.spaces.actions import BoxRange


def numbers(rng):
    """Of any size and offset; a cue is one standard deviation above or below the middle."""
    dtype = rng.choice([np.float32, np.float64])
    scale = 10 ** rng.uniform(-4, 5)
    middle, shape = scale * rng.uniform(-100, 100), tuple(rng.integers(1, 4, size=rng.integers(0, 3)))
    space = spaces.Box(-np.inf, np.inf, shape, dtype)

    def sample(cue, rng):
        return np.asarray(middle + scale * (0.3 * rng.standard_normal(shape) + cue), dtype)

    return space, sample


def whole_numbers(rng):
    dtype = rng.choice([np.uint8, np.int16, np.int64])
    space = spaces.Box(0, 200, (int(rng.integers(1, 4)),), dtype)
    return space, lambda cue, rng: (100 + 30 * cue + rng.integers(-5, 6, space.shape)).astype(dtype)


def choices(rng):
    """From at least two, the lower or the upper half."""
    n, start = int(rng.integers(2, 6)), int(rng.integers(-9, 10))
    space = spaces.Discrete(n, start=start)
    return space, lambda cue, rng: np.int64(start + (rng.integers(n // 2) if cue < 0 else n - 1 - rng.integers(n // 2)))


def several_choices(rng):
    nvec, start = rng.integers(1, 5, size=3), rng.integers(-9, 10, size=3)
    nvec[rng.integers(3)] = 4
    space = spaces.MultiDiscrete(nvec, start=start)
    varying = int(np.argmax(nvec))

    def sample(cue, rng):
        values = rng.integers(nvec)
        values[varying] = rng.integers(2) + 2 * (cue > 0)
        return start + values

    return space, sample


def bits(rng):
    space = spaces.MultiBinary(int(rng.integers(1, 4)))
    return space, lambda cue, rng: np.append(rng.integers(2, size=space.n - 1), cue > 0).astype(np.int8)


def pictures(rng):
    space = spaces.Box(0, 255, (int(rng.integers(5, 10)), int(rng.integers(5, 10)), int(rng.choice([1, 3]))), np.uint8)
    return space, lambda cue, rng: (128 + 60 * cue + rng.integers(-40, 41, space.shape)).astype(np.uint8)


KINDS = (numbers, whole_numbers, choices, several_choices, bits)


def random_actions(rng):
    """A space, and what tells the arm of an action: positive for one, negative for the other."""
    kind = int(rng.integers(7))
    if kind == 0:
        start, n = int(rng.integers(-5, 6)), int(rng.integers(2, 5))
        dtype = rng.choice([np.int64, np.int32])
        return spaces.Discrete(n, start=start, dtype=dtype), lambda action: int(action) - start - (n - 1) / 2
    if kind == 1:
        start = rng.integers(-5, 6, size=2)
        return spaces.MultiDiscrete([1, 3], start=start), lambda action: action[1] - start[1] - 1
    if kind == 2:
        return spaces.MultiBinary(2), lambda action: action[0] - 0.5
    scale = 10 ** rng.uniform(-3, 5)
    low = {3: -scale, 4: 2 * scale, 5: -3, 6: -np.finfo(np.float32).max}[kind]
    high = {3: scale, 4: 7 * scale, 5: 4, 6: np.finfo(np.float32).max}[kind]
    dtype = np.int64 if kind == 5 else rng.choice([np.float32, np.float64])
    space = spaces.Box(low, high, (2,), dtype)
    middle = BoxRange.of(space).center[0]
    return space, lambda action: float(action[0]) - middle


class ArmsInParts(gym.Env):
    """Up to three steps, each of which pays 1 for the arm that one part of the observation tells; the others are noise."""

    def __init__(self, seed, kinds):
        rng = np.random.default_rng(seed)
        self.parts = {f"{kind.__name__} {i}": kind(rng) for i, kind in enumerate(rng.permutation(kinds)[: rng.integers(1, 5)])}
        self.telling = str(rng.choice(list(self.parts)))
        self.observation_space = spaces.Dict({key: space for key, (space, _) in self.parts.items()})
        self.action_space, self.arm_of = random_actions(rng)
        self.n_steps = int(rng.integers(1, 4))

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.t = 0
        return self._observation(), {}

    def step(self, action):
        assert self.action_space.contains(action) and action.dtype == self.action_space.dtype, repr(action)
        paid = float(self.arm_of(action) * self.cue > 0)
        self.t += 1
        return self._observation(), paid, self.t == self.n_steps, False, {}

    def _observation(self):
        cues = {key: float(self.np_random.choice([-1, 1])) for key in self.parts}
        self.cue = cues[self.telling]
        observation = {key: sample(cues[key], self.np_random) for key, (_, sample) in self.parts.items()}
        assert self.observation_space.contains(observation)
        return observation


def share_right(model, env, n_episodes):
    """Of 100 steps, how many paid when all were asked to."""
    n_steps = env.get_attr("n_steps")[0]
    model.set_command(n_steps, n_steps)
    env.seed(1)
    observation, state, starts, paid = env.reset(), None, np.ones(1, bool), []
    while len(paid) < n_episodes:
        actions, state = model.predict(observation, state, starts, deterministic=True)
        observation, rewards, starts, _ = env.step(actions)
        paid.append(rewards[0])
    return np.mean(paid)


def check(model, env):
    assert share_right(model, env, 100) > 0.85, f"{env.envs[0].unwrapped.parts}, {env.action_space}"


@pytest.mark.parametrize("seed", range(8))
def test_networks(seed):
    env = make_vec(ArmsInParts, seed=seed, kinds=KINDS)
    check(probe_model(env), env)


def test_a_network_that_reads_pictures():
    env = VecTransposeImage(make_vec(ArmsInParts, seed=0, kinds=[pictures, choices]))
    check(probe_model(env, gradient_steps=30, batch_size=32), env)


@pytest.mark.parametrize("seed", range(4))
def test_forests(seed):
    env = make_vec(ArmsInParts, seed=seed, kinds=KINDS)
    check(forest_model(env, learning_starts=600, train_freq=300).learn(1_200), env)
