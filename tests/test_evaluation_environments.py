"""The environments that saved models are looked at in: those of their training, or one line that says what is wrong."""

import argparse
import importlib
import pickle
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
from sb3_udrl import UDRL, UDRLPG
from sb3_udrl.evaluation.command_line import add_model_arguments, load_model
from sb3_udrl.evaluation.environments import N_ENVS, Settings, make_evaluation_env, read_yaml, settings_beside
from sb3_udrl.evaluation.report import main as report
from sb3_udrl.explain.__main__ import main as explain
from sb3_udrl.saving.normalization import load_normalization
from sb3_udrl.zoo.__main__ import main as zoo

PACKAGE = """
import gymnasium as gym
import numpy as np
from sb3_udrl.commands.parts import SummedPart

class Energy(SummedPart):
    name = "energy"
    def amounts(self, step): return np.zeros(len(step.infos))

class Plain(gym.Env):
    observation_space, action_space = gym.spaces.Box(-9, 99, (1,)), gym.spaces.Discrete(2)
    def __init__(self, pays=1.0): self.pays = pays  # takes no render_mode
    def reset(self, *, seed=None, options=None): super().reset(seed=seed); self.t = 0; return self.seen(), {}
    def step(self, action): self.t += 1; return self.seen(), self.pays, self.t == 4, False, {}
    def seen(self): return np.array([self.t], dtype=np.float32)

class Twice(gym.ObservationWrapper):
    def observation(self, observation): return 2 * observation

def unchanged(env): return env

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
        model, env = loaded(path, "--trust", package, f"{package}.Twice")
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


def test_the_algorithm_is_that_which_the_zoo_noted(tmp_path, capsys):
    UDRLPG("MlpPolicy", "CartPole-v1", device="cpu").save(tmp_path / "model.zip")
    said = refused(capsys, tmp_path / "model.zip", "--env", "CartPole-v1")
    assert "(taken for a model of udrl: if it is none, name another by --algo)" in said
    (tmp_path / "config.yml").write_text("n_envs: 1")
    for algo in ("udrlpg", "udrl", "ppo"):
        (tmp_path / "args.yml").write_text(f"env: CartPole-v1\nalgo: {algo}")
        assert isinstance(loaded(tmp_path / "model.zip", "--algo", "udrlpg")[0], UDRLPG)
    assert "says algo=ppo, this program takes udrl, udrlpg" in refused(capsys, tmp_path / "model.zip")
    (tmp_path / "args.yml").write_text("env: CartPole-v1\nalgo: udrlpg")
    assert isinstance(loaded(tmp_path / "model.zip")[0], UDRLPG)


# What files beside a model may do


def beside(folder, config, args="env: CartPole-v1"):
    """A model with such files beside it."""
    tiny_model("CartPole-v1").save(folder / "model.zip")
    (folder / "config.yml").write_text(config)
    (folder / "args.yml").write_text(args)
    return folder / "model.zip"


def refused(capsys, *arguments):
    capsys.readouterr()
    with pytest.raises(SystemExit) as ended:
        loaded(*arguments)
    said = capsys.readouterr().err
    assert ended.value.code == 2 and said.count("\n") == 1
    return said


@pytest.mark.parametrize(
    ("config", "args", "trusted"),
    [
        ("env_wrapper: plain_package.Twice", "env: CartPole-v1", ["plain_package.Twice"]),
        ("env_wrapper: [{plain_package.Twice: {}}]", "env: CartPole-v1", ["plain_package.Twice"]),
        ("vec_env_wrapper: plain_package.unchanged", "env: CartPole-v1", ["plain_package.unchanged"]),
        ("n_envs: 1", "env: CartPole-v1\ngym_packages: [plain_package]", ["plain_package"]),
        (
            "env_wrapper: plain_package.Twice",
            "env: CartPole-v1\ngym_packages: [plain_package]",
            ["plain_package", "plain_package.Twice"],
        ),
    ],
)
def test_what_others_wrote_is_imported_once_it_is_trusted(config, args, trusted, package, tmp_path, capsys):
    model = beside(tmp_path, config, args)
    assert f"add --trust {' '.join(trusted)}\n" in refused(capsys, model)
    assert package not in sys.modules
    loaded(model, "--trust", *trusted)
    assert package in sys.modules


def test_the_module_of_an_environment_is_imported_once_it_is_trusted(package, tmp_path, capsys):
    model = beside(tmp_path, "n_envs: 1", f"env: {package}:Plain-v0")
    assert f"add --trust {package}\n" in refused(capsys, model)
    assert package not in sys.modules
    assert "Observation spaces do not match" in refused(capsys, model, "--trust", package)  # it was made
    sys.modules.pop(package)
    assert "Observation spaces do not match" in refused(capsys, model, "--env", f"{package}:Plain-v0")


@pytest.mark.parametrize("key", ["env_wrapper", "vec_env_wrapper"])
@pytest.mark.parametrize("path", ["gymnasium.make", "gymnasium.envs.classic_control.CartPoleEnv", "pydoc.pipepager"])
def test_only_wrappers_are_called(key, path, tmp_path, capsys):
    """``pydoc.pipepager(env, cmd)`` runs a command."""
    model = beside(tmp_path, f"{key}:\n- {path}: {{cmd: touch {tmp_path / 'pwned'}}}")
    assert f"add --trust {path}" in refused(capsys, model)
    assert not (tmp_path / "pwned").exists()


class Touching:
    """What a pickle can do."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return Path.touch, (self.path,)


def test_the_pickle_of_statistics_is_read_and_not_run(statistics, tmp_path, capsys):
    model = beside(tmp_path, "normalize: true")
    env = VecNormalize(make_vec_env("CartPole-v1", 1))
    env.obs_rms.mean[:], env.obs_rms.var[:] = 2.0, 16.0
    env.metadata = {"further": Touching(tmp_path / "pwned")}
    env.save(str(statistics))
    seen = loaded(model)[1].reset()
    np.testing.assert_allclose(seen, -0.5, atol=0.02)  # CartPole starts near zero
    statistics.write_bytes(pickle.dumps(Touching(tmp_path / "pwned")))
    assert "vecnormalize.pkl: is no file of VecNormalize.save, or damaged" in refused(capsys, model)
    assert not (tmp_path / "pwned").exists()


class Seen(gym.Env):
    """With observations of two kinds."""

    observation_space = gym.spaces.Dict(a=gym.spaces.Box(-9, 9, (2, 3)), b=gym.spaces.Discrete(3))
    action_space = gym.spaces.Discrete(2)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        return {"a": self.np_random.normal(size=(2, 3)).astype(np.float32), "b": 1}, {}

    def step(self, action):
        return self.reset()[0], 0.0, False, False, {}


@pytest.mark.parametrize("protocol", [4, 5])
@pytest.mark.parametrize(
    ("env", "kwargs"),
    [
        ("CartPole-v1", {"clip_obs": 0.5, "epsilon": 0.1}),
        ("CartPole-v1", {"norm_obs": False}),
        ("Pendulum-v1", {}),
        (Seen, {"norm_obs_keys": ["a"]}),
    ],
)
def test_statistics_are_those_that_stable_baselines_reads(env, kwargs, protocol, tmp_path):
    saved = VecNormalize(make_vec_env(env, 3), **kwargs)
    saved.reset()
    for _ in range(20):
        saved.step(np.array([saved.action_space.sample() for _ in range(3)]))
    (tmp_path / "it.pkl").write_bytes(pickle.dumps(saved, protocol=protocol))
    ours = load_normalization(tmp_path / "it.pkl", make_vec_env(env, 2, seed=1))
    theirs = VecNormalize.load(str(tmp_path / "it.pkl"), make_vec_env(env, 2, seed=1))
    theirs.training = theirs.norm_reward = False
    np.testing.assert_equal(ours.reset(), theirs.reset())
    actions = np.array([ours.action_space.sample() for _ in range(2)])
    np.testing.assert_equal(ours.step(actions)[:3], theirs.step(actions)[:3])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda content: content[: len(content) // 2], "or damaged"),
        (lambda content: b"", "or damaged"),
        (lambda content: pickle.dumps({"mean": 1}), "holds something else"),
        (lambda content: content.replace(np.full(4, 16.0).tobytes(), np.full(4, -1.0).tobytes()), "variances not negative"),
    ],
)
def test_damaged_statistics_are_one_line(change, message, statistics):
    statistics.write_bytes(change(statistics.read_bytes()))
    with pytest.raises(ValueError, match=message) as raised:
        make_evaluation_env("CartPole-v1", 0, Settings(vec_normalize=statistics))
    assert str(statistics) in str(raised.value) and "\n" not in str(raised.value)


def test_statistics_of_other_observations_are_refused(statistics):
    with pytest.raises(ValueError, match=r"statistics of the shapes .*\(4,\).*observations have .*\(6,\)"):
        make_evaluation_env("Acrobot-v1", 0, Settings(vec_normalize=statistics))


def test_a_model_with_a_part_of_others_names_the_argument_that_loads_it(package, tmp_path, capsys):
    sys.modules.pop(package, None)
    part = importlib.import_module(package).Energy()
    tiny_model("CartPole-v1", commands=["return", part]).save(tmp_path / "model.zip")
    path = tmp_path / "model.zip"
    assert f"add --trust {package}.Energy\n" in refused(capsys, path, "--env", "CartPole-v1")
    assert loaded(path, "--env", "CartPole-v1", "--trust", f"{package}.Energy")[0].command_space.names == ("return", "energy")


@pytest.mark.parametrize("trust", [(), ("--trust", "my_module.Mine")], ids=["nothing", "something"])
def test_models_with_pickles_are_refused_whatever_is_trusted(trust, capsys):
    old = Path(__file__).parent / "data" / "v0.1.0" / "absolute.zip"
    assert "it holds pickles" in refused(capsys, old, "--env", "CartPole-v1", *trust)


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
        ("a: !!python/object/apply:collections.OrderedDict [5]", "mine.yml: "),
        ("a: !!python/object/new:huggingface_sb3.naming_schemes.EnvironmentName []", "mine.yml: "),
        ("a: !!timestamp 2020-13-45", "mine.yml: "),
        ("[" * 2000, "mine.yml: "),
    ],
)
def test_yaml_runs_no_code_and_its_mistakes_are_one_line(text, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("mine.yml").write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(ValueError, match=message) as raised:
        read_yaml(Path("mine.yml"))
    assert "\n" not in str(raised.value) and not Path("pwned").exists()


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("config.yml", "env_kwargs: 5"),
        ("config.yml", "env_kwargs: {1: 2}"),
        ("config.yml", "frame_stack: {a: 1}"),
        ("config.yml", "frame_stack: -1"),
        ("config.yml", "env_wrapper: 5"),
        ("config.yml", "env_wrapper: [a.B: [1]]"),
        ("config.yml", "vec_env_wrapper: {a.B: {}, c.D: {}}"),
        ("args.yml", "gym_packages: 5"),
        ("args.yml", "gym_packages: [1]"),
        ("args.yml", "env: [1]"),
        ("args.yml", "algo: 5"),
    ],
)
def test_settings_of_another_type_are_named(name, text, tmp_path):
    for file in ("config.yml", "args.yml"):
        (tmp_path / file).write_text("algo: udrl")
    (tmp_path / name).write_text(text)
    with pytest.raises(ValueError, match=rf"{name}: {text.partition(':')[0]}=.*: must be "):
        settings_beside(tmp_path / "model.zip")


def test_statistics_that_the_training_had_must_be_there(tmp_path):
    (tmp_path / "config.yml").write_text("normalize: true")
    (tmp_path / "args.yml").write_text("env: CartPole-v1")
    with pytest.raises(ValueError, match=r"vecnormalize\.pkl: config\.yml says normalize=True"):
        settings_beside(tmp_path / "model.zip")
