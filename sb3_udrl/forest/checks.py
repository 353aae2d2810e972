"""
Fitted estimators of strangers, looked at before they decide anything: what runs in native code believes sizes and indices.

Whatever else is wrong raises an error of Python in the trial at the end.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
from sklearn.base import BaseEstimator, is_classifier
from sklearn.ensemble import BaseEnsemble
from sklearn.ensemble._forest import BaseForest
from sklearn.ensemble._gb import BaseGradientBoosting
from sklearn.ensemble._hist_gradient_boosting.binning import _BinMapper
from sklearn.ensemble._hist_gradient_boosting.gradient_boosting import BaseHistGradientBoosting
from sklearn.ensemble._hist_gradient_boosting.predictor import TreePredictor
from sklearn.multioutput import MultiOutputClassifier, MultiOutputRegressor
from sklearn.neighbors._base import NeighborsBase
from sklearn.svm._base import BaseLibSVM
from sklearn.tree import BaseDecisionTree
from sklearn.tree._tree import Tree

from sb3_udrl.forest.heads import ContinuousHead, DiscreteHead, Learned
from sb3_udrl.forest.native_parts import parts
from sb3_udrl.forest.tree_checks import check_histogram_tree
from sb3_udrl.saving.estimators import estimator_class
from sb3_udrl.saving.random_state import check_positions
from sb3_udrl.saving.trust import Untrusted, trusted_names

# Attributes that may hold NaN: what was measured during training, and points with gaps where the metric allows them
_MAY_HAVE_GAPS = ("oob_", "train_score_", "validation_", "_fit_X", "statistics_")


def check_objects(content: Any) -> None:
    """
    Look at what does not depend on the kind of an estimator.

    :param content: with fitted estimators, as it was read
    :raises Untrusted: if an estimator is of a class whose native code nobody looks at here
    :raises ValueError: if a method is replaced, or numbers are not finite or out of all bounds
    """
    unknown = {}
    for where, item in parts(content):
        if isinstance(item, BaseEstimator) and not _is_known(type(item)) and _path(type(item)) not in trusted_names():
            unknown[_path(type(item))] = "the forest"
        if isinstance(item, np.ndarray) and item.dtype.kind == "f" and not np.isfinite(item).all():
            if not where.rpartition(".")[2].startswith(_MAY_HAVE_GAPS):
                raise ValueError(f"{where} holds numbers that are not finite")
        elif isinstance(item, np.random.RandomState):
            check_positions(item.get_state(legacy=False))
        elif isinstance(item, np.random.Generator):
            check_positions(item.bit_generator.state)
        elif hasattr(item, "__dict__") and not isinstance(item, type):
            for name in vars(item):
                if name.startswith("__") or callable(getattr(type(item), name, None)):
                    raise ValueError(f"{where}.{name} takes the place of a method")
    if unknown:
        raise Untrusted(unknown)


def _is_known(cls: type[Any]) -> bool:
    return cls is _BinMapper or (estimator_class(_path(cls)) is cls and not issubclass(cls, BaseLibSVM))


def _path(cls: type[Any]) -> str:
    return f"{cls.__module__}.{cls.__name__}"


def check_estimators(estimator: Any, n_inputs: int) -> None:
    """
    Look at sizes and indices in all parts of an estimator.

    :param estimator: a fitted estimator
    :param n_inputs: number of inputs that it will get
    :raises ValueError: if they do not fit together, or the inputs
    """
    together = isinstance(estimator, MultiOutputClassifier | MultiOutputRegressor)
    for part in (estimator, *(_members("the estimator", estimator) if together else ())):
        n_features = getattr(part, "n_features_in_", None)
        if n_features != n_inputs:
            raise ValueError(f"the {type(part).__name__} takes {n_features} inputs, and this policy has {n_inputs}")
    for where, item in parts(estimator, type(estimator).__name__):
        for cls, (fitted, check) in _CHECKS.items():
            if isinstance(item, cls) and hasattr(item, fitted):  # without that, they refuse to decide
                check(where, item)


def _check_tree(where: str, estimator: Any) -> None:
    tree = estimator.tree_
    if not isinstance(tree, Tree):
        raise ValueError(f"{where}.tree_ is no tree")
    if tree.n_features != estimator.n_features_in_:
        raise ValueError(f"{where} has a tree of {tree.n_features} inputs instead of {estimator.n_features_in_}")
    _check_outputs(where, estimator, tree.n_outputs, tree.n_classes)


def _check_outputs(where: str, estimator: Any, n_outputs: int, n_classes: Any) -> None:
    """Whether an estimator claims as many outputs and classes as one of its trees has."""
    claimed = np.ravel(estimator.n_classes_).tolist() if is_classifier(estimator) else [1] * n_outputs
    if not _is_whole(estimator.n_outputs_) or estimator.n_outputs_ != n_outputs or claimed != list(n_classes):
        raise ValueError(f"{where} claims other outputs or classes than its trees have")
    if is_classifier(estimator):
        classes = estimator.classes_ if n_outputs > 1 else [estimator.classes_]
        if [np.shape(of_output) for of_output in classes] != [(n,) for n in claimed]:
            raise ValueError(f"{where} has other classes than its trees")
        values = estimator.tree_.value if hasattr(estimator, "tree_") else None
        if values is not None and ((values < 0).any() or (values.sum(axis=2) <= 0).any()):
            raise ValueError(f"{where} has a tree with shares of classes below zero, or without any")


def _check_forest(where: str, estimator: Any) -> None:
    trees = _members(where, estimator)
    if estimator.n_estimators != len(trees):
        raise ValueError(f"{where} has {len(trees)} trees instead of n_estimators={estimator.n_estimators!r}")
    for i, tree in enumerate(trees):
        _check_member(f"{where}.estimators_[{i}]", tree, estimator)
        _check_outputs(where, estimator, tree.tree_.n_outputs, tree.tree_.n_classes)


def _check_member(where: str, tree: Any, estimator: Any) -> None:
    if not isinstance(tree, BaseDecisionTree) or not isinstance(getattr(tree, "tree_", None), Tree):
        raise ValueError(f"{where} is no fitted tree")
    if tree.tree_.n_features != estimator.n_features_in_:
        raise ValueError(f"{where} has {tree.tree_.n_features} inputs instead of {estimator.n_features_in_}")


def _check_gradient_boosting(where: str, estimator: Any) -> None:
    trees = estimator.estimators_
    n_outputs = _n_outputs(where, estimator)
    if not isinstance(trees, np.ndarray) or trees.dtype != object or trees.ndim != 2 or not trees.size:
        raise ValueError(f"{where} has no trees")
    if trees.shape[1] != n_outputs or getattr(estimator, "n_trees_per_iteration_", n_outputs) != n_outputs:
        raise ValueError(f"{where} has {trees.shape[1]} trees in a round for {n_outputs} outputs")
    for i, tree in enumerate(trees.ravel()):
        _check_member(f"{where}.estimators_[{i}]", tree, estimator)
        if (tree.tree_.n_outputs, tree.tree_.max_n_classes) != (1, 1):
            raise ValueError(f"{where}.estimators_[{i}] has more than a single output")
    if estimator.n_estimators_ != len(trees):
        raise ValueError(f"{where} claims {estimator.n_estimators_!r} rounds instead of {len(trees)}")
    rows = estimator._raw_predict_init(np.zeros((1, estimator.n_features_in_), dtype=np.float32))
    if np.shape(rows) != (1, n_outputs) or not np.isfinite(rows).all():
        raise ValueError(f"{where} does not start from a number for each of its {n_outputs} outputs")


def _check_histogram_boosting(where: str, estimator: Any) -> None:
    n_features, n_outputs, bins = estimator.n_features_in_, _n_outputs(where, estimator), estimator._bin_mapper
    rounds = estimator._predictors
    if not isinstance(rounds, list) or not rounds or any(not isinstance(row, list) or len(row) != n_outputs for row in rounds):
        raise ValueError(f"{where} does not have {n_outputs} trees in each of its rounds, one at least")
    if estimator.n_trees_per_iteration_ != n_outputs:
        raise ValueError(f"{where} claims {estimator.n_trees_per_iteration_!r} trees in a round instead of {n_outputs}")
    start = estimator._baseline_prediction
    if not isinstance(start, np.ndarray) or start.dtype != np.float64 or start.shape != (1, n_outputs):
        raise ValueError(f"{where} does not start from a number for each of its {n_outputs} outputs")
    is_categorical = bins.is_categorical_
    if not isinstance(is_categorical, np.ndarray) or is_categorical.dtype.kind not in "bu":
        raise ValueError(f"{where} does not say which inputs are categories")
    is_categorical = is_categorical != 0
    if is_categorical.shape != (n_features,) or len(bins.bin_thresholds_) != n_features:
        raise ValueError(f"{where} has bins of {len(bins.bin_thresholds_)} inputs instead of {n_features}")
    if estimator._preprocess_X(np.zeros((1, n_features)), reset=False).shape != (1, n_features):
        raise ValueError(f"{where} prepares another number of inputs than {n_features}")
    n_categories = _n_categories(where, estimator, is_categorical)
    for i, predictor in enumerate(predictor for row in rounds for predictor in row):
        if not isinstance(predictor, TreePredictor):
            raise ValueError(f"{where}._predictors[{i}] is no tree")
        check_histogram_tree(f"{where}._predictors[{i}]", predictor, n_categories)


def _n_categories(where: str, estimator: Any, is_categorical: Any) -> Any:
    """How many categories each input has, zero for numbers, ``(n_features,)``: in sets of them, and in their list."""
    n_features, bins, claimed = len(is_categorical), estimator._bin_mapper, estimator.is_categorical_
    n_claimed = 0 if claimed is None else int(np.sum(claimed)) if np.shape(claimed) == (n_features,) else -1
    n_categories = np.zeros(n_features, dtype=np.int64)
    if n_claimed != is_categorical.sum() or (estimator._preprocessor is None) != (claimed is None):
        raise ValueError(f"{where} has other inputs with categories than its bins")
    if claimed is None:
        return n_categories
    lists = estimator._preprocessor.transformers_[0][1].categories_
    if len(lists) != n_claimed or any(np.ndim(values) != 1 or values.dtype.kind not in "fiu" for values in lists):
        raise ValueError(f"{where} has no lists of {n_claimed} inputs' categories")
    n_categories[is_categorical] = [len(values) for values in lists]
    for n, known in zip(n_categories, bins.bin_thresholds_, strict=True):
        if n and (np.ndim(known) != 1 or (known < 0).any() or (known >= min(n, 256)).any()):
            raise ValueError(f"{where} knows categories that its lists do not hold")
    return n_categories


def _n_outputs(where: str, estimator: Any) -> int:
    if not is_classifier(estimator):
        return 1
    n_classes = len(estimator.classes_)
    if np.ndim(estimator.classes_) != 1 or n_classes < 2 or getattr(estimator, "n_classes_", n_classes) != n_classes:
        raise ValueError(f"{where} claims another number of classes than it has")
    return 1 if n_classes == 2 else n_classes


def _check_neighbors(where: str, estimator: Any) -> None:
    points = estimator._fit_X
    if not isinstance(points, np.ndarray) or points.ndim != 2 or points.dtype.kind != "f" or not len(points):
        raise ValueError(f"{where} has no points")
    if points.shape != (estimator.n_samples_fit_, estimator.n_features_in_):
        raise ValueError(f"{where} has points of the shape {points.shape} instead of as many as it claims")
    if not isinstance(estimator.effective_metric_, str) or estimator.effective_metric_ == "precomputed":
        raise ValueError(f"{where} has the metric {estimator.effective_metric_!r}, which does not go by inputs")
    further = {name for name, value in estimator.effective_metric_params_.items() if name != "p" and value is not None}
    if further or estimator._fit_method not in ("brute", "kd_tree", "ball_tree"):
        raise ValueError(
            f"{where} measures by {sorted(further)} or searches by {estimator._fit_method!r}, which are not known"
        )
    n_neighbors = getattr(estimator, "n_neighbors", None)
    if n_neighbors is not None and not (_is_whole(n_neighbors) and 1 <= n_neighbors <= len(points)):
        raise ValueError(f"{where} looks for {n_neighbors!r} neighbors among {len(points)}")
    targets = estimator._y
    if not isinstance(targets, np.ndarray) or len(targets) != len(points):
        raise ValueError(f"{where} does not have what belongs to each of its points")
    if is_classifier(estimator):
        columns = targets.reshape(len(targets), -1)
        classes = estimator.classes_ if isinstance(estimator.classes_, list) else [estimator.classes_]
        if columns.dtype.kind not in "iu" or columns.shape[1] != len(classes):
            raise ValueError(f"{where} has no classes for each of its outputs")
        if (columns < 0).any() or (columns >= [len(of_output) for of_output in classes]).any():
            raise ValueError(f"{where} has points of classes that do not exist")


def _is_whole(number: Any) -> bool:
    return isinstance(number, int | np.integer) and not isinstance(number, bool)


def _check_ensemble(where: str, estimator: Any) -> None:
    _members(where, estimator)


def _members(where: str, estimator: Any) -> list[Any]:
    members = getattr(estimator, "estimators_", None)
    if members is None or not len(members):
        raise ValueError(f"{where} has no members")
    return list(members)


# By class, what only fitted ones have, and a check. A class comes after those that it is derived from
_CHECKS: dict[type[Any], tuple[str, Callable[[str, Any], None]]] = {
    BaseEnsemble: ("estimators_", _check_ensemble),
    BaseDecisionTree: ("tree_", _check_tree),
    BaseForest: ("estimators_", _check_forest),
    BaseGradientBoosting: ("estimators_", _check_gradient_boosting),
    BaseHistGradientBoosting: ("_predictors", _check_histogram_boosting),
    NeighborsBase: ("_fit_X", _check_neighbors),
}


def check_trial(learned: Learned, n_inputs: int, head: DiscreteHead | ContinuousHead) -> None:
    """
    Decide in two situations.

    :param learned: what was learned, looked at
    :param n_inputs: number of inputs
    :param head: how actions are chosen by it
    :raises ValueError: if it fits other actions, or the outputs are not what they should be
    """
    head.check(learned)
    rows = np.stack([np.zeros(n_inputs), np.linspace(-1, 1, n_inputs)]).astype(np.float32)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            outputs = head.outputs(learned)(rows)
    except Exception as error:  # of many kinds, by estimators whose parts do not fit together
        raise ValueError(f"the {type(learned.estimator).__name__} cannot decide: {error or repr(error)}") from error
    head.check_outputs(outputs)
