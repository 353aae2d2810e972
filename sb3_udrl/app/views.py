"""What is measured of a model, and how it was made. What is computed is computed elsewhere."""

from __future__ import annotations

from typing import Any

import pandas as pd
import streamlit as st

from sb3_udrl.app.controls import Shown
from sb3_udrl.app.many import curve, distribution
from sb3_udrl.app.models import many_environments
from sb3_udrl.app.screen import drawn
from sb3_udrl.evaluation.plots import plot_command_following, plot_relative_commands


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
        st.image(drawn(plot_command_following, measured.following, title=shown.opened.env_id, part=measured.part))
    else:
        desired, achieved = measured.following.desired, measured.following.achieved
        st.image(drawn(plot_relative_commands, desired, achieved, title=shown.opened.env_id))
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
