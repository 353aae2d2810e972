"""Estimators by name or as they are, and clear words about those that will not do."""

import numpy as np
import pytest
from sklearn.calibration import CalibratedClassifierCV
from sklearn.dummy import DummyClassifier
from sklearn.ensemble import (
    ExtraTreesClassifier,
    HistGradientBoostingClassifier,
    RandomForestClassifier,
    RandomForestRegressor,
)
from sklearn.multioutput import MultiOutputClassifier
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import Pipeline
from sklearn.svm import SVC
from threadpoolctl import threadpool_info

from sb3_udrl import UDRL
from sb3_udrl.forest.estimators import fit_classes, make_estimator, prepare, takes_weights, threads

EXTRA_TREES = "sklearn.ensemble.ExtraTreesClassifier"


def test_by_path():
    made = make_estimator(EXTRA_TREES, {"n_estimators": 7}, classifies=True)
    assert type(made) is ExtraTreesClassifier and made.n_estimators == 7


def test_by_path_within_a_path():
    kwargs = {"estimator": "sklearn.svm.SVC", "ensemble": False}
    made = make_estimator("sklearn.calibration.CalibratedClassifierCV", kwargs, classifies=True)
    assert type(made) is CalibratedClassifierCV and type(made.estimator) is SVC
    assert kwargs["estimator"] == "sklearn.svm.SVC"


def test_an_instance_is_copied():
    given = RandomForestClassifier(7)
    made = make_estimator(given, None, classifies=True)
    assert made is not given and made.n_estimators == 7


def test_parts_of_an_estimator_have_arguments_too():
    kwargs = {"n_estimators": 3, "estimator": "sklearn.tree.DecisionTreeClassifier", "estimator__max_depth": 6}
    made = make_estimator("sklearn.ensemble.AdaBoostClassifier", kwargs, classifies=True)
    assert made.n_estimators == 3 and made.estimator.max_depth == 6
    assert list(kwargs) == ["n_estimators", "estimator", "estimator__max_depth"]  # left as they were


@pytest.mark.parametrize(
    ("estimator", "kwargs", "message"),
    [
        ("sklearn.ensemble.NoForest", None, r"estimator='sklearn.ensemble.NoForest': there is no such class"),
        ("no_such_package.Forest", None, r"there is no such class \(No module named 'no_such_package'\)"),
        ("Forest", None, "estimator='Forest': there is no such class"),
        ("os.system", None, "estimator='os.system' is no estimator: it needs scikit-learn's fit, predict and get_params"),
        (dict, None, "is no estimator"),
        (RandomForestClassifier, None, "is no estimator"),
        (3, None, "estimator=3 is no estimator"),
        (EXTRA_TREES, {"estimator__trees": 3}, r"estimator_kwargs=\{'estimator__trees': 3\} do not fit ExtraTreesClassifier"),
        (EXTRA_TREES, {"trees": 3}, r"estimator_kwargs=\{'trees': 3\} do not fit ExtraTreesClassifier"),
        (RandomForestClassifier(), {"n_estimators": 3}, "with an instance as estimator, give it these arguments itself"),
        (SVC(), None, "estimator=SVC has no predict_proba with these arguments"),
        (RandomForestRegressor(), None, "estimator=RandomForestRegressor is no classifier: Discrete, MultiDiscrete and"),
        ("sklearn.preprocessing.StandardScaler", None, "estimator=StandardScaler is no classifier"),
    ],
)
def test_what_will_not_do(estimator, kwargs, message):
    with pytest.raises(ValueError, match=message):
        make_estimator(estimator, kwargs, classifies=True)


def test_continuous_actions_need_a_regressor():
    with pytest.raises(ValueError, match="estimator=RandomForestClassifier is no regressor: Box actions need one"):
        make_estimator(RandomForestClassifier(), None, classifies=False)


def test_seeds_and_jobs_that_were_left_open():
    ready = prepare(RandomForestClassifier(), n_outputs=1, seed=3, n_jobs=2, standardize=False)
    assert (ready.random_state, ready.n_jobs) == (3, 2)
    chosen = prepare(RandomForestClassifier(random_state=9, n_jobs=1), n_outputs=1, seed=3, n_jobs=2, standardize=False)
    assert (chosen.random_state, chosen.n_jobs) == (9, 1)


def test_estimators_for_a_single_output_are_multiplied():
    one = prepare(HistGradientBoostingClassifier(), n_outputs=1, seed=3, n_jobs=4, standardize=False)
    assert type(one) is HistGradientBoostingClassifier
    many = prepare(HistGradientBoostingClassifier(), n_outputs=2, seed=3, n_jobs=4, standardize=False)
    assert type(many) is MultiOutputClassifier and many.estimator.random_state == 3
    assert many.n_jobs is None  # no jobs of jobs
    assert type(prepare(RandomForestClassifier(), 2, 3, 1, False)) is RandomForestClassifier


def test_standardized_inputs():
    ready = prepare(KNeighborsClassifier(n_neighbors=1), n_outputs=1, seed=0, n_jobs=1, standardize=True)
    assert type(ready) is Pipeline
    inputs = np.array([[0, 0], [1000, 0], [0, 1], [1000, 1]], np.float32)
    ready.fit(inputs, [0, 0, 1, 1])
    assert ready.predict([[400, 0.9]]).tolist() == [1]


def test_which_take_weights():
    assert takes_weights(RandomForestClassifier()) and takes_weights(MultiOutputClassifier(RandomForestClassifier()))
    assert not takes_weights(KNeighborsClassifier()) and not takes_weights(MultiOutputClassifier(KNeighborsClassifier()))


def test_an_action_that_was_taken_once_does_not_stop_those_who_hold_examples_out():
    inputs, classes = np.zeros((41, 2), np.float32), np.array([0] * 20 + [1] * 20 + [2])[:, None]
    fitted = fit_classes(HistGradientBoostingClassifier(max_iter=2, early_stopping=True), inputs, classes, np.ones(41))
    assert fitted.classes_.tolist() == [0, 1, 2]


def test_threads_are_limited():
    DummyClassifier().fit([[0], [1]], [0, 1])
    with threads(1):
        assert {pool["num_threads"] for pool in threadpool_info()} <= {1}


@pytest.mark.parametrize("commands", ["any", ["return", "horizon"]])
def test_estimators_that_take_no_missing_values_need_whole_commands(commands):
    kwargs = {"estimator": "sklearn.neighbors.KNeighborsClassifier"}
    with pytest.raises(ValueError, match="KNeighborsClassifier takes no missing values"):
        UDRL("ForestPolicy", "CartPole-v1", commands=commands, policy_kwargs=kwargs)
    UDRL("ForestPolicy", "CartPole-v1", commands="relative", policy_kwargs=kwargs)
