"""Settings and files that earlier revisions wrote, in today's terms."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np

from sb3_udrl.buffers import EpisodicReplayBuffer
from sb3_udrl.commands.command import Command
from sb3_udrl.commands.model import CommandedModel
from sb3_udrl.commands.outcomes import Outcome
from sb3_udrl.labels import AdvantageLabeler, Hindsight
from sb3_udrl.policies.older_kwargs import upgrade_policy_kwargs

_OF_LABELS = {  # arguments of the replay buffer that are arguments of the labels of advantages now
    "gamma",
    "gae_lambda",
    "n_neighbors",
    "n_references",
    "local_scale",
    "relabel_share",
    "redistribute_rewards",
}


def upgrade_settings(model: CommandedModel) -> None:
    """
    Bring what an earlier revision saved, or a constructor was given as then, to today's attributes.

    :param model: with the attributes that the constructor or the file has set
    :raises ValueError: if it has an argument that is gone
    """
    model.policy_kwargs = upgrade_policy_kwargs(model.policy_kwargs, model.policy_class)
    obedience_kwargs = vars(model).get("obedience_kwargs") or {}
    if "policy_kwargs" in obedience_kwargs:
        own = upgrade_policy_kwargs(obedience_kwargs["policy_kwargs"], model.policy_class)
        vars(model)["obedience_kwargs"] = {**obedience_kwargs, "policy_kwargs": own}
    if getattr(model.replay_buffer_class, "older", False):
        model.replay_buffer_class = None
    buffer_kwargs = model.replay_buffer_kwargs or {}
    moved = {name: value for name, value in buffer_kwargs.items() if name in _OF_LABELS}
    if moved:
        warnings.warn(
            f"replay_buffer_kwargs={moved}: these belong to the labels now, pass label_kwargs=dict(advantage={moved})",
            DeprecationWarning,
            stacklevel=2,
        )
        model.replay_buffer_kwargs = {name: value for name, value in buffer_kwargs.items() if name not in moved} or None
        labels = model.label_kwargs or {}
        model.label_kwargs = {**labels, "advantage": {**moved, **labels.get("advantage", {})}}
    for desired_return, desired_horizon, achieved_return, achieved_horizon in vars(model).pop("obedience", ()):
        relative = np.isinf(desired_horizon)
        asked = {"advantage": desired_return} if relative else {"return": desired_return, "horizon": desired_horizon}
        model.outcomes.rows.append(Outcome(asked, {"return": achieved_return, "horizon": achieved_horizon}))


def upgrade_running_state(state: dict[str, Any], model: CommandedModel) -> dict[str, Any]:
    """
    The content of a file of :meth:`save_replay_buffer` in today's terms.

    :param state: what the file holds, of today or earlier
    :param model: the model that it is for
    :raises ValueError: if its commands are not those of the model
    """
    if "hindsight" in state:
        return state
    buffer: EpisodicReplayBuffer = state["replay_buffer"]
    hindsight = Hindsight(buffer, model.hindsight.command_space, model.label_kwargs)
    command, asked, warm_up, at_start = state["running"]
    relative = bool(np.isinf(asked["horizon"]).all())
    if relative != ("advantage" in model.hindsight.command_space):
        raise ValueError(f"it was saved by a model with other commands than {list(model.command_space.names)}")
    if relative:
        command, asked = (Command({"advantage": rows["return"]}) for rows in (command, asked))
    for labeler in hindsight.labelers:
        if isinstance(labeler, AdvantageLabeler):
            labeler.take_over(vars(buffer))
    return {
        **state,
        "hindsight": hindsight,
        "running": (command, asked, warm_up, at_start),
        "further": {"warm_up": state["warm_up"], "noise": state.get("noise")},
    }
