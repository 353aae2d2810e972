"""Recordings as arrays end to end, as D4RL has them: in memory, or in files that are read as they are needed."""

from __future__ import annotations

import pathlib
import zipfile
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray

from sb3_udrl.buffers import EpisodicReplayBuffer
from sb3_udrl.buffers.arrays import Array

ENDS = ("terminals", "timeouts")  # whether an episode ends at a step, for good or by a time limit
_HEADER = 30  # bytes of a zip file before the name of a member


def to_arrays(buffer: EpisodicReplayBuffer) -> dict[str, Array]:
    """
    What is stored, with a row per step.

    :param buffer: the stored episodes
    :return: ``observations``, or ``observations/KEY`` for each key of a ``Dict`` space, ``actions``, ``rewards``,
        ``amounts/NAME`` for further parts of commands, ``terminals`` and ``timeouts``
    """
    arrays = {name: array for name, array in buffer.arrays().items() if not name.startswith("columns/")}
    lengths, truncated = arrays.pop("lengths"), arrays.pop("truncated")
    ends = np.zeros((2, int(lengths.sum())), dtype=np.bool_)
    lasts = np.cumsum(lengths) - 1
    ends[0, lasts], ends[1, lasts] = ~truncated, truncated
    return {**arrays, **dict(zip(ENDS, ends, strict=True))}


def from_arrays(data: Mapping[str, Any], buffer: EpisodicReplayBuffer) -> tuple[EpisodicReplayBuffer, int]:
    """
    Episodes of arrays end to end. Arrays that are of the right types, in memory or mapped, are taken as they are.

    :param data: as from :func:`to_arrays`; ``observations`` may be a dictionary; others, such as ``infos/...``, are left out
    :param buffer: empty; says what is stored
    :return: a buffer of all steps, and the number of steps after the last end of an episode, which are left out
    :raises ValueError: naming the episode, if something is missing, or not as the spaces say
    """
    given = _flat(data)
    names = list(buffer.arrays())
    missing = sorted({*names, *ENDS} - {"lengths", "truncated", *given})
    if missing:
        raise ValueError(f"the recording has no {', '.join(missing)}, but {', '.join(sorted(given))}")
    terminals, timeouts = (_ends(name, given[name]) for name in ENDS)
    if len(terminals) != len(timeouts):
        raise ValueError(f"terminals and timeouts have {len(terminals)} and {len(timeouts)} rows: one per step each")
    lasts = np.flatnonzero(terminals | timeouts)
    if len(lasts) == 0:
        raise ValueError("terminals and timeouts are nowhere true: no episode ends, and UDRL learns from whole ones")
    n = int(lasts[-1]) + 1
    held = [name for name in names if name in given]
    short = sorted(name for name in held if np.ndim(given[name]) == 0 or len(given[name]) != len(terminals))
    if short:
        raise ValueError(f"{', '.join(short)}: not one row for each of the {len(terminals)} steps")
    arrays = {name: _typed(given[name][:n], buffer.arrays()[name]) for name in held}
    lengths = np.diff(lasts, prepend=-1)
    settings = {**buffer.settings(), "buffer_size": max(n, 1), "max_episodes": None}
    settings |= {"n_episodes_added": len(lengths), "n_transitions_added": n}
    try:
        stored = buffer.restored({**arrays, "lengths": lengths, "truncated": (timeouts & ~terminals)[lasts]}, settings)
    except ValueError as error:
        raise ValueError(_where(str(error), lengths)) from error
    return stored, len(terminals) - n


def _ends(name: str, values: Any) -> NDArray[np.bool_]:
    """Whether each step is an end; as anything but true and false, a NaN or a text would silently count as one."""
    ends = np.asarray(values).reshape(-1)
    plain = ends.dtype.kind in "biuf"
    wrong = ~np.isin(ends, (0, 1)) if plain else np.ones(len(ends), dtype=np.bool_)
    if wrong.any():
        step = int(wrong.argmax())
        raise ValueError(f"{name} of step {step} is {ends[step].item()!r}: must be true or false, or 1 or 0")
    return ends.astype(np.bool_)


def _flat(data: Mapping[str, Any]) -> dict[str, Any]:
    """Arrays by name, those of nested dictionaries as ``NAME/KEY``."""
    flat: dict[str, Any] = {}
    for name, value in data.items():
        if isinstance(value, Mapping):
            flat |= {f"{name}/{key}": part for key, part in _flat(value).items()}
        else:
            flat[name] = value
    return flat


def _typed(array: Any, like: Array) -> Array:
    """
    In the type in which it is stored, where only the precision differs; a column of one number as plain numbers; pictures
    with their channels where they belong.
    """
    array = channels_moved(np.asanyarray(array), like)
    if array.ndim == like.ndim + 1 and array.shape[-1] == 1:
        array = array[..., 0]
    if array.dtype == like.dtype or array.dtype.kind not in "biuf":
        return array
    with np.errstate(over="ignore", invalid="ignore"):  # checked by the buffer
        typed = array.astype(like.dtype)
    exact = like.dtype.kind == "f" or (typed == array).all()
    return typed if exact else array


def channels_moved(pictures: Array, like: Array) -> Array:
    """
    Pictures with their channels where others have them: environments have them last, models of SB3 first.

    :param pictures: what was recorded, ``(n, ...)``
    :param like: what is stored, ``(m, ...)``
    :return: a view; what are no pictures, or have another size, as they were
    """
    if like.dtype == np.uint8 and pictures.ndim == like.ndim == 4 and pictures.shape[1:] != like.shape[1:]:
        for moved in (np.moveaxis(pictures, -1, 1), np.moveaxis(pictures, 1, -1)):
            if moved.shape[1:] == like.shape[1:]:
                return moved
    return pictures


def _where(message: str, lengths: NDArray[np.int64]) -> str:
    """An error of all steps together, with the episode that the step is of."""
    words = message.split("of step ")
    number = words[1].split()[0].rstrip(":,") if len(words) > 1 else ""
    if not number.isdigit():
        return message
    ends = np.cumsum(lengths)
    episode = int(np.searchsorted(ends, int(number), side="right"))
    step = int(number) - int(ends[episode] - lengths[episode])
    return message.replace(f"of step {number}", f"of episode {episode}, step {step}", 1)


def load_arrays(path: str | pathlib.Path) -> dict[str, Array]:
    """
    The arrays of an ``.npz`` file. What is not compressed is mapped: it is read from the file as it is needed, so it may be
    larger than the memory.

    :param path: the file
    :raises FileNotFoundError: if there is none
    :raises ValueError: if it is no such file, or holds objects
    """
    try:
        with zipfile.ZipFile(path) as archive:
            members = {info.filename.removesuffix(".npy"): info for info in archive.infolist()}
            return {name: _load(archive, info, path) for name, info in members.items()}
    except (FileNotFoundError, PermissionError, IsADirectoryError, MemoryError):
        raise
    except Exception as error:  # damaged archives and headers go wrong in many ways
        raise ValueError(f"{path} is no .npz file of arrays: {str(error) or type(error).__name__}") from error


def _load(archive: zipfile.ZipFile, info: zipfile.ZipInfo, path: str | pathlib.Path) -> Array:
    with archive.open(info) as member:
        version = npy.read_magic(member)
        shape, by_columns, dtype = (npy.read_array_header_1_0 if version == (1, 0) else npy.read_array_header_2_0)(member)
        offset = member.tell()
    if dtype.hasobject:
        raise ValueError(f"{info.filename} holds objects, not numbers: loading them could run code")
    if int(np.prod(shape, dtype=object)) * dtype.itemsize != info.file_size - offset or min(shape, default=0) < 0:
        raise ValueError(f"{info.filename} does not hold {shape} of {dtype} as it says")
    if info.compress_type != zipfile.ZIP_STORED or 0 in shape or not shape:
        with archive.open(info) as member:
            array: Array = npy.read_array(member, allow_pickle=False)
        return array
    with open(path, "rb") as file:
        file.seek(info.header_offset)
        header = file.read(_HEADER)
    start = info.header_offset + _HEADER + int.from_bytes(header[26:28], "little") + int.from_bytes(header[28:30], "little")
    order = "F" if by_columns else "C"
    return np.memmap(path, dtype, mode="c", offset=start + offset, shape=shape, order=order)  # type: ignore[call-overload]
