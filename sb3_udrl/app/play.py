"""Episodes that are played: alone, or two side by side. Buttons and sliders change the state of a tab."""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import ExitStack
from typing import Any

import pandas as pd
import streamlit as st

from sb3_udrl.app.controls import Asked, Shown, command_sliders
from sb3_udrl.app.episode import PlayedEpisode
from sb3_udrl.app.export import export
from sb3_udrl.app.models import further_environment
from sb3_udrl.app.screen import drawn, show_film

_PICTURES_PER_SECOND = 25
_BATCH = 0.5  # seconds that are played, and sent to the browser, at a time
# As Vega-Lite, since st.line_chart builds and checks its own with every batch, which takes longer than to play it
_LINES = {
    "mark": "line",
    "height": 240,
    "encoding": {
        "x": {"field": "step", "type": "quantitative", "axis": {"grid": False}},
        "y": {"field": "value", "type": "quantitative", "title": None},
        "color": {"field": "line", "type": "nominal", "title": None, "legend": {"orient": "bottom"}},
    },
}


def run(shown: Shown) -> None:
    """
    One episode: start, pause, step, reset, another command on the way, reasons, export.

    :param shown: what is shown
    """
    env = shown.opened.env
    episode = _episode("episode", shown, shown.asked, env)
    clicked = _buttons("run")
    if clicked == "Reset" or (clicked == "Start" and episode.ended):
        episode = _begin("episode", shown, shown.asked, env)
    _follow(clicked, "run", [episode], shown)
    _stage(["episode"], shown, st.session_state.get("playing") == "run")
    if episode.moments and not st.session_state.get("playing"):
        _explain(episode)
        _export(episode, shown)


def compare(shown: Shown) -> None:
    """
    Two commands side by side, from the same start.

    :param shown: what is shown
    """
    state: Any = st.session_state
    if "pair" not in state:  # the episode of the other view goes on in its own environment
        state.pair = [further_environment(shown.opened, shown.listed) for _ in range(2)]
    columns = st.columns(2)
    with columns[1], st.expander("The second command", expanded=True):
        other = command_sliders(shown.opened.model, "other")
    places = [("left", shown.asked, state.pair[0]), ("right", other, state.pair[1])]
    episodes = [_episode(key, shown, asked, env) for key, asked, env in places]
    with columns[0]:
        st.write("The first command is in the sidebar.")
        clicked = _buttons("compare")
    if clicked == "Reset" or (clicked == "Start" and all(episode.ended for episode in episodes)):
        episodes = [_begin(key, shown, asked, env) for key, asked, env in places]
    _follow(clicked, "compare", episodes, shown)
    _stage(["left", "right"], shown, state.get("playing") == "compare")


def _buttons(key: str) -> str | None:
    names = ("Start", "Pause", "Step", "Reset")
    clicked = None
    with st.container(horizontal=True):
        for name in names:
            if st.button(name, key=f"{key}_{name}"):
                clicked = name
    return clicked


def _follow(clicked: str | None, view: str, episodes: Sequence[PlayedEpisode], shown: Shown) -> None:
    """Do what a button says: play, stop, or one step."""
    if clicked is not None:
        st.session_state.playing = view if clicked == "Start" else None
        for episode in episodes:
            with episode.stepping:
                pass  # the thread before has come to a picture, and sees that it is to end
    if clicked == "Step":
        for episode in episodes:
            episode.step(shown.how.deterministic)


def _begin(key: str, shown: Shown, asked: Asked, env: Any) -> PlayedEpisode:
    films = shown.opened.no_picture is None
    episode = PlayedEpisode(shown.opened.model, env, asked, shown.how.seed, films)
    st.session_state[key], st.session_state[f"{key}_asked"] = episode, asked
    st.session_state.pop(f"{key}_file", None)
    return episode


def _episode(key: str, shown: Shown, asked: Asked, env: Any) -> PlayedEpisode:
    """The episode of this tab; a new one with another seed, or where none has begun; asked for what is asked now."""
    episode: PlayedEpisode | None = st.session_state.get(key)
    if episode is None or episode.seed != shown.how.seed:
        st.session_state.playing = None
        return _begin(key, shown, asked, env)
    if st.session_state[f"{key}_asked"] != asked and not episode.ended:
        episode.ask(asked)
        st.session_state[f"{key}_asked"] = asked
    return episode


def _stage(keys: Sequence[str], shown: Shown, playing: bool) -> None:
    """Pictures and figures of episodes. While these are played, only this part of the page is drawn, batch by batch."""

    @st.fragment(run_every=_BATCH if playing else None)
    def stage() -> None:
        episodes: list[PlayedEpisode] = [st.session_state[key] for key in keys]
        before = [len(episode.pictures) for episode in episodes]
        interval = _advance(episodes, shown) if playing else 0.0
        for (left, right), key, episode, n in zip(_places(len(keys)), keys, episodes, before, strict=True):
            with left:
                if episode.pictures:
                    at_once = not (playing or episode.ended)
                    show_film(episode, shown.opened.env_id, f"{key}_screen", len(episode.pictures) - n, interval, at_once)
                else:
                    st.warning(shown.opened.no_picture or "There is no picture yet.")
            with right:
                _show_figures(episode)
        if playing and all(episode.ended for episode in episodes):
            st.session_state.playing = None
            st.rerun()

    stage()


def _places(n: int) -> list[tuple[Any, Any]]:
    """For each of the episodes, where its picture and its figures stand: side by side if it is one, else below each other."""
    if n == 1:
        left, right = st.columns([3, 2])
        return [(left, right)]
    return [(column, column) for column in st.columns(n)]


def _advance(episodes: Sequence[PlayedEpisode], shown: Shown) -> float:
    """Play a batch, or as much of it as there is time for; returns the seconds from one picture to the next."""
    fps = shown.fps * shown.how.speed
    limited = fps != float("inf")
    steps_per_picture = max(1, round(fps / _PICTURES_PER_SECOND)) if limited else 4
    most = max(1, round(_BATCH * fps / steps_per_picture)) if limited else 1000
    until = time.monotonic() + 0.8 * _BATCH
    n_pictures = 0
    # To look at the state is what ends this thread where a click has begun another one
    while n_pictures < most and time.monotonic() < until and not all(e.ended for e in episodes):
        with ExitStack() as stepping:
            for episode in episodes:
                stepping.enter_context(episode.stepping)
            if not st.session_state.playing:
                break
            for episode in episodes:
                for i in range(steps_per_picture):
                    episode.step(shown.how.deterministic, filmed=i == steps_per_picture - 1)
        n_pictures += 1
    return steps_per_picture / fps if limited else _BATCH / max(1, n_pictures)


def _show_figures(episode: PlayedEpisode) -> None:
    achieved = episode.achieved()
    st.metric("Achieved return", f"{achieved[-1] if len(achieved) else 0:.1f}")
    lines = {"return so far": achieved, **{f"{name} left": values for name, values in episode.remaining().items()}}
    columns = {name: pd.Series(values) for name, values in lines.items()}  # of any length: another thread may end its step
    table = pd.DataFrame(columns).dropna(axis=1, how="all").rename_axis("step")
    st.vega_lite_chart(table.reset_index().melt("step", var_name="line"), _LINES)
    if episode.ended:
        st.markdown("**The episode has ended**")
        rows = {outcome.part: {"asked": outcome.asked, "got": outcome.got} for outcome in episode.outcomes()}
        if rows:
            st.table(pd.DataFrame(rows).T.style.format("{:.1f}"))


def _explain(episode: PlayedEpisode) -> None:
    from sb3_udrl.app.reasons import grid_reasons, has_trees, tree_reasons  # here, since it takes seconds
    from sb3_udrl.explain.plots import plot_command_grid

    with st.expander("Why this action?"):
        last = len(episode.moments) - 1
        step = st.slider("Step to explain", 0, last, last, key="explained") if last else 0
        action = episode.moments[step].action
        if has_trees(episode):
            reasons = tree_reasons(episode, step)
            st.write(f"At step {step} it chose action {action}: {reasons.output:.2f}, where {reasons.base:.2f} is usual.")
            st.bar_chart(pd.Series(reasons.contributions, name="contribution"), horizontal=True, sort=False)
            st.caption("Signed contribution of every feature and of the command; they sum to the difference.")
            if reasons.rule:
                st.code("if " + "\nand ".join(reasons.rule[:-1]) + f"\nthen {reasons.rule[-1]}", language="text")
            return
        try:
            grid = grid_reasons(episode, step)
        except ValueError as error:
            st.info(str(error))
            return
        st.write(f"At step {step} it chose action {action}. Under other commands around the present one:")
        st.image(drawn(plot_command_grid, grid))


def _export(episode: PlayedEpisode, shown: Shown) -> None:
    state: Any = st.session_state
    with st.expander("Export the episode"):
        kinds = ["CSV", "GIF", "MP4"] if episode.pictures else ["CSV"]
        kind = st.radio("File", kinds, horizontal=True, key="file_kind").lower()
        wanted = (kind, len(episode.moments))
        if st.button("Make the file"):
            fps = min(shown.fps, _PICTURES_PER_SECOND)
            try:
                state.episode_file = (wanted, export(episode, kind, fps))
            except (ImportError, ValueError, OSError) as error:
                st.error(str(error))
        made = state.get("episode_file")
        if made is not None and made[0] == wanted:
            st.download_button("Save the file", made[1], f"{shown.opened.env_id}.{kind}", on_click="ignore")
