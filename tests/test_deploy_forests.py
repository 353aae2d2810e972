"""Exported forests decide as the model does."""

import numpy as np
import pytest
from gymnasium import spaces
from test_forest_policy import OPTIONS, examples_of, policy

from sb3_udrl.deploy import ExportedAgent, export_policy

OBSERVATIONS = np.random.default_rng(0).uniform(-20, 420, (300, 1)).astype(np.float32)
KINDS = {
    "discrete": (spaces.Discrete(5, start=-2), {}),
    "several at once": (spaces.MultiDiscrete([2, 3], start=[0, 10]), {"estimator_kwargs": {"n_estimators": 7}}),
    "several one by one": (
        spaces.MultiDiscrete([2, 3], start=[0, 10]),
        {"estimator": "sklearn.ensemble.GradientBoostingClassifier", "estimator_kwargs": {"n_estimators": 3}},
    ),
    "binary": (spaces.MultiBinary((2, 1)), {}),
    "continuous": (spaces.Box(-2, 2, (2, 2)), {}),
    "whole numbers": (spaces.Box(-3, 9, (2,), dtype=np.int16), {}),
}


def actions_in(space, n=400):
    space.seed(0)
    actions = np.stack([space.sample() for _ in range(n)])
    return np.where(actions == -1, 0, actions) if isinstance(space, spaces.Discrete) else actions


@pytest.mark.parametrize("kind", KINDS)
def test_forests_of_all_kinds(tmp_path, kind):
    space, kwargs = KINDS[kind]
    forest = policy(space, **kwargs)
    forest.fit(examples_of(actions_in(space), space), OPTIONS)
    export_policy(forest, tmp_path / "forest.onnx")
    agent = ExportedAgent(tmp_path / "forest.onnx", seed=0)
    commands = {"return": np.random.default_rng(1).uniform(-3, 3, 300), "horizon": 4.0}
    decided, _ = forest.predict(OBSERVATIONS, deterministic=True, command=commands)
    same, _ = agent.predict(OBSERVATIONS, deterministic=True, command=commands)
    assert same.shape == decided.shape and same.dtype == decided.dtype
    differ = np.abs(same.astype(np.float64) - decided) > 1e-5
    assert differ.mean() < 0.02  # ties of probabilities, and halves between whole numbers
    assert len(np.unique(same)) > 1
    drawn, _ = agent.predict(np.repeat(OBSERVATIONS[:1], 4000, 0), command=(1.0, 4.0))
    own, _ = forest.predict(np.repeat(OBSERVATIONS[:1], 4000, 0), command=(1.0, 4.0))
    assert drawn.dtype == own.dtype and space.contains(drawn[0])
    spread = own.astype(np.float64).std(0) + 0.05
    assert (np.abs(drawn.mean(0, dtype=np.float64) - own.mean(0, dtype=np.float64)) < 0.1 * spread).all()
    assert (np.abs(drawn.std(0, dtype=np.float64) / spread - own.std(0, dtype=np.float64) / spread) < 0.1).all()
