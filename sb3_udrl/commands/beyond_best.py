"""Commands that start from the best there is; how far beyond it they ask is learned from what came of it."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from sb3_udrl.commands.command import Command
from sb3_udrl.commands.command_space import make_command
from sb3_udrl.commands.elites import AdaptiveCommands, Baseline
from sb3_udrl.commands.outcomes import Outcomes

Floats = NDArray[np.float64]


class _Best(NamedTuple):
    """
    The best policy that is stored.

    :param value: what it is believed to earn
    :param length: its length in steps
    :param scale: the model's ``ReturnScale``, which says what returns go with values
    """

    value: float
    length: float
    scale: Any


class BestThereIs(_Best, Baseline):
    """The best policy that is stored; optimism is a share of the range of values."""

    bands = (0.0, 0.05, 0.1, 0.2, 0.4)

    def raised(self, optimism: Floats) -> Command:
        return make_command(self.edges(optimism), max(self.length, 1.0), len(optimism))

    def edges(self, bands: Floats) -> Floats:
        returns: Floats = self.scale.returns_of(self.value + bands * self.scale.spread)
        return returns

    def asked(self, outcomes: Outcomes) -> Floats:
        return outcomes.asked("return")


class BeyondBestCommands(AdaptiveCommands):
    """
    Asks for what the best stored policy earns and for up to some share of the range of values more. The share is found out
    while training, as :class:`AdaptiveCommands` finds its optimism out. ``predict`` asks for the best.

    :param bands: edges of the bands of this share, ascending from 0
    :param verbose: verbosity level
    :raises ValueError: if an argument is out of its range, or the model is none that generates policies
    """

    def __init__(self, bands: tuple[float, ...] = BestThereIs.bands, verbose: int = 0) -> None:
        super().__init__(bands=bands, verbose=verbose)

    def _init_callback(self) -> None:
        if not hasattr(self.model.policy, "generate"):
            raise ValueError(
                'command_sampler="beyond_best" starts from the best policy that UDRLPG stores: for a '
                f'{type(self.model).__name__}, choose "adaptive"'
            )

    def baseline(self) -> Baseline:
        best = self.replay_buffer.best(1)[0]
        value, length = self.model.hindsight.values()[best], self.replay_buffer.lengths[best]
        return BestThereIs(float(value), float(length), self.model.policy.return_scale)

    def best_optimism(self, baseline: Baseline) -> float:
        return 0.0
