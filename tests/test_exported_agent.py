"""An exported agent keeps the books of its command as the model does, and needs neither PyTorch nor SB3."""

import subprocess
import sys
from pathlib import Path

import gymnasium as gym
import numpy as np
import pytest
from helpers import obeying_model

from sb3_udrl import UDRL
from sb3_udrl.commands.calibration import N_KNOTS
from sb3_udrl.deploy import ExportedAgent, export_policy
from sb3_udrl.obedience import ScoreCard

ROOT = Path(__file__).parents[1]
WITHOUT_TORCH = """
import sys
for name in ("torch", "stable_baselines3", "gymnasium", "scipy", "rl_zoo3", "sklearn", "onnx"):
    sys.modules[name] = None
from sb3_udrl.deploy import ExportedAgent
agent = ExportedAgent(sys.argv[1])
action, state = agent.predict([0.0, 0.1, 0.0, 0.1], deterministic=True, command=(20, 25))
action, state = agent.predict([0.0, 0.1, 0.0, 0.1], state, [False], reward=1.0)
print(state.tolist(), int(action) in (0, 1))
"""


@pytest.fixture(scope="module")
def absolute(tmp_path_factory):
    """A model of returns within horizons, as a file."""
    model = UDRL("CommandPolicy", "CartPole-v1", commands="absolute", learning_starts=500, seed=0, device="cpu").learn(2_000)
    path = tmp_path_factory.mktemp("absolute") / "agent.onnx"
    export_policy(model, path)
    return model, path


@pytest.fixture(scope="module")
def obedient(tmp_path_factory):
    """A model of all kinds of commands whose returns are corrected, as a file."""
    model = obeying_model("CartPole-v1", commands="any", learning_starts=500, seed=0).learn(2_000)
    for greedy in (True, False):
        model.policy.correct(greedy, np.stack([np.linspace(10, 40, N_KNOTS), np.linspace(15, 60, N_KNOTS) + 3 * greedy]))
    path = tmp_path_factory.mktemp("obedient") / "agent.onnx"
    export_policy(model, path)
    return model, path


def episode_is_the_same(model, agent, seed, command, tells_rewards):
    """Plays an episode by the model, and asks the agent at each step; how many steps there were."""
    env = gym.make("CartPole-v1")
    observation, _ = env.reset(seed=seed)
    state = same_state = reward = None
    for step in range(500):
        action, state = model.predict(observation, state, deterministic=True, command=command, reward=reward)
        same, same_state = agent.predict(observation, same_state, deterministic=True, command=command, reward=reward)
        assert action == same and action.dtype == same.dtype and action.shape == same.shape == ()
        np.testing.assert_array_equal(state[0], same_state)
        observation, paid, terminated, truncated, _ = env.step(action)
        reward = paid if tells_rewards else None
        if terminated or truncated:
            return step
    return 500


@pytest.mark.parametrize("tells_rewards", [True, False])
def test_whole_episodes(absolute, tells_rewards):
    model, path = absolute
    agent = ExportedAgent(path)
    steps = [episode_is_the_same(model, agent, 7, c, tells_rewards) for c in (None, 20, (60, 50.0), {"horizon": 30})]
    assert len(set(steps)) > 1


@pytest.mark.parametrize("tells_rewards", [True, False])
def test_whole_episodes_under_all_kinds_of_commands(obedient, tells_rewards):
    model, path = obedient
    agent = ExportedAgent(path)
    commands = (None, 20, 35, {"horizon": 15}, {"advantage": -2.0}, {"return": 20, "advantage": 1.0}, (30, 30), {})
    for command in commands:
        assert episode_is_the_same(model, agent, 3, command, tells_rewards) > 5


def test_returns_alone_are_corrected_for_draws_and_for_the_most_likely_actions(obedient):
    model, path = obedient
    agent, observation = ExportedAgent(path), np.zeros(4, dtype=np.float32)
    for deterministic in (True, False):
        _, (rows, _) = model.predict(observation, deterministic=deterministic, command=25)
        _, state = agent.predict(observation, deterministic=deterministic, command=25)
        np.testing.assert_array_equal(rows, state)
        assert state[0, 0] == np.interp(25, np.linspace(10, 40, 16), np.linspace(15, 60, 16) + 3 * deterministic)


def test_episodes_start_where_it_is_said(absolute):
    model, path = absolute
    agent, observations = ExportedAgent(path), np.zeros((3, 4), dtype=np.float32)
    starts = np.array([False, True, False])
    _, state = model.predict(observations, command=(np.array([1.0, 2, 3]), 9))
    _, same = agent.predict(observations, command=(np.array([1.0, 2, 3]), 9))
    _, (rows, _) = model.predict(observations, state, starts, command=(5, 6), reward=np.array([0.5, 1, 2]))
    _, same = agent.predict(observations, same, starts, command=(5, 6), reward=np.array([0.5, 1, 2]))
    np.testing.assert_array_equal(rows, [[0.5, 8], [5, 6], [1, 8]])
    np.testing.assert_array_equal(same, rows)


def test_draws_are_as_likely_as_those_of_the_model(absolute):
    model, path = absolute
    observations = np.random.default_rng(0).uniform(-0.1, 0.1, (1, 4)).astype(np.float32).repeat(4_000, 0)
    own, _ = model.predict(observations, command=(20, 25))
    drawn, _ = ExportedAgent(path, seed=0).predict(observations, command=(20, 25))
    again, _ = ExportedAgent(path, seed=0).predict(observations, command=(20, 25))
    assert 0 < drawn.mean() < 1 and abs(drawn.mean() - own.mean()) < 0.04
    np.testing.assert_array_equal(drawn, again)


def test_it_runs_without_pytorch_and_sb3(absolute):
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT_TORCH, absolute[1]], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[[19.0, 24.0]] True"


def test_returns_in_arrays_and_parts_that_are_none(obedient):
    model, path = obedient
    agent, two = ExportedAgent(path), np.zeros((2, 4), dtype=np.float32)
    for command in (np.array(20), np.array([20.0, 30]), {"return": 30, "horizon": None}):
        _, (rows, *_) = model.predict(two, command=command)
        np.testing.assert_allclose(agent.predict(two, command=command)[1], rows, rtol=1e-6)


def test_what_the_file_says(obedient):
    model, path = obedient
    about = ExportedAgent(path).about
    assert [part["name"] for part in about["parts"]] == ["return", "horizon", "advantage"]
    assert about["policy"] == "SideBySide" and about["observation"][0]["shape"] == [4]
    assert about["score_card"].keys() == ScoreCard().to_plain().keys()
    assert len(about["score_card"]["greedy"]) == len(model.score_card)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"observation": np.zeros(3)}, r"observation has the shape \(3,\): give \(4,\), or \(n, 4,\)"),
        ({"observation": np.array([0, np.nan, 0, 0])}, "observation holds what is not finite"),
        ({"observation": np.full((2, 4), 1e39)}, "observation holds what is not finite"),
        ({"command": {"speed": 1}}, r"command=\{'speed': 1\}: this model takes return, horizon"),
        ({"command": "fast"}, "command='fast': this model takes return, horizon"),
        ({"command": (1e39, 5)}, "the desired return must be finite"),
        ({"command": (1.0, 0.5)}, "the desired horizon must be finite, at least 1"),
        ({"command": {"return": np.nan, "horizon": 3}}, "the desired return must be finite"),
        ({"command": (np.ones(3), 4)}, r"desired return has shape \(3,\): give one number, or one per environment, \(1,\)"),
        ({"state": np.ones((1, 2)), "reward": np.inf}, "reward=inf: give a finite number"),
        (
            {"state": np.ones((1, 2)), "reward": [1.0, 2.0]},
            r"reward=\[1.0, 2.0\]: give a finite number, or one per environment",
        ),
        ({"state": np.ones((2, 2))}, r"state has the shape \(2, 2\) for 1 observations and commands of 2 parts: pass what"),
        (
            {"state": np.ones((1, 1)), "reward": 1.0},
            r"state has the shape \(1, 1\) for 1 observations and commands of 2 parts",
        ),
    ],
)
def test_mistakes_are_named(absolute, arguments, message):
    agent = ExportedAgent(absolute[1])
    with pytest.raises(ValueError, match=message):
        agent.predict(**{"observation": np.zeros(4), "deterministic": True, **arguments})


def test_a_file_of_another_format_is_refused(absolute, tmp_path):
    onnx = pytest.importorskip("onnx")
    exported = onnx.load(absolute[1])
    exported.metadata_props[0].value = exported.metadata_props[0].value.replace('"format": 1', '"format": 2')
    onnx.save(exported, tmp_path / "later.onnx")
    with pytest.raises(ValueError, match="its format is 2, this version reads 1: export it again"):
        ExportedAgent(tmp_path / "later.onnx")


def test_another_file_is_refused(tmp_path):
    onnx = pytest.importorskip("onnx")
    value = onnx.helper.make_tensor_value_info("x", 1, [1])
    graph = onnx.helper.make_graph([onnx.helper.make_node("Identity", ["x"], ["y"])], "g", [value], [
        onnx.helper.make_tensor_value_info("y", 1, [1])
    ])  # fmt: skip
    onnx.save(
        onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 18)], ir_version=9), tmp_path / "x.onnx"
    )
    with pytest.raises(ValueError, match="this file says nothing of commands, export_policy did not write it"):
        ExportedAgent(tmp_path / "x.onnx")


@pytest.mark.parametrize("content", [b"", b"a text", "half"])
def test_a_damaged_file_is_refused(absolute, tmp_path, content):
    damaged = tmp_path / "damaged.onnx"
    damaged.write_bytes(absolute[1].read_bytes()[:500] if content == "half" else content)
    with pytest.raises(ValueError, match=r"is no ONNX file, or damaged|says nothing of commands"):
        ExportedAgent(damaged)
    with pytest.raises(FileNotFoundError, match="there is no such file"):
        ExportedAgent(tmp_path / "missing.onnx")


def test_a_file_that_says_too_little_is_refused(absolute, tmp_path):
    onnx = pytest.importorskip("onnx")
    exported = onnx.load(absolute[1])
    exported.metadata_props[0].value = exported.metadata_props[0].value.replace('"parts"', '"pairs"')
    onnx.save(exported, tmp_path / "less.onnx")
    with pytest.raises(ValueError, match="what it says of its agent is damaged: KeyError"):
        ExportedAgent(tmp_path / "less.onnx")


@pytest.mark.parametrize("amounts", [{"return": 1.0}, {"horizon": 2.0}, {"energy": 1.0}])
def test_amounts_of_what_is_no_sum_of_one_s_own_are_refused(absolute, amounts):
    with pytest.raises(ValueError, match="this model takes those of no part"):
        ExportedAgent(absolute[1]).predict(np.zeros(4), np.ones((1, 2)), reward=1.0, amounts=amounts)


def test_an_advantage_raises_a_return_and_nothing_else(tmp_path):
    """Where a model takes horizons and advantages, being better than usual is no matter of length."""
    model = UDRL("CommandPolicy", "CartPole-v1", commands=["horizon", "advantage"], learning_starts=500, seed=0, device="cpu")
    model.learn(1_000)
    export_policy(model, tmp_path / "agent.onnx")
    agent = ExportedAgent(tmp_path / "agent.onnx")
    for command in ({"horizon": 50.0, "advantage": 2.0}, {"horizon": 50.0}, {"advantage": 2.0}):
        _, state = model.predict(np.zeros(4, np.float32), command=command)
        _, same = agent.predict(np.zeros(4, np.float32), command=command)
        np.testing.assert_array_equal(state[0], same)
