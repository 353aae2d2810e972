"""Upside-Down Reinforcement Learning for Stable-Baselines3."""

from sb3_udrl.buffers import EpisodicReplayBuffer
from sb3_udrl.commands import Command
from sb3_udrl.policies import CommandPolicy
from sb3_udrl.udrl import UDRL

__version__ = "0.1.0"
__all__ = ["UDRL", "Command", "CommandPolicy", "EpisodicReplayBuffer"]
