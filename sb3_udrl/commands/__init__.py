"""Commands, and the callbacks that choose them."""

from sb3_udrl.commands.command import Command, advance, make_command
from sb3_udrl.commands.joint import AdaptiveCommands, EliteCommands, JointCommands
from sb3_udrl.commands.registry import COMMAND_SAMPLERS, make_command_sampler
from sb3_udrl.commands.samplers import (
    CommandSampler,
    CurriculumCommands,
    FixedCommands,
    MeanPlusStdCommands,
    QuantileCommands,
)

__all__ = [
    "COMMAND_SAMPLERS",
    "AdaptiveCommands",
    "Command",
    "CommandSampler",
    "CurriculumCommands",
    "EliteCommands",
    "FixedCommands",
    "JointCommands",
    "MeanPlusStdCommands",
    "QuantileCommands",
    "advance",
    "make_command",
    "make_command_sampler",
]
