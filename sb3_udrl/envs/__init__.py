"""Environments of our own. Importing this module registers them: ``gymnasium.make("sb3_udrl.envs:Catch-v0")``."""

import gymnasium as gym

from sb3_udrl.envs.catch import CatchEnv
from sb3_udrl.envs.delayed_reward import DelayedReward
from sb3_udrl.envs.take_cover import SmallScreen

# Gymnasium puts additional wrappers around the time limit
gym.register("Catch-v0", entry_point="sb3_udrl.envs.catch:CatchEnv")
gym.register(
    "LunarLanderSparse-v3",
    entry_point="gymnasium.envs.box2d.lunar_lander:LunarLander",
    max_episode_steps=1000,
    reward_threshold=200,
    additional_wrappers=(DelayedReward.wrapper_spec(),),
)
gym.register(
    "TakeCover-v0",
    entry_point="sb3_udrl.envs.take_cover:make_take_cover",
    max_episode_steps=2100,
    reward_threshold=750,
    additional_wrappers=(SmallScreen.wrapper_spec(size=32),),
)

__all__ = ["CatchEnv", "DelayedReward", "SmallScreen"]
