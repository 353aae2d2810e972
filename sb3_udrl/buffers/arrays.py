"""Flat arrays that grow, and functions that treat plain and dictionary observations alike."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any, TypeAlias

import numpy as np
import torch as th
from gymnasium import spaces
from numpy.typing import DTypeLike, NDArray

Array: TypeAlias = NDArray[Any]
Observation: TypeAlias = Array | dict[str, Array]

_FIRST_BYTES = 2**25  # so much is untouched memory of its own on Linux; smaller arrays would leave gaps when they move
_COMPACTION_BLOCK = 65_536  # rows moved at a time, so that compaction needs no second copy of the data


class GrowableArray:
    """
    Rows in one contiguous array, which doubles when it is full. Room for more rows costs no memory until it is used.

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

    def extend(self, rows: Array) -> None:
        """
        Append rows.

        :param rows: shape ``(n, *shape)``
        """
        size = self._size + len(rows)
        if size > len(self._data):
            at_once = _FIRST_BYTES // max(1, self._data.itemsize * int(np.prod(self._data.shape[1:])))
            n_rows = max(size, min(max(2 * len(self._data), at_once), self.capacity))
            grown = np.empty((n_rows, *self._data.shape[1:]), self._data.dtype)
            grown[: self._size] = self.rows
            self._data = grown
        self._data[self._size : size] = rows
        self._size = size

    def keep(self, mask: NDArray[np.bool_]) -> None:
        """
        Drop the rows where ``mask`` is false and close the gaps, in order.

        :param mask: shape ``(len(self),)``
        """
        size = 0
        for start in range(0, self._size, _COMPACTION_BLOCK):
            stop = min(start + _COMPACTION_BLOCK, self._size)
            kept = self._data[start:stop][mask[start:stop]]
            self._data[size : size + len(kept)] = kept
            size += len(kept)
        self._size = size

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
        self._copy: th.Tensor | None = None
        self._n_copied = 0

    def take(self, rows: NDArray[np.int64]) -> th.Tensor:
        """
        A copy of some rows, on the device. Parameters as for :class:`GrowableArray`.

        :param rows: their indices, ``(n,)``
        """
        n_copied, fresh = self._n_copied, to_tensor(self.rows[self._n_copied :], self.device)
        if self._copy is None or len(self) > len(self._copy):
            grown = th.empty((len(self._data), *fresh.shape[1:]), dtype=fresh.dtype, device=self.device)
            if self._copy is not None:
                grown[:n_copied] = self._copy[:n_copied]
            self._copy = grown
        self._copy[n_copied : len(self)] = fresh
        self._n_copied = len(self)
        return self._copy[th.as_tensor(rows, device=self.device)]

    def keep(self, mask: NDArray[np.bool_]) -> None:
        super().keep(mask)
        self._n_copied = min(self._n_copied, int(np.argmin(mask)))  # rows before the first gap stay where they are

    def __getstate__(self) -> dict[str, Any]:
        return {**super().__getstate__(), "_copy": None, "_n_copied": 0}


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
