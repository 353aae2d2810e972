"""What a network decides as one function of tensors, from raw observations and commands to actions, for exported files."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import torch as th
from gymnasium import spaces
from torch import nn

from sb3_udrl.commands.command_space import CommandSpace
from sb3_udrl.policies.base import BehaviorPolicy
from sb3_udrl.policies.standardize import Standardizer


class DecisionNetwork(nn.Module):
    """
    The network of a policy with all that surrounds it: standardization, guidance, the choice between two behavior functions.

    :param policy: of networks; what is learned later does not change this
    """

    low: th.Tensor
    high: th.Tensor

    def __init__(self, policy: BehaviorPolicy) -> None:
        super().__init__()
        policy = copy.deepcopy(policy).cpu().eval()
        self.names, self.space = policy.command_space.names, policy.observation_space
        self.deciding = policy.deciding()
        self.networks = nn.ModuleList(_simplified(decides.policy) for decides in self.deciding)
        self.guidance = [decides.policy.guidance for decides in self.deciding]
        action_space = policy.action_space
        self.rounds = isinstance(action_space, spaces.Box) and action_space.dtype.kind in "iu"
        self.clips = isinstance(action_space, spaces.Box)
        if isinstance(action_space, spaces.Box):
            dtype = np.float32 if action_space.dtype in (np.float16, np.float32) else np.float64
            self.register_buffer("low", th.as_tensor(action_space.low.astype(dtype)))
            self.register_buffer("high", th.as_tensor(action_space.high.astype(dtype)))

    def output_names(self) -> list[str]:
        """What :meth:`forward` returns."""
        return list(self._outputs(*self.example_inputs()))

    def example_inputs(self, n: int = 2) -> tuple[th.Tensor, ...]:
        """
        Observations and commands that :meth:`forward` takes.

        :param n: how many rows
        """
        columns = []
        for part in observation_parts(self.space).values():
            lowest = np.asarray(getattr(part, "start", 0))  # choices need not count from zero
            columns.append(th.as_tensor(np.broadcast_to(lowest, (n, *(part.shape or ()))).astype(fed_dtype(part))))
        return (*columns, th.ones((n, len(self.names)), dtype=th.float64))

    def forward(self, *inputs: th.Tensor) -> tuple[th.Tensor, ...]:
        """
        :param inputs: the parts of observations, each ``(n, *part_shape)``, and commands ``(n, n_parts)``, NaN where a part
            is not asked for
        :return: the most likely actions ``(n, *action_shape)``, and what actions are drawn from, see
            :meth:`ActionHead.distribution <sb3_udrl.policies.action_heads.ActionHead.distribution>`
        """
        return tuple(self._outputs(*inputs).values())

    def _outputs(self, *inputs: th.Tensor) -> dict[str, th.Tensor]:
        *parts, command = inputs
        keys = observation_parts(self.space)
        observation: Any = dict(zip(keys, parts, strict=True)) if isinstance(self.space, spaces.Dict) else parts[0]
        chosen: th.Tensor | None = None
        outputs: dict[str, th.Tensor] = {}
        for decides, network, guidance in zip(self.deciding, self.networks, self.guidance, strict=True):
            own: Any = network
            columns = [self.names.index(name) for name in own.command_space.names]
            asked = columns_of(command, columns) if len(columns) < len(self.names) else command
            params = own(observation, command_inputs(own.command_space, asked))
            if guidance != 1:
                unasked = own(observation, command_inputs(own.command_space, th.full_like(asked, th.nan)))
                params = unasked + guidance * (params - unasked)
            actions = self._into_space(own.action_head.mode(params))
            obeys = (~asked.isnan()).any(1).reshape(-1, *(1 for _ in actions.shape[1:]))
            chosen = actions if chosen is None else th.where(obeys, actions, chosen)
            prefix = f"{decides.name}." if decides.name else ""
            outputs.update({prefix + name: tensor for name, tensor in own.action_head.distribution(params).items()})
        assert chosen is not None
        return {"action": chosen, **outputs}

    def _into_space(self, actions: th.Tensor) -> th.Tensor:
        if self.rounds:
            actions = actions.double().round()
        return actions.clamp(self.low, self.high) if self.clips else actions


def _simplified(policy: Any) -> Any:
    """The same function with less to compute."""
    if not policy.command_standardizer.per_step.any():
        policy.command_standardizer.sums = []
    for part in policy.modules():
        if isinstance(part, Standardizer) and (part.mean_rest * part.inverse_std).abs().max() < 1e-7:
            part.mean_rest = th.zeros(())  # which ONNX Runtime leaves out
    return policy


def columns_of(table: th.Tensor, places: list[int]) -> th.Tensor:
    """
    Some columns. Those beside each other are a slice: one operation of ONNX instead of three.

    :param table: ``(n, n_columns)``
    :param places: which columns
    """
    first, end = places[0], places[0] + len(places)
    return table[:, first:end] if places == list(range(first, end)) else table[:, places]


def command_inputs(space: CommandSpace, command: th.Tensor) -> th.Tensor:
    """
    :meth:`CommandSpace.inputs <sb3_udrl.commands.CommandSpace.inputs>` for tensors.

    :param space: the commands
    :param command: a column per part, double precision, NaN where it is not asked for, ``(n, n_parts)``
    :return: single precision, ``(n, n_inputs)``
    """
    columns = [command.float()]
    if space.per_step:
        sums, horizon = (columns_of(command, [space.names.index(n) for n in names]) for names in (space.per_step, ["horizon"]))
        columns.append((sums / horizon).float())
    if space.partial:
        columns.append(command.isnan().float())
    return th.cat(columns, dim=1) if len(columns) > 1 else columns[0]


def observation_parts(space: spaces.Space[Any]) -> dict[str, spaces.Space[Any]]:
    """
    The parts of observations by their keys; an observation without parts has the empty one.

    :param space: space of one environment
    """
    return dict(space.spaces) if isinstance(space, spaces.Dict) else {"": space}


def fed_dtype(space: spaces.Space[Any]) -> np.dtype[Any]:
    """
    The type in which exported files take an observation: its own, where tensors of all kinds of programs know it.

    :param space: a part of the observation space
    """
    dtype = np.dtype(space.dtype)
    wider = {"float16": "float32", "int16": "int32", "uint16": "int32", "uint32": "int64", "uint64": "float64"}
    return np.dtype(wider.get(dtype.name, dtype.name))
