"""The command samplers by the names that ``UDRL(command_sampler=...)`` knows them by."""

from __future__ import annotations

from typing import Any

from sb3_udrl.commands.joint import JointCommands
from sb3_udrl.commands.samplers import (
    CommandSampler,
    CurriculumCommands,
    FixedCommands,
    MeanPlusStdCommands,
    QuantileCommands,
)

COMMAND_SAMPLERS: dict[str, type[CommandSampler]] = {
    "joint": JointCommands,
    "mean_plus_std": MeanPlusStdCommands,
    "fixed": FixedCommands,
    "quantile": QuantileCommands,
    "curriculum": CurriculumCommands,
}


def make_command_sampler(name: str | type[CommandSampler], kwargs: dict[str, Any] | None) -> CommandSampler:
    """
    Build a command sampler.

    :param name: a key of ``COMMAND_SAMPLERS``, or a class
    :param kwargs: its arguments
    :raises ValueError: if the name is unknown, or an argument is
    """
    if isinstance(name, str):
        if name not in COMMAND_SAMPLERS:
            raise ValueError(f"command_sampler={name!r}: choose one of {sorted(COMMAND_SAMPLERS)}, or pass a class")
        name = COMMAND_SAMPLERS[name]
    try:
        return name(**(kwargs or {}))
    except TypeError as error:
        raise ValueError(f"command_sampler_kwargs={kwargs} do not fit {name.__name__}: {error}") from error
