"""The name by which files of earlier revisions know :mod:`sb3_udrl.exploration.state_dependent_noise`."""

from sb3_udrl.exploration.state_dependent_noise import StateDependentNoise

__all__ = ["StateDependentNoise"]
