"""Settings and files that earlier revisions wrote, in today's terms."""

from __future__ import annotations

import warnings
from collections.abc import Iterable
from typing import Any

import numpy as np
from stable_baselines3.common.save_util import load_from_pkl

from sb3_udrl.buffers import EpisodicReplayBuffer
from sb3_udrl.commands.command import Command
from sb3_udrl.commands.command_space import CommandSpace
from sb3_udrl.commands.model import HindsightModel
from sb3_udrl.commands.outcomes import Outcome
from sb3_udrl.exploration.warm_up import WARM_UPS
from sb3_udrl.labels import AdvantageLabeler, Hindsight
from sb3_udrl.labels.advantage import Progress, RememberedEpisode
from sb3_udrl.policies.older_kwargs import upgrade_extractor, upgrade_policy_kwargs
from sb3_udrl.saving.archive import is_archive
from sb3_udrl.saving.random_state import generator_state

_OF_LABELS = {  # arguments of the replay buffer that are arguments of the labels of advantages now
    "gamma",
    "gae_lambda",
    "n_neighbors",
    "n_references",
    "local_scale",
    "relabel_share",
    "redistribute_rewards",
}


def upgrade_settings(model: HindsightModel) -> None:
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


def upgrade_network(model: HindsightModel, weights: Iterable[str]) -> bool:
    """
    Bring the arguments of the behavior function to weights of an earlier revision.

    :param model: with the arguments of today
    :param weights: their names, as a file holds them
    :return: whether these are others now, and the behavior function is to be made anew
    """
    before = model.policy_kwargs
    model.policy_kwargs = upgrade_extractor(before, model.observation_space, weights)
    return model.policy_kwargs != before


def stored_episodes(model: HindsightModel) -> dict[str, Any] | None:
    """
    Episodes that a zip file brought along, as :meth:`Hindsight.state <sb3_udrl.labels.Hindsight.state>` writes them today.

    :param model: with the attributes that the file has set, and its command space; these are taken off
    """
    attributes = vars(model)
    buffer, stored = attributes.pop("replay_buffer", None), attributes.pop("hindsight", None)
    if buffer is not None:
        stored = _hindsight_of(buffer, model.policy.explorer.command_space, model.label_kwargs)
    return stored.state() if isinstance(stored, Hindsight) else stored


def _hindsight_of(buffer: EpisodicReplayBuffer, space: CommandSpace, label_kwargs: dict[str, Any] | None) -> Hindsight:
    """Labels of a buffer that made them itself, as revisions before commands had parts did."""
    hindsight = Hindsight(buffer, space, label_kwargs)
    for labeler in hindsight.labelers:
        if isinstance(labeler, AdvantageLabeler):
            n_labelled, n_relabelled, episodes = (vars(buffer)[f"_{name}"] for name in Progress._fields)
            remembered = tuple(RememberedEpisode(*episode) for episode in episodes)
            buffer.write_columns({}, {labeler.name: Progress(n_labelled, n_relabelled, remembered)})
    return hindsight


def load_pickled_state(source: Any, model: HindsightModel) -> dict[str, Any] | None:
    """
    What a pickle of :meth:`save_replay_buffer` holds, in today's terms.

    :param source: path or file
    :param model: the model that it is for
    :return: as :func:`~sb3_udrl.common.persistence.running_state` says; None if it is no pickle
    :raises ValueError: if its commands are not those of the model
    """
    if is_archive(source, ".pkl"):
        return None
    pickled = load_from_pkl(source, model.verbose)
    if not isinstance(pickled, dict) or "replay_buffer" not in pickled:
        raise ValueError(f"it holds a {type(pickled).__name__}, not the episodes of an EpisodicReplayBuffer")
    command, asked, warm_up, at_start = pickled["running"]
    relative = bool(np.isinf(asked["horizon"]).all())
    if relative != ("advantage" in model.hindsight.command_space):
        raise ValueError(f"it was saved by a model with other commands than {list(model.command_space.names)}")
    if relative:
        command, asked = (Command({"advantage": rows["return"]}) for rows in (command, asked))
    hindsight = _hindsight_of(pickled["replay_buffer"], model.hindsight.command_space, model.label_kwargs)
    buffer = hindsight.buffer
    return {
        "observation_space": buffer.observation_space,
        "action_space": buffer.action_space,
        "commands": list(hindsight.command_space.names),
        "hindsight": hindsight.state(),
        "rng": generator_state(pickled["rng"]),
        "torch_rng": {
            "cpu": pickled["torch_rng_state"].numpy(),
            "cuda": [state.numpy() for state in pickled["cuda_rng_states"]],
        },
        "further": _further(pickled["warm_up"], pickled.get("noise")),
        "running": {"command": command.parts, "asked": asked.parts, "warm_up": warm_up, "at_start": at_start},
    }


def _further(warm_up: Any, noise: Any) -> dict[str, Any]:
    """What UDRL keeps besides; its objects were pickled as they are."""
    names = [name for name, kind in WARM_UPS.items() if type(warm_up) is kind]
    return {
        "warm_up": warm_up.state() if names else None,
        "warm_up_name": names[0] if names else None,
        "noise": None if noise is None else {"share": noise.share, **noise.state()},
        "obedience": None,
    }
