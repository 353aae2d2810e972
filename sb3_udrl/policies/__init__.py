"""Behavior functions."""

from sb3_udrl.policies.base import BehaviorPolicy
from sb3_udrl.policies.command_policy import CommandPolicy

__all__ = ["BehaviorPolicy", "CommandPolicy"]
