"""The environments that saved models are looked at in: those of their training, or one line that says what is wrong."""

import argparse
import sys
from pathlib import Path
from unittest.mock import Mock

import gymnasium as gym
import numpy as np
import pytest
import yaml
from helpers import tiny_model
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.vec_env import VecFrameStack, VecNormalize

import sb3_udrl.envs  # noqa: F401
from sb3_udrl import UDRL
from sb3_udrl.evaluation.command_line import add_model_arguments, load_model
from sb3_udrl.evaluation.environments import N_ENVS, Settings, make_evaluation_env, read_yaml, settings_beside
from sb3_udrl.evaluation.report import main as report
from sb3_udrl.explain.__main__ import main as explain
from sb3_udrl.zoo.__main__ import main as zoo

PACKAGE = """
import gymnasium as gym
import numpy as np

class Plain(gym.Env):
    observation_space, action_space = gym.spaces.Box(-9, 99, (1,)), gym.spaces.Discrete(2)
    def __init__(self, pays=1.0): self.pays = pays  # takes no render_mode
    def reset(self, *, seed=None, options=None): super().reset(seed=seed); self.t = 0; return self.seen(), {}
    def step(self, action): self.t += 1; return self.seen(), self.pays, self.t == 4, False, {}
    def seen(self): return np.array([self.t], dtype=np.float32)

class Twice(gym.ObservationWrapper):
    def observation(self, observation): return 2 * observation

gym.register("Plain-v0", entry_point=Plain)
"""


@pytest.fixture
def package(tmp_path, monkeypatch):
    """A module with an environment that takes no ``render_mode``, and a wrapper."""
    (tmp_path / "plain_package.py").write_text(PACKAGE)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.chdir(tmp_path)
    yield "plain_package"
    gym.registry.pop("Plain-v0", None)
    sys.modules.pop("plain_package", None)


@pytest.fixture
def statistics(tmp_path):
    """Mean 2 and standard deviation 4 in every component."""
    env = VecNormalize(make_vec_env("CartPole-v1", 1))
    env.obs_rms.mean[:], env.obs_rms.var[:] = 2.0, 16.0
    env.save(str(tmp_path / "vecnormalize.pkl"))
    return tmp_path / "vecnormalize.pkl"


def loaded(*arguments):
    parser = argparse.ArgumentParser()
    add_model_arguments(parser)
    return load_model(parser, parser.parse_args([str(argument) for argument in arguments]))


def test_observations_are_standardized_and_rewards_exact(statistics):
    plain = make_evaluation_env("CartPole-v1", 3)
    normalized = make_evaluation_env("CartPole-v1", 3, Settings(vec_normalize=statistics))
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
        ("model.zip", ["--env", "missing_module:Missing-v0"], "No module named 'missing_module'"),
        ("model.zip", ["--env", "Acrobot-v1"], "Observation spaces do not match"),
        ("model.zip", [], "--env is missing"),
        ("missing.zip", ["--env", "CartPole-v1"], "missing.zip: there is no such file"),
        ("text.zip", ["--env", "CartPole-v1"], "text.zip with --env CartPole-v1"),
        ("config/model.zip", [], "config.yml, line 2, column 4: mapping values are not allowed here"),
    ],
)
def test_what_cannot_be_loaded_is_named_in_one_line(program, model, arguments, message, tmp_path, capsys):
    for name in ("model.zip", "config/model.zip"):
        tiny_model("CartPole-v1").save(tmp_path / name)
    (tmp_path / "text.zip").write_text("no zip")
    (tmp_path / "config" / "config.yml").write_text("normalize: true\n  a: b")
    (tmp_path / "config" / "args.yml").write_text("env: CartPole-v1")
    capsys.readouterr()
    with pytest.raises(SystemExit) as ended:
        program([str(tmp_path / model), *arguments])
    said = capsys.readouterr().err
    assert ended.value.code == 2 and message in said and said.count("\n") == 1


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
    _, env = loaded(tmp_path / "model.zip", "--env", "Catch-v0")
    assert env.observation_space == model.observation_space


# As the Zoo trained


def test_environments_without_render_mode_and_in_modules(package):
    env = make_evaluation_env(f"{package}:Plain-v0", 0, Settings(env_kwargs={"pays": 7.0}))
    env.reset()
    assert env.step(np.zeros(N_ENVS, dtype=int))[1].tolist() == [7] * N_ENVS


def test_the_zoos_environment_is_made_again(package, capsys):
    """Wrapper, keyword arguments, statistics, stacked frames and packages; for the final model, and a checkpoint beside it."""
    conditions = {
        "n_timesteps": 200,
        "policy": "CommandPolicy",
        "policy_kwargs": {"net_arch": [8]},
        "learning_starts": 64,
        "train_freq": 64,
        "gradient_steps": 1,
        "normalize": True,
        "frame_stack": 3,
        "env_wrapper": [f"{package}.Twice", {"gymnasium.wrappers.TimeLimit": {"max_episode_steps": 3}}],
        "env_kwargs": {"pays": 5.0},
    }
    Path("mine.yml").write_text(yaml.safe_dump({"Plain-v0": conditions}))
    options = ["--conf-file", "mine.yml", "--gym-packages", package, "--eval-freq", "-1", "--save-freq", "100", "-f", "logs"]
    zoo(["train", "--algo", "udrl", "--env", "Plain-v0", *options])
    run = Path("logs/udrl/Plain-v0_1")
    for path in (run / "Plain-v0.zip", run / "Plain-v0", *run.glob("rl_model_*.zip")):
        capsys.readouterr()
        model, env = loaded(path)
        assert "config.yml says: env_kwargs={'pays': 5.0}" in capsys.readouterr().out
        assert isinstance(env, VecFrameStack) and isinstance(env.venv, VecNormalize)
        assert (env.observation_space, env.venv.training, env.venv.norm_reward) == (model.observation_space, False, False)
        observations = [env.reset(), *(env.step(np.zeros(N_ENVS, dtype=int)) for _ in range(3))]
        assert env.venv.venv.envs[0].get_wrapper_attr("t") == 0  # the limit of three steps is there
        seen = env.venv.unnormalize_obs(observations[2][0][:, -1:])
        np.testing.assert_allclose(seen, 4, atol=1e-4)  # twice the step
        assert observations[1][1].tolist() == [5] * N_ENVS


def test_another_environment_than_that_of_the_training_may_be_named(package, tmp_path):
    tiny_model("CartPole-v1").save(tmp_path / "model.zip")
    (tmp_path / "config.yml").write_text("frame_stack: null")
    (tmp_path / "args.yml").write_text("env: Missing-v0\nenv_kwargs:\ngym_packages: []")
    assert loaded(tmp_path / "model.zip", "--env", "CartPole-v1")[1].num_envs == N_ENVS


def test_folders_of_other_models_are_left_alone(tmp_path):
    for name in ("first", "second"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "config.yml").write_text("frame_stack: 4")
        (tmp_path / name / "args.yml").write_text("env: CartPole-v1")
    assert settings_beside(tmp_path / "third.zip") == (Settings(), None)
    assert settings_beside(tmp_path / "first.zip")[0].frame_stack == 4


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("!!python/object/apply:os.system ['touch pwned']", "is a Python object"),
        ("a: !!python/name:os.system", "is a Python object"),
        ("- a", "must hold sections"),
        ("", "must hold sections"),
        ("a: [", "line 1"),
        ("a: *b", "undefined alias"),
        (b"\xff\xfe\x00", "mine.yml"),
    ],
)
def test_yaml_runs_no_code_and_its_mistakes_are_one_line(text, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("mine.yml").write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(ValueError, match=message) as raised:
        read_yaml(Path("mine.yml"))
    assert "\n" not in str(raised.value) and not Path("pwned").exists()


def test_statistics_that_the_training_had_must_be_there(tmp_path):
    (tmp_path / "config.yml").write_text("normalize: true")
    (tmp_path / "args.yml").write_text("env: CartPole-v1")
    with pytest.raises(ValueError, match=r"vecnormalize\.pkl: config\.yml says normalize=True"):
        settings_beside(tmp_path / "model.zip")
