"""Recorded episodes: read from many forms, checked, learned from, and made."""

from sb3_udrl.recordings.learn_from import LearnFrom
from sb3_udrl.recordings.play import RandomActions, record_model
from sb3_udrl.recordings.read import read_episodes
from sb3_udrl.recordings.record import RecordEpisodes, record_episodes, write_recording
from sb3_udrl.recordings.sources import open_recording

__all__ = [
    "LearnFrom",
    "RandomActions",
    "RecordEpisodes",
    "open_recording",
    "read_episodes",
    "record_episodes",
    "record_model",
    "write_recording",
]
