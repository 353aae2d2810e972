"""Forests in SB3's zip: complete, and harmless to load."""

import ast
import copy
import io
import json
import os
import pickle
import re
import subprocess
import sys
import warnings
import zipfile
from pathlib import Path

import numpy as np
import pytest
import sklearn
import skops.io
import torch as th
from gymnasium import spaces
from helpers import make_vec
from probe_envs import AnySpaces, FixedStart, Scripted
from sklearn.base import clone
from sklearn.calibration import CalibratedClassifierCV
from sklearn.ensemble import (
    GradientBoostingClassifier,
    HistGradientBoostingClassifier,
    RandomForestClassifier,
    RandomForestRegressor,
)
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import KNeighborsClassifier
from sklearn.svm import SVC
from test_forest_policy import ACTIONS, OBSERVATIONS, forest_model

from sb3_udrl import UDRL
from sb3_udrl.forest import ForestPolicy, saving
from sb3_udrl.forest.heads import ContinuousHead, DiscreteHead, Learned
from sb3_udrl.forest.native_parts import parts, to_plain
from sb3_udrl.forest.saving import from_bytes, to_bytes
from sb3_udrl.saving.trust import OLDER_FOREST_TYPES, Untrusted, trusting

N_INPUTS = 5

ESTIMATORS = {
    "forest": "sklearn.ensemble.RandomForestClassifier",
    "boosting": "sklearn.ensemble.HistGradientBoostingClassifier",
    "adaboost": "sklearn.ensemble.AdaBoostClassifier",
    "neighbors": "sklearn.neighbors.KNeighborsClassifier",
    "instance": RandomForestClassifier(5),
    "xgboost": "xgboost.XGBClassifier",
    "lightgbm": "lightgbm.LGBMClassifier",
}


def predictions(model, n=50):
    observations = np.random.default_rng(0).uniform(-3, 3, (n, 2)).astype(np.float32)
    return model.predict(observations, deterministic=True, command=(5, 3))[0]


@pytest.fixture
def model():
    return forest_model(make_vec(Scripted)).learn(100)


@pytest.mark.parametrize("action_space", [ACTIONS["discrete"], ACTIONS["table of multi-discrete"], ACTIONS["box"]], ids=str)
def test_round_trip(tmp_path, action_space):
    env = make_vec(AnySpaces, observation_space=OBSERVATIONS["vector"], action_space=action_space)
    model = forest_model(env).learn(100)
    model.save(tmp_path / "model")
    loaded = UDRL.load(tmp_path / "model", env, device="cpu", trusted=[])
    observations = np.stack([OBSERVATIONS["vector"].sample() for _ in range(20)])
    for deterministic in (True, False):
        expected, actual = [], []
        for m, actions in ((model, expected), (loaded, actual)):
            th.manual_seed(0)
            actions.append(m.predict(observations, deterministic=deterministic)[0])
        np.testing.assert_array_equal(actual, expected)
    loaded.learn(100)
    assert loaded._n_updates > model._n_updates


@pytest.mark.parametrize("estimator", ESTIMATORS.values(), ids=ESTIMATORS)
def test_estimators(tmp_path, estimator):
    if isinstance(estimator, str) and not estimator.startswith("sklearn"):
        pytest.importorskip(estimator.split(".")[0])
    model = forest_model(make_vec(Scripted), estimator).learn(100)
    model.save(tmp_path / "model")
    loaded = UDRL.load(tmp_path / "model", device="cpu", trusted=[])
    np.testing.assert_array_equal(predictions(loaded), predictions(model))


def test_before_the_first_fit(tmp_path):
    model = forest_model(make_vec(Scripted))
    model.save(tmp_path / "model")
    assert UDRL.load(tmp_path / "model", device="cpu", trusted=[]).policy.learned is None


def test_parameters(model):
    parameters, before = model.get_parameters(), predictions(model)
    model.learn(300)
    assert model.policy._last_fit != forest_model(make_vec(Scripted)).policy._last_fit
    model.set_parameters(parameters)
    np.testing.assert_array_equal(predictions(model), before)


def test_policies_alone_and_copies(model, tmp_path):
    model.policy.save(tmp_path / "policy")
    for policy in (
        ForestPolicy.load(tmp_path / "policy"),
        copy.deepcopy(model.policy),
        pickle.loads(pickle.dumps(model.policy)),
    ):
        np.testing.assert_array_equal(predictions(policy), predictions(model))


def trees(model):
    return [tree.tree_.threshold.tolist() for tree in model.policy.learned.estimator.estimators_]


@pytest.mark.parametrize("kwargs", [{}, {"commands": "relative", "label_kwargs": {"advantage": {"n_neighbors": 4}}}], ids=str)
def test_a_resumed_run_ends_with_the_same_forest(tmp_path, kwargs):
    def new():
        return forest_model(make_vec(FixedStart, 2), **kwargs)

    whole, part = new().learn(320), new().learn(160)
    part.save(tmp_path / "model")
    part.save_replay_buffer(tmp_path / "buffer")
    resumed = UDRL.load(tmp_path / "model", make_vec(FixedStart, 2), device="cpu")
    resumed.load_replay_buffer(tmp_path / "buffer")
    resumed.learn(160, reset_num_timesteps=False)
    assert resumed._n_updates == whole._n_updates > part._n_updates
    assert trees(resumed) == trees(whole)
    np.testing.assert_array_equal(resumed.replay_buffer.returns, whole.replay_buffer.returns)


class Stranger(RandomForestClassifier):
    """A type that no list knows."""


def test_an_untrusted_type_is_named_and_refused(tmp_path):
    model = forest_model(make_vec(Scripted), Stranger(3)).learn(100)
    model.save(tmp_path / "model")
    name = f"{Stranger.__module__}.Stranger"
    for trusted in (None, [], ["another.Type"]):
        with pytest.raises(Untrusted, match=rf"names {name} .*which could be code.*trusted=\['{name}'\]"):
            UDRL.load(tmp_path / "model", device="cpu", trusted=trusted)
    loaded = UDRL.load(tmp_path / "model", device="cpu", trusted=[name])
    np.testing.assert_array_equal(predictions(loaded), predictions(model))


def test_a_refused_file_leaves_the_model_as_it_was(model):
    stranger = forest_model(make_vec(Scripted), Stranger(3)).learn(100)
    learned = model.policy.learned
    with pytest.raises(Untrusted, match="Stranger"):
        model.set_parameters(stranger.get_parameters())
    assert model.policy.learned is learned


def test_no_code_of_the_file_is_run(tmp_path, model):
    """A path to a class is imported only from packages that are known, or when it is trusted."""
    stranger = forest_model(make_vec(Scripted), "sklearn.ensemble.RandomForestClassifier").learn(100)
    stranger.policy_kwargs["estimator"] = "antigravity.Forest"
    stranger.save(tmp_path / "model")
    for trusted in (None, []):
        with pytest.raises(Untrusted, match=r"the file names antigravity.Forest \(policy_kwargs/estimator\)"):
            UDRL.load(tmp_path / "model", device="cpu", trusted=trusted)


def test_another_version_of_scikit_learn_is_said(model, monkeypatch):
    content = to_bytes(model.policy.learned, (1, 2, 3))
    expected = (model.policy.learned.estimator.n_features_in_, model.policy.head)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert from_bytes(content, *expected)[1] == [1, 2, 3]
    monkeypatch.setattr(saving.sklearn, "__version__", "99.0")
    with pytest.warns(UserWarning, match=r"saved with scikit-learn .*, and this is 99.0: it may decide differently"):
        from_bytes(content, *expected)


def learned_from(estimator, n_classes=3, kind="classes"):
    """What an estimator learned from 100 situations of five inputs, and the head that acts by it."""
    inputs = np.random.default_rng(0).normal(size=(100, N_INPUTS)).astype(np.float32)
    if kind == "numbers":
        return Learned(estimator.fit(inputs, inputs[:, :2]), [], np.ones(2)), ContinuousHead(spaces.Box(-1, 1, (2,)))
    actions = np.digitize(inputs[:, 0], np.linspace(-1, 1, n_classes + 1)[1:-1])
    return Learned(estimator.fit(inputs, actions), [np.arange(n_classes)], np.zeros(0)), DiscreteHead(spaces.Discrete(4), 0.01)


def set_node(name, value):
    def damage(forest):
        tree = forest.estimators_[1].tree_
        state = tree.__getstate__()
        state["nodes"][name][0] = value
        tree.__setstate__(state)

    return damage


def set_leaves(value):
    def damage(forest):
        tree = forest.estimators_[1].tree_
        state = tree.__getstate__()
        state["values"][:] = value
        tree.__setstate__(state)

    return damage


def set_node_of_histogram(name, value):
    return lambda boosting: boosting._predictors[0][0].nodes[name].__setitem__(0, value)


def set_attribute(name, value):
    return lambda estimator: setattr(estimator, name, value(getattr(estimator, name)) if callable(value) else value)


def replace_tree(forest):
    forest.estimators_[1].tree_ = RandomForestClassifier(1).fit(np.eye(3), [0, 1, 2]).estimators_[0].tree_


FOREST = RandomForestClassifier(3, max_depth=4, random_state=0)
HISTOGRAM = HistGradientBoostingClassifier(max_iter=2)
GRADIENT = GradientBoostingClassifier(n_estimators=2)
NEIGHBORS = KNeighborsClassifier(3)
NAN, NO_NODES, NO_INPUTS = "not finite", "nodes that do not exist", "inputs that do not exist"
DAMAGES = [
    (FOREST, set_node("left_child", 10**6), r"estimators_\[1\].tree_ has branches that lead to " + NO_NODES),
    (FOREST, set_node("left_child", -5), NO_NODES),
    (FOREST, set_node("right_child", 0), NO_NODES),
    (FOREST, set_node("right_child", -1), "a single branch"),
    (FOREST, set_node("feature", 99), NO_INPUTS),
    (FOREST, set_node("feature", -2), NO_INPUTS),
    (FOREST, set_node("threshold", np.nan), NAN),
    (FOREST, set_leaves(np.nan), NAN),
    (FOREST, set_leaves(0), "shares of classes below zero, or without any"),
    (FOREST, set_attribute("estimators_", []), "no members"),
    (FOREST, set_attribute("estimators_", lambda trees: trees[:2]), "2 trees instead of n_estimators=3"),
    (FOREST, set_attribute("n_estimators", 10**6), "3 trees instead of n_estimators=1000000"),
    (FOREST, set_attribute("n_outputs_", 2), "other outputs or classes than its trees"),
    (FOREST, set_attribute("n_classes_", 2**20), "other outputs or classes than its trees"),
    (FOREST, set_attribute("classes_", np.arange(2)), "other classes"),
    (FOREST, set_attribute("n_features_in_", 4), "takes 4 inputs, and this policy has 5"),
    (FOREST, replace_tree, "has 3 inputs instead of 5|a tree of 3 inputs instead of 5"),
    (FOREST, set_attribute("predict_proba", 1), "predict_proba takes the place of a method"),
    (FOREST, set_attribute("random_state", np.random.RandomState(0)), None),
    (HISTOGRAM, set_attribute("_predictors", []), "in each of its rounds, one at least"),
    (HISTOGRAM, set_attribute("_predictors", lambda rounds: [*rounds, rounds[0][:1]]), "3 trees in each of its rounds"),
    (HISTOGRAM, set_attribute("n_trees_per_iteration_", 1), "1 trees in a round instead of 3"),
    (HISTOGRAM, set_attribute("_baseline_prediction", np.zeros((1, 1))), "start from a number for each of its 3 outputs"),
    (HISTOGRAM, set_attribute("classes_", np.arange(9)), "for each of its 9 outputs|9 trees"),
    (HISTOGRAM, set_node_of_histogram("left", 2**31), NO_NODES),
    (HISTOGRAM, set_node_of_histogram("right", 0), NO_NODES),
    (HISTOGRAM, set_node_of_histogram("feature_idx", -1), NO_INPUTS),
    (HISTOGRAM, set_node_of_histogram("is_categorical", 1), "sets of categories that do not exist"),
    (HISTOGRAM, set_node_of_histogram("value", np.inf), NAN),
    (HISTOGRAM, set_node_of_histogram("num_threshold", np.inf), None),  # all but missing values
    (GRADIENT, set_attribute("estimators_", lambda trees: trees[:, :1]), "1 trees in a round for 3 outputs"),
    (GRADIENT, set_attribute("estimators_", lambda trees: trees[:0]), "no members|no trees"),
    (GRADIENT, set_attribute("n_estimators", 1000), None),  # as if it had stopped early
    (GRADIENT, set_attribute("init_", "zero"), None),
    (NEIGHBORS, set_attribute("_fit_X", lambda points: points[:, :2]), "points of the shape"),
    (NEIGHBORS, set_attribute("_fit_X", lambda points: points * np.inf), "infinity"),
    (NEIGHBORS, set_attribute("_y", lambda classes: classes + 2**30), "classes that do not exist"),
    (NEIGHBORS, set_attribute("n_neighbors", 101), "101 neighbors among 100"),
    (LogisticRegression(), set_attribute("coef_", lambda weights: weights * np.nan), "coef_ holds numbers that are " + NAN),
    (
        LogisticRegression(),
        set_attribute("coef_", lambda weights: weights[:, :3]),
        "LogisticRegression cannot decide: .*mismatch",
    ),
]


@pytest.mark.parametrize(("estimator", "damage", "message"), DAMAGES)
def test_damaged_estimators_are_refused(estimator, damage, message):
    learned, head = learned_from(clone(estimator))
    from_bytes(to_bytes(learned, (1, 2, 3)), N_INPUTS, head)
    damage(learned.estimator)
    content = to_bytes(learned, (1, 2, 3))
    if message is None:
        read, _ = from_bytes(content, N_INPUTS, head)
        assert np.isfinite(head.outputs(read)(np.ones((1000, N_INPUTS), dtype=np.float32))).all()
    else:
        with pytest.raises(ValueError, match=f"^the forest of this file is damaged, or not of this policy: .*({message})"):
            from_bytes(content, N_INPUTS, head)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"present": [np.array([0, 1, 9])]}, r"\[0 1 9\] as values of a component of actions that has 4"),
        ({"present": [np.array([-1, 1, 2])]}, "as values of a component"),
        ({"present": [np.array([0, 2, 1])]}, "as values of a component"),
        ({"present": [np.array([0, 1])]}, "other classes than the values"),
        ({"present": []}, "the values of 1 components"),
        ({"estimator": "RandomForestClassifier"}, "takes None inputs"),
    ],
    ids=str,
)
def test_discrete_actions_of_another_policy_are_refused(changed, message):
    learned, head = learned_from(clone(FOREST))
    with pytest.raises(ValueError, match=message):
        from_bytes(to_bytes(learned._replace(**changed), (1, 2, 3)), N_INPUTS, head)


@pytest.mark.parametrize("deviation", [np.ones(3), np.array([1, -1.0]), np.array([1, np.nan]), "1"], ids=str)
def test_continuous_actions_of_another_policy_are_refused(deviation):
    learned, head = learned_from(RandomForestRegressor(3), kind="numbers")
    from_bytes(to_bytes(learned, (1, 2, 3)), N_INPUTS, head)
    with pytest.raises(ValueError, match="deviation"):
        from_bytes(to_bytes(learned._replace(deviation=deviation), (1, 2, 3)), N_INPUTS, head)
    with pytest.raises(ValueError, match="does not list the values"):
        from_bytes(to_bytes(learned, (1, 2, 3)), N_INPUTS, DiscreteHead(spaces.Discrete(4), 0.01))


def test_a_forest_of_other_observations_is_refused(model):
    wide = make_vec(AnySpaces, observation_space=spaces.Box(-1, 1, (9,)), action_space=model.action_space)
    with pytest.raises(ValueError, match=r"takes .* inputs, and this policy has"):
        forest_model(wide).policy.set_extra_state(model.policy.get_extra_state())


def test_a_random_generator_out_of_bounds_is_refused():
    learned, head = learned_from(clone(FOREST))
    learned.estimator.random_state = np.random.RandomState(0)
    state = learned.estimator.random_state.get_state(legacy=False)
    state["state"]["pos"] = 10**8
    learned.estimator.random_state.set_state(state)
    with pytest.raises(ValueError, match="a random generator at position 100000000"):
        from_bytes(to_bytes(learned, (1, 2, 3)), N_INPUTS, head)


def repacked(content, change):
    """The same zip file with other members."""
    target = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(content)) as source, zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as changed:
        for name in source.namelist():
            changed.writestr(name, change(name, source.read(name)))
    return target.getvalue()


@pytest.mark.parametrize(
    "change",
    [
        lambda name, member: member[:-8] if name.endswith(".npy") else member,
        lambda name, member: member.replace(b"'<f8'", b"'|O8'"),
        lambda name, member: member + bytes(10**7) if name == "schema.json" else member,
        lambda name, member: b"[" * 10**5 if name == "schema.json" else member,
    ],
    ids=["cut off", "objects", "fills the memory", "nested"],
)
def test_members_of_other_sizes_are_refused(change):
    learned, head = learned_from(clone(FOREST))
    with pytest.raises(ValueError, match="is damaged"):
        from_bytes(repacked(to_bytes(learned, (1, 2, 3)), change), N_INPUTS, head)


def test_support_vectors_must_be_trusted():
    learned, head = learned_from(CalibratedClassifierCV(SVC(), cv=2))
    with pytest.raises(Untrusted, match=r"sklearn.svm._classes.SVC"):
        from_bytes(to_bytes(learned, (1, 2, 3)), N_INPUTS, head)
    with trusting(["sklearn.svm._classes.SVC"]):
        from_bytes(to_bytes(learned, (1, 2, 3)), N_INPUTS, head)


def test_native_parts_are_not_made_before_they_are_looked_at():
    learned, head = learned_from(clone(FOREST))
    content = {**learned._asdict(), "progress": [1, 2, 3], "scikit-learn": sklearn.__version__}
    with pytest.raises(Untrusted, match=r"sklearn.tree._tree.Tree"):
        from_bytes(skops.io.dumps(content), N_INPUTS, head)
    with trusting(OLDER_FOREST_TYPES):  # of files that run code anyway
        read, _ = from_bytes(skops.io.dumps(content), N_INPUTS, head)
    rows = np.random.default_rng(1).normal(size=(20, N_INPUTS)).astype(np.float32)
    np.testing.assert_array_equal(head.outputs(read)(rows), head.outputs(learned)(rows))


def tree_of_xgboost(change):
    """A change of the first tree in the JSON of a model."""

    def changed(text):
        content = json.loads(text)
        change(content["learner"]["gradient_booster"]["model"]["trees"][0])
        return json.dumps(content)

    return changed


def first(name, value):
    return tree_of_xgboost(lambda tree: tree[name].__setitem__(0, value))


def line_of_lightgbm(name, value):
    """A change of the first number in the first line of a name, with the sizes of trees that follow from it."""

    def changed(text):
        text = re.sub(rf"^{name}=\S+", f"{name}={value}", text, count=1, flags=re.MULTILINE)
        _, *trees = re.split(r"^(?=Tree=)", text.partition("end of trees")[0], flags=re.MULTILINE)
        return re.sub(r"tree_sizes=.*", f"tree_sizes={' '.join(str(len(tree)) for tree in trees)}", text)

    return changed


DAMAGED_BOOSTERS = [
    ("xgboost", first("left_children", 10**6), NO_NODES),
    ("xgboost", first("left_children", 0), NO_NODES),
    ("xgboost", first("right_children", -1), NO_NODES),
    ("xgboost", first("parents", 1), "other parents"),
    ("xgboost", first("split_indices", 99), NO_INPUTS),
    ("xgboost", first("split_type", 1), "decides by categories"),
    ("xgboost", first("split_conditions", float("nan")), "finite numbers as split_conditions"),
    ("xgboost", first("default_left", 2), "unknown kind"),
    ("xgboost", tree_of_xgboost(lambda tree: tree["base_weights"].pop()), "finite numbers as base_weights"),
    ("xgboost", tree_of_xgboost(lambda tree: tree.update(id=2**64)), "18446744073709551616 takes more than 32 bits"),
    ("xgboost", tree_of_xgboost(lambda tree: tree.update(id=7)), "tree 0 under another number, 7"),
    ("xgboost", tree_of_xgboost(lambda tree: tree["tree_param"].update(size_leaf_vector="-2")), "other inputs or outputs"),
    ("xgboost", first("sum_hessian", 1e300), r"1e\+300 does not fit into single precision"),
    (
        "xgboost",
        tree_of_xgboost(lambda tree: tree["split_conditions"].__setitem__(-1, 1e38)),
        r"leaves with values beyond 1e\+30",
    ),
    ("xgboost", lambda text: text[:-9], "no model of XGBoost"),
    ("xgboost", lambda text: "[]", "no model of XGBoost"),
    ("lightgbm", line_of_lightgbm("left_child", 10**6), NO_NODES),
    ("lightgbm", line_of_lightgbm("right_child", 0), NO_NODES),
    ("lightgbm", line_of_lightgbm("left_child", 0.5), "fractions"),
    ("lightgbm", line_of_lightgbm("split_feature", 99), NO_INPUTS),
    ("lightgbm", line_of_lightgbm("decision_type", 1), "decides by categories"),
    ("lightgbm", line_of_lightgbm("threshold", "nan"), NAN),
    ("lightgbm", line_of_lightgbm("leaf_value", 1e300), r"leaves with values beyond 1e\+30"),
    ("lightgbm", line_of_lightgbm("num_leaves", 10**6), "instead of 999999"),
    ("lightgbm", line_of_lightgbm("num_tree_per_iteration", 2), "as many trees for each of its 2 outputs"),
    ("lightgbm", line_of_lightgbm("max_feature_idx", 9), "does not name its 10 inputs"),
    ("lightgbm", lambda text: text[:99], "no model of LightGBM"),
]


@pytest.mark.parametrize(("package", "change", "message"), DAMAGED_BOOSTERS)
def test_damaged_boosters_are_refused(package, change, message):
    boosters = pytest.importorskip(package)
    cls, name = {"xgboost": ("XGBClassifier", "json"), "lightgbm": ("LGBMClassifier", "text")}[package]
    learned, head = learned_from(getattr(boosters, cls)(n_estimators=1, max_depth=3))
    content = {**to_plain(learned._asdict()), "progress": [1, 2, 3], "scikit-learn": sklearn.__version__}
    (booster,) = (item for _, item in parts(content) if isinstance(item, dict) and name in item)
    from_bytes(skops.io.dumps(content), N_INPUTS, head)
    before, booster[name] = booster[name], change(booster[name])
    assert booster[name] != before
    with pytest.raises(ValueError, match=f"^the forest of this file is damaged, or not of this policy: .*({message})"):
        from_bytes(skops.io.dumps(content), N_INPUTS, head)


def test_random_damages_end_no_process():
    """Damage estimators in another process, which a crash would end; its last line says what is refused and what decides."""
    command = [sys.executable, Path(__file__).parent / "damaged_forests.py", "1000", "2"]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path)), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    last = (done.stdout.splitlines() or ["nothing"])[-1]
    assert done.returncode == 0, f"ended with {done.returncode} at {last}: {done.stderr[-2000:]}"
    counts = ast.literal_eval(last)
    assert counts["refused"] > 0
    assert counts["decides"] > 0


def test_the_content_is_of_skops(model):
    content = model.policy.get_extra_state().numpy().tobytes()
    assert skops.io.get_untrusted_types(data=content) == []
