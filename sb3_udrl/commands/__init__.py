"""Commands, and the callbacks that choose them."""

from sb3_udrl.commands.command import Command, CommandLike
from sb3_udrl.commands.command_space import COMMAND_SPACES, CommandSpace, advance, make_command, make_command_space
from sb3_udrl.commands.elites import AdaptiveCommands, EliteCommands, JointCommands
from sb3_udrl.commands.outcomes import Outcome, Outcomes
from sb3_udrl.commands.parts import PARTS, CommandPart, Step, SummedPart
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
    "COMMAND_SPACES",
    "PARTS",
    "AdaptiveCommands",
    "Command",
    "CommandLike",
    "CommandPart",
    "CommandSampler",
    "CommandSpace",
    "CurriculumCommands",
    "EliteCommands",
    "FixedCommands",
    "JointCommands",
    "MeanPlusStdCommands",
    "Outcome",
    "Outcomes",
    "QuantileCommands",
    "Step",
    "SummedPart",
    "advance",
    "make_command",
    "make_command_sampler",
    "make_command_space",
]
