"""Evaluation under commands."""

from sb3_udrl.evaluation.evaluate import evaluate_policy, mask_command
from sb3_udrl.evaluation.following import (
    CommandFollowing,
    CommandFollowingCallback,
    command_following,
    run_commands,
    stored_commands,
)
from sb3_udrl.evaluation.tracking import track

__all__ = [
    "CommandFollowing",
    "CommandFollowingCallback",
    "command_following",
    "evaluate_policy",
    "mask_command",
    "run_commands",
    "stored_commands",
    "track",
]
