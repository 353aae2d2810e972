"""All reward at the end of the episode."""

from __future__ import annotations

from typing import Any, SupportsFloat

import gymnasium as gym
from gymnasium.utils import RecordConstructorArgs


class DelayedReward(gym.Wrapper[Any, Any, Any, Any], RecordConstructorArgs):
    """
    Pays nothing until the last step of the episode, and there the sum of all its rewards (the sparse variant of
    arXiv 1912.02877, section 3).

    A time limit belongs inside, so that this wrapper sees the last step of episodes that it cuts. An environment that
    is registered with this wrapper in ``additional_wrappers`` has it so.

    :param env: the environment whose rewards are held back
    """

    def __init__(self, env: gym.Env[Any, Any]) -> None:
        RecordConstructorArgs.__init__(self)
        gym.Wrapper.__init__(self, env)
        self._held_back = 0.0

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        """
        Begin an episode. What an unfinished one held back is lost.

        :param seed: seed of the environment
        :param options: options of the environment
        """
        self._held_back = 0.0
        return self.env.reset(seed=seed, options=options)

    def step(self, action: Any) -> tuple[Any, SupportsFloat, bool, bool, dict[str, Any]]:
        """
        One step of the environment, with a reward of zero unless it is the last.

        :param action: action of the environment
        """
        observation, reward, terminated, truncated, info = self.env.step(action)
        self._held_back += float(reward)
        paid = self._held_back if terminated or truncated else 0.0
        return observation, paid, terminated, truncated, info
