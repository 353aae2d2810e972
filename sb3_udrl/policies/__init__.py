"""Behavior functions."""

from sb3_udrl.policies.base import BehaviorPolicy, FitOptions, FitReport
from sb3_udrl.policies.command_policy import CommandPolicy

__all__ = ["BehaviorPolicy", "CommandPolicy", "FitOptions", "FitReport"]
