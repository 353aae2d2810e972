"""Whether somebody else has reset an environment: then the episodes that ran in it are gone."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import Any

from stable_baselines3.common.vec_env import VecEnv


class Resets:
    """How often an environment was reset, its single environments included where they live in this process."""

    def __init__(self) -> None:
        self.count = 0


class _Counted:
    """A ``reset`` that is counted."""

    def __init__(self, resets: Resets, reset: Callable[..., Any]) -> None:
        self.resets, self._reset = resets, reset

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        self.resets.count += 1
        return self._reset(*args, **kwargs)


def watch_resets(env: VecEnv) -> Resets:
    """
    Count the resets of an environment from now on; who asks again gets the same counter.

    :param env: any vectorized environment
    """
    # The innermost one, since VecNormalize writes all of its attributes to its file
    innermost = env.unwrapped
    counted = vars(innermost).get("reset")
    if isinstance(counted, _Counted):
        return counted.resets
    resets = Resets()
    # Others may play in the single environments through wrappers of their own
    for each in (innermost, *(single.unwrapped for single in getattr(innermost, "envs", ()))):
        with suppress(AttributeError):  # of classes with slots
            each.reset = _Counted(resets, each.reset)
    return resets
