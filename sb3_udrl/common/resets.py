"""Whether somebody else has reset an environment: then the episodes that ran in it are gone."""

from __future__ import annotations

from typing import Any

from stable_baselines3.common.vec_env import VecEnv


class ResetCounter:
    """
    The ``reset`` of an environment, and how often it was called.

    :param env: a vectorized environment without wrappers
    """

    def __init__(self, env: VecEnv) -> None:
        self.count = 0
        self._reset = env.reset

    def __call__(self) -> Any:
        self.count += 1
        return self._reset()


def count_resets(env: VecEnv) -> int:
    """
    How often an environment was reset since this was first asked.

    :param env: any vectorized environment
    """
    # The innermost one, since VecNormalize writes all of its attributes to its file
    innermost = env.unwrapped
    counter = vars(innermost).get("reset")
    if not isinstance(counter, ResetCounter):
        counter = ResetCounter(innermost)
        innermost.reset = counter  # type: ignore[method-assign]
    return counter.count
