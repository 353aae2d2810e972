"""What stored steps fulfilled, seen from behind: one labeler for each part of a command."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sb3_udrl.buffers import EpisodicReplayBuffer


class Labeler(ABC):
    """
    Says what steps fulfilled of one part of a command.

    :param name: the name of that part
    """

    def __init__(self, name: str) -> None:
        self.name = name

    def relabel(  # noqa: B027  # most have nothing to prepare
        self, buffer: EpisodicReplayBuffer, episodes: NDArray[np.bool_] | None = None
    ) -> None:
        """
        Take new episodes into account, before every training. Here, labels need no preparation.

        :param buffer: the stored episodes, at least one
        :param episodes: those whose labels are needed, ``(n_episodes,)``; all if None
        """

    def state(self, buffer: EpisodicReplayBuffer) -> dict[str, Any]:
        """
        What relabelling goes on from, as numbers and arrays, besides the columns of the buffer; here, nothing.

        :param buffer: the stored episodes, with the notes about their columns
        """
        return {}

    def restore(self, buffer: EpisodicReplayBuffer, state: Mapping[str, Any]) -> None:  # noqa: B027  # most have no state
        """
        Write what :meth:`state` gave into another buffer, whose columns are those of then.

        :param buffer: the stored episodes
        :param state: as from :meth:`state`
        :raises ValueError: if it is damaged
        """

    @abstractmethod
    def label(self, buffer: EpisodicReplayBuffer, rows: NDArray[np.int64], segments: NDArray[np.int32]) -> NDArray[np.float32]:
        """
        What some steps fulfilled; without side effects.

        :param buffer: the stored episodes
        :param rows: the steps, ``(n,)``
        :param segments: over how many steps from there, ``(n,)``
        :return: ``(n,)``
        """


class SumLabeler(Labeler):
    """The sum of what followed: of rewards, or of what another part counts (arXiv 1912.02877, section 2.3.3)."""

    def label(self, buffer: EpisodicReplayBuffer, rows: NDArray[np.int64], segments: NDArray[np.int32]) -> NDArray[np.float32]:
        to_go = buffer.sums_to_go(self.name)
        labels = to_go.take(rows)
        cut = segments < buffer.steps_to_go.take(rows)
        if cut.any():
            labels[cut] -= to_go[rows[cut] + segments[cut]]
        return labels


class HorizonLabeler(Labeler):
    """The number of steps in which it followed (arXiv 1912.02877, section 2.3.3)."""

    def label(self, buffer: EpisodicReplayBuffer, rows: NDArray[np.int64], segments: NDArray[np.int32]) -> NDArray[np.float32]:
        return segments.astype(np.float32)
