"""A folder of small models for the tests of the demo, in an environment whose answers are known."""

import json

import gymnasium as gym
import numpy as np
from gymnasium import spaces

from sb3_udrl import UDRL

LENGTH = 12
TINY = {"learning_starts": 48, "train_freq": 48, "gradient_steps": 4, "batch_size": 32, "seed": 0, "device": "cpu"}


class Counter(gym.Env):
    """Twelve steps. It sees the step and a draw; action 1 pays 1, action 0 nothing. Pictures get brighter step by step."""

    metadata = {"render_modes": ["rgb_array"], "render_fps": 50}  # noqa: RUF012

    def __init__(self, render_mode=None):
        self.render_mode = render_mode
        self.observation_space = spaces.Box(-10, 100, (2,))
        self.action_space = spaces.Discrete(2)

    def _seen(self):
        return np.array([self.step_number, self.draw], dtype=np.float32)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.step_number, self.draw = 0, self.np_random.normal()
        return self._seen(), {}

    def step(self, action):
        self.step_number += 1
        return self._seen(), float(action), self.step_number >= LENGTH, False, {}

    def render(self):
        return np.full((40, 60, 3), 20 * self.step_number, dtype=np.uint8)


class NoPicture(Counter):
    """Draws nothing."""

    metadata = {"render_modes": []}  # noqa: RUF012

    def __init__(self):
        super().__init__()

    def render(self):
        raise NotImplementedError


class BrokenPicture(Counter):
    """Fails where there is no screen."""

    def render(self):
        raise OSError("no display")


for env_class in (Counter, NoPicture, BrokenPicture):
    if f"App{env_class.__name__}-v0" not in gym.registry:
        gym.register(f"App{env_class.__name__}-v0", env_class)


def trained(env_id="AppCounter-v0", policy="CommandPolicy", **kwargs):
    """A model that has seen a few episodes."""
    small = {"net_arch": [8]} if policy == "CommandPolicy" else {"estimator_kwargs": {"n_estimators": 2, "max_leaf_nodes": 8}}
    settings = {"commands": "any", "policy_kwargs": small, **kwargs}
    return UDRL(policy, env_id, **TINY, **settings).learn(240)


def write_models(folder):
    """A network, a forest, one that cannot be shown, a broken file, and one whose environment nobody noted; the folder."""
    trained().save(folder / "network")
    trained(policy="ForestPolicy").save(folder / "forest")
    trained(commands=["return", "horizon"]).save(folder / "partial")
    trained("AppNoPicture-v0").save(folder / "invisible")
    (folder / "broken.zip").write_bytes(b"this is no zip file")
    made = {"network": "Counter", "forest": "Counter", "partial": "Counter", "invisible": "NoPicture", "broken": "Counter"}
    for name, env_id in made.items():
        noted = {"env_id": f"App{env_id}-v0", "made_by": f"python make.py {name}"}
        (folder / f"{name}.json").write_text(json.dumps(noted))
    (folder / "nameless.zip").write_bytes((folder / "network.zip").read_bytes())
    return folder
