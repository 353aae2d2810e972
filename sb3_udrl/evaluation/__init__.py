"""Evaluation under commands."""

from sb3_udrl.commands.rewards import track
from sb3_udrl.evaluation.evaluate import evaluate_policy, mask_command
from sb3_udrl.evaluation.following import (
    CommandFollowing,
    CommandFollowingCallback,
    PartFollowing,
    command_following,
    run_commands,
    stored_commands,
)

__all__ = [
    "CommandFollowing",
    "CommandFollowingCallback",
    "PartFollowing",
    "command_following",
    "evaluate_policy",
    "mask_command",
    "run_commands",
    "stored_commands",
    "track",
]
