"""What a command can ask for. Each part knows how to check it, how a step changes it, and what an episode achieved of it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, ClassVar, NamedTuple

import numpy as np
from numpy.typing import NDArray

from sb3_udrl.buffers.episodes import Episode
from sb3_udrl.commands.command import FloatArray


class Step(NamedTuple):
    """
    What one step of ``n`` environments brought.

    :param rewards: raw rewards, ``(n,)``
    :param infos: what the environments say besides, ``n`` dictionaries; None where nobody passed them on
    """

    rewards: FloatArray
    infos: Sequence[dict[str, Any]] | None = None


class CommandPart(ABC):
    """
    One thing that can be asked for. A subclass has a ``name``, by which commands and labels know it.

    Its label in hindsight is made by the labeler of that name in :mod:`sb3_udrl.labels`.
    """

    name: ClassVar[str]
    lowest: ClassVar[float] = -np.inf  # the least value that can be asked for
    measured: ClassVar[bool] = True  # whether an episode says by itself what it achieved
    sums: ClassVar[bool] = False  # whether it is a sum over the steps to come, so that a value per step says something too
    # What advance() does, for exported files: "less reward", "less amount", "less one" or "stays"; None where it is your own
    rule: ClassVar[str | None] = None

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        own = cls.__dict__
        if "rule" not in own and ("advance" in own or "amounts" in own):  # an own way to change is known to nobody else
            cls.rule = None if "advance" in own else "less amount"

    @abstractmethod
    def advance(self, values: FloatArray, step: Step) -> FloatArray:
        """
        What is still asked for after one step (arXiv 1912.02877, algorithm 2).

        :param values: before the step, ``(n,)``; NaN where it is not asked for
        :param step: what the step brought
        :return: ``(n,)``; NaN stays NaN
        """

    @abstractmethod
    def achieved(self, episode: Episode) -> float:
        """
        What an episode came to; NaN if it alone cannot say.

        :param episode: a finished episode
        """

    def check(self, values: FloatArray) -> None:
        """
        Refuse what cannot be asked for.

        :param values: ``(n,)``; NaN where it is not asked for
        :raises ValueError: if a value is infinite, or below the least one
        """
        asked = values[~np.isnan(values)]
        too_large = np.abs(asked) > np.finfo(np.float32).max  # policies hold commands in single precision
        if too_large.any():
            raise ValueError(
                f'{self.name}={asked[too_large][0]}: a command must be finite; leave "{self.name}" out to not ask for it'
            )
        if (asked < min(self.lowest, float(np.float32(self.lowest)))).any():  # policies hold commands in single precision
            raise ValueError(f"{self.name}={asked.min()}: must be at least {self.lowest:g}")


class SummedPart(CommandPart):
    """
    A sum over the steps to come, paid off step by step. A subclass says what one step contributes.

    :class:`Return` is one; so is a part of your own, such as the energy that an episode may spend.
    """

    sums = True
    rule = "less amount"
    needs_infos: ClassVar[bool] = True  # whether it counts something in ``infos``; without them it stays as it is

    @abstractmethod
    def amounts(self, step: Step) -> FloatArray:
        """
        What each environment's step contributes, ``(n,)``.

        :param step: what the step brought; ``infos`` is never None while experience is collected
        """

    def advance(self, values: FloatArray, step: Step) -> FloatArray:
        return values if self.needs_infos and step.infos is None else values - self.amounts(step)

    def achieved(self, episode: Episode) -> float:
        return float(episode.amounts[self.name].sum(dtype=np.float64))


class Return(SummedPart):
    """The sum of raw, undiscounted rewards that is still to be collected."""

    name = "return"
    rule = "less reward"
    needs_infos = False

    def amounts(self, step: Step) -> FloatArray:
        return np.asarray(step.rewards)

    def achieved(self, episode: Episode) -> float:
        return float(episode.rewards.sum())


class Horizon(CommandPart):
    """The number of steps that are left; one step less after each, and never less than one."""

    name = "horizon"
    rule = "less one"
    lowest = 1.0

    def advance(self, values: FloatArray, step: Step) -> FloatArray:
        return np.maximum(values - 1.0, 1.0)

    def achieved(self, episode: Episode) -> float:
        return float(len(episode))


class Advantage(CommandPart):
    """
    "Do so much better than usual from here", in standard deviations: an advantage-conditioned command in the sense of arXiv
    1912.13465, with a baseline of nearest neighbors. It stands until the episode ends.
    """

    name = "advantage"
    rule = "stays"
    measured = False

    def advance(self, values: FloatArray, step: Step) -> FloatArray:
        return values

    def achieved(self, episode: Episode) -> float:
        return float("nan")


PARTS: dict[str, type[CommandPart]] = {part.name: part for part in (Return, Horizon, Advantage)}


def as_rows(name: str, value: Any, n_envs: int) -> NDArray[np.float64]:
    """
    A value as one row per environment.

    :param name: what it is called in errors
    :param value: a number, or ``(n_envs,)``
    :param n_envs: number of rows
    :raises ValueError: if it has another shape, or is not a number
    """
    try:
        row = np.asarray(value, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise ValueError(f"{name}={value!r}: give a number, or one per environment") from error
    if row.shape not in ((), (1,), (n_envs,)):
        raise ValueError(f"{name} has shape {row.shape}: give one number, or one per environment, shape ({n_envs},)")
    return np.broadcast_to(row, (n_envs,)).copy()
