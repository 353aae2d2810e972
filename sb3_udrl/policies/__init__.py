"""Behavior functions."""

from sb3_udrl.policies.base import BehaviorPolicy, FitOptions, FitReport
from sb3_udrl.policies.command_policy import CnnPolicy, CommandPolicy, MlpPolicy, MultiInputPolicy
from sb3_udrl.policies.features import PartsExtractor
from sb3_udrl.policies.side_by_side import SideBySide
from sb3_udrl.policies.small_cnn import SmallCNN

__all__ = [
    "BehaviorPolicy",
    "CnnPolicy",
    "CommandPolicy",
    "FitOptions",
    "FitReport",
    "MlpPolicy",
    "MultiInputPolicy",
    "PartsExtractor",
    "SideBySide",
    "SmallCNN",
]
