"""A replay buffer as plain arrays and settings, for files; and all that must hold before it is made of such again."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from sb3_udrl.buffers.arrays import Array
from sb3_udrl.buffers.checks import RowKind
from sb3_udrl.buffers.storage import Storage, sums_to_come

_COLUMNS = "columns/"
_MOST = 2**60
_TYPES: dict[str, tuple[type, ...]] = {
    "buffer_size": (int,),
    "max_episodes": (int, type(None)),
    "retention": (str,),
    "sampling": (str,),
    "sampling_temperature": (int, float),
    "trailing_probability": (int, float),
    "recorded": (list,),
    "n_episodes_added": (int,),
    "n_transitions_added": (int,),
}


def plain_arrays(storage: Storage, kinds: Mapping[str, RowKind]) -> dict[str, Array]:
    """
    All that cannot be computed from the rest, as views.

    :param storage: what is stored, without gaps
    :param kinds: what is stored of every step, by name
    """
    names = [name for name in storage.steps if name in kinds or name.startswith(_COLUMNS)]
    rows = {name: storage.steps[name].rows[: storage.n_transitions] for name in names}
    return {**rows, "lengths": storage.lengths, "truncated": storage.episodes["truncated"].rows}


def check_settings(settings: Mapping[str, Any]) -> None:
    """
    Refuse settings of other names or types than a buffer has.

    :param settings: as :meth:`EpisodicReplayBuffer.settings` gives them
    :raises ValueError: naming the setting
    """
    if set(settings) != set(_TYPES):
        raise ValueError(f"the settings of the replay buffer are {sorted(settings)}: they must be {sorted(_TYPES)}")
    for name, types in _TYPES.items():
        value = settings[name]
        if not isinstance(value, types) or isinstance(value, bool):
            raise ValueError(f"the setting {name} of the replay buffer is {value!r}: it must be of another type")
        if isinstance(value, int) and abs(value) > _MOST:
            raise ValueError(f"the setting {name} of the replay buffer is beyond {_MOST}")


def restored_storage(
    arrays: Mapping[str, Array], kinds: Mapping[str, RowKind], empty: Storage, n_episodes_added: int, n_transitions_added: int
) -> Storage:
    """
    What is stored, made of plain arrays.

    :param arrays: as :func:`plain_arrays` gives them; they belong to the storage from then on
    :param kinds: what is stored of every step, by name
    :param empty: a storage without episodes
    :param n_episodes_added: episodes so far
    :param n_transitions_added: transitions so far
    :raises ValueError: naming the array, if anything about it is not as it would be in a buffer
    """
    columns = [name for name in arrays if name.startswith(_COLUMNS)]
    expected = {*kinds, *columns, "lengths", "truncated"}
    if set(arrays) != expected:
        differing = sorted(set(arrays) ^ expected)
        raise ValueError(
            f"the arrays of the replay buffer are {sorted(arrays)}: {', '.join(differing)} should or should not be"
        )
    lengths, truncated = arrays["lengths"], arrays["truncated"]
    _check_type("lengths", lengths, np.int64)
    _check_type("truncated", truncated, np.bool_)
    if lengths.ndim != 1 or truncated.shape != lengths.shape:
        raise ValueError(
            f"lengths and truncated have shapes {lengths.shape} and {truncated.shape}: one entry per episode each"
        )
    if (truncated.view(np.uint8) > 1).any():
        raise ValueError("truncated holds more than true and false")
    n = len(arrays["rewards"]) if arrays["rewards"].ndim else 0
    if not ((lengths >= 1) & (lengths <= n)).all() or int(lengths.sum()) != n:
        raise ValueError(f"lengths of episodes must be positive and sum up to the {n} steps of the other arrays")
    if n_episodes_added < len(lengths) or n_transitions_added - n < n_episodes_added - len(lengths):
        raise ValueError(
            f"n_episodes_added={n_episodes_added}, n_transitions_added={n_transitions_added}: too few, where {len(lengths)} "
            f"episodes of {n} steps are stored"
        )
    for name, kind in kinds.items():
        _check_type(name, arrays[name], kind.dtype)
        kind.checked(arrays[name], n)
    for name in columns:
        _check_column(name, arrays[name], n)
    storage = empty.with_columns({name: arrays[name][:0] for name in columns}, {})
    return _filled(storage, arrays, n_episodes_added, n_transitions_added)


def _check_type(name: str, array: Array, dtype: Any) -> None:
    if array.dtype != dtype:
        raise ValueError(f"{name} is of type {array.dtype}: it must be {np.dtype(dtype)}")


def _check_column(name: str, array: Array, n: int) -> None:
    if array.dtype not in (np.float32, np.float64) or array.shape != (n,):
        raise ValueError(f"{name} has type {array.dtype} and shape {array.shape}: it must be a floating type and {(n,)}")
    if np.isinf(array).any():
        raise ValueError(f"{name} holds infinity: it must be finite, or NaN where it is not known yet")


def _filled(storage: Storage, arrays: Mapping[str, Array], n_episodes_added: int, n_transitions_added: int) -> Storage:
    """A storage of checked arrays, with all that follows from them."""
    lengths = arrays["lengths"]
    starts, returns = np.cumsum(lengths) - lengths, np.empty(len(lengths))
    amounts = {name.partition("/")[2]: array for name, array in arrays.items() if name.startswith("amounts/")}
    computed = {
        name: np.empty(len(arrays["rewards"]), array.rows.dtype) for name, array in storage.steps.items() if name not in arrays
    }
    for episode, (start, length) in enumerate(zip(starts.tolist(), lengths.tolist(), strict=True)):
        steps = slice(start, start + length)
        to_come = sums_to_come(arrays["rewards"][steps], {name: values[steps] for name, values in amounts.items()})
        with np.errstate(over="ignore"):  # refused below
            for name, values in to_come.items():
                computed[name][steps] = values
        returns[episode] = to_come["sums_to_go/return"][0]
    for name, values in computed.items():
        if not np.isfinite(values).all():
            raise ValueError(f"{name}: rewards or amounts add up to more than {values.dtype} holds")
    rows = {**arrays, **computed, "starts": starts, "returns": returns}
    own = {name: np.require(values, requirements=["C", "W"]) for name, values in rows.items()}  # may be read-only, from a file
    return Storage(
        {name: array.holding(own[name]) for name, array in storage.steps.items()},
        {name: array.holding(own[name]) for name, array in storage.episodes.items()},
        n_episodes_added,
        n_transitions_added,
    )
