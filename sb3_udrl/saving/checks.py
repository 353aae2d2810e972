"""What is read from files, looked at before it is believed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray


def checked_array(state: Mapping[str, Any], name: str, shape: tuple[int | None, ...], kinds: str = "f") -> NDArray[Any]:
    """
    An array of a state that was read.

    :param state: what was read
    :param name: of the array
    :param shape: that it must have, None where any length will do
    :param kinds: of its dtype, as numpy's letters
    :raises ValueError: if it is missing, has another shape or dtype, or values that are not finite
    """
    array = state.get(name)
    if not isinstance(array, np.ndarray) or array.dtype.kind not in kinds:
        raise ValueError(f"{name} is no array of numbers of the right kind")
    if len(array.shape) != len(shape) or any(n is not None and n != m for n, m in zip(shape, array.shape, strict=True)):
        raise ValueError(f"{name} has the shape {array.shape} instead of {shape}")
    if array.dtype.kind == "f" and not np.isfinite(array).all():
        raise ValueError(f"{name} holds values that are not finite")
    return array


def checked_count(state: Mapping[str, Any], name: str) -> int:
    """
    A number of things.

    :param state: what was read
    :param name: of the number
    :raises ValueError: if it is no whole number from zero
    """
    count = state.get(name)
    if type(count) is not int or count < 0:
        raise ValueError(f"{name}={count!r}: must be a whole number from zero")
    return count
