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


class Actions:
    """
    What outputs of a network mean: the most likely choice is the one with the highest output; numbers of a Box are outputs
    in half ranges from its center, clipped to its bounds.

    :param space: the action space of one environment
    """

    def __init__(self, space: spaces.Space[Any]) -> None:
        self.space = space
        if isinstance(space, spaces.Box):
            self.range = BoxRange.of(space)
            self.n_outputs = int(np.prod(space.shape))
        elif isinstance(space, spaces.Discrete):
            self.n_outputs = int(space.n)
        elif isinstance(space, spaces.MultiDiscrete):
            self.n_outputs = int(np.sum(space.nvec))
        else:
            self.n_outputs = int(np.prod(space.shape or ()))

    def of(self, outputs: NDArray[np.floating[Any]]) -> NDArray[Any]:
        """
        The actions that outputs stand for.

        :param outputs: ``(n, n_outputs)``
        :return: ``(n, *action_shape)``, in the space
        :raises ValueError: if there is NaN among them
        """
        space = self.space
        if isinstance(space, spaces.Box):
            box = self.range
            return into_space(box.center + box.half * outputs.reshape(-1, *space.shape), space)
        if isinstance(space, spaces.Discrete):
            return (outputs.argmax(1) + space.start).astype(space.dtype)
        if isinstance(space, spaces.MultiDiscrete):
            edges = np.cumsum(space.nvec.reshape(-1))[:-1]
            chosen = np.stack([part.argmax(1) for part in np.split(outputs, edges, axis=1)], axis=1)
            return (chosen.reshape(-1, *space.shape) + space.start).astype(space.dtype)
        return (outputs > 0).reshape(-1, *(space.shape or ())).astype(space.dtype)
