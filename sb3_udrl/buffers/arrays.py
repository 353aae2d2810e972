"""Flat arrays that grow, and functions that treat plain and dictionary observations alike."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any, TypeAlias, TypeVar

import numpy as np
import torch as th
from gymnasium import spaces
from numpy.typing import DTypeLike, NDArray

Array: TypeAlias = NDArray[Any]
Observation: TypeAlias = Array | dict[str, Array]

SelfArray = TypeVar("SelfArray", bound="GrowableArray")
SelfMirrored = TypeVar("SelfMirrored", bound="MirroredArray")

_FIRST_BYTES = 2**25  # so much is untouched memory of its own on Linux; smaller arrays would leave gaps when they move


class GrowableArray:
    """
    Rows in one contiguous array, with room behind them, which costs no memory until it is used.

    It never changes. What is appended is written into the room, which belongs to nobody yet, and a new object says that it
    is there: until that object is put in the place of this one, nothing has happened.

    :param shape: shape of one row
    :param dtype: type of the elements
    :param capacity: expected number of rows, beyond which no room is made in advance
    """

    def __init__(self, shape: tuple[int, ...], dtype: DTypeLike, capacity: int = sys.maxsize) -> None:
        self._data: Array = np.empty((0, *shape), dtype)
        self._size, self.capacity = 0, capacity

    def __len__(self) -> int:
        return self._size

    @property
    def rows(self) -> Array:
        """The used rows, a view of shape ``(len(self), *shape)``."""
        return self._data[: self._size]

    def take(self, rows: NDArray[np.int64]) -> Any:
        """
        A copy of some rows.

        :param rows: their indices, ``(n,)``
        :return: ``(n, *shape)``
        """
        return self.rows.take(rows, axis=0)

    def holding(self: SelfArray, rows: Array, n: int | None = None) -> SelfArray:
        """
        One of this kind with other rows.

        :param rows: shape ``(n, *shape)``, more if there is room behind them; they belong to it from now on
        :param n: how many are used; all if None
        """
        return self._next(rows, len(rows) if n is None else n, unchanged=0)

    def shortened(self: SelfArray, n: int) -> SelfArray:
        """
        With the first rows alone.

        :param n: how many
        """
        return self._next(self._data, n, unchanged=n)

    def extended(self: SelfArray, rows: Array) -> SelfArray:
        """
        With more rows at the end.

        :param rows: shape ``(n, *shape)``
        """
        return self.overwritten(self._size, rows)

    def overwritten(self: SelfArray, first: int, rows: Array) -> SelfArray:
        """
        With other rows in the place of some that nobody needs, or at the end.

        :param first: index of the first of them
        :param rows: shape ``(n, *shape)``
        """
        data, end = self._data, first + len(rows)
        if end > len(data):
            at_once = _FIRST_BYTES // max(1, data.itemsize * int(np.prod(data.shape[1:])))
            data = np.empty((max(end, min(max(2 * len(data), at_once), self.capacity)), *data.shape[1:]), data.dtype)
            data[: self._size] = self.rows
        data[first:end] = rows
        return self._next(data, max(self._size, end), unchanged=first)

    def _next(self: SelfArray, data: Array, size: int, unchanged: int) -> SelfArray:
        """One with other data, whose first rows are those of this one."""
        array = object.__new__(type(self))
        array._data, array._size, array.capacity = data, size, self.capacity
        return array

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_data": self.rows.copy()}  # the unused tail is not worth saving


class MirroredArray(GrowableArray):
    """
    Rows that are taken from a copy on a device, which is brought up to date before.

    :param shape: shape of one row
    :param dtype: type of the elements
    :param capacity: expected number of rows
    :param device: where the copy lies
    """

    def __init__(self, shape: tuple[int, ...], dtype: DTypeLike, capacity: int, device: th.device) -> None:
        super().__init__(shape, dtype, capacity)
        self.device = device
        self._copy: tuple[th.Tensor, int] | None = None  # and how many of its rows are up to date

    def take(self, rows: NDArray[np.int64]) -> th.Tensor:
        """
        A copy of some rows, on the device. Parameters as for :class:`GrowableArray`.

        :param rows: their indices, ``(n,)``
        """
        copy, n_copied = self._copy or (None, 0)
        fresh = to_tensor(self.rows[n_copied:], self.device)
        if copy is None or len(self) > len(copy):
            grown = th.empty((len(self._data), *fresh.shape[1:]), dtype=fresh.dtype, device=self.device)
            if copy is not None:
                grown[:n_copied] = copy[:n_copied]
            copy = grown
        copy[n_copied : len(self)] = fresh
        self._copy = copy, len(self)
        return copy[th.as_tensor(rows, device=self.device)]

    def _next(self: SelfMirrored, data: Array, size: int, unchanged: int) -> SelfMirrored:
        array = super()._next(data, size, unchanged)
        array.device, array._copy = self.device, self._copy
        if array._copy is not None:
            copy, n_copied = array._copy
            array._copy = copy, min(n_copied, unchanged)
        return array

    def __getstate__(self) -> dict[str, Any]:
        return {**super().__getstate__(), "_copy": None}


def to_tensor(rows: Array | th.Tensor, device: th.device) -> th.Tensor:
    """
    A tensor on a device. What is ``uint16`` or ``uint32`` gets a wider type, since PyTorch cannot pick rows of these on a GPU.

    :param rows: what to move there, of any shape
    :param device: where the tensor lies
    """
    if isinstance(rows, np.ndarray) and rows.dtype in (np.uint16, np.uint32):
        rows = rows.astype(np.promote_types(rows.dtype, np.int8))
    return th.as_tensor(rows, device=device)


def map_observation(function: Callable[..., Any], *observations: Any) -> Any:
    """
    Apply a function to the arrays of plain observations, or key by key to those of dictionary observations.

    :param function: takes as many arguments as there are observations
    :param observations: arrays, or dictionaries with the same keys
    """
    if isinstance(observations[0], dict):
        return {key: function(*(observation[key] for observation in observations)) for key in observations[0]}
    return function(*observations)


def observation_arrays(space: spaces.Space[Any], make: Callable[[tuple[int, ...], Any], Any]) -> Any:
    """
    One array for a plain observation space, a dictionary of them for a ``Dict`` space.

    :param space: an observation space that SB3 supports
    :param make: called with the shape and dtype of one observation
    :raises NotImplementedError: if the space is of another kind
    """
    if isinstance(space, spaces.Dict):
        return {key: observation_arrays(subspace, make) for key, subspace in space.spaces.items()}
    if not isinstance(space, spaces.Box | spaces.Discrete | spaces.MultiDiscrete | spaces.MultiBinary):
        raise NotImplementedError(
            f"observation space {space} is not supported: use Box, Discrete, MultiDiscrete, MultiBinary or a Dict of these"
        )
    return make(space.shape or (), space.dtype)


def action_dtype(space: spaces.Space[Any]) -> Any:
    """
    The smallest type that holds every action of a space exactly.

    :param space: an action space that SB3 supports
    """
    if isinstance(space, spaces.Discrete):
        first, last = int(space.start), int(space.start + space.n - 1)
    elif isinstance(space, spaces.MultiDiscrete):
        first, last = int(space.start.min()), int((space.start + space.nvec - 1).max())
    else:
        return space.dtype
    return np.result_type(np.min_scalar_type(first), np.min_scalar_type(last))


def n_rows(observations: Observation) -> int:
    """
    Number of rows in a batch of observations.

    :param observations: ``(n, *observation_shape)``, or a dictionary of such
    """
    return len(next(iter(observations.values())) if isinstance(observations, dict) else observations)
