"""Storage of whole episodes."""

from sb3_udrl.buffers.episodes import Episode, EpisodeRecorder, returns_to_go, steps_to_go
from sb3_udrl.buffers.relative_replay_buffer import RelativeReplayBuffer
from sb3_udrl.buffers.replay_buffer import EpisodicReplayBuffer

__all__ = [
    "Episode",
    "EpisodeRecorder",
    "EpisodicReplayBuffer",
    "RelativeReplayBuffer",
    "returns_to_go",
    "steps_to_go",
]
