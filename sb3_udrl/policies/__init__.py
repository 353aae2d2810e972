"""Behavior functions."""

from sb3_udrl.policies.base import BehaviorPolicy, FitOptions, FitReport
from sb3_udrl.policies.command_policy import CnnPolicy, CommandPolicy, MlpPolicy, MultiInputPolicy

__all__ = ["BehaviorPolicy", "CnnPolicy", "CommandPolicy", "FitOptions", "FitReport", "MlpPolicy", "MultiInputPolicy"]
