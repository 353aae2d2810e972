"""Which command each new episode gets: SB3 callbacks that ask the agent for something."""

from __future__ import annotations

from abc import abstractmethod
from typing import TYPE_CHECKING, Any

import numpy as np
from stable_baselines3.common.callbacks import BaseCallback

from sb3_udrl.buffers.arrays import Observation
from sb3_udrl.commands.command import Command, make_command

if TYPE_CHECKING:
    from sb3_udrl.buffers import EpisodicReplayBuffer
    from sb3_udrl.udrl.udrl import UDRL


class CommandSampler(BaseCallback):
    """
    Decides the command of every new training episode, and the one that ``predict`` starts with.

    A subclass implements :meth:`sample`; ``self.replay_buffer`` holds the episodes so far and ``self.rng`` is the
    model's generator, so that runs repeat.

    :param verbose: verbosity level, as for every SB3 callback
    """

    model: UDRL

    @property
    def replay_buffer(self) -> EpisodicReplayBuffer:
        """The stored episodes, at least one by the time that a command is needed."""
        assert self.model.replay_buffer is not None
        return self.model.replay_buffer

    @property
    def rng(self) -> np.random.Generator:
        """The generator of the model."""
        return self.model.rng

    @abstractmethod
    def sample(self, observations: Observation) -> Command:
        """
        Commands for episodes that start now.

        :param observations: their first observations, raw, ``(n, *observation_shape)``, or a dictionary of such
        :return: one row per observation
        """

    def best(self) -> Command:
        """The best that the buffer supports, one row; by default mean return and length of the ten best episodes."""
        best = self.replay_buffer.best(10)
        return make_command(self.replay_buffer.returns[best].mean(), self.replay_buffer.lengths[best].mean())

    def on_episode_end(self, command: Command, achieved_return: float, length: int) -> None:
        """
        Told how an episode went that was played under a command.

        :param command: what was asked for, one row
        :param achieved_return: raw return
        :param length: in steps
        """

    def _on_step(self) -> bool:
        return True


def n_rows(observations: Observation) -> int:
    """Number of environments in a batch of observations."""
    return len(next(iter(observations.values())) if isinstance(observations, dict) else observations)


class MeanPlusStdCommands(CommandSampler):
    """
    Srivastava's rule (arXiv 1912.02877, section 2.3.4): mean length of the best episodes, return uniform in
    [mean, mean + std].

    :param n_elites: number of best episodes
    :param verbose: verbosity level
    """

    def __init__(self, n_elites: int = 50, verbose: int = 0) -> None:
        super().__init__(verbose)
        self.n_elites = n_elites

    def sample(self, observations: Observation) -> Command:
        n, elites = n_rows(observations), self.replay_buffer.best(self.n_elites)
        returns, lengths = self.replay_buffer.returns[elites], self.replay_buffer.lengths[elites]
        return make_command(returns.mean() + self.rng.random(n) * returns.std(), lengths.mean(), n)

    def best(self) -> Command:
        elites = self.replay_buffer.best(self.n_elites)
        return make_command(self.replay_buffer.returns[elites].mean(), self.replay_buffer.lengths[elites].mean())


class JointCommands(CommandSampler):
    """
    Return and length of one of the best episodes, taken together, and both raised.

    :param n_elites: number of best episodes to draw from
    :param optimism: commands ask for up to this many standard deviations more
    :param min_spread: the standard deviation counts as at least this share of the mean
    :param verbose: verbosity level
    """

    def __init__(self, n_elites: int = 50, optimism: float = 1.0, min_spread: float = 0.1, raise_horizon: str = "none", verbose: int = 0) -> None:
        super().__init__(verbose)
        self.n_elites, self.optimism, self.min_spread = n_elites, optimism, min_spread
        self.raise_horizon = raise_horizon

    def _stats(self) -> Any:
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
