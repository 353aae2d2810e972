"""The rules of one tree as text."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from sklearn.pipeline import Pipeline
from sklearn.tree._tree import Tree

from sb3_udrl.explain.contributions import FORESTS, tree_based
from sb3_udrl.explain.decisions import policy_of
from sb3_udrl.explain.feature_names import command_names, names_by_space
from sb3_udrl.forest import ForestPolicy
from sb3_udrl.forest.heads import DiscreteHead
from sb3_udrl.forest.scaling import Scaling

if TYPE_CHECKING:
    from sb3_udrl.common.commanded_algorithm import CommandedAlgorithm
    from sb3_udrl.explain.situations import Situations
    from sb3_udrl.policies import BehaviorPolicy

_LARGE, _HUGE = 1e3, 1e15


def rules(
    model: CommandedAlgorithm | BehaviorPolicy, names: list[str] | None = None, tree: int = 0, max_depth: int | None = None
) -> str:
    """
    The rules of one tree, a line per condition. Branches that all decide alike are one line: unlike scikit-learn's
    ``export_text``, which also knows no actions of several components.

    :param model: a model with a ``ForestPolicy`` of decision trees, random forests or extra trees, or that policy
    :param names: of all inputs, :func:`~sb3_udrl.explain.input_names`; by default indices
    :param tree: which tree of a forest
    :param max_depth: deeper branches are summed up as what they mostly do
    :raises ValueError: if the behavior function has no such trees, not that many, or another number of inputs than names
    """
    nodes = tree_of(model, tree).tree_
    names = read_names(policy_of(model), names)
    left, right, feature, threshold = nodes.children_left, nodes.children_right, nodes.feature, nodes.threshold
    decided = node_actions(model, tree)
    last: list[set[str]] = [set() for _ in decided]  # what the leaves below decide
    for node in range(len(decided) - 1, -1, -1):  # children come after their parents
        last[node] = {decided[node]} if left[node] < 0 else last[left[node]] | last[right[node]]

    def lines(node: int, depth: int) -> Iterator[str]:
        for child, sign in ((left[node], "<="), (right[node], "> ")):
            condition = f"{'    ' * depth}{names[feature[node]]} {sign} {_number(threshold[node])}"
            if len(last[child]) == 1:
                yield f"{condition}: {min(last[child])}"
            elif max_depth is not None and depth + 1 >= max_depth:
                yield f"{condition}: mostly {decided[child]}"
            else:
                yield condition
                yield from lines(child, depth + 1)

    return "\n".join(lines(0, 0) if len(last[0]) > 1 else last[0]) + "\n"


def fired_rule(
    model: CommandedAlgorithm | BehaviorPolicy, situation: Situations, names: list[str] | None = None, tree: int = 0
) -> list[str]:
    """
    The rule that one tree decided by: a line per input that it looked at, with all of its conditions, then the action.

    :param model: as in :func:`rules`
    :param situation: one decision
    :param names: as in :func:`rules`
    :param tree: which tree of a forest
    :raises ValueError: as in :func:`rules`
    """
    policy: Any = policy_of(model)
    nodes = tree_of(policy, tree).tree_
    names = read_names(policy, names)
    inputs = policy.inputs(situation.observations, situation.command)[:1]
    estimator = tree_based(policy)
    trees = estimator.estimators_ if isinstance(estimator, FORESTS) else [estimator]
    path = trees[tree].decision_path(policy.learned.read(inputs)).indices  # from the root on
    bounds: dict[int, list[float]] = {}
    for node, child in pairwise(path):
        low_high = bounds.setdefault(int(nodes.feature[node]), [-np.inf, np.inf])
        goes_left = child == nodes.children_left[node]
        threshold = float(nodes.threshold[node])
        low_high[int(goes_left)] = min(low_high[1], threshold) if goes_left else max(low_high[0], threshold)
    lines = [_between(names[feature], low, high) for feature, (low, high) in bounds.items()]
    return [*lines, node_actions(policy, tree)[path[-1]]]


def _between(name: str, low: float, high: float) -> str:
    left = f"{_number(low)} < " if np.isfinite(low) else ""
    right = f" <= {_number(high)}" if np.isfinite(high) else ""
    return f"{left}{name}{right}" if right else f"{name} > {_number(low)}"


def tree_of(model: CommandedAlgorithm | BehaviorPolicy, tree: int = 0) -> Any:
    """
    One of scikit-learn's decision trees, with thresholds in the units of the user.

    :param model: a model with a ``ForestPolicy`` of decision trees, random forests or extra trees, or that policy
    :param tree: its number, from zero
    :raises ValueError: if the behavior function has no such trees, standardizes its inputs, or has no tree of that number
    """
    estimator = tree_based(policy_of(model))
    if isinstance(estimator, Pipeline):
        raise ValueError("with standardize=True, rules speak of standardized inputs: train without it, trees do not need it")
    trees = estimator.estimators_ if isinstance(estimator, FORESTS) else [estimator]
    if not 0 <= tree < len(trees):
        raise ValueError(f"tree={tree}: there are trees from 0 to {len(trees) - 1}")
    policy: Any = policy_of(model)
    return trees[tree] if policy.learned.scaling is None else _in_units_of_the_user(trees[tree], policy.learned.scaling)


def _in_units_of_the_user(tree: Any, scaling: Scaling) -> Any:
    """A copy that shows what it compares inputs with; it is not to decide anything."""
    state = tree.tree_.__getstate__()
    nodes = state["nodes"].copy()
    splits = nodes["left_child"] >= 0
    nodes["threshold"][splits] = scaling.thresholds(nodes["feature"][splits], nodes["threshold"][splits])
    copied = copy.copy(tree)
    copied.tree_ = Tree(tree.tree_.n_features, tree.tree_.n_classes, tree.tree_.n_outputs)
    copied.tree_.__setstate__({**state, "nodes": nodes})
    return copied


def _number(threshold: float) -> str:
    """Three digits, or all before the decimal point."""
    return f"{threshold:.0f}" if _LARGE <= abs(threshold) < _HUGE else f"{threshold:.3g}"


def node_actions(model: CommandedAlgorithm | BehaviorPolicy, tree: int = 0) -> list[str]:
    """
    What each node of a tree would decide if it were a leaf, as text.

    :param model: as in :func:`tree_of`
    :param tree: as in :func:`tree_of`
    """
    values: NDArray[np.float64] = tree_of(model, tree).tree_.value  # (n_nodes, n_components, n_classes)
    policy: Any = policy_of(model)
    assert isinstance(policy, ForestPolicy) and policy.learned is not None
    if isinstance(policy.head, DiscreteHead):
        likely = values.argmax(2).T
        actions = [p[c] + s for p, c, s in zip(policy.learned.present, likely, policy.head.start, strict=True)]
        texts = [[str(value) for value in component] for component in actions]
    else:
        texts = [[f"{value:.3g}" for value in component] for component in values[:, :, 0].T]
    return [f"action {row[0] if len(row) == 1 else '[' + ', '.join(row) + ']'}" for row in zip(*texts, strict=True)]


def checked_input_names(policy: BehaviorPolicy, names: list[str] | None) -> list[str]:
    """
    Names of all inputs.

    :param policy: the behavior function
    :param names: None for indices
    :raises ValueError: if there are not as many as inputs
    """
    by_index = [*names_by_space(policy.observation_space), *command_names(policy.command_space)]
    if names is not None and len(names) != len(by_index):
        raise ValueError(
            f"names has {len(names)} entries, and there are {len(by_index)} inputs, those of the command included"
        )
    return names or by_index


def read_names(policy: BehaviorPolicy, names: list[str] | None) -> list[str]:
    """
    What the trees of a policy compare: inputs, and sums of commands without what each step contributes.

    :param policy: a forest
    :param names: as in :func:`checked_input_names`
    """
    names = list(checked_input_names(policy, names))
    scaling = policy.learned.scaling if isinstance(policy, ForestPolicy) and policy.learned is not None else None
    if scaling is not None:
        for column in np.flatnonzero(scaling.per_step):
            names[column] += f" - {scaling.per_step[column]:.6g} x {names[scaling.horizon]}"
    return names


def class_names(model: CommandedAlgorithm | BehaviorPolicy) -> list[str] | None:
    """
    The discrete actions that the data held, as text; None for actions of several components, and for continuous ones.

    :param model: as in :func:`tree_of`
    """
    policy: Any = policy_of(model)
    if not isinstance(policy.head, DiscreteHead) or len(policy.learned.present) > 1:
        return None
    return [f"action {value}" for value in policy.learned.present[0] + policy.head.start[0]]
