"""Estimators by name, and what is asked of them."""

from __future__ import annotations

import copy
import importlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.base import clone, is_classifier, is_regressor
from sklearn.ensemble import ExtraTreesClassifier, RandomForestClassifier
from sklearn.multioutput import MultiOutputClassifier, MultiOutputRegressor
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.tree import BaseDecisionTree, DecisionTreeClassifier
from sklearn.utils import get_tags
from sklearn.utils.validation import has_fit_parameter
from threadpoolctl import threadpool_limits


def make_estimator(estimator: Any, estimator_kwargs: dict[str, Any] | None, classifies: bool) -> Any:
    """
    An unfitted estimator that can be a behavior function.

    :param estimator: a dotted path such as ``"sklearn.ensemble.ExtraTreesClassifier"``, or an instance, which is copied
    :param estimator_kwargs: arguments, with a path; a dotted path under the key ``"estimator"`` is resolved, too, and
        ``"estimator__max_depth"`` is an argument of what it names
    :param classifies: whether actions are classes, else they are numbers
    :raises ValueError: if there is no such class, the arguments do not fit it, or it cannot do what is needed
    """
    made = _from_path(estimator, estimator_kwargs) if isinstance(estimator, str) else _copy(estimator, estimator_kwargs)
    name = type(made).__name__
    if not (is_classifier(made) if classifies else is_regressor(made)):
        kind, spaces = ("classifier", "Discrete, MultiDiscrete and MultiBinary") if classifies else ("regressor", "Box")
        raise ValueError(f"estimator={name} is no {kind}: {spaces} actions need one")
    if classifies and not hasattr(made, "predict_proba"):
        raise ValueError(
            f"estimator={name} has no predict_proba with these arguments: actions are drawn by their probabilities. "
            "sklearn.calibration.CalibratedClassifierCV adds it"
        )
    return made


def _from_path(path: str, kwargs: dict[str, Any] | None) -> Any:
    module, _, name = path.rpartition(".")
    try:
        cls = getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError, ValueError) as error:
        raise ValueError(
            f"estimator={path!r}: there is no such class ({error}). Give a dotted path, "
            "as sklearn.ensemble.ExtraTreesClassifier, of a package that is installed"
        ) from error
    if not (isinstance(cls, type) and hasattr(cls, "fit") and hasattr(cls, "get_params")):
        raise ValueError(f"estimator={path!r} is no estimator: it needs scikit-learn's fit, predict and get_params")
    kwargs = dict(kwargs or {})
    if isinstance(kwargs.get("estimator"), str):
        kwargs["estimator"] = _from_path(kwargs["estimator"], None)
    of_parts = {key: kwargs.pop(key) for key in list(kwargs) if "__" in key}
    try:
        return cls(**kwargs).set_params(**of_parts)
    except (TypeError, ValueError) as error:
        raise ValueError(f"estimator_kwargs={kwargs | of_parts} do not fit {name}: {error}") from error


def _copy(estimator: Any, kwargs: dict[str, Any] | None) -> Any:
    if kwargs:
        raise ValueError(f"estimator_kwargs={kwargs}: with an instance as estimator, give it these arguments itself")
    if isinstance(estimator, type) or not (hasattr(estimator, "fit") and hasattr(estimator, "get_params")):
        raise ValueError(f"estimator={estimator!r} is no estimator: it needs scikit-learn's fit, predict and get_params")
    return clone(estimator)


def prepare(template: Any, n_outputs: int, seed: int, n_jobs: int, standardize: bool) -> Any:
    """
    A fresh estimator, ready to be fitted.

    :param template: an unfitted estimator, which is copied
    :param n_outputs: number of components of an action; estimators for a single one are multiplied
    :param seed: of every part whose random state was left open
    :param n_jobs: for estimators that can fit in parallel and whose number of jobs was left open
    :param standardize: whether to standardize the inputs before
    """
    fresh = clone(template)
    settings = {}
    for name, value in fresh.get_params().items():
        last = name.rpartition("__")[2]
        if value is None and last == "random_state":
            settings[name] = seed
    if "n_jobs" in fresh.get_params(deep=False) and fresh.get_params(deep=False)["n_jobs"] is None:
        settings["n_jobs"] = n_jobs
    fresh.set_params(**settings)
    if n_outputs > 1 and not get_tags(fresh).target_tags.multi_output:
        fresh = (MultiOutputClassifier if is_classifier(fresh) else MultiOutputRegressor)(fresh)
    return make_pipeline(StandardScaler(), fresh) if standardize else fresh


def takes_missing(estimator: Any) -> bool:
    """
    Whether an estimator takes inputs that are NaN, as scikit-learn's trees do.

    :param estimator: an estimator
    """
    return bool(get_tags(estimator).input_tags.allow_nan)


def can_grow(template: Any) -> bool:
    """
    Whether an estimator can exchange some of its trees.

    :param template: an estimator
    """
    return isinstance(template, RandomForestClassifier | ExtraTreesClassifier)


def rejuvenated(fresh: Any, fitted: Any, n_new: int) -> Any:
    """
    A forest that keeps its younger trees when it is fitted again, and grows new ones in the place of the oldest.

    :param fresh: an unfitted forest, whose settings count
    :param fitted: the forest whose trees to keep; it is left as it is
    :param n_new: number of trees to exchange
    """
    forest = copy.copy(fitted).set_params(**{**fresh.get_params(), "warm_start": True})
    forest.estimators_ = fitted.estimators_[n_new:]
    return forest


def takes_weights(estimator: Any) -> bool:
    """
    Whether an estimator can weigh its examples.

    :param estimator: a prepared estimator
    """
    multiplied = isinstance(estimator, MultiOutputClassifier | MultiOutputRegressor)
    return bool(has_fit_parameter(estimator.estimator if multiplied else estimator, "sample_weight"))


def fit(estimator: Any, inputs: NDArray[np.float32], targets: NDArray[Any], weights: NDArray[np.float64] | None) -> Any:
    """
    Fit an estimator in place.

    :param estimator: a prepared estimator
    :param inputs: ``(n, n_inputs)``
    :param targets: ``(n, n_components)``
    :param weights: of the examples, ``(n,)``, for those who take them; None if all count the same
    :return: the estimator
    """
    targets = targets[:, 0] if targets.shape[1] == 1 else targets  # for a single component, they take a vector
    return estimator.fit(inputs, targets, **({} if weights is None else {"sample_weight": weights}))


def fit_classes(
    estimator: Any, inputs: NDArray[np.float32], classes: NDArray[np.int64], weights: NDArray[np.float64] | None
) -> Any:
    """
    Fit a classifier. Only trees can learn that there is a single class: others leave such a component to a tree without
    branches.

    :param estimator: a prepared classifier, which may be fitted in place
    :param inputs: ``(n, n_inputs)``
    :param classes: counted from zero, without gaps, ``(n, n_components)``
    :param weights: as for :func:`fit`
    :return: what was fitted
    """
    single = classes.max(0) == 0
    last = estimator[-1] if isinstance(estimator, Pipeline) else estimator
    if isinstance(last, BaseDecisionTree | RandomForestClassifier | ExtraTreesClassifier):
        return fit(estimator, inputs, classes, weights)
    if single.all():
        return fit(DecisionTreeClassifier(), inputs, classes, None)
    inputs, classes, weights = _without_lonely_classes(inputs, classes, weights)
    if not single.any():
        return fit(estimator, inputs, classes, weights)
    of_one = last.estimator if isinstance(last, MultiOutputClassifier) else last
    if isinstance(estimator, Pipeline):
        of_one = make_pipeline(*(step for _, step in estimator.steps[:-1]), of_one)
    apart = MultiOutputClassifier(of_one)
    apart.estimators_ = [
        fit(DecisionTreeClassifier() if alone else clone(of_one), inputs, column[:, None], weights)
        for alone, column in zip(single, classes.T, strict=True)
    ]
    apart.classes_ = [part.classes_ for part in apart.estimators_]
    apart.n_features_in_ = inputs.shape[1]
    return apart


def _without_lonely_classes(
    inputs: NDArray[np.float32], classes: NDArray[np.int64], weights: NDArray[np.float64] | None
) -> tuple[NDArray[np.float32], NDArray[np.int64], NDArray[np.float64] | None]:
    """The only example of a class, twice: those who hold examples out divide each class, and refuse to divide one."""
    alone = [np.flatnonzero(np.bincount(column)[column] == 1) for column in classes.T]
    rows = np.concatenate((np.arange(len(inputs)), np.unique(np.concatenate(alone))))
    return inputs[rows], classes[rows], None if weights is None else weights[rows]


@contextmanager
def threads(n_jobs: int) -> Iterator[None]:
    """
    Keep the libraries below to as many threads as jobs were asked for.

    :param n_jobs: as in scikit-learn, -1 for all cores
    """
    with threadpool_limits(limits=n_jobs if n_jobs > 0 else None):
        yield
