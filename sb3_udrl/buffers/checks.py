"""What may be stored: finite numbers that their type holds, and members of the spaces."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

from sb3_udrl.buffers.arrays import Array, action_dtype, observation_arrays

_MOST = np.finfo(np.float32).max  # behavior functions compute in single precision


@dataclass(frozen=True)
class RowKind:
    """
    What belongs into one array, with a row per step.

    :param name: what one row is
    :param shape: its shape
    :param dtype: type in which it is stored
    :param space: rows that are not numbers but choices, or have bounds, lie within this space
    """

    name: str
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    space: spaces.Space[Any] | None = None

    def checked(self, values: Any, n_steps: int) -> Array:
        """
        Rows in the type in which they are stored.

        :param values: the rows
        :param n_steps: how many there must be
        :return: ``values`` themselves if they have this type, ``(n_steps, *shape)``
        :raises ValueError: if a value is not finite, too large for the type or outside of the space, or the shape or the kind
            of type is another one
        """
        values = np.asarray(values)
        if values.shape != (n_steps, *self.shape):
            raise ValueError(
                f"the {self.name}s of {n_steps} steps have the shape {values.shape} where {(n_steps, *self.shape)} belongs: "
                "there is one row per step, in the shape of its space"
            )
        is_float, stored = self.dtype.kind == "f", values
        if values.dtype != self.dtype:
            if values.dtype.kind not in ("biuf" if is_float else "biu"):
                raise ValueError(
                    f"the {self.name}s are of type {values.dtype} where {self.space or self.dtype} belongs: convert them"
                )
            with np.errstate(over="ignore"):  # named below
                stored = values.astype(self.dtype)
            if not is_float:
                self._refuse(stored != values, values)
        if is_float:
            fits = np.isfinite(stored) if self.dtype != np.float64 else np.abs(stored) <= _MOST
            if not fits.all():
                self._refuse(~fits, values)
        if self.space is not None:
            low, high = self.bounds
            self._refuse((stored < low) | (stored > high), values)
        return stored

    @cached_property
    def bounds(self) -> tuple[Any, Any]:
        """The least and the greatest value of each component, in the stored type."""
        space = self.space
        if isinstance(space, spaces.Box):
            return space.low, space.high
        if isinstance(space, spaces.Discrete):
            return self.dtype.type(space.start), self.dtype.type(space.start + space.n - 1)
        if isinstance(space, spaces.MultiDiscrete):
            return space.start.astype(self.dtype), (space.start + space.nvec - 1).astype(self.dtype)
        return self.dtype.type(0), self.dtype.type(1)

    def _refuse(self, bad: NDArray[np.bool_], values: Array) -> None:
        """Raise a ``ValueError`` if a value is marked as bad, with the first one."""
        if not bad.any():
            return
        step = int(np.argwhere(bad)[0][0])
        value = values[bad][0]
        if not np.isfinite(value):
            raise ValueError(
                f"the {self.name} of step {step} is {value}: it must be finite, check the environment's step()"
                if not self.shape
                else f"the {self.name} of step {step} holds NaN or infinity: {self.name}s must be finite"
            )
        too_large = self.dtype.kind == "f" and abs(value) > np.finfo(self.dtype).max
        if self.space is not None and not too_large:
            raise ValueError(f"the {self.name} of step {step} is {values[step]}, which lies outside of {self.space}")
        narrowest = np.dtype(np.float32) if self.dtype == np.float64 else self.dtype
        raise ValueError(f"the {self.name} of step {step} holds {value}, which is too large for {narrowest}: scale it down")


def row_kinds(
    observation_space: spaces.Space[Any], action_space: spaces.Space[Any], recorded: Sequence[str]
) -> dict[str, RowKind]:
    """
    What is stored of every step, by name.

    :param observation_space: space of one environment
    :param action_space: space of one environment
    :param recorded: names of further amounts
    """
    is_dict = isinstance(observation_space, spaces.Dict)
    parts = observation_space.spaces if isinstance(observation_space, spaces.Dict) else {"": observation_space}
    kinds = {}
    for key, space in parts.items():
        shape, dtype = observation_arrays(space, lambda shape, dtype: (shape, np.dtype(dtype)))
        name, words = (f"observations/{key}", f"observation {key!r}") if is_dict else ("observations", "observation")
        kinds[name] = RowKind(words, shape, dtype, None if isinstance(space, spaces.Box) else space)
    kinds["actions"] = RowKind("action", action_space.shape or (), np.dtype(action_dtype(action_space)), action_space)
    kinds["rewards"] = RowKind("reward", (), np.dtype(np.float32))
    return kinds | {f"amounts/{name}": RowKind(name, (), np.dtype(np.float32)) for name in recorded}
