"""How a decision depends on the command."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from sb3_udrl.buffers.arrays import Observation, map_observation
from sb3_udrl.commands.command import make_command
from sb3_udrl.explain.decisions import action_outputs, policy_of

if TYPE_CHECKING:
    from sb3_udrl.common.commanded_algorithm import CommandedAlgorithm
    from sb3_udrl.policies import BehaviorPolicy


class CommandGrid(NamedTuple):
    """
    What a behavior function would do at one observation, over a grid of commands.

    :param desired_returns: ``(n_returns,)``
    :param desired_horizons: ``(n_horizons,)``; for relative commands, infinity alone
    :param outputs: probabilities of the values of each component of discrete actions, or the most likely continuous action,
        ``(n_horizons, n_returns, n_components, n_values)``, with one in the place of ``n_values`` for continuous actions
    """

    desired_returns: NDArray[np.float64]
    desired_horizons: NDArray[np.float64]
    outputs: NDArray[np.floating[Any]]


def command_grid(
    model: CommandedAlgorithm | BehaviorPolicy,
    observation: Observation,
    desired_returns: ArrayLike | None = None,
    desired_horizons: ArrayLike | None = None,
) -> CommandGrid:
    """
    Ask for everything at one observation. For networks and forests; other behavior functions say only what they would do.

    :param model: a model or its policy
    :param observation: one observation as the policy sees it, without a dimension for the environment
    :param desired_returns: ``(n_returns,)``; by default up to twice that of the model's own command, and from zero, or as far
        in the other direction; from -3 to 3 standard deviations for relative commands
    :param desired_horizons: ``(n_horizons,)``; by default up to twice that of the model's own command; relative commands have
        none
    :raises ValueError: if horizons are given for relative commands, or a command is not finite
    """
    policy = policy_of(model)
    own_return, own_horizon = policy.eval_command.tolist()
    if policy.relative:
        if desired_horizons is not None:
            raise ValueError(f"desired_horizons={desired_horizons}: this model takes relative commands, which have no horizon")
        returns = np.linspace(-3, 3, 61) if desired_returns is None else _as_axis(desired_returns)
        horizons = np.array([np.inf])
    else:
        reach = abs(own_return) or 1.0
        default = np.linspace(own_return - reach, own_return + reach, 41), np.linspace(1, max(2, 2 * own_horizon), 41)
        returns = default[0] if desired_returns is None else _as_axis(desired_returns)
        horizons = default[1] if desired_horizons is None else _as_axis(desired_horizons)
    grid_returns, grid_horizons = (axis.ravel() for axis in np.meshgrid(returns, horizons))
    command = make_command(grid_returns, grid_horizons, len(grid_returns))
    observations = map_observation(lambda part: np.repeat(np.asarray(part)[None], len(grid_returns), axis=0), observation)
    outputs = action_outputs(policy, observations, command)
    return CommandGrid(returns, horizons, outputs.reshape(len(horizons), len(returns), *outputs.shape[1:]))


def _as_axis(values: ArrayLike) -> NDArray[np.float64]:
    return np.atleast_1d(np.asarray(values, dtype=np.float64)).ravel()
