"""A generated policy as an ordinary policy of Stable-Baselines3."""

from __future__ import annotations

from typing import Any, cast

import numpy as np
import torch as th
from gymnasium import spaces
from numpy.typing import NDArray
from stable_baselines3.common.policies import ActorCriticPolicy
from torch import nn

from sb3_udrl.spaces.actions import Actions
from sb3_udrl.udrlpg.input_scale import InputScale
from sb3_udrl.udrlpg.network import PolicyNetwork

_SHARP = 1e8  # factor on logits that makes draws those of the most likely choice
_COARSE = 0.01  # standard deviations of an input: more must not be lost to rounding
_NO_NOISE = -20.0  # logarithm of the deviation of numbers


def sb3_policy(
    network: PolicyNetwork,
    weights: NDArray[np.float32],
    inputs: InputScale,
    observation_space: spaces.Space[Any],
    action_space: spaces.Space[Any],
) -> ActorCriticPolicy:
    """
    A policy that works without this package. How inputs are standardized is part of its first layer, the range of actions
    part of its last one. It does the same whether it is asked for the most likely action or not.

    :param network: its shape
    :param weights: ``(n_weights,)``
    :param inputs: how its inputs are standardized
    :param observation_space: of one environment
    :param action_space: of one environment
    :raises NotImplementedError: if policies of SB3 cannot read or choose what this one does
    """
    for space in (observation_space, action_space):
        if np.any(getattr(space, "start", 0)):
            raise NotImplementedError(f"{space}: policies of Stable-Baselines3 count choices from zero")
    if isinstance(action_space, spaces.Box) and action_space.dtype.kind != "f":
        raise NotImplementedError(f"action space {action_space}: policies of Stable-Baselines3 do not choose whole numbers")
    policy = ActorCriticPolicy(
        observation_space,
        action_space,
        lambda _: 0.0,
        net_arch={"pi": [n_out for _, n_out in network.shapes[:-1]], "vf": []},
        activation_fn=nn.Tanh,
        ortho_init=False,
        log_std_init=_NO_NOISE,
    )
    layers = [(matrix[0].astype(np.float64), bias[0].astype(np.float64)) for matrix, bias in network.layers(weights[None])]
    first, bias = layers[0]
    mean, factor = inputs.mean.cpu().numpy(), inputs.factor.cpu().numpy()
    if (np.abs(mean) * factor * np.finfo(np.float32).eps > _COARSE).any():
        raise NotImplementedError(
            "policies of Stable-Baselines3 compute in single precision, which observations so far from zero lose: "
            "subtract a constant from them in a wrapper"
        )
    scaled = factor[:, None] * first
    layers[0] = (scaled, bias - mean @ scaled)
    matrix, bias = layers[-1]
    if isinstance(action_space, spaces.Box):
        box = Actions(action_space).range
        half, center = box.half.reshape(-1), box.center.reshape(-1)
        layers[-1] = (matrix * half, bias * half + center)
    else:
        layers[-1] = (matrix * _SHARP, bias * _SHARP)
    linear = [module for module in policy.mlp_extractor.policy_net.modules() if isinstance(module, nn.Linear)]
    with th.no_grad():
        for module, (matrix, bias) in zip([*linear, cast(nn.Linear, policy.action_net)], layers, strict=True):
            module.weight.copy_(th.from_numpy(matrix.T))
            module.bias.copy_(th.from_numpy(bias))
    policy.set_training_mode(False)
    return policy
