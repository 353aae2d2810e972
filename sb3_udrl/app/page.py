"""The page: what Streamlit runs from top to bottom at every click. It shows what the other modules compute."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import streamlit as st

from sb3_udrl.app import play, views
from sb3_udrl.app.controls import Shown, command_sliders, how_to_play
from sb3_udrl.app.models import GALLERY, CannotOpen, Listed, Opened, list_models, open_model

VIEWS = {
    "Run": play.run,
    "Compare": play.compare,
    "Twenty episodes": views.twenty,
    "Command following": views.following,
    "About the model": views.about,
}

_KEPT = ("environment", "model", "env_id", "view", "seed", "speed")  # widgets that do not belong to the model


def main() -> None:
    """Draw the page."""
    st.set_page_config(page_title="sb3-udrl: watch it obey", layout="wide")
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else GALLERY
    listed = _chosen_model(folder)
    if listed is None:
        st.error(f"There are no saved models (.zip) in {folder}. Start the demo with another folder: --models DIR")
        return
    try:
        opened = _opened(listed)
    except CannotOpen as error:
        st.error(str(error))
        return
    with st.sidebar:
        asked = command_sliders(opened.model, "command")
        how = how_to_play(opened.model)
    st.title(f"{opened.env_id}")
    view = st.radio("View", list(VIEWS), horizontal=True, key="view")
    VIEWS[view](Shown(listed, opened, asked, how))


def _chosen_model(folder: Path) -> Listed | None:
    models = {listed.name: listed for listed in list_models(folder)}
    if not models:
        return None
    with st.sidebar:
        environments = sorted({listed.settings.env_id or "unknown" for listed in models.values()})
        env_id = st.selectbox("Environment", environments, key="environment")
        names = [name for name, listed in models.items() if (listed.settings.env_id or "unknown") == env_id]
        return models[st.selectbox("Model", names, key="model")]


def _opened(listed: Listed) -> Opened:
    """The model of this tab; what belonged to another one is forgotten."""
    env_id = None
    if listed.settings.env_id is None:
        env_id = st.sidebar.text_input("Environment id", key="env_id").strip() or None
    wanted = (str(listed.path), listed.path.stat().st_mtime_ns, env_id)
    state: Any = st.session_state
    if state.get("opened_as") != wanted:
        for key in [key for key in state if key not in _KEPT]:
            del state[key]
        state.opened = open_model(listed, env_id)
        state.opened_as = wanted
    opened: Opened = state.opened
    return opened


main()
