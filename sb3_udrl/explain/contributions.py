"""What each input contributed to a decision, along the decision paths of the trees."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from sklearn.ensemble import ExtraTreesClassifier, ExtraTreesRegressor, RandomForestClassifier, RandomForestRegressor
from sklearn.pipeline import Pipeline
from sklearn.tree import BaseDecisionTree

from sb3_udrl.buffers.arrays import Array
from sb3_udrl.explain.decisions import policy_of
from sb3_udrl.forest import ForestPolicy
from sb3_udrl.forest.heads import DiscreteHead

if TYPE_CHECKING:
    from sb3_udrl.common.commanded_algorithm import CommandedAlgorithm
    from sb3_udrl.explain.situations import Situations
    from sb3_udrl.policies import BehaviorPolicy

Floats = NDArray[np.float64]

FORESTS = (RandomForestClassifier, RandomForestRegressor, ExtraTreesClassifier, ExtraTreesRegressor)


class Contributions(NamedTuple):
    """
    What each input, the numbers of the observation and of the command, contributed to ``n`` decisions.

    :param signed: to the probability of the value that each component of the action took, or to the mean of a continuous
        component, ``(n, n_components, n_inputs)``; ``base + signed.sum(2)`` is that probability or mean
    :param base: what the trees say before they look at anything: the mean over their roots, ``(n, n_components)``
    :param impurity_decrease: by how much the impurity fell along the path at the splits of each input, mean over the trees,
        ``(n, n_inputs)``
    """

    signed: Floats
    base: Floats
    impurity_decrease: Floats

    @property
    def outputs(self) -> Floats:
        """Probability of the value that each component took, or mean of a continuous component, ``(n, n_components)``."""
        return self.base + self.signed.sum(2)


class OverTime(NamedTuple):
    """
    Mean and spread over episodes, step by step.

    :param mean: ``(n_steps, n_inputs)``
    :param std: standard deviation over the episodes, ``(n_steps, n_inputs)``
    :param n_episodes: episodes that lasted so long, ``(n_steps,)``
    """

    mean: Floats
    std: Floats
    n_episodes: NDArray[np.int64]


def contributions(
    model: CommandedAlgorithm | BehaviorPolicy, situations: Situations, actions: Array | None = None
) -> Contributions:
    """
    Explain decisions of a forest by the paths that they took through its trees.

    At each split of a path, the probability of the chosen action changes, and the impurity falls or rises. Both changes are
    credited to the input that was split by. The first sums exactly to probability minus base rate (A. Saabas, "Interpreting
    random forests", 2014, as in the package treeinterpreter); the second is what arXiv 2411.11457 shows, there as a sum over
    trees, here as a mean. Probabilities are the forest's own, without the policy's ``smoothing``.

    A path says what the trees looked at, not what would have happened otherwise; of inputs that say the same, one may get all
    the credit.

    :param model: a model with a ``ForestPolicy`` of decision trees, random forests or extra trees, or that policy
    :param situations: the decisions
    :param actions: explain these instead of the actions that were taken, ``(n, *action_shape)``
    :raises ValueError: if the behavior function is of another kind, or has learned nothing yet
    """
    policy = policy_of(model)
    estimator = tree_based(policy)
    assert isinstance(policy, ForestPolicy) and policy.learned is not None
    inputs = policy.learned.read(policy.inputs(situations.observations, situations.command))
    if isinstance(estimator, Pipeline):
        inputs, estimator = np.asarray(estimator[:-1].transform(inputs), dtype=np.float32), estimator[-1]
    classes: NDArray[np.int64] | None = None
    if isinstance(policy.head, DiscreteHead):
        indices = policy.head.to_indices(situations.actions if actions is None else actions)
        classes = np.stack(
            [_positions(values, column) for values, column in zip(policy.learned.present, indices.T, strict=True)], axis=1
        )
    trees = estimator.estimators_ if isinstance(estimator, FORESTS) else [estimator]
    sums = _of_one_tree(trees[0], inputs, classes)
    for tree in trees[1:]:
        for total, more in zip(sums, _of_one_tree(tree, inputs, classes), strict=True):
            total += more
    return Contributions(*(total / len(trees) for total in sums))


def explainable(model: CommandedAlgorithm | BehaviorPolicy) -> bool:
    """
    Whether :func:`contributions` can explain a model.

    :param model: a model or its policy
    """
    try:
        tree_based(policy_of(model))
    except ValueError:
        return False
    return True


def over_time(values: Floats, situations: Situations) -> OverTime:
    """
    Mean and spread of contributions, or of anything else, per time step.

    :param values: of each situation, ``(n, n_inputs)``: ``signed[:, 0]`` or ``impurity_decrease``, say
    :param situations: complete episodes
    """
    steps = situations.steps
    n_episodes = np.bincount(steps)
    means = np.stack([np.bincount(steps, column) for column in values.T], axis=1) / n_episodes[:, None]
    squares = (values - means[steps]) ** 2
    variances = np.stack([np.bincount(steps, column) for column in squares.T], axis=1) / n_episodes[:, None]
    return OverTime(means, np.sqrt(variances), n_episodes)


def tree_based(policy: BehaviorPolicy) -> Any:
    """
    The estimator of a policy, if it is one that has paths.

    :param policy: the behavior function
    :raises ValueError: if it is of another kind, or has learned nothing yet
    """
    works = "decision paths need a ForestPolicy of decision trees, random forests or extra trees of scikit-learn"
    if not isinstance(policy, ForestPolicy):
        one = "; of two side by side, give policy.decides_under(command)" if len(policy.deciding()) > 1 else ""
        raise ValueError(f"model has a {type(policy).__name__}: {works}{one}; distill() makes one tree of any policy")
    if policy.learned is None:
        raise ValueError("this policy has learned nothing yet: train it first")
    estimator = policy.learned.estimator
    last = estimator[-1] if isinstance(estimator, Pipeline) else estimator
    if not isinstance(last, (*FORESTS, BaseDecisionTree)):
        raise ValueError(f"estimator={type(last).__name__}: {works}; permutation_importance() works for all")
    return estimator


def _positions(values: NDArray[np.int64], chosen: NDArray[np.int64]) -> NDArray[np.int64]:
    """The class of each chosen value; -1 for values that the data lacked, whose probability is zero."""
    found = np.searchsorted(values, chosen).clip(max=len(values) - 1)
    return np.where(values[found] == chosen, found, -1)


def _of_one_tree(tree: Any, inputs: NDArray[np.float32], classes: NDArray[np.int64] | None) -> Contributions:
    nodes, (n, n_inputs) = tree.tree_, inputs.shape
    n_components = nodes.n_outputs
    parents = np.zeros(nodes.node_count, dtype=np.int64)
    inner = np.flatnonzero(nodes.children_left >= 0)
    parents[nodes.children_left[inner]] = parents[nodes.children_right[inner]] = inner
    visits = tree.decision_path(inputs)  # sparse, a row per decision, its nodes from the root on
    rows, visited = np.repeat(np.arange(n), np.diff(visits.indptr)), visits.indices
    rows, visited = rows[visited > 0], visited[visited > 0]
    split_by = rows * n_inputs + nodes.feature[parents[visited]]

    def summed(changes: Floats) -> Floats:
        sums: Floats = np.bincount(split_by, changes, n * n_inputs).astype(np.float64)  # whole numbers where there are none
        return sums.reshape(n, n_inputs)

    signed, base = np.empty((n, n_components, n_inputs)), np.empty((n, n_components))
    for component in range(n_components):
        values = nodes.value[:, component]  # (n_nodes, n_classes)
        chosen = np.zeros(n, dtype=np.int64) if classes is None else classes[:, component]
        known = chosen >= 0
        change = values[visited, chosen[rows]] - values[parents[visited], chosen[rows]]
        signed[:, component] = summed(np.where(known[rows], change, 0.0))
        base[:, component] = np.where(known, values[0, chosen], 0.0)
    return Contributions(signed, base, summed(nodes.impurity[parents[visited]] - nodes.impurity[visited]))
