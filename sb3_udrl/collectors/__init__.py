"""Processes that play episodes with copies of the behavior function, on this machine or on many."""

from sb3_udrl.collectors.collector import Collector, Playing, Recipe, Started
from sb3_udrl.collectors.collectors import Collectors
from sb3_udrl.collectors.upcoming import Upcoming
from sb3_udrl.common.made_envs import made_by

__all__ = ["Collector", "Collectors", "Playing", "Recipe", "Started", "Upcoming", "made_by"]
