"""Replay buffers as earlier revisions pickled them."""

from __future__ import annotations

from typing import Any

from sb3_udrl.buffers.checks import row_kinds
from sb3_udrl.buffers.storage import Storage, by_name


def upgraded(state: dict[str, Any]) -> dict[str, Any]:
    """
    The attributes of a buffer in today's terms.

    :param state: those of an earlier revision, each array an attribute of its own
    """
    state = {**state, "recorded": ()}
    state.pop("_row_arrays")
    steps = by_name(state.pop("_observations"))
    steps |= {name: state.pop(f"_{name}") for name in ("actions", "rewards", "steps_to_go")}
    steps["sums_to_go/return"] = state.pop("_returns_to_go")
    for name, column in (("scores", "_scores"), ("discounted returns", "_discounted")):
        if column in state:
            steps[f"columns/advantage {name}"] = state.pop(column)
    episodes = {name: state.pop(f"_{name}") for name in ("starts", "lengths", "returns", "truncated")}
    storage = Storage(steps, episodes, state.pop("n_episodes_added"), state.pop("n_transitions_added"))
    for name in ("_n_transitions", "_cumulative_weights"):
        state.pop(name)
    kinds = row_kinds(state["observation_space"], state["action_space"], state["recorded"])
    return {**state, "_storage": storage, "_kinds": kinds, "_weights": None}
