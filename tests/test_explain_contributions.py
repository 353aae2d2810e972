"""Contributions along decision paths: known by hand, and summing to what the forest says."""

import numpy as np
import pytest
from gymnasium import spaces
from helpers import make_vec, tiny_model
from hypothesis import given, settings
from hypothesis import strategies as st
from probe_envs import Scripted
from sklearn.ensemble import ExtraTreesClassifier, ExtraTreesRegressor, RandomForestClassifier, RandomForestRegressor
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.tree import DecisionTreeClassifier, DecisionTreeRegressor, ExtraTreeClassifier

from sb3_udrl.commands import make_command
from sb3_udrl.explain import Situations, contributions, over_time
from sb3_udrl.explain.contributions import explainable
from sb3_udrl.forest import ForestPolicy
from sb3_udrl.forest.examples import Examples
from sb3_udrl.forest.policy import Progress

ACTIONS = {
    "discrete": spaces.Discrete(4, start=3),
    "multi-discrete": spaces.MultiDiscrete([3, 2], start=[1, 0]),
    "binary": spaces.MultiBinary(2),
    "box": spaces.Box(-2, 3, (2,)),
}


def forest(estimator, action_space, observations, desired_return, desired_horizon, actions, **kwargs):
    """A policy that has learned these examples, and the situations."""
    policy = ForestPolicy(spaces.Box(-9, 9, (observations.shape[1],)), action_space, lambda _: 0.0, estimator, **kwargs)
    command = make_command(desired_return, desired_horizon, len(observations))
    inputs, n = policy.inputs(observations, command), len(observations)
    policy.take_over(
        policy.head.fit(policy._template, Examples(inputs, actions, None, np.zeros(n, dtype=bool))), Progress(0, 0, n)
    )
    return policy, situations(observations, command, actions)


def situations(observations, command, actions):
    n = len(observations)
    return Situations(observations, command, actions, np.zeros(n, np.int64), np.arange(n), np.zeros(1))


def test_a_tree_by_hand():
    """The root splits by the desired return, its left branch by the observation, which leaves one example of each action."""
    # observation, desired return, action
    rows = np.array([[-1, 0, 0], [-1, 0, 0], [-1, 0, 0], [1, 0, 0], [1, 0, 1], [1, 5, 1], [-1, 5, 1], [1, 5, 1]])
    policy, seen = forest(
        DecisionTreeClassifier(random_state=0),
        spaces.Discrete(2),
        rows[:, :1].astype(np.float32),
        rows[:, 1],
        np.ones(8),
        rows[:, 2],
    )
    tree = policy.learned.estimator.tree_
    assert tree.feature.tolist()[:2] == [1, 0] and tree.node_count == 5  # desired return, then observation
    found = contributions(policy, seen)
    # Action 0 holds 4 of 8, then 4 of 5, then 3 of 3 or 1 of 2; action 1 the rest
    np.testing.assert_allclose(found.base[:, 0], 0.5)
    expected = np.zeros((8, 3))
    expected[:3] = [0.2, 0.3, 0]  # observation 1 - 0.8, desired return 0.8 - 0.5
    expected[3] = [0.5 - 0.8, 0.3, 0]
    expected[4] = [0.5 - 0.2, 0.2 - 0.5, 0]
    expected[5:] = [0, 0.5, 0]
    np.testing.assert_allclose(found.signed[:, 0], expected, atol=1e-12)
    np.testing.assert_allclose(found.outputs[:, 0], [1, 1, 1, 0.5, 0.5, 1, 1, 1])
    # Gini impurity: 0.5, then 0.32 or 0, then 0 or 0.5
    np.testing.assert_allclose(found.impurity_decrease[0], [0.32, 0.5 - 0.32, 0])
    np.testing.assert_allclose(found.impurity_decrease[3], [0.32 - 0.5, 0.5 - 0.32, 0])
    np.testing.assert_allclose(found.impurity_decrease[5], [0, 0.5, 0])
    # The other action of the first situation: what one gains, the other loses
    other = contributions(policy, seen, 1 - rows[:, 2])
    np.testing.assert_allclose(other.signed, -found.signed, atol=1e-12)


def test_a_regression_tree_by_hand():
    observations = np.array([[0], [0], [1], [1]], dtype=np.float32)
    actions = np.array([[1.0], [1.0], [3.0], [5.0]])
    policy, seen = forest(
        DecisionTreeRegressor(max_depth=1), spaces.Box(-9, 9, (1,)), observations, np.zeros(4), np.ones(4), actions
    )
    found = contributions(policy, seen)
    np.testing.assert_allclose(found.base, 2.5)
    np.testing.assert_allclose(found.signed[:, 0], [[-1.5, 0, 0], [-1.5, 0, 0], [1.5, 0, 0], [1.5, 0, 0]])


def examples(seed, action_space, n=80):
    rng = np.random.default_rng(seed)
    action_space.seed(seed)
    actions = np.stack([action_space.sample() for _ in range(n)])
    return rng.normal(size=(n, 3)).astype(np.float32), rng.integers(9, size=n), rng.integers(1, 9, size=n), actions


@settings(max_examples=30)
@given(
    st.sampled_from(
        [
            (RandomForestClassifier, RandomForestRegressor),
            (ExtraTreesClassifier, ExtraTreesRegressor),
            (DecisionTreeClassifier, DecisionTreeRegressor),
        ]
    ),
    st.sampled_from(list(ACTIONS)),
    st.integers(0, 1000),
    st.sampled_from([2, None]),
    st.booleans(),
)
def test_they_sum_to_what_the_forest_says(kinds, actions, seed, max_depth, standardize):
    kind = kinds[actions == "box"]
    arguments = {} if kind in (DecisionTreeClassifier, DecisionTreeRegressor) else {"n_estimators": 5}
    estimator = kind(max_depth=max_depth, random_state=seed, **arguments)
    policy, seen = forest(estimator, ACTIONS[actions], *examples(seed, ACTIONS[actions]))
    if standardize:
        inputs = policy.inputs(seen.observations, seen.command)
        scaled = make_pipeline(StandardScaler(), policy.learned.estimator)
        scaled[0].fit(inputs)
        policy.take_over(policy.learned._replace(estimator=scaled), Progress(0, 0, len(inputs)))
    found = contributions(policy, seen)
    outputs = policy.outputs(policy.inputs(seen.observations, seen.command))
    if actions == "box":
        said = outputs[:, :, 0]
    else:
        said = np.take_along_axis(outputs, policy.head.to_indices(seen.actions)[:, :, None], axis=2)[:, :, 0]
        assert (found.base >= 0).all() and (found.base <= 1).all()
    np.testing.assert_allclose(found.outputs, said, atol=1e-6 if actions == "box" else 1e-12)
    counts = [np.unique(component, return_counts=True)[1] for component in seen.actions.reshape(len(seen.actions), -1).T]
    if actions == "box":
        assert (np.ptp(found.base, axis=0) == 0).all()
    elif any(np.ptp(times) > 0 for times in counts):  # not by chance all equally frequent
        assert np.ptp(found.base, axis=0).any()  # the base rate is that of the action taken


def test_actions_that_the_data_lack_have_probability_zero():
    observations, desired_return, horizon, actions = examples(0, spaces.Discrete(2))
    policy, seen = forest(ExtraTreeClassifier(), spaces.Discrete(5), observations, desired_return, horizon, 2 * actions)
    found = contributions(policy, seen, np.full(len(actions), 3))
    assert not found.base.any() and not found.signed.any()
    assert contributions(policy, seen, np.full(len(actions), 2)).base[0, 0] == pytest.approx((actions == 1).mean())


def test_mean_and_spread_per_time_step():
    values = np.array([[1.0, 0.0], [2.0, 4.0], [3.0, 0.0]])
    seen = situations(np.zeros((3, 1)), make_command(0, 1, 3), np.zeros(3))
    seen = seen._replace(steps=np.array([0, 1, 0]), episodes=np.array([0, 0, 1]))
    found = over_time(values, seen)
    assert found.mean.tolist() == [[2, 0], [2, 4]]
    assert found.std.tolist() == [[1, 0], [0, 0]]
    assert found.n_episodes.tolist() == [2, 1]


def test_policies_without_paths():
    network = tiny_model(make_vec(Scripted))
    seen = situations(np.zeros((3, 2), np.float32), make_command(0, 1, 3), np.zeros(3, np.int64))
    with pytest.raises(ValueError, match=r"CommandPolicy: decision paths need a ForestPolicy of decision trees.*distill\(\)"):
        contributions(network, seen)
    with pytest.raises(ValueError, match="has learned nothing yet: train it first"):
        contributions(ForestPolicy(spaces.Box(-1, 1, (2,)), spaces.Discrete(2), lambda _: 0.0), seen)
    neighbors, seen = forest(KNeighborsClassifier(3), spaces.Discrete(2), *examples(0, spaces.Discrete(2)))
    with pytest.raises(ValueError, match=r"estimator=KNeighborsClassifier: decision paths need.*permutation_importance\(\)"):
        contributions(neighbors, seen)
    with pytest.raises(ValueError, match="model is a dict: give a UDRL model, or its policy"):
        contributions({}, seen)
    assert not explainable(neighbors) and not explainable(network)
    assert explainable(forest(ExtraTreeClassifier(), spaces.Discrete(2), *examples(0, spaces.Discrete(2)))[0])
