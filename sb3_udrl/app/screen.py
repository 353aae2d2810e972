"""
What a browser shows of an episode. Pictures go there by the dozen, and the browser shows them one after another in time: sent
one by one, each would wait for the page, and the film would jerk.
"""

from __future__ import annotations

import base64
import io
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import streamlit as st

from sb3_udrl.app.episode import PlayedEpisode

_STYLE = ".screen img { width: 100%; max-width: 640px; display: block; }"


@cache
def _screen() -> Any:
    script = Path(__file__).with_name("screen.js").read_text(encoding="utf-8")
    html = '<div class="screen"><img class="episode"></div>'
    return st.components.v2.component("sb3_udrl_screen", html=html, css=_STYLE, js=script, isolate_styles=False)


def show_film(episode: PlayedEpisode, title: str, key: str, new: int, interval: float, at_once: bool) -> None:
    """
    Show the pictures of an episode that are new, in time.

    :param episode: the episode
    :param title: what the pictures are of, for those who cannot see them
    :param key: of this place on the page
    :param new: how many pictures, the last ones of the episode
    :param interval: seconds from one picture to the next
    :param at_once: show the last one now, and no others
    """
    first = max(0, len(episode.pictures) - max(1, new))
    pictures = [
        {"number": i, "step": episode.filmed[i], "jpeg": base64.b64encode(episode.pictures[i]).decode()}
        for i in range(first, len(episode.pictures))
    ]
    data = {"episode": episode.number, "title": title, "pictures": pictures, "interval": 1000 * interval, "atOnce": at_once}
    _screen()(key=key, data=data)


def drawn(plot: Callable[..., None], *args: Any, **kwargs: Any) -> bytes:
    """
    A plot as PNG.

    :param plot: writes to its argument ``path``
    :param args: of the plot
    :param kwargs: of the plot
    """
    stream = io.BytesIO()
    plot(*args, path=stream, **kwargs)
    return stream.getvalue()
