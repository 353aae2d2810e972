"""Forests in SB3's zip: complete, and harmless to load."""

import copy
import pickle
import warnings

import numpy as np
import pytest
import skops.io
import torch as th
from helpers import make_vec
from probe_envs import AnySpaces, FixedStart, Scripted
from sklearn.ensemble import RandomForestClassifier
from test_forest_policy import ACTIONS, OBSERVATIONS, forest_model

from sb3_udrl import UDRL
from sb3_udrl.forest import ForestPolicy, saving
from sb3_udrl.forest.saving import check_trees, from_bytes, to_bytes
from sb3_udrl.saving.trust import Untrusted

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
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert from_bytes(content)[1] == [1, 2, 3]
    monkeypatch.setattr(saving.sklearn, "__version__", "99.0")
    with pytest.warns(UserWarning, match=r"saved with scikit-learn .*, and this is 99.0: it may decide differently"):
        from_bytes(content)


@pytest.mark.parametrize(("column", "value"), [("left_child", 10**6), ("right_child", 0), ("feature", 99)])
def test_damaged_trees_are_refused(column, value):
    inputs = np.random.default_rng(0).random((100, 3))
    forest = RandomForestClassifier(3, random_state=0).fit(inputs, inputs[:, 0] > 0.5)
    check_trees(forest)
    tree = forest.estimators_[1].tree_
    state = tree.__getstate__()
    state["nodes"][column][0] = value
    tree.__setstate__(state)
    with pytest.raises(ValueError, match="a tree of this file is damaged"):
        check_trees(forest)


def test_the_content_is_of_skops(model):
    content = model.policy.get_extra_state().numpy().tobytes()
    assert skops.io.get_untrusted_types(data=content) == ["sklearn.tree._tree.Tree"]
