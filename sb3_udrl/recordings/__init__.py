"""Recorded episodes: read from many forms, checked, learned from, and made."""

from sb3_udrl.recordings.read import read_episodes
from sb3_udrl.recordings.record import RecordEpisodes, record_episodes

__all__ = ["RecordEpisodes", "read_episodes", "record_episodes"]
