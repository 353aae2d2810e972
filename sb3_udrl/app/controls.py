"""What a person sets: the command, and how episodes are played."""

from __future__ import annotations

from typing import NamedTuple

import streamlit as st

from sb3_udrl.app.models import Listed, Opened
from sb3_udrl.app.ranges import Range, ranges
from sb3_udrl.common.commanded_algorithm import CommandedAlgorithm
from sb3_udrl.evaluation.film import steps_per_second

Asked = dict[str, float]

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
    digits = part.digits
    low, high = round(part.low, digits), round(part.high, digits)
    start = min(max(round(part.start, digits), low), high)
    step, shown = 10.0**-digits, f"%.{digits}f"
    value = float(st.slider(f"Desired {part.part}", low, high, start, step, format=shown, key=key))
    if part.known is not None:
        st.caption(f"Delivered so far, by its {part.source}: {part.known[0]:.{digits}f} to {part.known[1]:.{digits}f}")
    if part.is_beyond(value):
        st.warning(f"A {part.part} of {value:g} lies beyond what this model can deliver.", icon="⚠️")
    return value


def how_to_play(model: CommandedAlgorithm) -> How:
    """
    The widgets that say how episodes are played.

    :param model: by its score card, actions are greedy or sampled at first
    """
    st.subheader("Play")
    draws = not model.score_card.obeys_greedily()
    actions = st.radio("Actions", ["greedy", "sampled"], index=int(draws), horizontal=True, key=f"actions_{draws}")
    seed = st.number_input("Seed", 0, 1_000_000, 0, key="seed")
    speed = st.select_slider("Speed", list(_SPEEDS), "real time", key="speed")
    return How(actions == "greedy", int(seed), _SPEEDS[speed])
