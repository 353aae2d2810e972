"""Commands that start from the best there is; how far beyond it they ask is learned from what came of it."""

from __future__ import annotations

from typing import NamedTuple, cast

import numpy as np
from numpy.typing import NDArray

from sb3_udrl.commands.command import Command
from sb3_udrl.commands.command_space import make_command
from sb3_udrl.commands.elites import AdaptiveCommands, Baseline
from sb3_udrl.commands.outcomes import Outcomes

Floats = NDArray[np.float64]

_NEAR = 0.2  # share of the range of returns


class _Best(NamedTuple):
    """
    The best that is stored.

    :param best_return: its return
    :param length: its length in steps
    :param spread: range of all returns that are stored
    """

    best_return: float
    length: float
    spread: float


class BestThereIs(_Best, Baseline):
    """The best that is stored; optimism is a share of the range of returns."""

    bands = (0.0, 0.05, 0.1, 0.2, 0.4)

    def drawn(self, n: int, rng: np.random.Generator) -> Baseline:
        return self

    def center(self) -> Baseline:
        return self

    def raised(self, optimism: Floats) -> Command:
        return make_command(self.best_return + optimism * self.spread, max(self.length, 1.0), len(optimism))

    def edges(self, bands: Floats) -> Floats:
        return self.best_return + bands * self.spread

    def asked(self, outcomes: Outcomes) -> Floats:
        asked = outcomes.asked("return")  # not what was asked for far below the best
        return np.where(asked < self.best_return - _NEAR * self.spread, np.nan, asked)


class BeyondBestCommands(AdaptiveCommands):
    """
    Asks for the best return that is stored and up to some share of the range of returns more. The share is found out while
    training, as :class:`AdaptiveCommands` finds its optimism out. ``predict`` asks for the best.

    :param bands: edges of the bands of this share, ascending from 0
    :param practice: share of the commands that ask for any return from the lowest to the best one, so that these are obeyed,
        too
    :param verbose: verbosity level
    :raises ValueError: if an argument is out of its range
    """

    def __init__(self, bands: tuple[float, ...] = BestThereIs.bands, practice: float = 0.1, verbose: int = 0) -> None:
        if not 0 <= practice <= 1:
            raise ValueError(f"practice={practice}: must be between 0 and 1")
        super().__init__(bands=bands, verbose=verbose)
        self.practice = practice

    def baseline(self) -> Baseline:
        best, returns = self.replay_buffer.best(1)[0], self.replay_buffer.returns
        return BestThereIs(float(returns[best]), float(self.replay_buffer.lengths[best]), float(np.ptp(returns)))

    def draw_optimism(self, baseline: Baseline, n: int) -> Floats:
        optimism = super().draw_optimism(baseline, n)
        returns, best = self.replay_buffer.returns, cast(BestThereIs, baseline)
        if self.practice == 0 or best.spread == 0:
            return optimism
        below = (returns.min() - best.best_return) / best.spread
        return np.where(self.rng.random(n) < self.practice, self.rng.uniform(below, 0, n), optimism)

    def best_optimism(self, baseline: Baseline) -> float:
        return 0.0
