"""What commands start from, and what asking for more of it means: the best episodes, or what is usual."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import ClassVar, NamedTuple

import numpy as np
from numpy.typing import NDArray
from stable_baselines3.common.base_class import BaseAlgorithm

from sb3_udrl.buffers import EpisodicReplayBuffer
from sb3_udrl.buffers.arrays import Observation, n_rows
from sb3_udrl.commands.command import Command
from sb3_udrl.commands.command_space import make_command
from sb3_udrl.commands.outcomes import Outcomes
from sb3_udrl.commands.samplers import CommandSampler

_MIN_ELITES = 5
_MIN_SPREAD = 0.1  # of the mean: elites that are nearly alike would hardly be asked for more

Floats = NDArray[np.float64]


class Baseline(ABC):
    """What commands start from; optimism is how much more is asked for, in its standard deviations."""

    bands: ClassVar[tuple[float, ...]]  # of optimism that are tried
    untried: ClassVar[float]  # optimism before anything was tried, as after learning from recordings

    def drawn(self, n: int, rng: np.random.Generator) -> Baseline:
        """
        As many rows of it, at random; by default it is one and the same for all.

        :param n: number of rows
        :param rng: source of randomness
        """
        return self

    def center(self) -> Baseline:
        """Its middle, one row."""
        return self

    @abstractmethod
    def raised(self, optimism: Floats) -> Command:
        """
        Commands that ask for more than each row.

        :param optimism: how much more, ``(n,)``
        :return: ``n`` rows
        """

    @abstractmethod
    def edges(self, bands: Floats) -> Floats:
        """
        Edges of bands of optimism in the unit of :meth:`asked`.

        :param bands: ``(n,)``
        """

    @abstractmethod
    def asked(self, outcomes: Outcomes) -> Floats:
        """
        What recent episodes were asked for, NaN where it has nothing to do with this, ``(n_outcomes,)``.

        :param outcomes: recent episodes
        """


class Usual(Baseline):
    """What is usual in a situation: advantages are deviations from it."""

    untried = 3.0
    bands = (0.0, 1.0, 3.0)  # where labels say little, higher commands bring out chance, which is then imitated

    def raised(self, optimism: Floats) -> Command:
        return Command({"advantage": optimism})

    def edges(self, bands: Floats) -> Floats:
        return bands

    def asked(self, outcomes: Outcomes) -> Floats:
        return outcomes.asked("advantage")


class _Elites(NamedTuple):
    """
    The best episodes, and what asking for more of the same would mean.

    :param returns: their returns, ``(n_elites,)``
    :param lengths: their lengths in steps, ``(n_elites,)``
    :param return_spread: one step of optimism in return
    :param horizon_spread: what comes with it in length, by the correlation of length and return among them: longer where
        the better episodes are longer (balancing), shorter where they are shorter (reaching a goal)
    """

    returns: Floats
    lengths: Floats
    return_spread: float
    horizon_spread: float


class EliteEpisodes(_Elites, Baseline):
    """The best episodes; return and length are raised together, along their trend."""

    untried = 0.5
    bands = (0.0, 1.0, 3.0, 10.0, 30.0)

    @classmethod
    def of(cls, buffer: EpisodicReplayBuffer, n_elites: int, elite_share: float) -> EliteEpisodes:
        """
        The best of the stored episodes.

        :param buffer: at least one episode
        :param n_elites: at most so many
        :param elite_share: at most this share of the stored episodes, though five at least
        """
        by_share = max(_MIN_ELITES, int(elite_share * buffer.n_episodes))
        best = buffer.best(min(n_elites, by_share))
        returns, lengths = buffer.returns[best], buffer.lengths[best].astype(np.float64)
        if np.ptp(returns) == 0:  # a ceiling: there is no more to ask for
            return cls(returns, lengths, 0.0, 0.0)
        # the second bound does not depend on where the zero of rewards lies
        return_spread = max(returns.std(), min(_MIN_SPREAD * abs(returns.mean()), buffer.returns.std()))
        length_spread = max(lengths.std(), _MIN_SPREAD * lengths.mean())
        trend = np.corrcoef(returns, lengths)[0, 1] if np.ptp(lengths) > 0 else 0.0
        return cls(returns, lengths, float(return_spread), float(trend * length_spread))

    def drawn(self, n: int, rng: np.random.Generator) -> Baseline:
        rows = rng.integers(len(self.returns), size=n)
        return self._replace(returns=self.returns[rows], lengths=self.lengths[rows])

    def center(self) -> Baseline:
        return self._replace(returns=np.array([self.returns.mean()]), lengths=np.array([np.median(self.lengths)]))

    def raised(self, optimism: Floats) -> Command:
        return make_command(
            self.returns + optimism * self.return_spread,
            np.maximum(self.lengths + optimism * self.horizon_spread, np.maximum(self.lengths / 4, 1)),  # not absurdly short
            len(optimism),
        )

    def edges(self, bands: Floats) -> Floats:
        return self.returns.mean() + bands * self.return_spread

    def asked(self, outcomes: Outcomes) -> Floats:
        return outcomes.asked("return")


class EliteCommands(CommandSampler):
    """
    Asks for more than there is: than usual, for models that take advantages; else than one of the best episodes, which is
    drawn, and whose return and length are raised together along their trend.

    A subclass says by how much.

    :param n_elites: at most so many best episodes to draw from
    :param elite_share: at most this share of the stored episodes, though five at least
    :param verbose: verbosity level
    :raises ValueError: if an argument is out of its range
    """

    asks_for = frozenset({"return", "horizon", "advantage"})
    in_advance = True

    def __init__(self, n_elites: int = 50, elite_share: float = 0.05, verbose: int = 0) -> None:
        super().__init__(verbose)
        if n_elites < 1:
            raise ValueError(f"n_elites={n_elites}: must be at least 1")
        if not 0 < elite_share <= 1:
            raise ValueError(f"elite_share={elite_share}: must be between 0 and 1")
        self.n_elites, self.elite_share = n_elites, elite_share
        self._baseline: Baseline | None = None  # what commands go by until the next rollout starts

    @abstractmethod
    def draw_optimism(self, baseline: Baseline, n: int) -> Floats:
        """
        How much more to ask for, in standard deviations.

        :param baseline: what commands start from
        :param n: number of commands
        :return: ``(n,)``
        """

    @abstractmethod
    def best_optimism(self, baseline: Baseline) -> float:
        """
        How much more to ask for when it counts.

        :param baseline: what commands start from
        """

    # Here and not in the methods with an underscore, which subclasses are free to replace

    def init_callback(self, model: BaseAlgorithm) -> None:
        self._forget()
        super().init_callback(model)

    def on_rollout_start(self) -> None:
        self._forget()
        super().on_rollout_start()

    def _forget(self) -> None:
        self._baseline = None

    def baseline(self) -> Baseline:
        """What commands start from, by what is stored now."""
        if "advantage" in self.model.command_space:
            return Usual()
        return EliteEpisodes.of(self.replay_buffer, self.n_elites, self.elite_share)

    def sample(self, observations: Observation) -> Command:
        self._baseline = self._baseline or self.baseline()
        n = n_rows(observations)
        starting = self._baseline.drawn(n, self.rng)
        return starting.raised(self.draw_optimism(self._baseline, n))

    def best(self) -> Command:
        baseline = self.baseline()
        return baseline.center().raised(np.array([self.best_optimism(baseline)]))


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

    def draw_optimism(self, baseline: Baseline, n: int) -> Floats:
        return self.rng.uniform(0, self.optimism, n)

    def best_optimism(self, baseline: Baseline) -> float:
        return self.optimism / 2


class AdaptiveCommands(EliteCommands):
    """
    Elite commands whose optimism is found out while training.

    How much more can usefully be asked for depends on the task, by orders of magnitude. So optimism is split into bands,
    and the return that was achieved after asking within each band decides, by Thompson sampling, which band the next
    episode is asked in. Commands are chosen by what came of commands; actions are learned by imitation alone.

    :param n_elites: as for :class:`EliteCommands`
    :param elite_share: as for :class:`EliteCommands`
    :param bands: edges of the bands, in standard deviations, ascending from 0; by default 0, 1, 3, 10, 30, and for models that
        take advantages 0, 1, 3
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
        self._achieved: tuple[Floats, Floats, float] | None = None

    def bands(self, baseline: Baseline) -> Floats:
        """
        Edges of the bands, in standard deviations, ``(n_bands + 1,)``.

        :param baseline: what commands start from
        """
        return np.asarray(baseline.bands if self._bands is None else self._bands, dtype=np.float64)

    def _forget(self) -> None:
        super()._forget()
        self._achieved = None

    def achieved(self, baseline: Baseline) -> tuple[Floats, Floats, float]:
        """
        What recent episodes achieved, by the band that they would be in today.

        :param baseline: what commands start from
        :return: number of episodes per band and their mean return, both ``(n_bands,)``, the overall mean where there is
            none; and the standard deviation within bands
        """
        bands, outcomes = self.bands(baseline), self.model.outcomes
        n_bands = len(bands) - 1
        asked = baseline.asked(outcomes)
        counted = ~np.isnan(asked)
        if not counted.any():
            return np.zeros(n_bands), np.zeros(n_bands), 1.0
        asked, achieved = asked[counted], outcomes.achieved("return")[counted]
        band = np.searchsorted(baseline.edges(bands[1:-1]), asked)
        counts = np.bincount(band, minlength=n_bands).astype(np.float64)
        sums = np.bincount(band, achieved, minlength=n_bands)
        means = np.where(counts > 0, sums / np.maximum(counts, 1), achieved.mean())
        return counts, means, float(np.sqrt(np.mean((achieved - means[band]) ** 2)))

    def draw_optimism(self, baseline: Baseline, n: int) -> Floats:
        self._achieved = self._achieved or self.achieved(baseline)
        counts, means, deviation = self._achieved
        # an empty band counts as half an episode: uncertain enough to be tried
        draws = means + self.rng.standard_normal((n, len(means))) * deviation / np.sqrt(np.maximum(counts, 0.5))
        band, bands = draws.argmax(1), self.bands(baseline)
        return self.rng.uniform(bands[band], bands[band + 1])

    def best_optimism(self, baseline: Baseline) -> float:
        counts, means, _ = self.achieved(baseline)
        if not counts.any():
            return baseline.untried
        band = int(np.where(counts > 0, means, -np.inf).argmax())
        return float(self.bands(baseline)[band : band + 2].mean())
