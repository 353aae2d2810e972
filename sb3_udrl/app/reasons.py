"""Why a model decided as it did at one step."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from sb3_udrl.app.episode import Moment, PlayedEpisode
from sb3_udrl.buffers.arrays import Observation, map_observation
from sb3_udrl.commands.command import Command
from sb3_udrl.explain import CommandGrid, Situations, command_grid, contributions, fired_rule, input_names
from sb3_udrl.explain.contributions import explainable
from sb3_udrl.policies import BehaviorPolicy

_N_VALUES = 21
_ADVANTAGES = (-3.0, 3.0)


class TreeReasons(NamedTuple):
    """
    What trees looked at.

    :param output: what was decided by: the probability of the action, or the mean of a continuous one
    :param base: the same, before anything was looked at
    :param contributions: signed, by the name of the input, the largest first; with ``base`` they sum to ``output``
    :param rule: the rule of the first tree that fired, a line per input, then the action
    """

    output: float
    base: float
    contributions: dict[str, float]
    rule: list[str]


def has_trees(episode: PlayedEpisode) -> bool:
    """
    Whether decisions of an episode can be explained by trees.

    :param episode: at least one step long
    """
    return explainable(_deciding(episode, episode.moments[-1]))


def tree_reasons(episode: PlayedEpisode, step: int = -1, component: int = 0) -> TreeReasons:
    """
    The signed contributions to a decision, and the rule that fired.

    :param episode: that of a forest or of a tree
    :param step: which step
    :param component: of an action with several
    :raises ValueError: if the behavior function is of another kind
    """
    moment = episode.moments[step]
    policy = _deciding(episode, moment)
    situation = _situation(policy, episode, moment)
    names = input_names(episode.env, policy.command_space)
    parts = contributions(policy, situation)
    signed = parts.signed[0, component]
    order = np.argsort(-np.abs(signed), kind="stable")
    named = {names[i]: float(signed[i]) for i in order}
    # Of standardized inputs there is no rule in the units of the environment
    rule = [] if getattr(policy, "standardize", False) else fired_rule(policy, situation, names)
    return TreeReasons(float(parts.outputs[0, component]), float(parts.base[0, component]), named, rule)


def grid_reasons(episode: PlayedEpisode, step: int = -1) -> CommandGrid:
    """
    What would have been decided at a step under commands around the present one: along the first two parts that it asks for.

    :param episode: an episode
    :param step: which step
    :raises ValueError: if nothing was asked for
    """
    moment = episode.moments[step]
    policy = _deciding(episode, moment)
    command = _command(policy, episode, moment)
    asked = [name for name in policy.command_space.names if command.asks_for(name)[0]]
    if not asked:
        raise ValueError("nothing was asked for at this step: ask for something, to see what else would be decided")
    axes = {name: _around(policy, name, float(command[name][0])) for name in asked[:2]}
    return command_grid(policy, _one(moment), axes)


def _around(policy: BehaviorPolicy, part: str, value: float) -> NDArray[np.float64]:
    low, high = _ADVANTAGES
    if policy.experience is not None and part in policy.experience.names and len(policy.experience.known()):
        known = policy.experience.known()[:, policy.experience.names.index(part)]
        low, high = float(known.min()), float(known.max())
    half = (high - low) / 4 or 1.0
    lowest = policy.command_space.part(part).lowest
    return np.linspace(max(value - half, lowest), max(value + half, lowest + 1.0), _N_VALUES)


def _deciding(episode: PlayedEpisode, moment: Moment) -> BehaviorPolicy:
    policy = episode.model.policy
    return policy.decides_under(policy.command_space.from_rows(moment.command[None]))


def _command(policy: BehaviorPolicy, episode: PlayedEpisode, moment: Moment) -> Command:
    """What was asked of this behavior function, in the parts that it takes."""
    whole = episode.model.command_space.from_rows(moment.command[None])
    return Command({name: whole[name] for name in policy.command_space.names})


def _one(moment: Moment) -> Observation:
    return map_observation(lambda rows: rows[0], moment.observation)


def _situation(policy: BehaviorPolicy, episode: PlayedEpisode, moment: Moment) -> Situations:
    zero = np.zeros(1, dtype=np.int64)
    return Situations(moment.observation, _command(policy, episode, moment), moment.action[None], zero, zero, np.zeros(1))
