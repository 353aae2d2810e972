"""Tree ensembles decide through treelite as they do through scikit-learn; others go through scikit-learn."""

import importlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.base import is_classifier
from sklearn.ensemble import (
    AdaBoostClassifier,
    ExtraTreesClassifier,
    ExtraTreesRegressor,
    GradientBoostingClassifier,
    HistGradientBoostingClassifier,
    HistGradientBoostingRegressor,
    RandomForestClassifier,
    RandomForestRegressor,
)
from sklearn.multioutput import MultiOutputClassifier, MultiOutputRegressor
from sklearn.neighbors import KNeighborsClassifier

from sb3_udrl.forest.inference import make_predictor, sklearn_predictor, to_treelite

FORESTS = [RandomForestClassifier, ExtraTreesClassifier, RandomForestRegressor, ExtraTreesRegressor]
BOOSTED = [HistGradientBoostingClassifier, GradientBoostingClassifier, HistGradientBoostingRegressor]


def data(seed, n_outputs, n_classes, n=120, n_inputs=4):
    """Inputs on a coarse grid, so that some fall on the thresholds."""
    rng = np.random.default_rng(seed)
    inputs = rng.integers(-3, 4, (n, n_inputs)).astype(np.float32) / 4
    targets = rng.integers(n_classes, size=(n, n_outputs))
    targets[:n_classes] = np.arange(n_classes)[:, None]
    return inputs, targets[:, 0] if n_outputs == 1 else targets


def assert_same_decisions(estimator, inputs, exactly):
    fast, slow = make_predictor(estimator)(inputs), sklearn_predictor(estimator)(inputs)
    assert fast.shape == slow.shape
    if exactly:
        np.testing.assert_allclose(fast, slow, rtol=1e-12, atol=1e-12)
    else:
        np.testing.assert_allclose(fast, slow, rtol=1e-5, atol=1e-6)
    if is_classifier(estimator):
        gap = np.diff(np.sort(slow, axis=2)[..., -2:], axis=2)[..., 0]  # between the best two
        clear = gap > (1e-12 if exactly else 1e-5)
        assert (fast.argmax(2) == slow.argmax(2))[clear].all()


@settings(max_examples=40)
@given(
    st.sampled_from(FORESTS),
    st.integers(0, 1000),
    st.integers(1, 3),
    st.integers(2, 4),
    st.integers(1, 12),
    st.sampled_from([None, 1, 4]),
)
def test_forests(kind, seed, n_outputs, n_classes, n_estimators, max_depth):
    inputs, targets = data(seed, n_outputs, n_classes)
    estimator = kind(n_estimators, max_depth=max_depth, random_state=seed).fit(inputs, targets)
    assert to_treelite(estimator) is not None
    near = np.nextafter(inputs, np.float32(1))
    assert_same_decisions(estimator, np.concatenate((inputs, near, 10 * inputs)), exactly=True)


@settings(max_examples=10)
@given(st.sampled_from(BOOSTED), st.integers(0, 1000), st.integers(2, 4))
def test_boosting(kind, seed, n_classes):
    inputs, targets = data(seed, 1, n_classes)
    rounds = "max_iter" if kind is not GradientBoostingClassifier else "n_estimators"
    estimator = kind(**{rounds: 4}, random_state=seed).fit(inputs, targets)
    assert to_treelite(estimator) is not None
    assert_same_decisions(estimator, inputs, exactly=False)


@pytest.mark.parametrize("n_classes", [2, 3])
@pytest.mark.parametrize(
    ("package", "name"),
    [
        ("xgboost", "XGBClassifier"),
        ("xgboost", "XGBRegressor"),
        ("lightgbm", "LGBMClassifier"),
        ("lightgbm", "LGBMRegressor"),
    ],
)
def test_other_libraries(package, name, n_classes):
    kind = getattr(pytest.importorskip(package), name)
    inputs, targets = data(0, 1, n_classes)
    estimator = kind(n_estimators=5, n_jobs=1, **({"verbose": -1} if package == "lightgbm" else {})).fit(inputs, targets)
    assert to_treelite(estimator) is not None
    assert_same_decisions(estimator, inputs, exactly=False)


@pytest.mark.parametrize(
    ("estimator", "n_outputs"),
    [
        (MultiOutputClassifier(HistGradientBoostingClassifier(max_iter=3)), 3),
        (MultiOutputRegressor(HistGradientBoostingRegressor(max_iter=3)), 2),
    ],
    ids=["classifier", "regressor"],
)
def test_one_estimator_per_output(estimator, n_outputs):
    inputs, targets = data(0, n_outputs, 3)
    if is_classifier(estimator):
        targets[:, 1] %= 2  # components of different size
    predicted = make_predictor(estimator.fit(inputs, targets))(inputs)
    if is_classifier(estimator):
        assert predicted.shape == (120, 3, 3)
        assert not predicted[:, 1, 2].any()
        np.testing.assert_allclose(predicted.sum(2), 1, rtol=1e-6)
        for i, expected in enumerate(estimator.predict_proba(inputs)):
            np.testing.assert_allclose(predicted[:, i, : expected.shape[1]], expected, atol=1e-6)
    else:
        np.testing.assert_allclose(predicted[:, :, 0], estimator.predict(inputs))


@pytest.mark.parametrize(
    "estimator",
    [
        AdaBoostClassifier(n_estimators=3),
        GradientBoostingClassifier(n_estimators=10**5, n_iter_no_change=1, tol=1),  # treelite would read 100,000 trees
        KNeighborsClassifier(n_jobs=2),
    ],
    ids=str,
)
def test_what_treelite_does_not_know(estimator):
    inputs, targets = data(0, 1, 3)
    estimator.fit(inputs, targets)
    assert to_treelite(estimator) is None
    np.testing.assert_array_equal(make_predictor(estimator)(inputs)[:, 0], estimator.predict_proba(inputs))
    assert estimator.get_params().get("n_jobs", 1) == 1  # a single thread to act


@pytest.mark.parametrize(
    ("n_jobs", "n_rows", "expected"), [(1, 5000, 1), (-1, 999, 1), (-1, 1000, -1), (3, 999, 1), (3, 1000, 3)]
)
def test_many_rows_are_shared_by_as_many_threads_as_asked_for(monkeypatch, n_jobs, n_rows, expected):
    inputs, targets = data(0, 1, 2)
    rows = np.zeros((n_rows, inputs.shape[1]), np.float32)
    gtil = importlib.import_module("treelite.gtil")
    threads = []
    monkeypatch.setattr(gtil, "predict", lambda model, inputs, nthread: threads.append(nthread) or np.ones((1, 1, 2)))
    make_predictor(RandomForestClassifier(2).fit(inputs, targets), n_jobs)(rows)
    assert threads == [1 if expected == 1 else -1]
    neighbors = KNeighborsClassifier(1).fit(inputs, targets)
    make_predictor(neighbors, n_jobs)(rows)
    assert neighbors.n_jobs == expected


def test_threads_do_not_change_decisions():
    inputs, targets = data(0, 1, 3)
    estimator = RandomForestClassifier(5, random_state=0).fit(inputs, targets)
    rows = np.resize(inputs, (1500, inputs.shape[1]))
    np.testing.assert_array_equal(make_predictor(estimator, 2)(rows), make_predictor(estimator)(rows))
