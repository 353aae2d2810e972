"""The command samplers by the names that ``UDRL(command_sampler=...)`` knows them by."""

from __future__ import annotations

from typing import Any

from sb3_udrl.commands.beyond_best import BeyondBestCommands
from sb3_udrl.commands.elites import AdaptiveCommands, JointCommands
from sb3_udrl.commands.samplers import (
    CommandSampler,
    CurriculumCommands,
    FixedCommands,
    MeanPlusStdCommands,
    QuantileCommands,
)

COMMAND_SAMPLERS: dict[str, type[CommandSampler]] = {
    "adaptive": AdaptiveCommands,
    "joint": JointCommands,
    "beyond_best": BeyondBestCommands,
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
    sampler_class = COMMAND_SAMPLERS.get(name) if isinstance(name, str) else name
    if not (isinstance(sampler_class, type) and issubclass(sampler_class, CommandSampler)):
        raise ValueError(f"command_sampler={name!r}: choose one of {sorted(COMMAND_SAMPLERS)}, or pass a CommandSampler class")
    try:
        return sampler_class(**(kwargs or {}))
    except TypeError as error:
        raise ValueError(f"command_sampler_kwargs={kwargs} do not fit {sampler_class.__name__}: {error}") from error
