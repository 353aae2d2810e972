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

Floats = NDArray[np.floating[Any]]
Predictor = Callable[[NDArray[np.float32]], Floats]


def make_predictor(estimator: Any) -> Predictor:
    """
    A function of inputs ``(n, n_inputs)`` that returns, as ``(n, n_outputs, n_classes)``, the probabilities of a classifier's
    classes (rows with fewer classes are filled up with zeros), or the values of a regressor with one in the place of
    ``n_classes``. It runs in a single thread.

    :param estimator: a fitted estimator
    """
    if isinstance(estimator, MultiOutputClassifier | MultiOutputRegressor):
        parts = [make_predictor(part) for part in estimator.estimators_]
        return lambda inputs: _stacked([part(inputs)[:, 0] for part in parts])
    model = to_treelite(estimator)
    if model is None:
        return sklearn_predictor(estimator)
    predict = treelite.gtil.predict
    if not is_classifier(estimator):
        return lambda inputs: predict(model, inputs, nthread=1)

    def probabilities(inputs: NDArray[np.float32]) -> Floats:
        predicted = predict(model, inputs, nthread=1)
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
        return treelite.sklearn.import_model(estimator)
    except (treelite.TreeliteError, NotImplementedError):
        return None


def sklearn_predictor(estimator: Any) -> Predictor:
    """
    As :func:`make_predictor`, through the estimator's own methods.

    :param estimator: a fitted estimator
    """
    if "n_jobs" in estimator.get_params(deep=False):
        estimator.set_params(n_jobs=1)  # starting threads takes longer than a few rows
    if not is_classifier(estimator):
        return lambda inputs: np.asarray(estimator.predict(inputs)).reshape(len(inputs), -1, 1)

    def probabilities(inputs: NDArray[np.float32]) -> Floats:
        predicted = estimator.predict_proba(inputs)
        return _stacked(predicted) if isinstance(predicted, list) else np.asarray(predicted)[:, None]

    return probabilities


def _stacked(outputs: list[Floats]) -> Floats:
    """``(n, n_classes)`` of each output as one array, ``(n, n_outputs, most classes)``."""
    stacked = np.zeros((len(outputs[0]), len(outputs), max(output.shape[1] for output in outputs)))
    for i, output in enumerate(outputs):
        stacked[:, i, : output.shape[1]] = output
    return stacked
