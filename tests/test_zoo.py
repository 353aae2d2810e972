"""UDRL in the RL Zoo: registration, hyperparameters, search space, and the Zoo's own commands."""

import argparse
import itertools
import os
import subprocess
import sys
from collections.abc import Iterator
from types import ModuleType

import gymnasium as gym
import numpy as np
import optuna
import pytest
import rl_zoo3
import rl_zoo3.enjoy
import yaml
from rl_zoo3 import exp_manager, hyperparams_opt
from rl_zoo3 import utils as zoo_utils
from rl_zoo3.exp_manager import ExperimentManager
from stable_baselines3 import PPO
from stable_baselines3.common.envs import FakeImageEnv
from stable_baselines3.common.monitor import load_results
from stable_baselines3.common.vec_env import DummyVecEnv, VecFrameStack

from sb3_udrl import UDRL
from sb3_udrl.commands.tracking import set_tracked_env, tracked_steps
from sb3_udrl.zoo import __main__ as zoo_main
from sb3_udrl.zoo import hyperparams, hyperparams_path, register, registration
from sb3_udrl.zoo.search_space import convert_udrl_params, sample_udrl_params

# Just enough to pass through every line
TINY = ["-params", "n_envs:2", "learning_starts:100", "train_freq:50", "gradient_steps:2", "batch_size:16"]
CARTPOLE = ["--algo", "udrl", "--env", "CartPole-v1"]
SECTIONS = yaml.safe_load(hyperparams_path().read_text())
HEADS = ["gaussian", "squashed", "beta", "discretized"]
OF_THE_ZOO = ("n_envs", "n_timesteps", "env_wrapper", "frame_stack")  # keys of sections that are no arguments
# A trial that is known beforehand, but for the commands
SUGGESTED = {
    "learning_rate": 1e-3,
    "batch_size_pow": 7,
    "buffer_size": 30_000,
    "train_freq": 125,
    "updates_per_step": 0.5,
    "sampling": "return",
    "sampling_temperature": 0.3,
    "warm_up": "mixed",
    "temperature": 1.0,
    "n_elites": 20,
    "optimism": 2.0,
    "net_width_pow": 7,
    "net_depth": 2,
    "conditioning": "linear",
    "gamma": 0.98,
    "gae_lambda": 0.95,
    "local_scale": False,
    "redistribute_rewards": True,
}


@pytest.fixture(autouse=True)
def registered():
    register()
    yield
    set_tracked_env(None)


@pytest.fixture
def run_zoo(monkeypatch, tmp_path):
    """Run a command of the Zoo in this process and in a fresh folder."""
    monkeypatch.chdir(tmp_path)

    def run(*arguments: str) -> None:
        monkeypatch.setattr(sys, "argv", ["zoo"])
        monkeypatch.delitem(sys.modules, f"rl_zoo3.{arguments[0]}" if arguments else "", raising=False)
        zoo_main.main(list(arguments))

    return run


def make_manager(folder, env_id="CartPole-v1", algo="udrl", **kwargs) -> ExperimentManager:
    return ExperimentManager(argparse.Namespace(), algo, env_id, str(folder), device="cpu", **kwargs)


# --------------------------------------------------------------------------------------------------------- registration


def test_registering_again_changes_nothing():
    before = dict(rl_zoo3.ALGOS), zoo_utils.create_test_env, ExperimentManager.__init__
    register()
    assert (dict(rl_zoo3.ALGOS), zoo_utils.create_test_env, ExperimentManager.__init__) == before


def test_other_algorithms_are_untouched():
    assert rl_zoo3.ALGOS["udrl"] is UDRL
    assert rl_zoo3.ALGOS["ppo"] is PPO
    assert hyperparams_opt.HYPERPARAMS_SAMPLER["ppo"] is hyperparams_opt.sample_ppo_params
    assert hyperparams_opt.HYPERPARAMS_CONVERTER["ppo"] is hyperparams_opt.convert_onpolicy_params


def test_names_are_those_that_the_zoo_derives_from_the_class():
    assert all(name == algorithm.__name__.lower() for name, algorithm in registration.ALGORITHMS.items())


def test_an_algorithm_of_the_zoo_wins_over_ours():
    utils = ModuleType("rl_zoo3.utils")
    utils.ALGOS, utils.create_test_env = {"udrl": PPO}, zoo_utils.create_test_env
    registration.patch_utils(utils)
    assert utils.ALGOS == {**registration.ALGORITHMS, "udrl": PPO}

    search = ModuleType("rl_zoo3.hyperparams_opt")
    search.HYPERPARAMS_SAMPLER, search.HYPERPARAMS_CONVERTER = {"udrl": None}, {"udrl": None}
    registration.patch_hyperparams_opt(search)
    assert search.HYPERPARAMS_SAMPLER["udrl"] is search.HYPERPARAMS_CONVERTER["udrl"] is None


def test_our_environments_are_registered():
    assert {"Catch-v0", "LunarLanderSparse-v3", "TakeCover-v0"} <= set(gym.registry)


def test_rewards_of_test_environments_are_tracked():
    assert rl_zoo3.create_test_env is zoo_utils.create_test_env is rl_zoo3.enjoy.create_test_env
    env = rl_zoo3.create_test_env("CartPole-v1", should_render=False, hyperparams={})
    env.reset()
    env.step(np.array([0]))
    tracked = tracked_steps(1)
    assert tracked is not None
    assert tracked.n_steps == 1 and tracked.rewards == 1.0


def test_functions_imported_by_name_are_replaced_too(monkeypatch):
    def create_test_env(*args, **kwargs):
        return None

    early = ModuleType("rl_zoo3.early")
    early.create_test_env = create_test_env
    monkeypatch.setitem(sys.modules, "rl_zoo3.early", early)
    utils = ModuleType("rl_zoo3.utils")
    utils.ALGOS, utils.create_test_env = {}, create_test_env
    registration.patch_utils(utils)
    assert early.create_test_env is utils.create_test_env is not create_test_env


# ------------------------------------------------------------------------------------------------------ hyperparameters


def test_file_has_the_sections_that_the_zoo_looks_for():
    assert {"default", "atari", "CartPole-v1"} <= set(SECTIONS)
    assert all({"policy", "n_timesteps", "n_envs"} <= set(section) for section in SECTIONS.values())


@pytest.mark.parametrize("name", [name for name in SECTIONS if name not in {"default", "atari"}])
def test_section_builds_a_model_through_the_zoo(name, tmp_path, monkeypatch):
    if name == "TakeCover-v0":
        pytest.importorskip("vizdoom")
        monkeypatch.chdir(tmp_path)  # VizDoom leaves an empty folder behind
    model, _ = make_manager(tmp_path, name).setup_experiment()
    assert isinstance(model, UDRL)
    assert model.n_envs == SECTIONS[name]["n_envs"]


def test_default_section_serves_environments_that_are_not_listed(tmp_path):
    model, saved = make_manager(tmp_path, "CartPoleNoVel-v1").setup_experiment()
    assert isinstance(model, UDRL)
    assert dict(saved) == SECTIONS["default"]


def test_atari_section_builds_a_model():
    section = dict(SECTIONS["atari"])
    n_stack = section.pop("frame_stack")
    for key in ("env_wrapper", "n_envs", "n_timesteps"):
        section.pop(key, None)
    frames = DummyVecEnv([lambda: FakeImageEnv(screen_height=84, screen_width=84, n_channels=1)])
    model = UDRL(env=VecFrameStack(frames, n_stack), **section)
    assert model.observation_space.shape == (n_stack, 84, 84)


def test_our_file_is_used_only_where_the_zoo_has_none(tmp_path):
    assert make_manager(tmp_path).config == str(hyperparams_path("udrl"))
    assert make_manager(tmp_path, algo="ppo").config.endswith(os.path.join("rl_zoo3", "hyperparams", "ppo.yml"))
    mistyped = str(tmp_path / "hyperparams" / "udrl.yml")
    assert make_manager(tmp_path, config=mistyped).config == mistyped


def test_file_is_found_in_a_wheel_and_in_a_repository(monkeypatch, tmp_path):
    package = tmp_path / "sb3_udrl"
    monkeypatch.setattr(hyperparams, "PACKAGE", package)
    for folder in (tmp_path / "hyperparams", package / "hyperparams"):  # the one in the package comes first
        folder.mkdir(parents=True)
        (folder / "udrl.yml").touch()
        assert hyperparams_path("udrl") == folder / "udrl.yml"


def test_unknown_algorithm_has_no_file():
    with pytest.raises(ValueError, match=r"algo='ppo' has no hyperparameter file. There is one for: .*udrl"):
        hyperparams_path("ppo")


# --------------------------------------------------------------------------------------------------------- search space


def ask(n_actions: int, seed: int) -> tuple[optuna.trial.Trial, dict]:
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=seed))
    trial = study.ask()
    return trial, sample_udrl_params(trial, n_actions, 1, {})


@pytest.mark.parametrize("n_actions", [0, 1])
@pytest.mark.parametrize("seed", range(10))
def test_converter_rebuilds_what_the_sampler_returned(n_actions, seed):
    trial, sampled = ask(n_actions, seed)
    params = dict(trial.params)
    assert convert_udrl_params(trial.params) == sampled
    assert trial.params == params  # the converter must not eat them
    assert ("box_head" in sampled["policy_kwargs"]) == (n_actions > 0)
    wide = sampled["policy_kwargs"].get("box_head") in ("gaussian", "squashed")
    assert ("box_head_kwargs" in sampled["policy_kwargs"]) == wide
    assert trial.user_attrs == {name: sampled[name] for name in trial.user_attrs}


@pytest.mark.parametrize("commands", ["absolute", "relative"])
def test_values_of_a_known_trial(commands):
    suggested = {**SUGGESTED, "commands": commands}
    labels = {name: suggested[name] for name in ("gamma", "gae_lambda", "local_scale", "redistribute_rewards")}
    n_elites = {"n_elites": 20} if commands == "absolute" else {}  # relative commands know no elites
    trial = optuna.trial.FixedTrial(suggested)
    assert sample_udrl_params(trial, 0, 8, {}) == {
        "learning_rate": 1e-3,
        "batch_size": 128,
        "buffer_size": 30_000,
        "train_freq": 125,
        "gradient_steps": 62,
        "replay_buffer_kwargs": {"sampling": "return", "sampling_temperature": 0.3},
        "label_kwargs": {"advantage": labels} if commands == "relative" else None,
        "obedience_kwargs": None,
        "sde_share": 0.0,
        "warm_up": "mixed",
        "temperature": 1.0,
        "commands": commands,
        "command_sampler": "joint",
        "command_sampler_kwargs": {**n_elites, "optimism": 2.0},
        "policy_kwargs": {"net_arch": [128, 128], "conditioning": "linear"},
    }


@pytest.mark.parametrize("env_id, n_actions", [("CartPole-v1", 0), ("Pendulum-v1", 1)])
@pytest.mark.parametrize("seed", range(3))
def test_sampled_values_train(env_id, n_actions, seed):
    _, sampled = ask(n_actions, seed)
    sampled.update(train_freq=100, gradient_steps=1)
    UDRL("CommandPolicy", env_id, learning_starts=200, device="cpu", **sampled).learn(500)


def suggestions(n_actions: int) -> Iterator[dict]:
    """Every kind of commands with every head."""
    for commands, box_head in itertools.product(["absolute", "relative", "any"], HEADS if n_actions else HEADS[:1]):
        of_box = {"box_head": box_head, "min_std": 0.1, "min_std_left": 0.5, "sde_share": 0.3}
        trial = optuna.trial.FixedTrial({**SUGGESTED, **of_box, "commands": commands})
        yield sample_udrl_params(trial, n_actions, 1, {})


@pytest.mark.parametrize("name", SECTIONS)
def test_suggestions_fit_whatever_a_section_says(name, tmp_path, monkeypatch):
    """The Zoo puts one over the other, and where no model comes of it the whole study ends."""
    if name == "TakeCover-v0":
        pytest.importorskip("vizdoom")
        monkeypatch.chdir(tmp_path)  # VizDoom leaves an empty folder behind
    others = {
        "default": lambda: gym.make("CartPole-v1"),
        "atari": lambda: FakeImageEnv(screen_height=84, screen_width=84, n_channels=1),
    }
    env = others.get(name, lambda: gym.make(name))()
    section = {key: value for key, value in SECTIONS[name].items() if key not in OF_THE_ZOO}
    n_actions = env.action_space.shape[0] if isinstance(env.action_space, gym.spaces.Box) else 0
    for sampled in suggestions(n_actions):
        UDRL(env=env, device="cpu", **{**section, **sampled})
    env.close()


def test_obedience_in_a_section_stays_where_something_is_obeyed():
    section = {"policy": "CommandPolicy", "obedience_kwargs": {"temperature": 0.5}}
    for sampled in suggestions(0):
        model = UDRL(env="CartPole-v1", device="cpu", **{**section, **sampled})
        assert model.obedience_kwargs == (section["obedience_kwargs"] if model.commands == "any" else None)


# ------------------------------------------------------------------------------------------------- commands of the Zoo


def test_train_continue_and_enjoy(run_zoo, capsys):
    run_zoo("train", *CARTPOLE, "-n", "300", "--eval-freq", "200", "-f", "logs", "--save-replay-buffer", *TINY)
    model = "logs/udrl/CartPole-v1_1/CartPole-v1.zip"
    assert os.path.getsize("logs/udrl/CartPole-v1_1/replay_buffer.pkl") > 0
    run_zoo("train", *CARTPOLE, "-n", "200", "--eval-freq", "-1", "-f", "logs", "-i", model, *TINY)
    run_zoo("enjoy", *CARTPOLE, "-n", "100", "-f", "logs", "--exp-id", "1", "--load-best", "--no-render")
    assert "Mean reward" in capsys.readouterr().out
    assert UDRL.load(model).num_timesteps >= 300


@pytest.mark.slow
def test_statistics_of_normalization_are_saved_with_the_best_model(run_zoo, tmp_path):
    run_zoo("train", *CARTPOLE, "-n", "300", "--eval-freq", "100", "-f", "logs", *TINY, "normalize:True")
    assert (tmp_path / "logs" / "udrl" / "CartPole-v1_1" / "CartPole-v1" / "vecnormalize.pkl").exists()


FOREST = ["policy:'ForestPolicy'", 'policy_kwargs:"dict(estimator_kwargs=dict(n_estimators=3))"']


@pytest.mark.slow
@pytest.mark.parametrize("policy", [[], FOREST], ids=["network", "forest"])
@pytest.mark.parametrize("with_buffer", [False, True])
def test_continued_training_goes_on_where_it_was(run_zoo, monkeypatch, policy, with_buffer):
    """The Zoo's -i, whose count of steps starts anew: it plays what it learned, and learns at once with the replay buffer."""
    buffer = ["--save-replay-buffer"] if with_buffer else []
    run_zoo("train", *CARTPOLE, "-n", "300", "--eval-freq", "-1", "-f", "logs", *buffer, *TINY, *policy)
    trained = UDRL.load("logs/udrl/CartPole-v1_1/CartPole-v1.zip", device="cpu")
    at_start, setup = [], UDRL._setup_learn

    def spying_setup(model, *args, **kwargs):
        result = setup(model, *args, **kwargs)
        at_start.append((model.warming_up, model.replay_buffer.n_transitions_added, model._running.warm_up.any(), model))
        return result

    monkeypatch.setattr(UDRL, "_setup_learn", spying_setup)
    agent = "logs/udrl/CartPole-v1_1/CartPole-v1.zip"
    run_zoo("train", *CARTPOLE, "-n", "200", "--eval-freq", "-1", "-f", "logs", "-i", agent, *TINY, *policy)
    ((warming_up, n_stored, without_command, model),) = at_start
    assert warming_up is not with_buffer and not without_command
    assert (n_stored > 200) is with_buffer
    assert model._n_updates > trained._n_updates > 0
    assert model.replay_buffer.n_transitions_added > n_stored


@pytest.mark.slow
def test_collectors_make_environments_as_the_zoo_does(run_zoo, tmp_path):
    run_zoo("train", *CARTPOLE, "-n", "800", "--eval-freq", "400", "-f", "logs", *TINY, "collectors:2")
    folder = tmp_path / "logs" / "udrl" / "CartPole-v1_1"
    model = UDRL.load(folder / "CartPole-v1.zip", device="cpu")
    assert model.num_timesteps == 800 and model.collectors == 2
    assert sorted(path.name for path in folder.glob("*.monitor.csv")) == ["0.monitor.csv", "1.monitor.csv"]
    rows = load_results(str(folder))
    assert len(rows) > 10 and 600 < rows["l"].sum() <= 800
    assert np.load(folder / "evaluations.npz")["timesteps"].tolist() == [400, 800]


def test_search_and_train_with_a_trial_of_it(run_zoo):
    study = ["--storage", "study.log", "--study-name", "study"]
    search = ["-optimize", "--n-trials", "2", "--n-startup-trials", "1", "--n-evaluations", "1", "--eval-episodes", "1"]
    run_zoo("train", *CARTPOLE, "-n", "300", "-f", "logs", *study, *search, "--no-optim-plots", *TINY)
    run_zoo("train", *CARTPOLE, "-n", "200", "-f", "logs", *study, "--trial-id", "1", "--eval-freq", "-1")
    with open("logs/udrl/CartPole-v1_2/CartPole-v1/config.yml") as file:
        config = dict(yaml.load(file, Loader=yaml.UnsafeLoader))
    trial = make_manager("logs").load_trial("study.log", "study", 1)
    assert {name: config[name] for name in trial} == trial


def test_the_zoo_works_unchanged_from_any_folder(tmp_path):
    """Needs the package to be installed, with its start-up hook."""
    options = ["-n", "200", "--eval-freq", "-1", "-f", "logs"]
    command = [sys.executable, "-m", "rl_zoo3.train", *CARTPOLE, *options, *TINY]
    environment = {**os.environ, "SB3_UDRL_AUTOLOAD": "1"}
    result = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=120)
    assert result.returncode == 0, result.stderr
    assert (tmp_path / "logs" / "udrl" / "CartPole-v1_1" / "CartPole-v1.zip").is_file()
    assert str(hyperparams_path()) in result.stdout


def test_the_hook_can_be_turned_off(tmp_path):
    command = [sys.executable, "-m", "rl_zoo3.train", *CARTPOLE]
    environment = {**os.environ, "SB3_UDRL_AUTOLOAD": "0"}
    result = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=120)
    assert result.returncode != 0
    assert "invalid choice: 'udrl'" in result.stderr


def test_commands_without_the_hook_list_udrl(run_zoo, capsys):
    with pytest.raises(SystemExit) as exit_:
        run_zoo("train", "--help")
    assert exit_.value.code == 0
    assert "udrl" in capsys.readouterr().out


@pytest.mark.parametrize("arguments", [[], ["--help"]])
def test_usage(run_zoo, capsys, arguments):
    run_zoo(*arguments)
    assert capsys.readouterr().out.startswith("usage: python -m sb3_udrl.zoo COMMAND")


@pytest.mark.parametrize("command", ["trian", "plot.plot_train"])
def test_unknown_command(run_zoo, command):
    with pytest.raises(SystemExit, match=f"COMMAND='{command}' is no module of the RL Zoo"):
        run_zoo(command)


def test_exp_manager_uses_our_search_space():
    assert exp_manager.HYPERPARAMS_SAMPLER["udrl"] is sample_udrl_params
    assert exp_manager.HYPERPARAMS_CONVERTER["udrl"] is convert_udrl_params
