"""UDRL in the RL Zoo: :func:`register`, the search space for Optuna, and ``python -m sb3_udrl.zoo``."""

from sb3_udrl.zoo.hyperparams import hyperparams_path
from sb3_udrl.zoo.registration import register

__all__ = ["hyperparams_path", "register"]
