"""Environments of our own. Importing this module registers them: ``gymnasium.make("sb3_udrl.envs:Catch-v0")``."""

import gymnasium as gym

from sb3_udrl.envs.catch import CatchEnv

gym.register("Catch-v0", entry_point="sb3_udrl.envs.catch:CatchEnv")

__all__ = ["CatchEnv"]
