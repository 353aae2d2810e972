"""What a behavior function looks at, over many decisions."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray
from sklearn.multioutput import MultiOutputClassifier, MultiOutputRegressor
from sklearn.pipeline import Pipeline
from stable_baselines3.common.preprocessing import is_image_space

from sb3_udrl.buffers.arrays import Observation, map_observation
from sb3_udrl.commands.command import Command
from sb3_udrl.commands.command_space import CommandSpace
from sb3_udrl.explain.decisions import action_outputs, decide, policy_of
from sb3_udrl.explain.feature_names import names_by_space
from sb3_udrl.forest import ForestPolicy

if TYPE_CHECKING:
    from sb3_udrl.common.commanded_algorithm import CommandedAlgorithm
    from sb3_udrl.explain.situations import Situations
    from sb3_udrl.policies import BehaviorPolicy


_FEW_SITUATIONS = 200  # behind the first look
_Part = tuple[str, str | None, slice]  # name, key of the dictionary, columns


class PermutationImportance(NamedTuple):
    """
    How much decisions depend on each input.

    :param names: of the inputs: numbers of the observation, whole images, each part of the command, and ``command``, all of
        them at once where there are several
    :param changes: by how much decisions change when an input is shuffled over the situations, ``(n_names, n_repeats)``:
        the share of components of discrete actions that become others, or the mean absolute change of continuous ones
    """

    names: list[str]
    changes: NDArray[np.float64]


def permutation_importance(
    model: CommandedAlgorithm | BehaviorPolicy,
    situations: Situations,
    names: list[str] | None = None,
    n_repeats: int = 5,
    seed: int = 0,
    most: int | None = None,
) -> PermutationImportance:
    """
    Shuffle one input at a time over the situations, and see how many of the policy's greedy decisions change. For behavior
    functions of all kinds.

    What is measured is agreement with the policy itself, not return: a change of mind may be harmless. Only what differs
    among the situations can be shuffled: to see what commands do, let the episodes be played under different ones,
    ``play(model, env, command={"return": desired_returns})`` with one per environment. Inputs that say the same
    stand in for each other.

    :param model: a model or its policy
    :param situations: where decisions are looked at
    :param names: of the numbers of an observation, :func:`~sb3_udrl.explain.feature_names`; by default their indices
    :param n_repeats: number of shuffles
    :param seed: of the shuffles
    :param most: look closely at only so many parts of an observation: those that change most in a first look, one shuffle over
        few situations; by default at all
    :raises ValueError: if there are not as many different names as numbers in an observation, or no repeats
    """
    if n_repeats < 1:
        raise ValueError(f"n_repeats={n_repeats}: must be at least 1")
    policy, rng = policy_of(model), np.random.default_rng(seed)
    observations, command = situations.observations, situations.command
    decisions = decide(policy, observations, command)
    changes: dict[str, list[float]] = {}
    parts = _observation_parts(policy.observation_space, names)
    if most is not None and len(parts) > most:
        parts = _first_look(policy, situations, parts, most, rng)
    for name, key, columns in parts:
        changes[name] = []
        for _ in range(n_repeats):
            order = rng.permutation(len(decisions))
            shuffled = decide(policy, _shuffled(observations, key, columns, order), command)
            changes[name].append(_difference(policy.action_space, decisions, shuffled))
    for name, which in _command_parts(policy.command_space):
        changes[name] = []
        for _ in range(n_repeats):
            order = rng.permutation(len(decisions))
            other = Command({part: row[order] if part in which else row for part, row in command.parts.items()})
            changes[name].append(_difference(policy.action_space, decisions, decide(policy, observations, other)))
    return PermutationImportance(list(changes), np.array(list(changes.values())))


def _first_look(
    policy: BehaviorPolicy, situations: Situations, parts: list[_Part], most: int, rng: np.random.Generator
) -> list[_Part]:
    """
    The parts of an observation whose shuffling changes the outputs most, over few situations: first of blocks of parts that
    are shuffled together, as many of one size as single ones, then of the parts of the blocks that change most.
    """
    order = rng.permutation(len(situations.steps))[:_FEW_SITUATIONS]
    observations, command = map_observation(lambda part: part[order], situations.observations), situations.command.rows(order)
    outputs, shuffle = action_outputs(policy, observations, command), rng.permutation(len(order))

    def most_changing(blocks: list[list[_Part]]) -> list[list[_Part]]:
        changes = []
        for block in blocks:
            shuffled = observations
            for _, key, columns in block:
                shuffled = _shuffled(shuffled, key, columns, shuffle)
            changes.append(-np.abs(action_outputs(policy, shuffled, command) - outputs).mean())
        return [blocks[i] for i in np.argsort(changes, kind="stable")[:most]]

    size = math.ceil(math.sqrt(len(parts) / most))
    blocks = most_changing([parts[first : first + size] for first in range(0, len(parts), size)])
    return [part for (part,) in most_changing([[part] for block in blocks for part in block])]


def impurity_importance(model: CommandedAlgorithm | BehaviorPolicy) -> NDArray[np.float64]:
    """
    The estimator's own ``feature_importances_``: for scikit-learn's trees, by how much splits on each input lowered the
    impurity of the data that it was fitted to, as a share. Inputs with many different values are favored.

    :param model: a model with a ``ForestPolicy``, or that policy
    :return: for the numbers of the observation and of the command, ``(n_inputs,)``
    :raises ValueError: if the behavior function has no such importances
    """
    policy = policy_of(model)
    estimator: Any = policy.learned.estimator if isinstance(policy, ForestPolicy) and policy.learned is not None else policy
    estimator = _last_step(estimator)
    several = isinstance(estimator, MultiOutputClassifier | MultiOutputRegressor)
    parts = [_last_step(part) for part in (estimator.estimators_ if several else [estimator])]
    if not all(hasattr(part, "feature_importances_") for part in parts):
        raise ValueError(
            f"{type(parts[0]).__name__} has no feature_importances_: trees, random forests, extra trees, AdaBoost and "
            "gradient boosting have them once they are trained; permutation_importance() works for all"
        )
    return np.mean([part.feature_importances_ for part in parts], axis=0)


def _last_step(estimator: Any) -> Any:
    return estimator[-1] if isinstance(estimator, Pipeline) else estimator


def _observation_parts(space: spaces.Space[Any], names: list[str] | None) -> list[_Part]:
    """Name, key of the dictionary, and columns of each part that is shuffled: images as a whole, else single numbers."""
    subspaces = space.spaces.items() if isinstance(space, spaces.Dict) else [(None, space)]
    every = names_by_space(space)
    if names is not None and len(names) != len(every):
        raise ValueError(f"names has {len(names)} entries, and an observation {len(every)} numbers")
    if names is not None and len(set(names)) < len(names):
        raise ValueError(f"names={names}: give each number a name of its own")
    names, parts = names or every, []
    first = 0
    for key, subspace in subspaces:
        size = int(np.prod(subspace.shape or ()))
        if is_image_space(subspace):
            parts.append((key or "image", key, slice(None)))
        else:
            parts += [(names[first + i], key, slice(i, i + 1)) for i in range(size)]
        first += size
    return parts


def _command_parts(space: CommandSpace) -> list[tuple[str, tuple[str, ...]]]:
    """Name, and parts that are shuffled together."""
    single: list[tuple[str, tuple[str, ...]]] = [(f"desired {name}", (name,)) for name in space.names]
    return [*single, ("command", space.names)] if len(single) > 1 else single


def _shuffled(observations: Observation, key: str | None, columns: slice, order: NDArray[np.int64]) -> Observation:
    if isinstance(observations, dict):
        assert key is not None
        return {**observations, key: _shuffled(observations[key], None, columns, order)}  # type: ignore[dict-item]
    copy = np.array(observations)
    rows = copy.reshape(len(copy), -1)  # a view
    rows[:, columns] = rows[order, columns]
    return copy


def _difference(space: spaces.Space[Any], before: NDArray[Any], after: NDArray[Any]) -> float:
    if isinstance(space, spaces.Box):
        return float(np.abs(after.astype(np.float64) - before).mean())
    return float((after != before).mean())
