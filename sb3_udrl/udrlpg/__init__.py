"""Upside-Down Reinforcement Learning with Policy Generators: one network makes a whole policy for any return."""

from sb3_udrl.udrlpg.policy import GeneratorPolicy
from sb3_udrl.udrlpg.udrlpg import UDRLPG

__all__ = ["UDRLPG", "GeneratorPolicy"]
