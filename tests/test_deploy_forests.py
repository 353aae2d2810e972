"""Exported forests decide as the model does."""

import numpy as np
import pytest
from gymnasium import spaces
from helpers import hindsight, make_vec
from probe_envs import AnySpaces
from test_forest_policy import FEW_TREES, OPTIONS, examples_of, policy

from sb3_udrl import UDRL
from sb3_udrl.buffers import Episode, EpisodicReplayBuffer
from sb3_udrl.deploy import ExportedAgent, export_policy
from sb3_udrl.forest import ForestPolicy
from sb3_udrl.forest.policy import Progress

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


def test_forests_side_by_side(tmp_path):
    settings = {"learning_starts": 500, "policy_kwargs": FEW_TREES, "device": "cpu", "seed": 0}
    model = UDRL("ForestPolicy", "CartPole-v1", commands="any", **settings).learn(1_200)
    export_policy(model, tmp_path / "agent.onnx")
    agent = ExportedAgent(tmp_path / "agent.onnx")
    observations = np.random.default_rng(0).normal(size=(400, 4), scale=[0.1, 0.5, 0.05, 0.5]).astype(np.float32)
    for command in (20, {"horizon": 15}, {"advantage": 1.0}, {}):
        decided, (rows, _) = model.predict(observations, deterministic=True, command=command)
        same, state = agent.predict(observations, deterministic=True, command=command)
        np.testing.assert_array_equal(state, rows)
        assert (same == decided).mean() > 0.97  # the rest are ties
    assert agent.about["deciders"][1]["temperature"] == pytest.approx(0.7)


def test_observations_far_from_zero_are_told_apart(tmp_path):
    space, rng = spaces.Box(-np.inf, np.inf, (1,), np.float64), np.random.default_rng(0)
    buffer = EpisodicReplayBuffer(1_200, space, spaces.Discrete(2), seed=0)
    for _ in range(20):
        seen = 1.7e9 + rng.uniform(-50, 50, (60, 1))
        buffer.add(Episode(seen, (seen[:, 0] > 1.7e9).astype(np.int64), np.ones(60, np.float32)))
    forest = ForestPolicy(space, spaces.Discrete(2), lambda _: 0.0, **FEW_TREES)
    forest.fit(hindsight(buffer), OPTIONS)
    export_policy(forest, tmp_path / "forest.onnx")
    observations = 1.7e9 + rng.uniform(-50, 50, (300, 1))
    asked = {"command": (30.0, 30.0), "deterministic": True}
    decided, _ = forest.predict(observations, **asked)
    same, _ = ExportedAgent(tmp_path / "forest.onnx").predict(observations, **asked)
    assert (decided == (observations[:, 0] > 1.7e9)).mean() > 0.9
    assert (same == decided).mean() > 0.98


def test_torchscript_holds_no_forests(tmp_path):
    with pytest.raises(ValueError, match=r"TorchScript holds networks alone, name it \.onnx for a forest"):
        export_policy(policy(spaces.Discrete(2)), tmp_path / "forest.pt")
    with pytest.raises(ValueError, match="this policy has learned nothing yet: train it first"):
        export_policy(policy(spaces.Discrete(2)), tmp_path / "forest.onnx")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("space", [spaces.Discrete(3, start=-1), spaces.MultiDiscrete([3, 2])], ids=str)
def test_the_only_action_that_the_data_hold(tmp_path, space):
    forest, first = policy(space), np.full((400, *space.shape), 1)
    forest.fit(examples_of(first, space), OPTIONS)
    export_policy(forest, tmp_path / "forest.onnx")
    agent = ExportedAgent(tmp_path / "forest.onnx", seed=0)
    decided, _ = agent.predict(OBSERVATIONS, deterministic=True, command=(1.0, 4.0))
    assert (decided == 1).all()
    drawn, _ = agent.predict(np.repeat(OBSERVATIONS, 10, 0), command=(1.0, 4.0))
    assert 0.95 < (drawn == 1).mean() < 1  # smoothing leaves some to the others


class Several(AnySpaces):
    def __init__(self):
        super().__init__(spaces.Box(-1, 1, (2,)), spaces.MultiDiscrete([2, 3]))


def test_forests_of_several_components_side_by_side(tmp_path):
    """A tree without a branch may stand on the side that does not decide."""
    settings = {"learning_starts": 60, "train_freq": 60, "device": "cpu", "seed": 0}
    leaves = {"estimator_kwargs": {"n_estimators": 5, "min_samples_leaf": 400}}
    model = UDRL("ForestPolicy", make_vec(Several), commands="any", policy_kwargs=leaves, **settings).learn(300)
    assert has_bare_root(model.policy.obedient)
    with pytest.raises(ValueError, match="a tree of this forest has no branch"):
        export_policy(model, tmp_path / "agent.onnx")
    forest = model.policy.obedient
    forest._template.set_params(min_samples_leaf=1)
    forest._last_fit = Progress(0, 0, 0)
    forest.fit(model.obedience.hindsight, OPTIONS)
    assert has_bare_root(model.policy.striving) and not has_bare_root(model.policy.obedient)
    export_policy(model, tmp_path / "agent.onnx")
    agent = ExportedAgent(tmp_path / "agent.onnx")
    observations = np.random.default_rng(0).uniform(-1, 1, (50, 2)).astype(np.float32)
    for command in (1.0, {"horizon": 5}, {"advantage": 1.0}, {}):
        decided, _ = model.predict(observations, deterministic=True, command=command)
        same, _ = agent.predict(observations, deterministic=True, command=command)
        assert (same == decided).mean() > 0.95


def has_bare_root(forest):
    return any(tree.tree_.node_count == 1 for tree in forest.learned.estimator.estimators_)
