"""ONNX Runtime decides as the model does."""

import sys

import numpy as np
import pytest
from gymnasium import spaces
from test_forest_policy import OPTIONS, examples_of, policy

from sb3_udrl import UDRL
from sb3_udrl.commands import COMMAND_SPACES, make_command
from sb3_udrl.forest import to_onnx
from sb3_udrl.forest.examples import to_inputs

onnxruntime = pytest.importorskip("onnxruntime")

INPUTS = np.random.default_rng(0).uniform(-20, 420, (500, 1)).astype(np.float32)
COMMAND = make_command(np.random.default_rng(1).uniform(-3, 3, 500), 4, 500)
ROWS = to_inputs(INPUTS, COMMAND_SPACES["absolute"].inputs(COMMAND), spaces.Box(-np.inf, np.inf, (1,)))


def run(path):
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    outputs = session.run(None, {"X": ROWS})
    return {output.name: value for output, value in zip(session.get_outputs(), outputs, strict=True)}


def fitted(space, actions, **kwargs):
    forest = policy(space, **kwargs)
    forest.fit(examples_of(actions, space), OPTIONS)
    return forest


@pytest.mark.parametrize(
    "kwargs",
    [
        {},
        {"estimator": "sklearn.ensemble.RandomForestClassifier"},
        {"estimator": "sklearn.neighbors.KNeighborsClassifier", "estimator_kwargs": None, "standardize": True},
    ],
    ids=["extra trees", "random forest", "neighbors"],
)
def test_discrete_actions(tmp_path, kwargs):
    forest = fitted(
        spaces.Discrete(5, start=-2), np.array([-2, 0, 2])[np.random.default_rng(0).integers(3, size=400)], **kwargs
    )
    to_onnx(forest, tmp_path / "forest")
    outputs = run(tmp_path / "forest.onnx")
    own = forest.outputs(ROWS)[:, 0]
    np.testing.assert_allclose(outputs["probabilities"], own[:, [0, 2, 4]], atol=1e-5)
    clear = np.diff(np.sort(own, axis=1)[:, -2:], axis=1)[:, 0] > 1e-5  # single precision tells no closer ones apart
    assert clear.mean() > 0.5
    decided = forest.act(INPUTS, COMMAND, deterministic=True)
    np.testing.assert_array_equal(outputs["action"][clear], decided[clear])
    assert 1 < len(set(decided)) and set(decided) <= {-2, 0, 2}


@pytest.mark.parametrize(
    "kwargs",
    [
        {"estimator_kwargs": {"n_estimators": 7}},
        {"estimator": "sklearn.ensemble.GradientBoostingClassifier", "estimator_kwargs": {"n_estimators": 3}},
    ],
    ids=["at once", "one by one"],
)
def test_actions_of_several_components(tmp_path, kwargs):
    actions = np.random.default_rng(0).integers([0, 10], [2, 13], size=(400, 2))
    forest = fitted(spaces.MultiDiscrete([2, 3], start=[0, 10]), actions, **kwargs)
    to_onnx(forest, tmp_path / "forest")
    decided = forest.act(INPUTS, COMMAND, deterministic=True)
    assert (run(tmp_path / "forest.onnx")["action"] == decided).mean() > 0.98  # the rest are ties
    assert 1 < len(set(decided[:, 1])) and set(decided[:, 1]) <= {10, 11, 12}


def test_continuous_actions(tmp_path):
    forest = fitted(spaces.Box(-2, 2, (2,)), np.random.default_rng(0).uniform(-2, 2, (400, 2)).astype(np.float32))
    to_onnx(forest, tmp_path / "forest")
    decided = forest.act(INPUTS, COMMAND, deterministic=True)
    np.testing.assert_allclose(run(tmp_path / "forest.onnx")["variable"], decided, atol=1e-5)


def test_what_cannot_be_exported(tmp_path, monkeypatch):
    with pytest.raises(ValueError, match="this policy has learned nothing yet: train it first"):
        to_onnx(policy(spaces.Discrete(2)), tmp_path / "forest")
    pytest.importorskip("lightgbm")
    kwargs = {"estimator": "lightgbm.LGBMClassifier", "estimator_kwargs": {"verbose": -1}}
    forest = fitted(spaces.Discrete(2), np.arange(100) % 2, **kwargs)
    with pytest.raises(ValueError, match="skl2onnx cannot export LGBMClassifier"):
        to_onnx(forest, tmp_path / "forest")
    assert list(tmp_path.iterdir()) == []
    monkeypatch.setitem(sys.modules, "skl2onnx", None)
    with pytest.raises(ImportError, match=r"pip install sb3-udrl\[onnx\]"):
        to_onnx(forest, tmp_path / "forest")


def test_a_network_is_told_its_own_way(tmp_path):
    model = UDRL("CommandPolicy", "CartPole-v1", commands="absolute", device="cpu")
    with pytest.raises(ValueError, match=r"policy=CommandPolicy: .* sb3_udrl\.deploy\.export_policy takes all policies"):
        to_onnx(model.policy, tmp_path / "network.onnx")
    assert not list(tmp_path.iterdir())
