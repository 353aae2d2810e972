"""Recordings by their name: files, folders and Minari data sets, and the spaces that these tell of themselves."""

from __future__ import annotations

import json
import pathlib
from collections import OrderedDict
from collections.abc import Mapping
from typing import Any

import numpy as np
from gymnasium import spaces
from stable_baselines3.common.preprocessing import is_image_space, is_image_space_channels_first
from stable_baselines3.common.vec_env import VecTransposeImage

from sb3_udrl.buffers.arrays import Array
from sb3_udrl.recordings.arrays import load_arrays
from sb3_udrl.saving.addresses import is_address, local_copy
from sb3_udrl.saving.plain import from_plain, to_plain

Spaces = tuple[spaces.Space[Any], spaces.Space[Any]]  # of observations and of actions
_ABOUT = "about"  # the array of a file that tells of the others


def open_recording(name: str | pathlib.Path) -> Any:
    """
    A recording by its name.

    :param name: path or address of an ``.npz`` file, path of a folder that ``save_to_disk`` of Hugging Face's datasets wrote,
        or the id of a Minari data set on this machine
    :return: what :func:`~sb3_udrl.recordings.read_episodes` takes
    :raises FileNotFoundError: if there is none of this name
    :raises ValueError: if a file is no recording
    :raises ImportError: if a package is missing that reads it
    """
    if is_address(name):
        with local_copy(name) as copy:
            return load_arrays(copy)
    path = pathlib.Path(name)
    if path.is_dir():
        return _hugging_face(path)
    if path.suffix == ".npz" or path.is_file():
        return load_arrays(path)
    return _minari(str(name))


def _hugging_face(path: pathlib.Path) -> Any:
    if not any((path / file).is_file() for file in ("dataset_info.json", "state.json")):
        raise ValueError(f"{path} is a folder, and no data set of Hugging Face: name an .npz file, or such a data set")
    try:
        import datasets
    except ImportError as error:
        raise ImportError(f"{path}: data sets of Hugging Face are read with pip install datasets") from error
    return datasets.load_from_disk(str(path))


def _minari(name: str) -> Any:
    try:
        import minari
    except ImportError as error:
        raise FileNotFoundError(
            f"{name}: there is no such file; if it is a data set of Minari, pip install sb3-udrl[minari]"
        ) from error
    try:
        return minari.load_dataset(name)
    except (FileNotFoundError, ValueError) as error:
        raise FileNotFoundError(
            f"{name}: there is no such file, and no data set of Minari of this name on this machine"
        ) from error


def describe_arrays(observation_space: spaces.Space[Any], action_space: spaces.Space[Any]) -> dict[str, Array]:
    """
    The spaces of a recording as arrays, to be stored beside its own.

    :param observation_space: space of one environment
    :param action_space: space of one environment
    """
    plain = to_plain({"observation_space": observation_space, "action_space": action_space}, _ABOUT)
    return {_ABOUT: np.array(json.dumps(plain.value)), **{_key(member): array for member, array in plain.arrays.items()}}


def _key(member: str) -> str:
    return member.removesuffix(".npy")


def recorded_spaces(data: Any) -> Spaces | None:
    """
    The spaces that a recording tells of itself.

    :param data: as from :func:`open_recording`
    :return: those of observations and of actions; None if it tells of none
    :raises ValueError: if what it tells is damaged
    """
    if isinstance(data, Mapping):
        return _described(data) if _ABOUT in data else None
    found = getattr(data, "observation_space", None), getattr(data, "action_space", None)
    return None if found[0] is None or found[1] is None else (found[0], found[1])


def as_models_have(space: spaces.Space[Any]) -> spaces.Space[Any]:
    """
    An observation space as models of SB3 make it that of their environment: pictures with their channels first.

    :param space: space of one environment
    """
    if isinstance(space, spaces.Dict):
        return spaces.Dict(OrderedDict((key, as_models_have(part)) for key, part in space.spaces.items()))
    if isinstance(space, spaces.Box) and is_image_space(space) and not is_image_space_channels_first(space):
        return VecTransposeImage.transpose_space(space)
    return space


def _described(data: Mapping[str, Any]) -> Spaces:
    try:
        read = from_plain(json.loads(str(data[_ABOUT])), lambda member: np.array(data[_key(member)]))
        found = read["observation_space"], read["action_space"]
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{_ABOUT}: what the recording says of its spaces is damaged ({error!r})") from error
    if not all(isinstance(space, spaces.Space) for space in found):
        raise ValueError(f"{_ABOUT}: what the recording says of its spaces is damaged: {read}")
    return found
