"""What a behavior function of any kind decides in given situations."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch as th
from gymnasium import spaces
from numpy.typing import NDArray
from stable_baselines3.common.utils import obs_as_tensor

from sb3_udrl.buffers.arrays import Array, Observation, map_observation
from sb3_udrl.commands.command import Command
from sb3_udrl.forest import ForestPolicy
from sb3_udrl.forest.heads import DiscreteHead
from sb3_udrl.policies import BehaviorPolicy, CommandPolicy
from sb3_udrl.spaces.actions import into_space

if TYPE_CHECKING:
    from sb3_udrl.common.commanded_algorithm import CommandedAlgorithm

Floats = NDArray[np.floating[Any]]


def policy_of(model: CommandedAlgorithm | BehaviorPolicy) -> BehaviorPolicy:
    """
    The behavior function of a model, or the behavior function itself.

    :param model: a model or its policy
    :raises ValueError: if it is neither
    """
    policy: Any = getattr(model, "policy", model)
    if not isinstance(policy, BehaviorPolicy):
        raise ValueError(f"model is a {type(model).__name__}: give a UDRL model, or its policy")
    return policy


def decide(policy: BehaviorPolicy, observations: Observation, command: Command) -> Array:
    """
    The most likely actions.

    :param policy: the behavior function
    :param observations: as the policy sees them, ``(n, *observation_shape)``, or a dictionary of such
    :param command: ``(n,)``
    :return: ``(n, *action_shape)``
    """
    policy.set_training_mode(False)
    return into_space(policy.act(obs_as_tensor(observations, policy.device), command, deterministic=True), policy.action_space)


def action_outputs(policy: BehaviorPolicy, observations: Observation, command: Command) -> Floats:
    """
    The probabilities of discrete actions, or the most likely continuous action.

    Behavior functions that are neither network nor forest say only what they would do: that gets probability one.

    :param policy: the behavior function
    :param observations: as the policy sees them, ``(n, *observation_shape)``, or a dictionary of such
    :param command: ``(n,)``
    :return: ``(n, n_components, most values)``, where components with fewer values are filled up with zeros;
        for continuous actions ``(n, n_components, 1)``
    """
    if len(policy.deciding()) > 1:
        return _outputs_of_several(policy, observations, command)
    if isinstance(policy, ForestPolicy):
        return policy.outputs(policy.inputs(observations, command))
    if isinstance(policy.action_space, spaces.Box):
        return decide(policy, observations, command).reshape(len(command), -1, 1)
    if isinstance(policy, CommandPolicy):
        policy.set_training_mode(False)
        seen = obs_as_tensor(observations, policy.device)
        with th.no_grad():
            params = policy.guided(lambda asked: policy(seen, policy.command_tensor(asked)), command)
            return policy.action_head.distribution(params)["logits"].softmax(2).cpu().numpy().astype(np.float64)
    head = discrete_head(policy)
    indices = head.to_indices(decide(policy, observations, command))
    return (np.arange(head.n_values.max()) == indices[:, :, None]).astype(np.float64)


def _outputs_of_several(policy: BehaviorPolicy, observations: Observation, command: Command) -> Floats:
    """The outputs of whichever behavior function decides, row by row."""
    deciding = [one.policy for one in policy.deciding()]
    decides = np.zeros(len(command), dtype=np.int64)
    for i, one in enumerate(deciding):  # the last before the others
        decides[np.logical_or.reduce([command.asks_for(name) for name in one.command_space.names])] = i
    parts = []
    for i in np.unique(decides):
        rows = decides == i
        some = map_observation(lambda part, rows=rows: part[rows], observations)
        parts.append(action_outputs(deciding[i], some, command.rows(rows)))
    places = np.argsort(decides, kind="stable")
    return np.concatenate(parts)[np.argsort(places)]


def discrete_head(policy: BehaviorPolicy) -> DiscreteHead:
    """
    Discrete actions of a policy as components, each of which takes one of some values.

    :param policy: a behavior function with Discrete, MultiDiscrete or MultiBinary actions
    """
    return DiscreteHead(policy.action_space, smoothing=0.0)  # type: ignore[arg-type]
