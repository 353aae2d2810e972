"""What is read from files, looked at before it is believed."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch as th
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


def checked_optimizer_state(state: Any, optimizer: th.optim.Optimizer) -> dict[str, Any]:
    """
    A state that an optimizer can go on from. PyTorch takes any, and then writes outside of tensors that are too small.

    :param state: what was read
    :param optimizer: the optimizer, which is left as it is
    :return: moments and learning rates as they were read, everything else as this optimizer was made
    :raises ValueError: if it is of other parameters, or damaged
    """
    own = optimizer.state_dict()["param_groups"]
    made = _moments_of_a_step(optimizer)
    try:
        groups, moments = state["param_groups"], state["state"]
        if [list(group["params"]) for group in groups] != [group["params"] for group in own]:
            raise ValueError("the state of the optimizer is that of other parameters")
        rates = [float(group["lr"]) for group in groups]
        for index, of_parameter in moments.items():
            for name, value in of_parameter.items():
                _check_moment(name, value, made[index][name])
    except (TypeError, KeyError, IndexError, AttributeError) as error:
        raise ValueError(f"the state of the optimizer is damaged: {error!r}") from error
    return {"state": moments, "param_groups": [{**group, "lr": rate} for group, rate in zip(own, rates, strict=True)]}


def _moments_of_a_step(optimizer: th.optim.Optimizer) -> dict[int, dict[str, Any]]:
    """What the optimizer remembers of each parameter after a step: some keep tensors of other shapes than the parameter's."""
    twin = copy.deepcopy(optimizer)  # with copies of the parameters
    for parameter in [parameter for group in twin.param_groups for parameter in group["params"]]:
        parameter.grad = th.zeros_like(parameter)
    twin.step()
    moments: dict[int, dict[str, Any]] = twin.state_dict()["state"]
    return moments


def _check_moment(name: str, value: Any, made: Any) -> None:
    if not isinstance(made, th.Tensor):
        if type(value) is not type(made):
            raise TypeError(f"{name} is a {type(value).__name__}")
        return
    if not isinstance(value, th.Tensor):
        raise TypeError(f"{name} is a {type(value).__name__}")
    whole = value.layout is th.strided and value.untyped_storage().nbytes() >= value.numel() * value.element_size()
    if not whole or not value.is_floating_point() or value.shape != made.shape:
        raise TypeError(f"{name} is no tensor of {tuple(made.shape)} numbers")
    if ("sq" in name or name == "step") and bool((value < 0).any()):
        raise TypeError(f"{name} is below zero")
