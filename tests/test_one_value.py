"""Components of actions with one value, and data with one action, are constants."""

import warnings

import numpy as np
import pytest
from gymnasium import spaces
from helpers import TINY, make_vec, parameters_of
from probe_envs import AnySpaces
from test_forest_policy import OPTIONS, command_of, examples_of, policy, probabilities

from sb3_udrl import UDRL
from sb3_udrl.explain import contributions, distill, impurity_importance, permutation_importance, play, rules
from sb3_udrl.explain.report import Report

N = 120
VARYING = np.arange(N) // 30 % 3  # what the first component does
ESTIMATORS = {
    "extra trees": {},
    "random forest": {"estimator": "sklearn.ensemble.RandomForestClassifier", "estimator_kwargs": {"n_estimators": 3}},
    "tree": {"estimator": "sklearn.tree.DecisionTreeClassifier", "estimator_kwargs": None},
    "extra trees, standardized": {"standardize": True},
    "gradient boosting": {"estimator": "sklearn.ensemble.GradientBoostingClassifier"},
    "histograms": {"estimator": "sklearn.ensemble.HistGradientBoostingClassifier", "estimator_kwargs": {"max_iter": 5}},
    "logistic regression": {
        "estimator": "sklearn.linear_model.LogisticRegression",
        "estimator_kwargs": None,
        "standardize": True,
    },
    "neighbors": {"estimator": "sklearn.neighbors.KNeighborsClassifier", "estimator_kwargs": None, "standardize": True},
    "xgboost": {"estimator": "xgboost.XGBClassifier", "estimator_kwargs": {"n_estimators": 3}},
    "lightgbm": {"estimator": "lightgbm.LGBMClassifier", "estimator_kwargs": {"n_estimators": 3, "verbose": -1}},
}
every_estimator = pytest.mark.parametrize("kwargs", ESTIMATORS.values(), ids=ESTIMATORS)


def fitted(space, actions, kwargs):
    if "estimator" in kwargs:
        pytest.importorskip(kwargs["estimator"].split(".")[0])
    forest = policy(space, **kwargs)
    forest.fit(examples_of(actions, space), OPTIONS)
    return forest


def outputs(forest):
    return probabilities(forest, np.arange(N, dtype=np.float32)[:, None], command_of(N))


@every_estimator
def test_a_component_with_one_value_changes_nothing_about_the_others(kwargs):
    """Its probability is one, and the others are predicted as if it was not there."""
    space = spaces.MultiDiscrete([1, 3, 4], start=[7, 0, 0])
    forest = fitted(space, np.stack([np.full(N, 7), VARYING, np.full(N, 2)], axis=1), kwargs)
    found = outputs(forest)
    assert found.shape == (N, 3, 4)
    np.testing.assert_allclose(found[:, 0], [[1, 0, 0, 0]] * N)
    np.testing.assert_allclose(found[:, 2], [[0, 0, 1, 0]] * N)
    alone = outputs(fitted(spaces.Discrete(3), VARYING, kwargs))[:, 0]
    trees = type(forest.learned.estimator).__name__ != "MultiOutputClassifier"
    np.testing.assert_allclose(found[:, 1, :3], alone, atol=0.3 if trees and not kwargs.get("estimator") else 1e-6)
    forest.set_extra_state(forest.get_extra_state())  # what files hold
    np.testing.assert_array_equal(outputs(forest), found)


@every_estimator
@pytest.mark.parametrize(
    ("space", "action"),
    [(spaces.Discrete(1, start=3), 3), (spaces.Discrete(3), 1), (spaces.MultiDiscrete([1, 3]), [0, 2])],
    ids=str,
)
def test_data_with_one_action(kwargs, space, action):
    forest = fitted(space, np.array([action] * N), kwargs)
    assert outputs(forest).max(2).tolist() == [[1.0] * np.size(action)] * N
    observations = np.arange(N, dtype=np.float32)[:, None]
    assert (forest.predict(observations, deterministic=True)[0] == action).all()
    drawn, _ = forest.predict(observations)
    assert all(space.contains(each) for each in drawn)
    forest.set_extra_state(forest.get_extra_state())  # what files hold
    assert (forest.predict(observations, deterministic=True)[0] == action).all()


def test_regressors_learn_constants():
    space = spaces.Box(np.array([2, -1]), np.array([2, 1]), dtype=np.float32)
    forest = policy(space)
    forest.fit(examples_of(np.stack([np.full(N, 2.0), VARYING - 1.0], axis=1).astype(np.float32), space), OPTIONS)
    drawn, _ = forest.predict(np.arange(N, dtype=np.float32)[:, None])
    assert (drawn[:, 0] == 2).all() and drawn[:, 1].std() > 0.1


SPACES = {
    "discrete": spaces.Discrete(1),
    "multi-discrete": spaces.MultiDiscrete([3, 1]),
    "box": spaces.Box(np.array([0.1, -1]), np.array([0.1, 1]), dtype=np.float64),
    "whole numbers": spaces.Box(np.array([5, -1]), np.array([5, 1]), dtype=np.int64),
}


@pytest.mark.parametrize("kind", ["CommandPolicy", "ForestPolicy"])
@pytest.mark.parametrize("space", SPACES.values(), ids=SPACES)
def test_they_are_learned_and_explained(kind, space, tmp_path):
    env = make_vec(AnySpaces, 2, observation_space=spaces.Box(-1, 1, (2,)), action_space=space, length=4)
    small = {"net_arch": [8]} if kind == "CommandPolicy" else {"estimator_kwargs": {"n_estimators": 3}}
    model = UDRL(kind, env, commands="absolute", **TINY, policy_kwargs=small).learn(200)
    assert model._n_updates > 0 and all(values.isfinite().all() for values in _weights(model))
    situations = play(model, env, 2)
    assert all(space.contains(action if action.shape else np.asarray(action)) for action in situations.actions)
    with warnings.catch_warnings():
        warnings.simplefilter("error", RuntimeWarning)
        assert np.isfinite(permutation_importance(model, situations, n_repeats=1).changes).all()
        found = distill(model, env, n_rounds=1, n_episodes=2, n_eval_episodes=2)
        for tree in [found.policy] if kind == "CommandPolicy" else [found.policy, model]:
            parts = contributions(tree, situations)
            assert np.isfinite(parts.outputs).all() and rules(tree)
            impurity_importance(tree)
        Report(model, env, tmp_path, 2).write("constants", distills=False, max_leaf_nodes=4, seed=0)
    if space == SPACES["discrete"]:
        assert found.kept == 1


def test_what_explains_a_constant():
    """Its probability is one from the start, and no input contributes to it."""
    space = spaces.MultiDiscrete([1, 3])
    forest = fitted(space, np.stack([np.zeros(N, int), VARYING], axis=1), ESTIMATORS["extra trees"])
    env = make_vec(AnySpaces, observation_space=spaces.Box(-1e6, 1e6, (1,)), action_space=space, length=4)
    found = contributions(forest, play(forest, env, 2))
    assert (found.base[:, 0] == 1).all() and (found.signed[:, 0] == 0).all() and found.signed[:, 1].any()


def _weights(model):
    return [value for value in parameters_of(model).values() if value.is_floating_point() and value.numel()]
