"""What goes into an exported file besides the decisions, as JSON: spaces, how commands change, how actions are drawn."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from gymnasium import spaces
from stable_baselines3.common.preprocessing import is_image_space

from sb3_udrl.commands.command_space import CommandSpace
from sb3_udrl.deploy.books import FORMAT
from sb3_udrl.deploy.network import fed_dtype, observation_parts
from sb3_udrl.policies.base import BehaviorPolicy
from sb3_udrl.statistics.moments import moments_of

KEY = "sb3_udrl"  # under which the file holds this


def bookkeeping(policy: BehaviorPolicy, draw_rules: list[dict[str, Any]], score_card: dict[str, Any]) -> dict[str, Any]:
    """
    What a program needs to act as ``policy.predict`` does, besides the network or forest itself.

    :param policy: the policy
    :param draw_rules: how actions are drawn, of each of ``policy.deciding()``
    :param score_card: see :meth:`ScoreCard.to_plain <sb3_udrl.obedience.ScoreCard.to_plain>`
    :return: plain values without NaN or infinity, which are None
    :raises ValueError: if a part of commands changes in its own way
    """
    space = policy.command_space
    deciders = [
        {
            "prefix": f"{decides.name}." if decides.name else "",
            "parts": list(decides.policy.command_space.names),
            "temperature": decides.temperature,
            **rule,
        }
        for decides, rule in zip(policy.deciding(), draw_rules, strict=True)
    ]
    plain: dict[str, Any] = _plain(
        {
            "format": FORMAT,
            "policy": type(policy).__name__,
            "observation": _observations(policy.observation_space),
            "action": _action(policy.action_space),
            "parts": _parts(space),
            "partial": space.partial,
            "command": policy.eval_command.tolist(),
            "experience": _experience(policy),
            "corrections": _corrections(policy),
            "corrected_part": space.measured[0] if space.measured else None,
            "deciders": deciders,
            "score_card": score_card,
        }
    )
    return plain


def input_name(key: str) -> str:
    """
    What a part of the observation is called in exported files.

    :param key: its key; the empty one for an observation without parts
    """
    return f"observation.{key}" if key else "observation"


def _observations(space: spaces.Space[Any]) -> list[dict[str, Any]]:
    return [
        {
            "key": key if isinstance(space, spaces.Dict) else None,
            "input": input_name(key),
            "shape": list(part.shape or ()),
            "dtype": str(fed_dtype(part)),
            "picture": is_image_space(part),
        }
        for key, part in observation_parts(space).items()
    ]


def _action(space: spaces.Space[Any]) -> dict[str, Any]:
    box = isinstance(space, spaces.Box)
    bounds = {name: getattr(space, name).tolist() if box else None for name in ("low", "high")}
    return {"shape": list(space.shape or ()), "dtype": str(space.dtype), **bounds}


def _parts(space: CommandSpace) -> list[dict[str, Any]]:
    unknown = [part.name for part in space.parts if part.rule is None]
    if unknown:
        raise ValueError(
            f"the part {unknown[0]!r} of commands has its own advance(), which no file can hold: export a model without it, "
            "or make it a SummedPart"
        )
    return [{"name": part.name, "rule": part.rule, "lowest": part.lowest} for part in space.parts]


def _experience(policy: BehaviorPolicy) -> dict[str, Any] | None:
    if policy.experience is None or len(policy.experience.known()) == 0:
        return None
    table = policy.experience.known()
    factor = moments_of(table.astype(np.float32))[1]
    return {"parts": list(policy.experience.names), "factor": factor.tolist(), "episodes": table.tolist()}


def _corrections(policy: BehaviorPolicy) -> list[Any]:
    """Sampled and greedy: what is delivered, and what to ask for to get it; None where nothing is corrected."""
    tables = getattr(policy, "corrections", None)
    points = [] if tables is None else [table.tolist() for table in tables]
    return [None if np.isnan(table).any() else table for table in points] or [None, None]


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _plain(entry) for name, entry in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(entry) for entry in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
