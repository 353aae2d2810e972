"""How experience comes about beyond what was learned: the warm-up, and noise that lasts through an episode."""

from sb3_udrl.exploration.exploration import Exploration
from sb3_udrl.exploration.state_dependent_noise import StateDependentNoise
from sb3_udrl.exploration.warm_up import (
    WARM_UPS,
    MixedWarmUp,
    NetworkWarmUp,
    NormalWarmUp,
    OwnWarmUp,
    RunningInputs,
    StickyWarmUp,
    UniformWarmUp,
    WarmUp,
    make_warm_up,
    uniform_actions,
)

__all__ = [
    "WARM_UPS",
    "Exploration",
    "MixedWarmUp",
    "NetworkWarmUp",
    "NormalWarmUp",
    "OwnWarmUp",
    "RunningInputs",
    "StateDependentNoise",
    "StickyWarmUp",
    "UniformWarmUp",
    "WarmUp",
    "make_warm_up",
    "uniform_actions",
]
