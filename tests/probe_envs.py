"""Small worlds with known answers, each of which isolates one ability."""

import gymnasium as gym
import numpy as np
from gymnasium import spaces


class TwoArms(gym.Env):
    """One step, nothing to see: arm 1 pays 1, arm 0 nothing."""

    observation_space = spaces.Box(-1, 1, (1,))
    action_space = spaces.Discrete(2)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        return self._observation(), {}

    def step(self, action):
        return self._observation(), float(self._pays(action)), True, False, {}

    def _observation(self):
        return np.ones(1, dtype=np.float32)

    def _pays(self, action):
        return action == 1


class TellingArms(TwoArms):
    """As ``TwoArms``, but the observation says which arm pays: 1 for arm 1, -1 for arm 0."""

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.paying = int(self.np_random.integers(2))
        return self._observation(), {}

    def _observation(self):
        return np.full(1, 2 * getattr(self, "paying", 1) - 1, dtype=np.float32)

    def _pays(self, action):
        return action == self.paying


class Corridor(gym.Env):
    """Two doors, both pay 1: the left one (action 0) is right here, the right one (action 1) ``length`` steps away."""

    action_space = spaces.Discrete(2)

    def __init__(self, length=4):
        self.length = length
        self.observation_space = spaces.Box(0, 1, (length + 1,))

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.position = 0
        return self._observation(), {}

    def step(self, action):
        self.position += int(action)
        done = action == 0 or self.position == self.length
        return self._observation(), float(done), bool(done), False, {}

    def _observation(self):
        return np.eye(self.length + 1, dtype=np.float32)[self.position]


class TwoPaths(gym.Env):
    """The first action chooses: 0 is a path of 2 steps to a reward of 1, action 1 one of 6 steps to a reward of 5."""

    observation_space = spaces.Box(0, 6, (2,))
    action_space = spaces.Discrete(2)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.path, self.n_steps = -1, 0
        return self._observation(), {}

    def step(self, action):
        if self.path < 0:
            self.path = int(action)
        self.n_steps += 1
        done = self.n_steps == (6 if self.path else 2)
        return self._observation(), (5.0 if self.path else 1.0) * done, done, False, {}

    def _observation(self):
        return np.array([self.path + 1, self.n_steps], dtype=np.float32)


class NothingToSee(gym.Env):
    """The observation never changes, so that only the remaining command says what to do."""

    observation_space = spaces.Box(-1, 1, (1,))

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.n_steps = 0
        return np.ones(1, dtype=np.float32), {}


class CostlySteps(NothingToSee):
    """Every step costs 1, and action 1 ends the episode."""

    action_space = spaces.Discrete(2)

    def __init__(self, limit=8):
        self.limit = limit

    def step(self, action):
        self.n_steps += 1
        truncated = self.n_steps == self.limit and action == 0
        return np.ones(1, dtype=np.float32), -1.0, bool(action == 1), truncated, {}


class Scripted(gym.Env):
    """
    Episodes whose lengths and rewards are given in advance, whatever is done.

    The observation is (number of the episode, step). Without ``rewards``, step ``t`` of episode ``e`` pays
    ``10 e + t + 1``.
    """

    observation_space = spaces.Box(-1e6, 1e6, (2,))

    def __init__(self, lengths=(5,), rewards=None, truncate=False, action_space=None):
        self.lengths, self.rewards, self.truncate = lengths, rewards, truncate
        self.action_space = action_space or spaces.Discrete(2)
        self.n_episodes, self.t = -1, 0

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.n_episodes += 1
        self.t = 0
        return self._observation(), {}

    def step(self, action):
        assert self.action_space.contains(action), f"{action!r} is not an action of {self.action_space}"
        default = 10 * self.n_episodes + self.t + 1
        reward = default if self.rewards is None else self.rewards[self.t % len(self.rewards)]
        self.t += 1
        done = self.t == self.lengths[self.n_episodes % len(self.lengths)]
        return self._observation(), float(reward), done and not self.truncate, done and self.truncate, {}

    def _observation(self):
        return np.array([self.n_episodes, self.t], dtype=np.float32)


class Endless(Scripted):
    """Never ends."""

    def __init__(self):
        super().__init__(lengths=(-1,))


class Perseverance(gym.Env):
    """Pays at the end of 25 steps if all of them took action 1, which uniform draws do once in 30 million episodes."""

    observation_space = spaces.Box(0, 25, (1,))
    action_space = spaces.Discrete(2)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.t, self.steady = 0, True
        return np.array([self.t], dtype=np.float32), {}

    def step(self, action):
        self.t += 1
        self.steady &= bool(action == 1)
        done = self.t == 25
        return np.array([self.t], dtype=np.float32), float(done and self.steady), done, False, {}


class FixedStart(gym.Env):
    """
    Every episode starts alike and takes ``length`` steps; actions move a point, which pays by where it is.

    Deterministic, so that a run that goes on from a saved one can be compared with one that never stopped.
    """

    observation_space = spaces.Box(-20, 20, (2,))
    action_space = spaces.Discrete(3)

    def __init__(self, length=8):
        self.length = length

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.t, self.position = 0, 0
        return self._observation(), {}

    def step(self, action):
        self.t += 1
        self.position += int(action) - 1
        return self._observation(), float(self.position), False, self.t == self.length, {}

    def _observation(self):
        return np.array([self.position, self.t], dtype=np.float32)


class AnySpaces(gym.Env):
    """Random observations of any space; complains about actions outside of its own."""

    def __init__(self, observation_space, action_space, length=5):
        self.observation_space, self.action_space, self.length = observation_space, action_space, length

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        if seed is not None:
            self.observation_space.seed(seed)
        self.t = 0
        return self.observation_space.sample(), {}

    def step(self, action):
        assert self.action_space.contains(action), f"{action!r} is not an action of {self.action_space}"
        self.t += 1
        return self.observation_space.sample(), float(np.sum(action)), False, self.t == self.length, {}


class LuckyStart(gym.Env):
    """One step: the start pays between -100 and 100 whatever is done, and says so; action 1 pays 1 more."""

    observation_space = spaces.Box(-1, 1, (1,))
    action_space = spaces.Discrete(2)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.start = self.np_random.uniform(-1, 1)
        return self._observation(), {}

    def step(self, action):
        return self._observation(), 100 * self.start + float(action), True, False, {}

    def _observation(self):
        return np.full(1, self.start, dtype=np.float32)


class Clock(gym.Env):
    """
    Action 0 takes a tick and pays 1, action 1 takes three and pays 2. After 12 ticks, episodes are cut off, or end.

    Where they end, time is what is scarce, and action 0 the better one. Where they are only cut off, action 1 is.
    """

    observation_space = spaces.Box(0, 1, (1,))
    action_space = spaces.Discrete(2)

    def __init__(self, ends=False):
        self.ends = ends

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.n_ticks = 0
        return self._observation(), {}

    def step(self, action):
        self.n_ticks += 3 if action else 1
        over = self.n_ticks >= 12
        return self._observation(), 1.0 + action, over and self.ends, over and not self.ends, {}

    def _observation(self):
        return np.full(1, min(self.n_ticks, 12) / 12, dtype=np.float32)


class Shift(NothingToSee):
    """
    Action 1 works, which pays 1, action 0 idles, and action 2 goes home, at the latest after ``limit`` steps. Return and
    horizon can be asked for apart.
    """

    action_space = spaces.Discrete(3)

    def __init__(self, limit=6):
        self.limit = limit

    def step(self, action):
        self.n_steps += 1
        home = bool(action == 2)
        return np.ones(1, dtype=np.float32), float(action == 1), home, self.n_steps == self.limit and not home, {}
