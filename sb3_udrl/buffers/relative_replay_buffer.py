"""The replay buffer of relative commands as earlier revisions had it, so that their files load."""

from __future__ import annotations

from typing import Any, ClassVar, NamedTuple

from sb3_udrl.buffers.replay_buffer import EpisodicReplayBuffer


class _Episode(NamedTuple):
    """What was remembered of an episode, under the name that files know it by."""

    first: Any
    last: Any
    efforts: Any
    total: float
    truncated: bool


class RelativeReplayBuffer(EpisodicReplayBuffer):
    """
    Stands for what earlier revisions saved, and becomes an ``EpisodicReplayBuffer`` when it is loaded.

    :raises ValueError: if it is made anew: ``UDRL(commands="relative")`` needs none
    """

    older: ClassVar[bool] = True

    def __new__(cls, *args: Any, **kwargs: Any) -> Any:
        if args or kwargs:
            raise ValueError(
                "RelativeReplayBuffer: labels have left the buffer, use EpisodicReplayBuffer, and "
                "UDRL(label_kwargs=dict(advantage=...)) for their arguments"
            )
        return object.__new__(EpisodicReplayBuffer)
