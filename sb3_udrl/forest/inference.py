"""What a fitted estimator says about a few situations, fast: tree ensembles through treelite."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import treelite
import treelite.gtil
import treelite.sklearn
from numpy.typing import NDArray
from sklearn.base import is_classifier
from sklearn.multioutput import MultiOutputClassifier, MultiOutputRegressor

from sb3_udrl.forest.estimators import threads

Floats = NDArray[np.floating[Any]]
Predictor = Callable[[Floats], Floats]

_WORTH_THREADS = 1000  # rows; with fewer, threads cost more than they save


def make_predictor(estimator: Any, n_jobs: int = 1) -> Predictor:
    """
    A function of inputs ``(n, n_inputs)`` that returns, as ``(n, n_outputs, n_classes)``, the probabilities of a classifier's
    classes (rows with fewer classes are filled up with zeros), or the values of a regressor with one in the place of
    ``n_classes``.

    :param estimator: a fitted estimator
    :param n_jobs: cores that share the work from 1,000 rows on, -1 for all; fewer rows are one core's
    """
    if isinstance(estimator, MultiOutputClassifier | MultiOutputRegressor):
        parts = [make_predictor(part, n_jobs) for part in estimator.estimators_]
        return lambda inputs: _stacked([part(inputs)[:, 0] for part in parts])
    model = to_treelite(estimator)
    if model is None:
        return sklearn_predictor(estimator, n_jobs)

    def predict(inputs: NDArray[np.float32]) -> Floats:
        if _n_cores(n_jobs, inputs) == 1:
            return treelite.gtil.predict(model, inputs, nthread=1)
        with threads(n_jobs):  # more threads than OpenMP is set to would be an error
            return treelite.gtil.predict(model, inputs, nthread=-1)

    if not is_classifier(estimator):
        return predict

    def probabilities(inputs: NDArray[np.float32]) -> Floats:
        predicted = predict(inputs)
        return predicted if predicted.shape[2] > 1 else np.concatenate((1 - predicted, predicted), axis=2)

    return probabilities


def to_treelite(estimator: Any) -> treelite.Model | None:
    """
    The trees of a fitted ensemble as treelite keeps them; None if it is something that treelite does not know.

    :param estimator: a fitted estimator
    """
    package = type(estimator).__module__.split(".")[0]
    try:
        if package == "xgboost":
            return treelite.frontend.from_xgboost(estimator.get_booster())
        if package == "lightgbm":
            return treelite.frontend.from_lightgbm(estimator.booster_)
        if hasattr(estimator, "n_estimators_") and estimator.n_estimators_ != estimator.n_estimators:
            return None  # gradient boosting that stopped early: treelite would read as many trees as were asked for
        return treelite.sklearn.import_model(estimator)
    except (treelite.TreeliteError, NotImplementedError):
        return None


def sklearn_predictor(estimator: Any, n_jobs: int = 1) -> Predictor:
    """
    As :func:`make_predictor`, through the estimator's own methods.

    :param estimator: a fitted estimator
    :param n_jobs: as for :func:`make_predictor`
    """

    def use_cores(inputs: NDArray[np.float32]) -> None:
        if hasattr(estimator, "n_jobs"):
            estimator.n_jobs = _n_cores(n_jobs, inputs)

    def values(inputs: NDArray[np.float32]) -> Floats:
        use_cores(inputs)
        return np.asarray(estimator.predict(inputs)).reshape(len(inputs), -1, 1)

    def probabilities(inputs: NDArray[np.float32]) -> Floats:
        use_cores(inputs)
        predicted = estimator.predict_proba(inputs)
        return _stacked(predicted) if isinstance(predicted, list) else np.asarray(predicted)[:, None]

    return probabilities if is_classifier(estimator) else values


def _n_cores(n_jobs: int, inputs: NDArray[np.float32]) -> int:
    return n_jobs if len(inputs) >= _WORTH_THREADS else 1


def _stacked(outputs: list[Floats]) -> Floats:
    """``(n, n_classes)`` of each output as one array, ``(n, n_outputs, most classes)``."""
    stacked = np.zeros((len(outputs[0]), len(outputs), max(output.shape[1] for output in outputs)))
    for i, output in enumerate(outputs):
        stacked[:, i, : output.shape[1]] = output
    return stacked
