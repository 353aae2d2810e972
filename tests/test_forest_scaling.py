"""Forests learn in any unit, as networks do; files, rules and exports keep the units of the user."""

import numpy as np
import pytest
from gymnasium import spaces
from helpers import hindsight
from test_forest_policy import OPTIONS, forest_model
from test_scales import SCALES, Measured, decisions

from sb3_udrl import UDRL
from sb3_udrl.buffers import Episode, EpisodicReplayBuffer
from sb3_udrl.commands import COMMAND_SPACES, make_command
from sb3_udrl.explain import contributions, distill, rules
from sb3_udrl.explain.rules import tree_of
from sb3_udrl.explain.situations import Situations
from sb3_udrl.forest import ForestPolicy, to_onnx
from sb3_udrl.forest.scaling import Scaling, make_scaling

ONE_TREE = {"estimator": "sklearn.tree.DecisionTreeClassifier", "estimator_kwargs": {}}
RNG = np.random.default_rng(0)


@pytest.mark.parametrize("scale", sorted(set(SCALES) - {"1e5 +- 50", "an outlier", "large rewards"}))
def test_any_unit_is_learned_from(scale):
    env = Measured(**SCALES[scale])
    settings = {"estimator_kwargs": {"n_estimators": 20, "min_samples_leaf": 3}}
    sampler = {"command_sampler": "quantile", "command_sampler_kwargs": {"low": 0.0}}
    model = forest_model(env, policy_kwargs=settings, learning_starts=600, train_freq=600, **sampler).learn(1_200)
    assert decisions(model, env, (env.constant + env.pay, 1)) == [0, 0, 1, 1]
    assert decisions(model, env, (env.constant, 1)) == [1, 1, 0, 0]


# One situation whose sign says nothing about what pays: action 1 always does


def forest(observations, actions, rewards, length, **kwargs):
    """A policy that was fitted to episodes of some length."""
    observation_space = spaces.Box(-np.inf, np.inf, observations.shape[1:], observations.dtype)
    action_space = spaces.Discrete(2) if actions.dtype.kind == "i" else spaces.Box(-1, 1, (1,))
    buffer = EpisodicReplayBuffer(len(actions), observation_space, action_space, seed=0)
    for first in range(0, len(actions), length):
        steps = slice(first, first + length)
        buffer.add(Episode(observations[steps], actions[steps], rewards[steps]))
    settings = {"estimator_kwargs": {"n_estimators": 20, "min_samples_leaf": 5}, **kwargs}
    policy = ForestPolicy(observation_space, action_space, lambda _: 0.0, **settings)
    policy.fit(hindsight(buffer), OPTIONS)
    return policy


def noise(n):
    return RNG.standard_normal((n, 2)).astype(np.float32)


@pytest.mark.parametrize("constant", [0, 1_000, -1_000, 1e6])
def test_a_constant_in_every_reward_changes_no_decision(constant):
    actions = RNG.random((400, 8)) < RNG.random((400, 1))
    lengths = RNG.integers(1, 9, size=400)  # episodes end at different times
    kept = np.arange(8) < lengths[:, None]
    buffer = EpisodicReplayBuffer(4_000, spaces.Box(-9, 9, (2,)), spaces.Discrete(2), seed=0)
    for episode, length in zip(actions, lengths, strict=True):
        taken = episode[:length].astype(np.int64)
        buffer.add(Episode(noise(length), taken, (constant + taken).astype(np.float32)))
    policy = ForestPolicy(
        buffer.observation_space,
        buffer.action_space,
        lambda _: 0.0,
        estimator_kwargs={"n_estimators": 20, "min_samples_leaf": 5},
    )
    policy.fit(hindsight(buffer), OPTIONS)
    for horizon in (1, 4, 8):
        for pay in (0, 1):
            command = make_command(np.full(20, (constant + pay) * horizon), horizon, 20)
            assert (policy.act(noise(20), command, deterministic=True) == pay).mean() > 0.9, (horizon, pay)
    assert kept.any() and (policy.learned.scaling is None) == (constant == 0)


def test_ordinary_numbers_are_read_as_they_are():
    inputs = np.stack([RNG.standard_normal(500), RNG.integers(9, size=500), np.full(500, 1e9), RNG.uniform(99, 101, 500)], 1)
    assert make_scaling(inputs) is None
    assert make_scaling(inputs, COMMAND_SPACES["absolute"]) is None


def far(n):
    """A sensor far from zero, a small one, an ordinary one and one with outliers."""
    inputs = np.stack(
        [1.7e9 + 50 * RNG.standard_normal(n), 1e-7 * RNG.standard_normal(n), RNG.standard_normal(n), RNG.standard_normal(n)], 1
    )
    inputs[3, 3], inputs[4, 3] = 1e6, -1e9
    return inputs


def test_order_is_kept_and_thresholds_come_back():
    inputs = far(2_000)
    scaling = make_scaling(inputs)
    read = scaling.read(inputs)
    assert read.dtype == np.float32 and np.abs(read[:, [0, 1, 3]]).max() <= 20
    np.testing.assert_array_equal(read[:, 2], inputs[:, 2].astype(np.float32))
    for column in range(4):
        assert (np.diff(read[np.argsort(inputs[:, column]), column]) >= 0).all()
        assert len(np.unique(read[:, column])) > 1_990
        back = scaling.thresholds(np.full(2_000, column), read[:, column].astype(np.float64))
        near = np.arange(2_000) > 4
        differences = [(each - scaling.mean[column])[near] for each in (back, inputs[:, column])]
        np.testing.assert_allclose(*differences, rtol=1e-4, atol=1e-7)


def test_missing_parts_of_commands_stay_missing():
    inputs = far(2_000)
    inputs[::3, 1] = np.nan
    scaling = make_scaling(inputs)
    np.testing.assert_array_equal(np.isnan(scaling.read(inputs)), np.isnan(inputs))
    assert scaling.factor[1] == pytest.approx(1e7, rel=0.1)


# Files, rules, exports


@pytest.fixture(scope="module")
def situations():
    """Sensors in odd units, of which the first one tells which action was taken."""
    observations = far(2_000)
    return observations, (observations[:, 0] > 1.7e9).astype(np.int64)


NEAR = [1_699_999_999, 1_700_000_000, 1_700_000_001]
COMMAND = make_command(np.zeros(2_000), 1, 2_000)


def test_saved_forests_decide_alike(tmp_path):
    env = Measured(**SCALES["times of day"])
    model = forest_model(env).learn(200)
    model.save(tmp_path / "model")
    loaded = UDRL.load(tmp_path / "model", device="cpu", trusted=[])
    assert model.policy.learned.scaling is not None
    for kept, read in zip(model.policy.learned.scaling, loaded.policy.learned.scaling, strict=True):
        np.testing.assert_array_equal(kept, read)
    shown = (1.7e9 + 50 * RNG.standard_normal((100, 2))).astype(env.observation_space.dtype)
    for command in ((0, 1), (1, 1)):
        decided = [each.predict(shown, command=command, deterministic=True)[0] for each in (model, loaded)]
        np.testing.assert_array_equal(*decided)
        assert len(set(decided[0])) == 2


@pytest.mark.parametrize(
    "damage",
    [{"mean": np.zeros(3)}, {"factor": np.zeros(4)}, {"factor": np.full(4, 1e300)}, {"per_step": "1"}, {"horizon": 4}],
    ids=lambda damage: next(iter(damage)),
)
def test_damaged_scalings_are_refused(damage):
    state = make_scaling(far(100))._asdict()
    assert Scaling.restored(state, 4).horizon == 0
    with pytest.raises(ValueError, match=r"mean|factor|per_step|horizon"):
        Scaling.restored({**state, **damage}, 4)


def test_rules_and_contributions_speak_of_the_units_of_the_user(situations):
    observations, actions = situations
    policy = forest(observations, actions, np.zeros(2_000), 1, **ONE_TREE)
    text = rules(policy, ["time", "x", "y", "z", "r", "h"])
    assert text.splitlines() in ([f"time {sign} {n}: action {i}" for i, sign in enumerate(("<=", "> "))] for n in NEAR)
    assert tree_of(policy).tree_.threshold[0] == pytest.approx(1.7e9, abs=1)
    policy.act(observations[:3], COMMAND.rows([0, 1, 2]))  # what was shown is a copy
    np.testing.assert_array_equal(policy.act(observations, COMMAND, deterministic=True), actions)
    found = contributions(
        policy, Situations(observations, COMMAND, actions, np.arange(2_000), np.zeros(2_000, int), np.zeros(2_000))
    )
    np.testing.assert_allclose(found.outputs[:, 0], 1)


def test_rules_say_what_is_taken_off_returns():
    actions = (RNG.random(3_200) < 0.5).astype(np.int64)
    policy = forest(noise(3_200), actions, 1_000.0 + actions, 8, **ONE_TREE)
    taken_off = policy.learned.scaling.per_step[2]
    assert f"r - {taken_off:.6g} x h" in rules(policy, ["x", "y", "r", "h"]) and taken_off == pytest.approx(1_000.5, abs=0.1)


def test_a_distilled_tree_reads_the_units_of_the_user():
    env = Measured(**SCALES["times of day"])
    teacher = forest_model(env, learning_starts=300, train_freq=300).learn(600)
    found = distill(teacher, teacher.get_env(), 4, 2, 20, 20, command=(1, 1), inputs=[0])
    text = rules(found.policy, ["time", "noise", "r", "h"])
    assert text.startswith(("time <= 17000000", "time <= 16999999")) and found.returns.mean() == 1


@pytest.mark.parametrize("continuous", [False, True], ids=["discrete", "continuous"])
def test_exports_take_the_units_of_the_user(tmp_path, situations, continuous):
    onnxruntime = pytest.importorskip("onnxruntime")
    observations, actions = situations
    taken = (2.0 * actions[:, None] - 1).astype(np.float32) if continuous else actions
    policy = forest(observations, taken, 1e-9 * actions, 4)
    to_onnx(policy, tmp_path / "forest")
    session = onnxruntime.InferenceSession(str(tmp_path / "forest.onnx"), providers=["CPUExecutionProvider"])
    assert session.get_inputs()[0].type == "tensor(double)"
    rows = policy.inputs(observations, COMMAND)
    (found,) = session.run(["variable" if continuous else "probabilities"], {"X": rows})
    expected = policy.outputs(rows)[:, :, 0] if continuous else policy.outputs(rows)[:, 0]
    np.testing.assert_allclose(found, expected, atol=1e-5)
    assert expected.std() > 0.3
