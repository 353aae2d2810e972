"""UDRLPG in the RL Zoo: hyperparameters, search space, and the Zoo's own commands."""

import argparse
import os
import sys

import gymnasium as gym
import numpy as np
import optuna
import pytest
import rl_zoo3
import yaml
from rl_zoo3.exp_manager import ExperimentManager

from sb3_udrl.udrlpg import UDRLPG
from sb3_udrl.zoo import __main__ as zoo_main
from sb3_udrl.zoo import hyperparams_path, register
from sb3_udrl.zoo.search_space import convert_udrlpg_params, sample_udrlpg_params

SECTIONS = yaml.safe_load(hyperparams_path("udrlpg").read_text())
TINY = ["-params", "n_envs:2", "learning_starts:50", "train_freq:25", "gradient_steps:2", "batch_size:16"]


@pytest.fixture(autouse=True)
def registered():
    register()


def test_the_zoo_knows_it():
    assert rl_zoo3.ALGOS["udrlpg"] is UDRLPG
    assert {"default", "CartPole-v1"} <= set(SECTIONS)


@pytest.mark.parametrize("name", ["CartPole-v1", "Acrobot-v1"])
def test_a_section_builds_a_model_through_the_zoo(name, tmp_path):
    manager = ExperimentManager(argparse.Namespace(), "udrlpg", name, str(tmp_path), device="cpu")
    model, saved = manager.setup_experiment()
    assert isinstance(model, UDRLPG) and model.n_envs == 16
    assert dict(saved) == SECTIONS.get(name, SECTIONS["default"])


def test_every_section_has_arguments_that_exist():
    env = gym.make("CartPole-v1")
    for section in SECTIONS.values():
        arguments = {name: value for name, value in section.items() if name not in ("n_envs", "n_timesteps")}
        UDRLPG(env=env, **arguments)


@pytest.mark.parametrize("seed", range(3))
def test_converter_rebuilds_what_the_sampler_returned_and_it_trains(seed):
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=seed))
    trial = study.ask()
    sampled = sample_udrlpg_params(trial, 0, 1, {})
    assert convert_udrlpg_params(trial.params) == sampled
    assert trial.user_attrs == {name: sampled[name] for name in trial.user_attrs}
    settings = {"learning_starts": 100, "initial_policies": 4, "seed": 0, "device": "cpu"}
    model = UDRLPG("MlpPolicy", "CartPole-v1", **settings, **sampled).learn(1_000)
    assert model._n_updates > 0


@pytest.mark.slow
def test_train_continue_and_enjoy(monkeypatch, tmp_path, capsys):
    monkeypatch.chdir(tmp_path)
    cartpole = ["--algo", "udrlpg", "--env", "CartPole-v1"]

    def run(*arguments):
        monkeypatch.setattr(sys, "argv", ["zoo"])
        monkeypatch.delitem(sys.modules, f"rl_zoo3.{arguments[0]}", raising=False)
        zoo_main.main(list(arguments))

    run("train", *cartpole, "-n", "300", "--eval-freq", "200", "-f", "logs", "--save-replay-buffer", *TINY)
    model = "logs/udrlpg/CartPole-v1_1/CartPole-v1.zip"
    assert os.path.getsize("logs/udrlpg/CartPole-v1_1/replay_buffer.pkl") > 0
    run("train", *cartpole, "-n", "200", "--eval-freq", "-1", "-f", "logs", "-i", model, *TINY)
    run("enjoy", *cartpole, "-n", "100", "-f", "logs", "--exp-id", "1", "--no-render")
    assert "Mean reward" in capsys.readouterr().out
    assert np.isfinite(UDRLPG.load(model).policy.best_weights.numpy()).all()
