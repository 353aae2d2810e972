"""What files say of a training so far, looked at before a model takes it over."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from numbers import Real
from typing import Any

from stable_baselines3.common.noise import ActionNoise

from sb3_udrl.commands.outcomes import Outcome, Outcomes
from sb3_udrl.saving.checks import checked_count

_COUNTS = ("num_timesteps", "_total_timesteps", "_num_timesteps_at_start", "_n_updates", "_episode_num")
_OF_CALLERS = ("_vec_normalize_env", "_logger", "_custom_logger", "device")  # of load() and its environment
_WINDOWS = ("ep_info_buffer", "ep_success_buffer")  # of SB3, for its logs


def check_settings(settings: Mapping[str, Any], model_class: type[Any]) -> None:
    """
    Look at what is not an argument of the constructor, which looks at these itself.

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
    if not isinstance(settings.get("action_noise"), ActionNoise | None):
        raise ValueError(f"action_noise={settings['action_noise']!r}: is no ActionNoise")
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
