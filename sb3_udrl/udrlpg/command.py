"""The command of a generated policy: what its whole episode is to earn."""

from __future__ import annotations

from typing import ClassVar

from sb3_udrl.buffers.episodes import Episode
from sb3_udrl.commands.command import FloatArray
from sb3_udrl.commands.command_space import CommandSpace
from sb3_udrl.commands.parts import CommandPart, Step


class EpisodeReturn(CommandPart):
    """The return of the whole episode. It stands until the episode ends: the policy that was generated for it goes on."""

    name = "return"
    rule: ClassVar[str | None] = "stays"

    def advance(self, values: FloatArray, step: Step) -> FloatArray:
        return values

    def achieved(self, episode: Episode) -> float:
        return float(episode.rewards.sum())


COMMAND_SPACE = CommandSpace([EpisodeReturn()], partial=False)
