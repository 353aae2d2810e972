"""Sizes that a file may ask for: what is far beyond any use was made to fill the memory."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise
from numbers import Integral, Real
from typing import Any

import numpy as np
from gymnasium import spaces

MAX_LAYERS = 64
MAX_UNITS = 2**14  # of a layer
MAX_WEIGHTS = 2**26  # between hidden layers
MAX_CATEGORIES = 2**20  # of discrete and binary observations and actions together, which networks see one by one
MAX_FIRST_LAYER = 2**28  # weights
MAX_ENVS = 2**14
_RANGES: dict[str, tuple[type[Any], int, int]] = {  # kind, least and most of settings that are numbers
    "n_envs": (Integral, 1, MAX_ENVS),
    "batch_size": (Integral, 1, 2**24),
    "gradient_steps": (Real, -1, 2**30),
    "collectors": (Real, 0, 2**12),
    "_stats_window_size": (Integral, 1, 2**24),
    "initial_policies": (Real, 2, 2**30),
    "episodes_per_policy": (Real, 1, 2**30),
}
_OF_LAYERS = {"net_arch", "features_dim", "cnn_output_dim", "channels", "n_bins"}  # arguments of our networks and SB3's


def check_sizes(settings: Mapping[str, Any]) -> None:
    """
    Look at what decides how much memory and time a model takes. Settings that the caller gave himself are not among those of
    the file, so they are not bounded.

    :param settings: of a file, by name
    :raises ValueError: if one is beyond its limit, or no number
    """
    for name, (kind, least, most) in _RANGES.items():
        value = settings.get(name, least)
        if isinstance(value, bool) or not isinstance(value, kind) or not least <= value <= most:
            raise ValueError(
                f"{name}={value!r}: must be a{' whole' * (kind is Integral)} number from {least} to {most}; "
                f"for more, load(..., custom_objects={{{name!r}: ...}})"
            )
    widest = 1
    for name in ("policy_kwargs", "obedience_kwargs"):
        kwargs = settings.get(name) or {}
        if not isinstance(kwargs, dict):
            raise ValueError(f"{name}: a {type(kwargs).__name__} instead of arguments by name")
        for layers in _layers(kwargs):
            if len(layers) > MAX_LAYERS or not all(type(n) is int and 0 < n <= MAX_UNITS for n in layers):
                raise ValueError(
                    f"{name}: layers={str(layers)[:80]}: at most {MAX_LAYERS} layers of 1 to {MAX_UNITS} units; "
                    f"for more, load(..., custom_objects={{{name!r}: ...}})"
                )
            if sum(a * b for a, b in pairwise(layers)) > MAX_WEIGHTS:
                raise ValueError(
                    f"{name}: layers={str(layers)[:80]}: more than {MAX_WEIGHTS:,} weights; "
                    f"for more, load(..., custom_objects={{{name!r}: ...}})"
                )
            widest = max([widest, *layers])
    known = [settings[name] for name in ("observation_space", "action_space") if isinstance(settings.get(name), spaces.Space)]
    n_categories = sum(map(_n_categories, known))
    if n_categories > MAX_CATEGORIES or n_categories * widest > MAX_FIRST_LAYER:
        raise ValueError(
            f"observation_space and action_space have {n_categories:,} categories, too many for a network with {widest:,} "
            "units: load(..., custom_objects={'observation_space': ..., 'action_space': ...}) if they are right"
        )


def _layers(kwargs: Mapping[str, Any]) -> list[list[Any]]:
    """All sizes of layers in arguments of policies, also nested ones."""
    found = [_flat(value) for key, value in kwargs.items() if key in _OF_LAYERS and value is not None]
    return found + [layers for value in kwargs.values() if isinstance(value, dict) for layers in _layers(value)]


def _flat(value: Any) -> list[Any]:
    if isinstance(value, dict):
        value = list(value.values())
    if isinstance(value, list | tuple):
        return [n for item in value for n in _flat(item)]
    return [value]


def _n_categories(space: spaces.Space[Any]) -> int:
    if isinstance(space, spaces.Dict):
        return sum(map(_n_categories, space.spaces.values()))
    if isinstance(space, spaces.Discrete):
        return int(space.n)
    if isinstance(space, spaces.MultiBinary):
        return int(np.prod(space.shape, dtype=object))
    return int(np.sum(space.nvec, dtype=object)) if isinstance(space, spaces.MultiDiscrete) else 0
