"""Evaluation under commands."""

from sb3_udrl.commands.tracking import track
from sb3_udrl.evaluation.evaluate import evaluate_policy, mask_command
from sb3_udrl.evaluation.following import (
    CommandFollowing,
    CommandFollowingCallback,
    PartFollowing,
    command_following,
    experienced_commands,
    run_commands,
)

__all__ = [
    "CommandFollowing",
    "CommandFollowingCallback",
    "PartFollowing",
    "command_following",
    "evaluate_policy",
    "mask_command",
    "experienced_commands",
    "run_commands",
    "track",
]
