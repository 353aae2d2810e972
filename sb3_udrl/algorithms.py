"""The package's algorithms by the names that command lines and the RL Zoo know them by: the class name in lower case."""

from __future__ import annotations

from sb3_udrl.common.commanded_algorithm import CommandedAlgorithm
from sb3_udrl.common.hindsight_algorithm import HindsightAlgorithm
from sb3_udrl.udrl import UDRL
from sb3_udrl.udrlpg import UDRLPG

LEARN_FROM_RECORDINGS: dict[str, type[HindsightAlgorithm]] = {"udrl": UDRL}
ALGORITHMS: dict[str, type[CommandedAlgorithm]] = {**LEARN_FROM_RECORDINGS, "udrlpg": UDRLPG}
