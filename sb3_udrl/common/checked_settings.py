"""What files say of a training so far, looked at before a model takes it over."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping
from numbers import Integral, Real
from types import NoneType
from typing import Any

import numpy as np
from gymnasium import spaces
from stable_baselines3.common.noise import ActionNoise

from sb3_udrl.commands.outcomes import Outcome, Outcomes
from sb3_udrl.obedience.score_card import ScoreCard
from sb3_udrl.saving.checks import checked_count

_COUNTS = ("num_timesteps", "_total_timesteps", "_num_timesteps_at_start", "_n_updates", "_episode_num", "_run_began")
_OF_CALLERS = ("_vec_normalize_env", "_logger", "_custom_logger", "device")  # of load() and its environment
_WINDOWS = ("ep_info_buffer", "ep_success_buffer")  # of SB3, for its logs
_NUMBERS = (
    *("verbose", "start_time", "sde_sample_freq", "_current_progress_remaining"),
    *("learning_starts", "max_episode_steps", "buffer_size", "sde_share", "validation_fraction", "guidance"),
    *("initial_policies", "episodes_per_policy", "noise", "reevaluation", "practice", "measuring", "survival_bonus"),
)
_KWARGS = ("command_sampler_kwargs", "collector_kwargs", "label_kwargs", "replay_buffer_kwargs", "obedience_kwargs")
# setting -> (what it must be, its types)
_KINDS: dict[str, tuple[str, tuple[Any, ...]]] = {
    **{name: ("a number", (Real,)) for name in _NUMBERS},
    **{name: ("arguments by name, or None", (dict, NoneType)) for name in _KWARGS},
    **{name: ("True or False", (bool,)) for name in ("_command_is_fixed", "_was_filled")},
    **{name: ("a number, or a list of them", (Real, list, tuple, np.ndarray)) for name in ("temperature", "epsilon")},
    **{name: ("a space", (spaces.Space,)) for name in ("observation_space", "action_space")},
    "learning_rate": ("a number, or a schedule", (Real, Callable)),
    "patience": ("a number, or None", (Real, NoneType)),
    "seed": ("a whole number, or None", (Integral, NoneType)),
    "policy_class": ("a class", (type,)),
    "policy_kwargs": ("arguments by name", (dict,)),
    "replay_buffer_class": ("a class, or None", (type, NoneType)),
    "commands": ("a name, or a list of parts", (str, list, tuple)),
    "sampling": ("a name", (str,)),
    "action_noise": ("an ActionNoise, or None", (ActionNoise, NoneType)),
}


def check_settings(settings: Mapping[str, Any], model_class: type[Any]) -> None:
    """
    Look at what a file sets without the constructor, so that errors name the setting.

    :param settings: of a file, by name
    :param model_class: takes them as its attributes
    :raises ValueError: if one is none that a model has, or of another type
    """
    for name in settings:
        if name.startswith("__") or name in _OF_CALLERS or callable(getattr(model_class, name, None)):
            raise ValueError(f"it has a setting {name!r}, which is none of {model_class.__name__}")
    for name in _COUNTS:
        if name in settings:
            checked_count(settings, name)
    for name in _WINDOWS:
        if not (settings.get(name) is None or _is_window(settings[name])):
            raise ValueError(f"{name}: holds no figures of episodes")
    for name, (text, types) in _KINDS.items():
        value = settings.get(name)
        if name in settings and (not isinstance(value, types) or (isinstance(value, bool) and bool not in types)):
            raise ValueError(f"{name}={str(value)[:80]!r}: must be {text}")
    if settings.get("use_sde"):
        raise ValueError(f"use_sde={settings['use_sde']!r}: models of this package explore in their own ways")
    try:
        ScoreCard.from_plain(settings.get("_measured", {}))
    except ValueError as error:
        raise ValueError(f"_measured: {error}") from error
    if not (settings.get("_chosen_command") is None or _is_achievement(settings["_chosen_command"])):
        raise ValueError("_chosen_command: holds no values of parts")
    if "outcomes" in settings and not _are_outcomes(settings["outcomes"]):
        raise ValueError("outcomes: holds no episodes under commands")


def _is_window(window: Any) -> bool:
    return isinstance(window, deque) and all(
        isinstance(entry, Real) or (isinstance(entry, dict) and {"r", "l"} <= entry.keys()) for entry in window
    )


def _are_outcomes(outcomes: Any) -> bool:
    rows = getattr(outcomes, "rows", None)
    return (
        isinstance(outcomes, Outcomes)
        and isinstance(rows, deque)
        and all(isinstance(row, Outcome) and all(map(_is_achievement, row)) for row in rows)
    )


def _is_achievement(values: Any) -> bool:
    return isinstance(values, dict) and all(isinstance(value, Real) for value in values.values())
