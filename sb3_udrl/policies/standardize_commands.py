"""Commands brought to zero mean and unit variance, such that what returns say beyond the horizon is not lost."""

from __future__ import annotations

from typing import Any

import torch as th

from sb3_udrl.commands.command_space import CommandSpace
from sb3_udrl.policies.standardize import Standardizer

_LOST = 0.02  # share of the deviation of a return, below which a network hardly sees what the horizon does not say


class CommandStandardizer(Standardizer):
    """
    Standardize commands by what was fulfilled.

    With a constant added to every reward, returns are all but a multiple of the horizon. What counts is the little that they
    are more, or less. So if returns at the first update are such, that multiple is taken off from then on. Where parts may be
    left out, the return per remaining step, an input of its own, shows it already.

    :param command_space: the commands that are standardized
    """

    per_step: th.Tensor

    def __init__(self, command_space: CommandSpace) -> None:
        names = command_space.input_names
        super().__init__(len(names))
        self.horizon = names.index("horizon") if "horizon" in names else -1
        self.sums = summed_columns(command_space)
        self.register_buffer("per_step", th.zeros(len(names)))

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *args: Any) -> None:
        state_dict.setdefault(f"{prefix}per_step", th.zeros_like(self.per_step))  # earlier revisions had none
        super()._load_from_state_dict(state_dict, prefix, *args)

    def update(self, batch: th.Tensor) -> None:
        if self.n_updates == 0:
            for column in self.sums:
                self.per_step[column] = common_amount(batch[:, column], batch[:, self.horizon])
        super().update(self.beyond(batch))

    def forward(self, vectors: th.Tensor) -> th.Tensor:
        return super().forward(self.beyond(vectors))

    def beyond(self, commands: th.Tensor) -> th.Tensor:
        """
        Commands with sums that only say what they come to beyond so much per step.

        :param commands: ``(n, dim)``
        """
        if not self.sums:
            return commands
        exact = commands if commands.device.type == "mps" else commands.double()  # MPS has no doubles
        return exact - self.per_step * exact[:, self.horizon, None]


def summed_columns(command_space: CommandSpace) -> list[int]:
    """
    Which inputs are sums over the steps of a horizon that is always asked for with them.

    :param command_space: the commands
    """
    names = command_space.input_names
    complete = "horizon" in names and not command_space.partial
    return [names.index(part.name) for part in command_space.parts if part.sums and complete]


def common_amount(sums: th.Tensor, horizons: th.Tensor) -> float:
    """
    What every step contributes to sums, where next to nothing else does; else zero.

    :param sums: ``(n,)``
    :param horizons: over how many steps, ``(n,)``
    """
    sums, horizons = sums.cpu().double(), horizons.cpu().double()
    varied, steps = sums - sums.mean(), horizons - horizons.mean()
    if not steps.any():
        return 0.0
    amount = float(th.dot(varied, steps) / th.dot(steps, steps))
    rest, rounding = (varied - amount * steps).std(correction=0), th.finfo(th.float32).eps * sums.abs().max()
    return amount if rounding < rest < _LOST * varied.std(correction=0) else 0.0
