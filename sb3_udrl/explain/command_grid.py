"""How a decision depends on the command."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from sb3_udrl.buffers.arrays import Observation, map_observation
from sb3_udrl.explain.decisions import action_outputs, policy_of

if TYPE_CHECKING:
    from sb3_udrl.common.commanded_algorithm import CommandedAlgorithm
    from sb3_udrl.policies import BehaviorPolicy


class CommandGrid(NamedTuple):
    """
    What a behavior function would do at one observation, over a grid of commands.

    :param axes: what is asked for along each axis, by part: one, ``(n_x,)``, or two, ``(n_x,)`` and ``(n_y,)``
    :param outputs: probabilities of the values of each component of discrete actions, or the most likely continuous action,
        ``(n_y, n_x, n_components, n_values)``, with one in the place of ``n_values`` for continuous actions, and of ``n_y``
        for a single axis
    """

    axes: dict[str, NDArray[np.float64]]
    outputs: NDArray[np.floating[Any]]


def command_grid(
    model: CommandedAlgorithm | BehaviorPolicy, observation: Observation, axes: Mapping[str, ArrayLike] | None = None
) -> CommandGrid:
    """
    Ask for everything at one observation. For networks and forests; other behavior functions say only what they would do.

    :param model: a model or its policy
    :param observation: one observation as the policy sees it, without a dimension for the environment
    :param axes: values of one or two parts; by default :func:`default_axes`
    :raises ValueError: if there are more than two, or the model does not take such commands
    """
    policy = policy_of(model)
    given = default_axes(policy) if axes is None else axes
    columns = {name: np.atleast_1d(np.asarray(values, dtype=np.float64)).ravel() for name, values in given.items()}
    if not 1 <= len(columns) <= 2:
        raise ValueError(f"axes={list(columns)}: give one part or two")
    grids = dict(zip(columns, (axis.ravel() for axis in np.meshgrid(*columns.values())), strict=True))
    n_commands = len(next(iter(grids.values())))
    command = policy.initial_command(n_commands, grids)
    observations = map_observation(lambda part: np.repeat(np.asarray(part)[None], n_commands, axis=0), observation)
    outputs = action_outputs(policy, observations, command)
    n_x = len(next(iter(columns.values())))
    return CommandGrid(columns, outputs.reshape(-1, n_x, *outputs.shape[1:]))


def default_axes(policy: BehaviorPolicy) -> dict[str, NDArray[np.float64]]:
    """
    What is worth asking for: the range that episodes achieved, of the first part and of the horizon; advantages from -3 to 3.

    :param policy: the behavior function
    """
    experience = policy.experience
    if experience is None:
        return {"advantage": np.linspace(-3, 3, 61)}
    parts = [experience.names[0], *(name for name in experience.names[1:] if name == "horizon")]
    return {part: np.unique(policy.experienced(part, 41)) for part in parts}
