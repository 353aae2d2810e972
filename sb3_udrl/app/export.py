"""An episode as a file to keep."""

from __future__ import annotations

import tempfile
from pathlib import Path

from sb3_udrl.app.episode import PlayedEpisode
from sb3_udrl.evaluation.film import from_jpeg, write_gif, write_mp4


def export(episode: PlayedEpisode, kind: str, fps: float) -> bytes:
    """
    The content of a file.

    :param episode: the episode, or what was played of it
    :param kind: ``"csv"``, ``"gif"`` or ``"mp4"``
    :param fps: pictures per second
    :raises ValueError: if the kind is unknown, or there are no pictures
    :raises ImportError: if moviepy is missing, which writes MP4
    """
    if kind == "csv":
        return episode.to_csv().encode()
    writers = {"gif": write_gif, "mp4": write_mp4}
    if kind not in writers:
        raise ValueError(f"kind={kind!r}: choose one of csv, {', '.join(writers)}")
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"episode.{kind}"
        writers[kind]([from_jpeg(picture) for picture in episode.pictures], path, fps)
        return path.read_bytes()
