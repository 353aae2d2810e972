"""The default way of asking: the return and the length of one good episode, taken together."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from sb3_udrl.buffers.arrays import Observation, n_rows
from sb3_udrl.commands.command import Command, make_command
from sb3_udrl.commands.samplers import CommandSampler


class JointCommands(CommandSampler):
    """
    One of the best episodes is drawn; its return and its length are asked for together, and both are raised.

    :param n_elites: number of best episodes to draw from
    :param optimism: commands ask for up to this many standard deviations more
    :param min_spread: the standard deviation counts as at least this share of the mean
    :param verbose: verbosity level
    """

    def __init__(
        self,
        n_elites: int = 50,
        optimism: float = 1.0,
        min_spread: float = 0.1,
        raise_horizon: str = "none",
        verbose: int = 0,
    ) -> None:
        super().__init__(verbose)
        self.n_elites, self.optimism, self.min_spread = n_elites, optimism, min_spread
        self.raise_horizon = raise_horizon

    def _stats(self):
        elites = self.replay_buffer.best(self.n_elites)
        returns, lengths = self.replay_buffer.returns[elites], self.replay_buffer.lengths[elites].astype(float)
        r_spread = max(returns.std(), self.min_spread * abs(returns.mean()))
        if self.raise_horizon == "same":
            h_spread = max(lengths.std(), self.min_spread * lengths.mean())
        elif self.raise_horizon == "slope":
            c = np.corrcoef(returns, lengths)[0, 1] if returns.std() > 0 and lengths.std() > 0 else 0
            h_spread = c * max(lengths.std(), self.min_spread * lengths.mean())
        else:
            h_spread = 0.0
        return returns, lengths, r_spread, h_spread

    def sample(self, observations: Observation) -> Command:
        n = n_rows(observations)
        returns, lengths, rs, hs = self._stats()
        k = self.rng.integers(len(returns), size=n)
        u = self.rng.random(n) * self.optimism
        return make_command(returns[k] + u * rs, np.maximum(lengths[k] + u * hs, 1), n)

    def best(self) -> Command:
        returns, lengths, rs, hs = self._stats()
        return make_command(returns.mean() + 0.5 * self.optimism * rs, max(1, lengths.mean() + 0.5 * self.optimism * hs))
