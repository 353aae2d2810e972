"""Which command each new episode gets: SB3 callbacks that ask the agent for something."""

from __future__ import annotations

from abc import abstractmethod
from typing import Any, ClassVar

import numpy as np
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.callbacks import BaseCallback

from sb3_udrl.buffers import EpisodicReplayBuffer
from sb3_udrl.buffers.arrays import Observation, n_rows
from sb3_udrl.commands.command import Command
from sb3_udrl.commands.command_space import CommandSpace, make_command
from sb3_udrl.commands.parts import PARTS


class CommandSampler(BaseCallback):
    """
    Decides the command of every new training episode, and the one that ``predict`` starts with.

    A subclass implements :meth:`sample`; ``self.replay_buffer`` holds the episodes so far, and ``self.rng`` is the
    model's generator, so that runs repeat. Given to ``learn(callback=...)``, it takes the place of the default one.

    :param verbose: verbosity level, as for every SB3 callback
    """

    model: Any  # a CommandedModel; to callbacks, models are SB3's
    asks_for: ClassVar[frozenset[str]] = frozenset()  # parts, of which a model has to take one; any if empty
    in_advance: ClassVar[bool] = False  # whether `sample` looks at the number of the observations alone, so may draw early

    def __init_subclass__(cls) -> None:
        if "sample" in vars(cls):  # who draws in another way may look at more
            cls.in_advance = vars(cls).get("in_advance", False)

    def __getstate__(self) -> dict[str, Any]:
        return {**vars(self), "locals": {}, "globals": {}}  # of the loop that calls it: they hold what cannot be copied

    def init_callback(self, model: BaseAlgorithm) -> None:
        """
        Get to know the model.

        :param model: a model that takes commands
        :raises ValueError: if it takes none that this sampler asks for
        """
        super().init_callback(model)
        takes = self.model.command_space.names
        if self.asks_for and not self.asks_for & set(takes):
            raise ValueError(
                f"{type(self).__name__} asks for {', '.join(sorted(self.asks_for))}, this model takes {', '.join(takes)}: "
                'choose command_sampler="fixed", or a CommandSampler of your own'
            )

    @property
    def replay_buffer(self) -> EpisodicReplayBuffer:
        """The stored episodes, at least one by the time that a command is needed."""
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
        """
        The best that the buffer supports, one row: by default mean return and mean length of the ten best episodes; as usual
        where the model takes neither.
        """
        if not {"return", "horizon"} & set(self.model.command_space.names):
            return self.model.command_space.default()
        best = self.replay_buffer.best(10)
        return make_command(self.replay_buffer.returns[best].mean(), self.replay_buffer.lengths[best].mean())

    def _on_step(self) -> bool:
        return True


class MeanPlusStdCommands(CommandSampler):
    """
    Srivastava's rule: the mean length of the best episodes, and a return uniform in [mean, mean + std] of theirs
    (arXiv 1912.02877, section 2.3.4). The evaluation command is the lower bound (section 2.3.6).

    :param n_elites: number of best episodes
    :param verbose: verbosity level
    :raises ValueError: if ``n_elites`` is below one
    """

    asks_for = frozenset({"return", "horizon"})
    in_advance = True

    def __init__(self, n_elites: int = 50, verbose: int = 0) -> None:
        super().__init__(verbose)
        if n_elites < 1:
            raise ValueError(f"n_elites={n_elites}: must be at least 1")
        self.n_elites = n_elites

    def sample(self, observations: Observation) -> Command:
        n, elites = n_rows(observations), self.replay_buffer.best(self.n_elites)
        returns, lengths = self.replay_buffer.returns[elites], self.replay_buffer.lengths[elites]
        return make_command(returns.mean() + self.rng.random(n) * returns.std(), lengths.mean(), n)

    def best(self) -> Command:
        elites = self.replay_buffer.best(self.n_elites)
        return make_command(self.replay_buffer.returns[elites].mean(), self.replay_buffer.lengths[elites].mean())


class FixedCommands(CommandSampler):
    """
    The same command for every episode.

    :param desired_return: in raw reward units; None to not ask for one
    :param desired_horizon: in steps; None to not ask for one
    :param verbose: verbosity level
    :param others: values of further parts, such as ``advantage=1.0``
    :raises ValueError: if a value is not finite or out of its range
    """

    in_advance = True

    def __init__(
        self,
        desired_return: float | None = None,
        desired_horizon: float | None = None,
        verbose: int = 0,
        **others: float,
    ) -> None:
        super().__init__(verbose)
        given = {"return": desired_return, "horizon": desired_horizon, **others}
        self.command: dict[str, float] = {name: value for name, value in given.items() if value is not None}
        known = {name: value for name, value in self.command.items() if name in PARTS}
        if known:  # so that a mistake shows here
            CommandSpace(list(known)).make(known)

    def _init_callback(self) -> None:
        self.best()  # complains where the model does not take it

    def sample(self, observations: Observation) -> Command:
        return self.model.command_space.make(self.command, n_rows(observations))

    def best(self) -> Command:
        return self.model.command_space.make(self.command)


class QuantileCommands(CommandSampler):
    """
    Return and length of one of the stored episodes whose return lies between two quantiles.

    From 0 to 1, the agent practises everything it has ever done, good and bad, and stays obedient over the whole range.

    :param low: lower quantile of returns, between 0 and 1
    :param high: upper quantile of returns, between 0 and 1
    :param verbose: verbosity level
    :raises ValueError: if these are not ``0 <= low <= high <= 1``
    """

    asks_for = frozenset({"return", "horizon"})
    in_advance = True

    def __init__(self, low: float = 0.9, high: float = 1.0, verbose: int = 0) -> None:
        super().__init__(verbose)
        if not 0 <= low <= high <= 1:
            raise ValueError(f"low={low}, high={high}: must be 0 <= low <= high <= 1")
        self.low, self.high = low, high

    def sample(self, observations: Observation) -> Command:
        order = np.argsort(self.replay_buffer.returns, kind="stable")
        positions = self.rng.uniform(self.low, self.high, n_rows(observations)) * (len(order) - 1)
        episodes = order[np.rint(positions).astype(int)]
        return make_command(self.replay_buffer.returns[episodes], self.replay_buffer.lengths[episodes], len(episodes))


class CurriculumCommands(QuantileCommands):
    """
    Asks for median episodes at first and for ever better ones as training goes on, up to the best at its end.

    :param start: quantile of returns to begin with, between 0 and 1
    :param width: commands lie in a band of quantiles of this width
    :param verbose: verbosity level
    :raises ValueError: if ``start`` or ``width`` is out of range
    """

    def __init__(self, start: float = 0.5, width: float = 0.1, verbose: int = 0) -> None:
        super().__init__(start, min(1.0, start + width), verbose)
        self.start, self.width = start, width

    def _on_rollout_start(self) -> None:
        progress = 1 - self.model._current_progress_remaining
        self.high = min(1.0, self.start + self.width + progress * (1 - self.start))
        self.low = max(0.0, self.high - self.width)
