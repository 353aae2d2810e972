"""Which actions a space holds, and which of them are tried at first."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

LARGEST_RANGE = 1e8  # half of the widest range that is tried as a whole; wider ones say nothing about what is useful


@dataclass(frozen=True)
class BoxRange:
    """
    The range of each component of a Box that is tried at first, in double precision: from bound to bound, or, where that is
    endless or as good as, one to both sides of the number nearest to zero that has so much room.

    Ranges of whole numbers are half a number wider on both sides, so that all have an equal share once draws are rounded.

    :param center: ``space.shape``
    :param half: half of the width, 0 where there is a single value, ``space.shape``
    :param bounded: whether it goes from bound to bound, ``space.shape``
    """

    center: NDArray[np.float64]
    half: NDArray[np.float64]
    bounded: NDArray[np.bool_]

    @classmethod
    def of(cls, space: spaces.Box) -> BoxRange:
        """
        :param space: the Box
        """
        low, high = space.low.astype(np.float64), space.high.astype(np.float64)
        half = high / 2 - low / 2  # the difference itself can overflow
        bounded = half <= LARGEST_RANGE
        nearest = np.clip(0.0, np.minimum(low + 1, high), np.maximum(high - 1, low))
        with np.errstate(invalid="ignore"):  # of two infinities
            center = np.where(bounded, high / 2 + low / 2, nearest)
        margin = 0.0 if space.dtype.kind == "f" else 0.5
        return cls(center, np.where(bounded, half + margin, 1.0), bounded)

    def uniform(self, n: int, rng: np.random.Generator) -> NDArray[np.float64]:
        """
        Uniform draws; from a standard normal distribution around the center where there are no bounds.

        :param n: number of draws
        :param rng: source of randomness
        :return: ``(n, *space.shape)``
        """
        size = (n, *self.center.shape)
        draws = rng.uniform(self.center - self.half, self.center + self.half, size)
        if self.bounded.all():
            return draws
        return np.where(self.bounded, draws, self.center + rng.standard_normal(size))


def into_space(actions: NDArray[Any], space: spaces.Space[Any]) -> NDArray[Any]:
    """
    The nearest actions that a space holds, in its type: clipped to the bounds of a Box, and rounded where that holds whole
    numbers.

    :param actions: ``(n, *space.shape)``
    :param space: space of one environment
    :raises ValueError: if there is NaN among them, or they have another shape
    """
    if actions.shape[1:] != (space.shape or ()):
        raise ValueError(f"actions of shape {actions.shape}: {space} needs one row per environment, (n, *{space.shape})")
    if not isinstance(space, spaces.Box):
        return actions.astype(space.dtype, copy=False)
    if np.isnan(actions).any():
        raise ValueError("an action is NaN: look for NaN or infinity in the observations, and in the weights of the policy")
    if space.dtype.kind == "f":
        return np.clip(actions, space.low, space.high).astype(space.dtype, copy=False)
    whole = np.clip(np.rint(actions.astype(np.float64)), space.low, space.high)
    # as doubles, the largest numbers of 64 bits are rounded to what the type cannot hold
    beyond = 2.0 ** (8 * space.dtype.itemsize - (space.dtype.kind == "i"))
    return np.clip(whole.clip(max=np.nextafter(beyond, 0)).astype(space.dtype), space.low, space.high)
