"""The environments that saved models are looked at in."""

import argparse
from unittest.mock import Mock

import numpy as np
import pytest
from helpers import tiny_model
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.vec_env import VecNormalize

import sb3_udrl.envs  # noqa: F401
from sb3_udrl import UDRL
from sb3_udrl.evaluation.command_line import add_model_arguments, load_model
from sb3_udrl.evaluation.environments import N_ENVS, make_evaluation_env
from sb3_udrl.evaluation.report import main as report
from sb3_udrl.explain.__main__ import main as explain


@pytest.fixture
def statistics(tmp_path):
    """Mean 2 and standard deviation 4 in every component."""
    env = VecNormalize(make_vec_env("CartPole-v1", 1))
    env.obs_rms.mean[:], env.obs_rms.var[:] = 2.0, 16.0
    env.save(str(tmp_path / "vecnormalize.pkl"))
    return tmp_path / "vecnormalize.pkl"


def test_observations_are_standardized_and_rewards_exact(statistics):
    plain, normalized = make_evaluation_env("CartPole-v1", 3), make_evaluation_env("CartPole-v1", 3, statistics)
    assert normalized.num_envs == N_ENVS
    np.testing.assert_allclose(normalized.reset(), (plain.reset() - 2) / 4, rtol=1e-5)
    for _ in range(30):  # statistics stay as they are
        actions = np.ones(N_ENVS, dtype=np.int64)
        (seen, rewards, *_), (raw, *_) = normalized.step(actions), plain.step(actions)
        np.testing.assert_allclose(seen, (raw - 2) / 4, rtol=1e-5)
        assert rewards.tolist() == [1] * N_ENVS


@pytest.mark.parametrize("program", [explain, report])
@pytest.mark.parametrize(
    ("model", "arguments", "message"),
    [
        ("model.zip", ["--env", "CartPole-v1", "--vec-normalize", "missing.pkl"], "missing.pkl: there is no such file"),
        ("model.zip", ["--env", "Missing-v0"], "--env Missing-v0"),
        ("model.zip", ["--env", "Acrobot-v1"], "Acrobot-v1: Observation spaces do not match"),
        ("missing.zip", ["--env", "CartPole-v1"], "missing.zip with --env CartPole-v1"),
    ],
)
def test_what_cannot_be_loaded_is_named(program, model, arguments, message, tmp_path, capsys):
    tiny_model("CartPole-v1").save(tmp_path / "model.zip")
    with pytest.raises(SystemExit):
        program([str(tmp_path / model), *arguments])
    assert message in capsys.readouterr().err


def test_the_report_plays_with_statistics(statistics, tmp_path, monkeypatch):
    pytest.importorskip("matplotlib")
    tiny_model("CartPole-v1").save(tmp_path / "model.zip")
    seen = []
    predict = UDRL.predict
    monkeypatch.setattr(
        UDRL, "predict", lambda self, obs, *args, **kwargs: seen.append(obs) or predict(self, obs, *args, **kwargs)
    )
    report([str(tmp_path / "model.zip"), "--env", "CartPole-v1", "--episodes", "1", "--vec-normalize", str(statistics)])
    np.testing.assert_allclose(seen[0], -0.5, atol=0.02)  # CartPole starts near zero


def test_explanations_are_of_episodes_with_statistics(statistics, tmp_path, monkeypatch):
    tiny_model("CartPole-v1").save(tmp_path / "model.zip")
    played = Mock()
    monkeypatch.setattr("sb3_udrl.explain.__main__.Report", played)
    explain([str(tmp_path / "model.zip"), "--env", "CartPole-v1", "--vec-normalize", str(statistics)])
    np.testing.assert_allclose(played.call_args.args[1].reset(), -0.5, atol=0.02)


def test_pictures_are_seen_as_the_model_sees_them(tmp_path):
    model = tiny_model("Catch-v0")
    model.save(tmp_path / "model.zip")
    parser = argparse.ArgumentParser()
    add_model_arguments(parser)
    _, env = load_model(parser, parser.parse_args([str(tmp_path / "model.zip"), "--env", "Catch-v0"]))
    assert env.observation_space == model.observation_space
