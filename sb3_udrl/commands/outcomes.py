"""What episodes were asked for and what they achieved."""

from __future__ import annotations

from collections import deque
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from sb3_udrl.buffers.episodes import Episode
from sb3_udrl.commands.command import Command
from sb3_udrl.commands.command_space import CommandSpace


class Outcome(NamedTuple):
    """
    One finished episode that was played under a command.

    :param asked: values by part, at its start; NaN where a part was not asked for
    :param achieved: values by part; return and length are always among them
    """

    asked: dict[str, float]
    achieved: dict[str, float]


class Outcomes:
    """
    The last episodes under commands.

    :param size: how many to remember
    """

    def __init__(self, size: int) -> None:
        self.rows: deque[Outcome] = deque(maxlen=size)

    def __len__(self) -> int:
        return len(self.rows)

    def add(self, space: CommandSpace, asked: Command, episode: Episode) -> None:
        """
        Remember an episode.

        :param space: the commands that the model takes
        :param asked: what was asked for at its start, one row
        :param episode: what came of it
        """
        achieved = {"return": float(episode.rewards.sum()), "horizon": float(len(episode))}
        achieved.update({part.name: part.achieved(episode) for part in space.parts})
        self.rows.append(Outcome({name: float(asked[name][0]) for name in space.names}, achieved))

    def asked(self, name: str) -> NDArray[np.float64]:
        """What was asked for of a part, NaN where it was not, ``(n,)``."""
        return np.array([row.asked.get(name, np.nan) for row in self.rows])

    def achieved(self, name: str) -> NDArray[np.float64]:
        """What was achieved of a part, ``(n,)``."""
        return np.array([row.achieved.get(name, np.nan) for row in self.rows])
