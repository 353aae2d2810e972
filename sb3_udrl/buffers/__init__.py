"""Storage of whole episodes with their hindsight labels."""

from sb3_udrl.buffers.episodes import Episode, EpisodeRecorder, returns_to_go, steps_to_go
from sb3_udrl.buffers.replay_buffer import CommandBatch, EpisodicReplayBuffer

__all__ = ["CommandBatch", "Episode", "EpisodeRecorder", "EpisodicReplayBuffer", "returns_to_go", "steps_to_go"]
