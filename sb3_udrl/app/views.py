"""The parts of the page. Buttons and sliders change the state of a tab; what is computed from it is computed elsewhere."""

from __future__ import annotations

import base64
import io
import time
from collections.abc import Iterator
from typing import Any, NamedTuple

import pandas as pd
import streamlit as st

from sb3_udrl.app.episode import PlayedEpisode
from sb3_udrl.app.export import export
from sb3_udrl.app.many import curve, distribution
from sb3_udrl.app.models import Listed, Opened, further_environment, many_environments
from sb3_udrl.app.ranges import Range, ranges
from sb3_udrl.app.reasons import grid_reasons, has_trees, tree_reasons
from sb3_udrl.common.commanded_algorithm import CommandedAlgorithm
from sb3_udrl.evaluation.film import steps_per_second
from sb3_udrl.evaluation.plots import plot_command_following, plot_relative_commands
from sb3_udrl.explain.plots import plot_command_grid

Asked = dict[str, float]

_PICTURES_PER_SECOND = 25
_CHARTS_PER_SECOND = 2
_SPEEDS = {"quarter": 0.25, "half": 0.5, "real time": 1.0, "double": 2.0, "as fast as possible": float("inf")}


class How(NamedTuple):
    """
    How episodes are played.

    :param deterministic: the most likely actions instead of draws
    :param seed: of the environment and the draws
    :param speed: as a multiple of real time
    """

    deterministic: bool
    seed: int
    speed: float


class Shown(NamedTuple):
    """
    What a view shows.

    :param listed: the model in its folder
    :param opened: the model, loaded
    :param asked: what the sliders ask for
    :param how: how episodes are played
    """

    listed: Listed
    opened: Opened
    asked: Asked
    how: How

    @property
    def fps(self) -> float:
        """Steps per second of real time."""
        return steps_per_second(self.opened.env)


def command_sliders(model: CommandedAlgorithm, key: str) -> Asked:
    """
    A slider for each part of a command, with a box that asks for it.

    :param model: the model
    :param key: begins the keys of the widgets
    :return: what is asked for
    """
    space, asked = model.command_space, {}
    own = model.policy.own_command()
    st.subheader("Command")
    for part in ranges(model):
        if space.partial:
            wanted = st.checkbox(f"Ask for {part.part}", bool(own.asks_for(part.part)[0]), key=f"{key}_asks_{part.part}")
            if not wanted:
                continue
        asked[part.part] = _slider(part, f"{key}_{part.part}")
    if not asked:
        st.caption("Nothing is asked for: it does as usual.")
    return asked


def _slider(part: Range, key: str) -> float:
    step = 1.0 if part.whole else 0.1
    low, high = (round(part.low), round(part.high)) if part.whole else (round(part.low, 1), round(part.high, 1))
    start = min(max(round(part.start / step) * step, low), high)
    value = float(st.slider(f"Desired {part.part}", float(low), float(high), float(start), step, key=key))
    if part.known is not None:
        st.caption(f"Delivered so far, by its {part.source}: {part.known[0]:.0f} to {part.known[1]:.0f}")
    if part.is_beyond(value):
        st.warning(f"A {part.part} of {value:g} lies beyond what this model can deliver.", icon="⚠️")
    return value


def how_to_play() -> How:
    """The widgets that say how episodes are played."""
    st.subheader("Play")
    actions = st.radio("Actions", ["greedy", "sampled"], horizontal=True, key="actions")
    seed = st.number_input("Seed", 0, 1_000_000, 0, key="seed")
    speed = st.select_slider("Speed", list(_SPEEDS), "real time", key="speed")
    return How(actions == "greedy", int(seed), _SPEEDS[speed])


# ------------------------------------------------------------------------------------------------------------------- run


def run(shown: Shown) -> None:
    """
    One episode: start, pause, step, reset, another command on the way, reasons, export.

    :param shown: what is shown
    """
    state: Any = st.session_state
    episode = _episode("episode", shown, shown.asked, shown.opened.env)
    if episode.ended:
        state.playing = None
    clicked = _buttons("run")
    if clicked == "Start":
        if episode.ended:
            episode = _begin("episode", shown, shown.asked, shown.opened.env)
        state.playing = "run"
    elif clicked in ("Pause", "Step"):
        state.playing = None
    elif clicked == "Reset":
        state.playing = None
        episode = _begin("episode", shown, shown.asked, shown.opened.env)
    if clicked == "Step":
        episode.step(shown.how.deterministic)
    left, right = st.columns([3, 2])
    with left:
        screen = st.empty()
    with right:
        charts = st.empty()
    _show(screen, charts, episode, shown)
    if state.get("playing") == "run":  # and not in another view
        for tick in _ticks(shown):
            _advance([episode], shown)
            _show_picture(screen, episode, shown)
            if tick % max(1, _PICTURES_PER_SECOND // _CHARTS_PER_SECOND) == 0:
                _show_charts(charts, episode)
            if episode.ended:
                state.playing = None
                st.rerun()
    if episode.moments:
        _explain(episode)
        _export(episode, shown)


def _buttons(key: str) -> str | None:
    names = ("Start", "Pause", "Step", "Reset")
    clicked = None
    with st.container(horizontal=True):
        for name in names:
            if st.button(name, key=f"{key}_{name}"):
                clicked = name
    return clicked


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


def _ticks(shown: Shown) -> Iterator[int]:
    """One for every picture, in time."""
    tick, due = 0, time.monotonic()
    while True:
        yield tick
        tick += 1
        due = max(due + _interval(shown), time.monotonic() - 0.2)
        time.sleep(max(0.0, due - time.monotonic()))


def _interval(shown: Shown) -> float:
    """Seconds from one picture to the next."""
    fps = shown.fps * shown.how.speed
    return 0.0 if fps == float("inf") else _steps_per_picture(shown) / fps


def _steps_per_picture(shown: Shown) -> int:
    fps = shown.fps * shown.how.speed
    return 4 if fps == float("inf") else max(1, round(fps / _PICTURES_PER_SECOND))


def _advance(episodes: list[PlayedEpisode], shown: Shown) -> None:
    n = _steps_per_picture(shown)
    for episode in episodes:
        for i in range(n):
            episode.step(shown.how.deterministic, filmed=i == n - 1)


def _show(screen: Any, charts: Any, episode: PlayedEpisode, shown: Shown) -> None:
    _show_picture(screen, episode, shown)
    _show_charts(charts, episode)


def _show_picture(screen: Any, episode: PlayedEpisode, shown: Shown) -> None:
    if not episode.pictures:
        screen.warning(shown.opened.no_picture or "There is no picture yet.")
        return
    text = f"{shown.opened.env_id} at step {len(episode.moments)}"
    encoded = base64.b64encode(episode.pictures[-1]).decode()
    screen.html(
        f'<img alt="{text}" class="episode" src="data:image/jpeg;base64,{encoded}" style="width:100%;max-width:640px">'
    )


def _show_charts(charts: Any, episode: PlayedEpisode) -> None:
    with charts.container():
        achieved = episode.achieved()
        st.metric("Achieved return", f"{achieved[-1] if len(achieved) else 0:.1f}")
        remaining = {f"remaining {name}": values for name, values in episode.remaining().items()}
        table = pd.DataFrame({"achieved return": achieved, **remaining}).dropna(axis=1, how="all")
        st.line_chart(table, x_label="step", height=220)
        if episode.ended and episode.outcomes():
            st.markdown("**The episode has ended**")
            rows = {outcome.part: {"asked": outcome.asked, "got": outcome.got} for outcome in episode.outcomes()}
            st.table(pd.DataFrame(rows).T.style.format("{:.1f}"))


def _explain(episode: PlayedEpisode) -> None:
    with st.expander("Why this action?"):
        last = len(episode.moments) - 1
        step = st.slider("Step to explain", 0, last, last, key="explained") if last else 0
        action = episode.moments[step].action
        if has_trees(episode):
            reasons = tree_reasons(episode, step)
            st.write(f"At step {step} it chose action {action}: {reasons.output:.2f}, where {reasons.base:.2f} is usual.")
            st.bar_chart(pd.Series(reasons.contributions, name="contribution"), horizontal=True, sort=False)
            st.caption("Signed contribution of every feature and of the command; they sum to the difference.")
            st.code("if " + "\nand ".join(reasons.rule[:-1]) + f"\nthen {reasons.rule[-1]}", language="text")
            return
        try:
            grid = grid_reasons(episode, step)
        except ValueError as error:
            st.info(str(error))
            return
        st.write(f"At step {step} it chose action {action}. Under other commands around the present one:")
        st.image(_drawn(plot_command_grid, grid))


def _drawn(plot: Any, *args: Any) -> bytes:
    stream = io.BytesIO()
    plot(args[0], stream, *args[1:])
    return stream.getvalue()


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


# --------------------------------------------------------------------------------------------------------- other views


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
    places = [(shown.asked, state.pair[0], "left"), (other, state.pair[1], "right")]
    episodes = [_episode(key, shown, asked, env) for asked, env, key in places]
    if all(episode.ended for episode in episodes):
        state.playing = None
    with columns[0]:
        st.write("The first command is in the sidebar.")
        clicked = _buttons("compare")
    if clicked in ("Reset", "Start") and (clicked == "Reset" or all(episode.ended for episode in episodes)):
        episodes = [_begin(key, shown, asked, env) for asked, env, key in places]
    if clicked is not None:
        state.playing = "compare" if clicked == "Start" else None
    if clicked == "Step":
        for episode in episodes:
            episode.step(shown.how.deterministic)
    screens = []
    for column in st.columns(2):
        with column:
            screens.append((st.empty(), st.empty()))
    for (screen, charts), episode in zip(screens, episodes, strict=True):
        _show(screen, charts, episode, shown)
    if state.get("playing") != "compare":
        return
    for tick in _ticks(shown):
        _advance(episodes, shown)
        for (screen, charts), episode in zip(screens, episodes, strict=True):
            _show_picture(screen, episode, shown)
            if tick % _PICTURES_PER_SECOND == 0:
                _show_charts(charts, episode)
        if all(episode.ended for episode in episodes):
            state.playing = None
            st.rerun()


def twenty(shown: Shown) -> None:
    """
    The distribution of twenty episodes of the present command.

    :param shown: what is shown
    """
    state: Any = st.session_state
    if st.button("Play twenty episodes"):
        with st.spinner("Playing"):
            env = many_environments(shown.opened, shown.listed, shown.how.seed)
            state.twenty = distribution(shown.opened.model, env, shown.asked or {}, shown.how.deterministic)
    result = state.get("twenty")
    if result is None:
        st.caption("Twenty episodes of the command in the sidebar, from different starts.")
        return
    part = next((name for name in result.asked if name in result.achieved), "return")
    values = result.achieved[part]
    asked = f"asked for {part} {result.asked[part]:.1f}, " if part in result.asked else ""
    st.write(f"{len(values)} episodes: {asked}got {values.mean():.1f} ± {values.std():.1f}")
    st.bar_chart(pd.DataFrame(result.histogram(part)), x=part, y="episodes")


def following(shown: Shown) -> None:
    """
    The command-following curve.

    :param shown: what is shown
    """
    state: Any = st.session_state
    if st.button("Measure the curve"):
        with st.spinner("Playing"):
            env = many_environments(shown.opened, shown.listed, shown.how.seed)
            state.curve = curve(shown.opened.model, env, shown.how.deterministic)
    measured = state.get("curve")
    if measured is None:
        st.caption("Nine commands that the model has experience with, five episodes each.")
        return
    if measured.part == measured.achieved_part:
        st.image(_drawn(plot_command_following, measured.following, shown.opened.env_id, measured.part))
    else:
        stream = io.BytesIO()
        plot_relative_commands(measured.following.desired, measured.following.achieved, stream, shown.opened.env_id)
        st.image(stream.getvalue())
    columns = {
        f"asked {measured.part}": measured.following.desired,
        f"achieved {measured.achieved_part}": measured.following.achieved.mean(1),
        "standard deviation": measured.following.achieved.std(1),
    }
    st.dataframe(pd.DataFrame(columns), hide_index=True)


def about(shown: Shown) -> None:
    """
    How the model was made, and its score card.

    :param shown: what is shown
    """
    model = shown.opened.model
    st.write(f"{type(model).__name__} with {type(model.policy).__name__}; takes {', '.join(model.command_space.names)}.")
    if shown.listed.made_by is None:
        st.write("Nothing beside the file says which command made it.")
    else:
        st.code(shown.listed.made_by, language="bash")
    card = model.score_card
    if not len(card):
        st.write("This model has no score card.")
        return
    st.write(f"Score card: {len(card)} episodes of practice at the end of training.")
    rows = {"actions": ["greedy" if greedy else "sampled" for greedy in card.greedy]}
    asked = {f"asked {name}": values for name, values in card.asked.items()}
    got = {f"achieved {name}": values for name, values in card.achieved.items()}
    st.dataframe(pd.DataFrame({**rows, **asked, **got}).dropna(axis=1, how="all"), hide_index=True)
