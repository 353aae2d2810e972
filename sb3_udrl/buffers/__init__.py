"""Storage of whole episodes with their hindsight labels."""

from sb3_udrl.buffers.episodes import Episode, EpisodeRecorder, returns_to_go, steps_to_go
from sb3_udrl.buffers.relative_replay_buffer import RelativeReplayBuffer
from sb3_udrl.buffers.replay_buffer import CommandBatch, EpisodicReplayBuffer

BUFFERS_BY_COMMANDS: dict[str, type[EpisodicReplayBuffer]] = {
    "absolute": EpisodicReplayBuffer,
    "relative": RelativeReplayBuffer,
}

__all__ = [
    "BUFFERS_BY_COMMANDS",
    "CommandBatch",
    "Episode",
    "EpisodeRecorder",
    "EpisodicReplayBuffer",
    "RelativeReplayBuffer",
    "returns_to_go",
    "steps_to_go",
]
