"""The return and the length of one good episode, asked for together and raised."""

from __future__ import annotations

from abc import abstractmethod
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from stable_baselines3.common.base_class import BaseAlgorithm

from sb3_udrl.buffers.arrays import Observation, n_rows
from sb3_udrl.commands.command import Command, make_command
from sb3_udrl.commands.samplers import CommandSampler

_MIN_ELITES = 5
_MIN_SPREAD = 0.1  # of the mean: elites that are nearly alike would hardly be asked for more
_BANDS = (0.0, 1.0, 3.0, 10.0, 30.0)
_RELATIVE_BANDS = (0.0, 1.0, 3.0)  # where labels say little, higher commands bring out chance, which is then imitated


class Elites(NamedTuple):
    """
    The best episodes, and what asking for more of the same would mean.

    :param returns: their returns, ``(n_elites,)``
    :param lengths: their lengths in steps, ``(n_elites,)``
    :param return_spread: one step of optimism in return
    :param horizon_spread: what comes with it in length, by the correlation of length and return among them: longer where
        the better episodes are longer (balancing), shorter where they are shorter (reaching a goal)
    """

    returns: NDArray[np.float64]
    lengths: NDArray[np.float64]
    return_spread: float
    horizon_spread: float

    def raised(self, returns: NDArray[np.float64], lengths: NDArray[np.float64], optimism: NDArray[np.float64]) -> Command:
        """
        Commands that ask for more.

        :param returns: returns to start from, ``(n,)``
        :param lengths: lengths to start from, ``(n,)``
        :param optimism: how much more, in spreads, ``(n,)``
        """
        return make_command(
            returns + optimism * self.return_spread,
            np.maximum(lengths + optimism * self.horizon_spread, np.maximum(lengths / 4, 1)),  # not absurdly short
            len(optimism),
        )


class EliteCommands(CommandSampler):
    """
    One of the best episodes is drawn; its return and its length are asked for together, both raised along their trend.

    A subclass says by how much.

    :param n_elites: at most so many best episodes to draw from; relative commands have no elites
    :param elite_share: at most this share of the stored episodes, though five at least
    :param verbose: verbosity level
    :raises ValueError: if an argument is out of its range
    """

    def __init__(self, n_elites: int = 50, elite_share: float = 0.05, verbose: int = 0) -> None:
        super().__init__(verbose)
        if n_elites < 1:
            raise ValueError(f"n_elites={n_elites}: must be at least 1")
        if not 0 < elite_share <= 1:
            raise ValueError(f"elite_share={elite_share}: must be between 0 and 1")
        self.n_elites, self.elite_share = n_elites, elite_share
        self._elites: Elites | None = None  # what commands go by until the next rollout starts

    @abstractmethod
    def draw_optimism(self, elites: Elites, n: int) -> NDArray[np.float64]:
        """
        How much more to ask for, in spreads.

        :param elites: the best episodes
        :param n: number of commands
        :return: ``(n,)``
        """

    @abstractmethod
    def best_optimism(self, elites: Elites) -> float:
        """
        How much more to ask for when it counts.

        :param elites: the best episodes
        """

    # Here and not in the methods with an underscore, which subclasses are free to replace

    def init_callback(self, model: BaseAlgorithm) -> None:
        self._forget()
        super().init_callback(model)

    def on_rollout_start(self) -> None:
        self._forget()
        super().on_rollout_start()

    def _forget(self) -> None:
        self._elites = None

    def elites(self) -> Elites:
        """The best of the stored episodes; for relative commands, what is usual: zero, with a spread of one."""
        if self.replay_buffer.relative:
            return Elites(np.zeros(1), np.full(1, np.inf), 1.0, 0.0)
        by_share = max(_MIN_ELITES, int(self.elite_share * self.replay_buffer.n_episodes))
        best = self.replay_buffer.best(min(self.n_elites, by_share))
        returns, lengths = self.replay_buffer.returns[best], self.replay_buffer.lengths[best].astype(np.float64)
        if np.ptp(returns) == 0:  # a ceiling: there is no more to ask for
            return Elites(returns, lengths, 0.0, 0.0)
        return_spread = max(returns.std(), _MIN_SPREAD * abs(returns.mean()))
        length_spread = max(lengths.std(), _MIN_SPREAD * lengths.mean())
        trend = np.corrcoef(returns, lengths)[0, 1] if np.ptp(lengths) > 0 else 0.0
        return Elites(returns, lengths, float(return_spread), float(trend * length_spread))

    def sample(self, observations: Observation) -> Command:
        n, elites = n_rows(observations), self._elites or self.elites()
        self._elites = elites
        drawn = self.rng.integers(len(elites.returns), size=n)
        return elites.raised(elites.returns[drawn], elites.lengths[drawn], self.draw_optimism(elites, n))

    def best(self) -> Command:
        elites = self.elites()
        center = np.array([elites.returns.mean()]), np.array([np.median(elites.lengths)])
        return elites.raised(*center, np.array([self.best_optimism(elites)]))


class JointCommands(EliteCommands):
    """
    Elite commands that ask for up to a fixed number of standard deviations more.

    :param n_elites: as for :class:`EliteCommands`
    :param elite_share: as for :class:`EliteCommands`
    :param optimism: commands ask for up to this many standard deviations more
    :param verbose: verbosity level
    :raises ValueError: if an argument is out of its range
    """

    def __init__(self, n_elites: int = 50, elite_share: float = 0.05, optimism: float = 3.0, verbose: int = 0) -> None:
        super().__init__(n_elites, elite_share, verbose)
        if not optimism >= 0:
            raise ValueError(f"optimism={optimism}: must be at least 0")
        self.optimism = optimism

    def draw_optimism(self, elites: Elites, n: int) -> NDArray[np.float64]:
        return self.rng.uniform(0, self.optimism, n)

    def best_optimism(self, elites: Elites) -> float:
        return self.optimism / 2


class AdaptiveCommands(EliteCommands):
    """
    Elite commands whose optimism is found out while training.

    How much more can usefully be asked for depends on the task, by orders of magnitude. So optimism is split into bands,
    and the return that was achieved after asking within each band decides, by Thompson sampling, which band the next
    episode is asked in. Commands are chosen by what came of commands; actions are learned by imitation alone.

    :param n_elites: as for :class:`EliteCommands`
    :param elite_share: as for :class:`EliteCommands`
    :param bands: edges of the bands, in standard deviations, ascending from 0; by default 0, 1, 3, 10, 30, and for relative
        commands 0, 1, 3
    :param verbose: verbosity level
    :raises ValueError: if an argument is out of its range
    """

    def __init__(
        self,
        n_elites: int = 50,
        elite_share: float = 0.05,
        bands: tuple[float, ...] | None = None,
        verbose: int = 0,
    ) -> None:
        if bands is not None and (len(bands) < 2 or bands[0] != 0 or (np.diff(bands) <= 0).any()):
            raise ValueError(f"bands={bands}: give at least two edges, ascending from 0")
        super().__init__(n_elites, elite_share, verbose)
        self._bands = bands
        self._achieved: tuple[NDArray[np.float64], NDArray[np.float64], float] | None = None

    @property
    def bands(self) -> NDArray[np.float64]:
        """Edges of the bands, in standard deviations, ``(n_bands + 1,)``."""
        by_default = _RELATIVE_BANDS if self.replay_buffer.relative else _BANDS
        return np.asarray(by_default if self._bands is None else self._bands, dtype=np.float64)

    def _forget(self) -> None:
        super()._forget()
        self._achieved = None

    def achieved(self, elites: Elites) -> tuple[NDArray[np.float64], NDArray[np.float64], float]:
        """
        What recent episodes achieved, by the band that they would be in today.

        :param elites: the best episodes
        :return: number of episodes per band and their mean return, both ``(n_bands,)``, the overall mean where there is
            none; and the standard deviation within bands
        """
        n_bands = len(self.bands) - 1
        if not self.model.obedience:
            return np.zeros(n_bands), np.zeros(n_bands), 1.0
        asked, _, achieved, _ = np.transpose(self.model.obedience)
        edges = elites.returns.mean() + self.bands[1:-1] * elites.return_spread
        band = np.searchsorted(edges, asked)
        counts = np.bincount(band, minlength=n_bands).astype(np.float64)
        sums = np.bincount(band, achieved, minlength=n_bands)
        means = np.where(counts > 0, sums / np.maximum(counts, 1), achieved.mean())
        return counts, means, float(np.sqrt(np.mean((achieved - means[band]) ** 2)))

    def draw_optimism(self, elites: Elites, n: int) -> NDArray[np.float64]:
        self._achieved = self._achieved or self.achieved(elites)
        counts, means, deviation = self._achieved
        # an empty band counts as half an episode: uncertain enough to be tried
        draws = means + self.rng.standard_normal((n, len(means))) * deviation / np.sqrt(np.maximum(counts, 0.5))
        band = draws.argmax(1)
        return self.rng.uniform(self.bands[band], self.bands[band + 1])

    def best_optimism(self, elites: Elites) -> float:
        counts, means, _ = self.achieved(elites)
        tried = np.where(counts > 0, means, -np.inf)
        band = int(tried.argmax()) if counts.any() else 0
        return float(self.bands[band : band + 2].mean())
