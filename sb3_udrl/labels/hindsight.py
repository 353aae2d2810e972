"""What a behavior function learns from: stored steps, each with a command that it fulfilled in hindsight."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from stable_baselines3.common.vec_env import VecNormalize

from sb3_udrl.buffers import EpisodicReplayBuffer
from sb3_udrl.buffers.arrays import Array, Observation
from sb3_udrl.commands.command import Command
from sb3_udrl.commands.command_space import CommandSpace
from sb3_udrl.labels.advantage import AdvantageLabeler
from sb3_udrl.labels.labeler import HorizonLabeler, Labeler, SumLabeler

# By the name of the part; parts that are not listed are sums of what their steps contribute
LABELERS: dict[str, type[Labeler]] = {"return": SumLabeler, "horizon": HorizonLabeler, "advantage": AdvantageLabeler}


class CommandBatch(NamedTuple):
    """
    Supervised examples: in this situation, under this command, this was done.

    :param observations: ``(n, *observation_shape)``, or a dictionary of such; tensors if the buffer has a device
    :param actions: ``(n, *action_shape)``
    :param command: what was fulfilled, ``n`` rows
    """

    observations: Observation
    actions: Array
    command: Command


class Hindsight:
    """
    The stored episodes as supervised examples (arXiv 1912.02877, section 2.3.3).

    :param buffer: the stored episodes
    :param command_space: what labels are made for
    :param label_kwargs: further arguments of labelers, by the name of the part; those of other parts are for others
    :raises ValueError: if an argument is unknown or out of its range
    """

    def __init__(
        self,
        buffer: EpisodicReplayBuffer,
        command_space: CommandSpace,
        label_kwargs: dict[str, dict[str, Any]] | None = None,
    ) -> None:
        self.buffer, self.command_space = buffer, command_space
        self.labelers = make_labelers(command_space, label_kwargs or {})
        self._kept: NDArray[np.bool_] | None = None  # episodes that are learned from, ``(n_episodes,)``
        self._labelled: NDArray[np.bool_] | None = None  # episodes that labels are made of, ``(n_episodes,)``

    @property
    def rng(self) -> np.random.Generator:
        """The generator of the buffer's draws."""
        return self.buffer.rng

    def relabel(self) -> None:
        """Bring all labels up to date: a step of every training, before examples are drawn."""
        for labeler in self.labelers:
            labeler.relabel(self.buffer, self._labelled)

    def sample(self, batch_size: int, env: VecNormalize | None = None) -> CommandBatch:
        """
        Draw examples.

        :param batch_size: number of transitions
        :param env: normalizes the observations as it does now, if given
        :raises ValueError: if the buffer is empty
        """
        return self.batch(self.draw_rows(batch_size), env)

    def draw_rows(self, n: int) -> NDArray[np.int64]:
        """
        Rows of steps to learn from, as the buffer draws them, but for those of episodes that are held out.

        :param n: how many
        :raises ValueError: if there is nothing to learn from
        """
        return self.buffer.draw_rows(n) if self._kept is None else self.buffer.draw_rows(n, self._kept)

    def hold_out(self, episodes: NDArray[np.bool_], labelled: NDArray[np.bool_] | None = None) -> None:
        """
        From now on, do not learn from some of the episodes that are stored.

        :param episodes: which, ``(n_episodes,)``; no more may be added
        :param labelled: those that labels are made of, ``(n_episodes,)``; all if None
        :raises ValueError: if these are all
        """
        if episodes.all():
            raise ValueError("all episodes are held out: there is nothing to learn from")
        self._labelled = labelled
        self._kept = ~episodes

    def learned_from(self) -> NDArray[np.int64]:
        """The indices of the episodes that are not held out."""
        return np.arange(self.buffer.n_episodes) if self._kept is None else np.flatnonzero(self._kept)

    def transitions(self, episodes: NDArray[Any], env: VecNormalize | None = None) -> CommandBatch:
        """
        All transitions of some episodes.

        :param episodes: their indices
        :param env: normalizes the observations as it does now, if given
        """
        return self.batch(self.buffer.episode_rows(episodes), env)

    def batch(self, rows: NDArray[np.int64], env: VecNormalize | None = None) -> CommandBatch:
        """
        Some transitions.

        :param rows: their rows in the buffer, ``(n,)``
        :param env: normalizes the observations as it does now, if given
        """
        segments = self.buffer.draw_segments(rows)
        labels = {labeler.name: labeler.label(self.buffer, rows, segments) for labeler in self.labelers}
        if self.command_space.mask_share > 0:
            masked = self.rng.random(len(rows)) < self.command_space.mask_share
            for values in labels.values():
                values[masked] = np.nan
        return CommandBatch(*self.buffer.take(rows, env), Command(labels))

    def totals(self) -> NDArray[np.float64]:
        """What each stored episode achieved of the measured parts, oldest first, ``(n_episodes, n_measured)``."""
        rows = self.buffer.stored_rows()[np.cumsum(self.buffer.lengths) - self.buffer.lengths]
        segments = self.buffer.steps_to_go[rows]
        labelers = {labeler.name: labeler for labeler in self.labelers}
        columns = [labelers[name].label(self.buffer, rows, segments) for name in self.command_space.measured]
        return np.stack(columns, axis=1).astype(np.float64)

    def state(self) -> dict[str, Any]:
        """All of it as numbers, texts and arrays, but for the generator; arrays are not copied."""
        return {
            "settings": self.buffer.settings(),
            "arrays": self.buffer.arrays(),
            "labels": {labeler.name: labeler.state(self.buffer) for labeler in self.labelers},
        }

    def restored(self, state: Mapping[str, Any]) -> Hindsight:
        """
        Another one of the same spaces, labels and generator that goes on where a saved one was; this one is left as it is.

        :param state: as from :meth:`state`
        :raises ValueError: if it is damaged, or of other labels
        """
        other = copy.copy(self)
        other.buffer = self.buffer.restored(state["arrays"], state["settings"])
        missing = [labeler.name for labeler in self.labelers if labeler.name not in state["labels"]]
        if missing:
            raise ValueError(f"it has no labels for {', '.join(missing)}")
        for labeler in self.labelers:
            labeler.restore(other.buffer, state["labels"][labeler.name])
        return other


def make_labelers(command_space: CommandSpace, label_kwargs: dict[str, dict[str, Any]]) -> list[Labeler]:
    """
    A labeler for every part.

    :param command_space: the parts
    :param label_kwargs: further arguments, by the name of the part; those of other parts are for others
    :raises ValueError: if an argument is unknown or out of its range, or a part has no labeler
    """
    labelers = []
    for name in command_space.names:
        if name not in LABELERS and name not in command_space.recorded:
            raise ValueError(f"commands: {name!r} is no sum over steps, so it needs a Labeler of that name in LABELERS")
        labeler_class, kwargs = LABELERS.get(name, SumLabeler), label_kwargs.get(name, {})
        try:
            labelers.append(labeler_class(name, **kwargs))
        except TypeError as error:
            raise ValueError(f"label_kwargs={label_kwargs} do not fit {labeler_class.__name__}: {error}") from error
    return labelers
