"""Upside-Down Reinforcement Learning."""

from sb3_udrl.udrl.udrl import UDRL

__all__ = ["UDRL"]
