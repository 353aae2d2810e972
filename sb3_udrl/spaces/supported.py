"""What observations and actions may be, and what to do about others."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
from gymnasium import spaces

from sb3_udrl.spaces.actions import BoxRange


def check_observation_space(space: spaces.Space[Any]) -> None:
    """
    Refuse spaces that behavior functions cannot read.

    :param space: of one environment
    :raises NotImplementedError: naming the part that is of another kind, and what helps
    """
    parts = space.spaces.items() if isinstance(space, spaces.Dict) else [("", space)]
    for key, part in parts:
        table = isinstance(part, spaces.MultiDiscrete) and len(part.shape) != 1
        if table or not isinstance(part, spaces.Box | spaces.Discrete | spaces.MultiDiscrete | spaces.MultiBinary):
            what = f"part {key!r} of the observation space, {part}," if key else f"observation space {part}"
            wrapper = "FlattenObservation makes one vector of it" if space.is_np_flattenable else "TransformObservation helps"
            raise NotImplementedError(
                f"{what} is not supported: use Box, Discrete, MultiBinary, MultiDiscrete with one axis, or a Dict of these. "
                f"gymnasium.wrappers.{wrapper}"
            )


def check_action_space(space: spaces.Space[Any]) -> None:
    """
    Refuse spaces that behavior functions cannot choose from.

    :param space: of one environment
    :raises NotImplementedError: if it is of another kind
    """
    if not isinstance(space, spaces.Box | spaces.Discrete | spaces.MultiDiscrete | spaces.MultiBinary):
        raise NotImplementedError(
            f"action space {space} is not supported: use Box, Discrete, MultiDiscrete or MultiBinary. "
            "gymnasium.wrappers.TransformAction can make of these what the environment takes"
        )


def check_bounds(space: spaces.Space[Any]) -> None:
    """
    Refuse actions without bounds, and warn about bounds that say nothing.

    :param space: the action space of one environment
    :raises ValueError: if a bound is infinite
    """
    if not isinstance(space, spaces.Box):
        return
    if not (np.isfinite(space.low).all() and np.isfinite(space.high).all()):
        raise ValueError(
            f"action space {space}: every algorithm of Stable-Baselines3 needs a finite lower and upper bound. Give bounds of "
            "the size of useful actions: gymnasium.wrappers.TransformAction(env, lambda action: action, Box(...))"
        )
    if not BoxRange.of(space).bounded.all():
        warnings.warn(
            f"action space {space}: bounds so wide do not say which actions are useful, so those of a size around 1 are tried "
            "first. Give bounds of the size of useful actions: "
            "gymnasium.wrappers.TransformAction(env, lambda action: action, Box(...))",
            stacklevel=3,
        )
