"""States of random generators as numbers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch as th


def generator_state(rng: np.random.Generator) -> dict[str, Any]:
    """
    The state of a generator of numpy: names, integers and, for some kinds, arrays.

    :param rng: the generator
    """
    return dict(rng.bit_generator.state)


def checked_state(rng: np.random.Generator, state: Any) -> dict[str, Any]:
    """
    A state that a generator can take over.

    :param rng: the generator, which is left as it is
    :param state: as from :func:`generator_state`
    :raises ValueError: if it is of another kind, or damaged
    """
    probe = type(rng.bit_generator)(0)
    try:
        _check_arrays(state, probe.state)
        check_positions(state)
        probe.state = state
    except (TypeError, ValueError, KeyError, IndexError, OverflowError) as error:
        raise ValueError(f"the state of the random generator is damaged: {error}") from error
    return dict(probe.state)


def check_positions(state: Mapping[str, Any]) -> None:
    """
    Look at the places in their own arrays where generators go on: numpy reads wherever a state says, also outside.

    :param state: of a generator of numpy
    :raises ValueError: if a place lies outside
    """
    words = state["state"]
    places = [(words, "pos", "key"), (state, "buffer_pos", "buffer")]  # of MT19937 and Philox
    for part, place, array in places:
        if isinstance(part, Mapping) and place in part and not 0 <= part[place] <= len(part[array]):
            raise ValueError(f"a random generator at position {part[place]} of {len(part[array])}")


def _check_arrays(state: Any, known: Mapping[str, Any]) -> None:
    """Arrays have the shapes and types of a known state: numpy takes others, and changes them."""
    for name, value in known.items():
        if isinstance(value, Mapping):
            _check_arrays(state[name], value)
        elif isinstance(value, np.ndarray):
            given = state[name]
            if not isinstance(given, np.ndarray) or (given.shape, given.dtype) != (value.shape, value.dtype):
                raise ValueError(f"{name} is no array of {value.shape} {value.dtype}")


def torch_states() -> dict[str, Any]:
    """The states of PyTorch's own generators, on the CPU and on each GPU."""
    cuda = [state.numpy() for state in th.cuda.get_rng_state_all()]
    return {"cpu": th.get_rng_state().numpy(), "cuda": cuda}


def checked_torch_states(states: Any) -> tuple[th.Tensor, list[th.Tensor]]:
    """
    States that :func:`set_torch_states` can take.

    :param states: as from :func:`torch_states`
    :raises ValueError: if they are damaged
    """
    try:
        cpu, cuda = th.from_numpy(states["cpu"]), [th.from_numpy(state) for state in states["cuda"]]
        th.Generator().set_state(cpu)
    except (TypeError, ValueError, KeyError, RuntimeError) as error:
        raise ValueError(f"the state of PyTorch's random generator is damaged: {error}") from error
    return cpu, cuda


def set_torch_states(cpu: th.Tensor, cuda: list[th.Tensor]) -> None:
    """
    Go on with the draws of another process.

    :param cpu: state of the generator on the CPU
    :param cuda: of those on the GPUs; what this machine lacks is left out
    """
    th.set_rng_state(cpu)
    th.cuda.set_rng_state_all(cuda[: th.cuda.device_count()])
