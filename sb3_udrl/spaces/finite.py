"""Numbers that decisions can be based on."""

from __future__ import annotations

from typing import Any

import numpy as np

_MOST = np.finfo(np.float32).max


def refuse_what_is_not_finite(observation: Any, name: str = "observation") -> None:
    """
    Refuse what no decision could be based on.

    :param observation: an array of any shape, or a dictionary of such
    :param name: what it is called in the error
    :raises ValueError: if an entry is NaN, infinite, or infinite in single precision
    """
    if isinstance(observation, dict):
        for key, part in observation.items():
            refuse_what_is_not_finite(part, f"{name}[{key!r}]")
        return
    values = np.asarray(observation)
    if values.dtype.kind != "f" or (values.dtype == np.float32 and np.isfinite(values).all()):
        return
    bad = ~(np.abs(values) <= _MOST)
    if bad.any():
        entry = tuple(np.argwhere(bad)[0].tolist())
        where = f"{name}{list(entry)}" if entry else name
        raise ValueError(f"{where} is {values[entry]}: it must be finite and fit into single precision, check the environment")
