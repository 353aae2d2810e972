"""One run: train as the Zoo does, evaluate in between, measure the time that training takes."""

from __future__ import annotations

import argparse
import contextlib
import io
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch as th
import yaml
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.logger import Logger
from stable_baselines3.common.vec_env import VecEnv, sync_envs_normalization

from sb3_udrl.benchmark.scratch import scratch_folder
from sb3_udrl.benchmark.suite import Grid, Run
from sb3_udrl.commands.command_space import describe
from sb3_udrl.evaluation import command_following, evaluate_policy
from sb3_udrl.evaluation.environments import environment_spec
from sb3_udrl.zoo import register

MODES = {"greedy": True, "sampled": False}


class Evaluations(BaseCallback):
    """
    Evaluates at the first step after every ``eval_freq`` steps, and stops the clocks meanwhile.

    :param run: says how often and how long
    :param eval_env: environment to evaluate in, made as that of the training
    """

    def __init__(self, run: Run, eval_env: VecEnv) -> None:
        super().__init__()
        self.run, self.eval_env = run, eval_env
        self.evaluations: list[dict[str, Any]] = []
        self.next_step = run.eval_freq
        self.started = np.array([time.process_time(), time.perf_counter()])

    def _on_step(self) -> bool:
        # The last evaluation is that of the finished model
        if self.next_step <= self.num_timesteps < self.run.n_timesteps:
            self.evaluate(self.run.n_eval_episodes)
            self.next_step = (self.num_timesteps // self.run.eval_freq + 1) * self.run.eval_freq
        return True

    def evaluate(self, n_episodes: int) -> None:
        """
        Play episodes with greedy and with sampled actions.

        :param n_episodes: number of episodes of each kind
        """
        paused = np.array([time.process_time(), time.perf_counter()])
        cpu_seconds, wall_seconds = (paused - self.started).round(4).tolist()
        evaluation = {"step": self.model.num_timesteps, "cpu_seconds": cpu_seconds, "wall_seconds": wall_seconds}
        sync_envs_normalization(self.training_env, self.eval_env)
        with random_state_kept():
            for mode, deterministic in MODES.items():
                returns, lengths = evaluate_policy(
                    self.model, self.eval_env, n_episodes, deterministic, return_episode_rewards=True
                )
                evaluation[mode] = {"returns": np.asarray(returns).tolist(), "lengths": np.asarray(lengths).tolist()}
        self.evaluations.append(evaluation)
        self.started += np.array([time.process_time(), time.perf_counter()]) - paused


@contextlib.contextmanager
def random_state_kept() -> Iterator[None]:
    """Leave the global generators as they were, so that training goes on as if it had not been evaluated."""
    numpy_state = np.random.get_state()
    with th.random.fork_rng(devices=[]):
        yield
    np.random.set_state(numpy_state)


def build(run: Run, folder: Path) -> tuple[BaseAlgorithm, VecEnv, list[BaseCallback]]:
    """
    Make model and environments through the Zoo.

    :param run: the run
    :param folder: folder for the Zoo's files
    :return: the model, the environment for evaluation, and the callbacks that the hyperparameters name
    """
    register()
    from rl_zoo3.exp_manager import ExperimentManager

    config = folder / "hyperparams.yml"
    env_id = environment_spec(run.environment).id  # imports the module of module:id, which the Zoo does not know
    # The Zoo wants a budget in the file
    config.write_text(yaml.safe_dump({env_id: {**run.hyperparams, "n_timesteps": run.n_timesteps}}), encoding="utf-8")
    env_kwargs = run.hyperparams.get("env_kwargs")
    with contextlib.redirect_stdout(io.StringIO()):  # the Zoo prints, however low its verbosity
        manager = ExperimentManager(
            argparse.Namespace(),
            run.algo,
            env_id,
            str(folder),
            n_timesteps=run.n_timesteps,
            eval_freq=-1,
            env_kwargs=env_kwargs,
            eval_env_kwargs=env_kwargs,
            seed=run.seed,
            verbose=0,
            device="cpu",
            config=str(config),
        )
        experiment = manager.setup_experiment()
        assert experiment is not None  # it is None in searches alone
        eval_env = manager.create_envs(run.n_eval_envs, eval_env=True)
    model = experiment[0]
    eval_env.seed(1_000_000 + 1_000 * run.seed)  # far from the seeds of the training environments
    return model, eval_env, manager.callbacks


def warm_up_torch() -> None:
    """The first optimizer step of a process imports much of PyTorch, which is not the algorithm's time."""
    parameter = th.nn.Parameter(th.zeros(1))
    optimizer = th.optim.Adam([parameter])
    parameter.sum().backward()
    optimizer.step()


def takes(model: Any, grid: Grid) -> bool:
    """
    :param model: a model of any algorithm
    :param grid: values by part
    :return: whether it can be asked for these parts, and hears what it is asked: cloning does not
    """
    space = getattr(model, "command_space", None)
    hears = getattr(model, "policy_kwargs", {}).get("conditioning") != "masked"
    return space is not None and hears and set(grid) <= set(space.names)


def follow_commands(model: Any, eval_env: VecEnv, run: Run) -> list[dict[str, Any]]:
    """
    Ask a finished model for the grids that it takes, with greedy and with sampled actions.

    :param model: a model of any algorithm
    :param eval_env: environment to play in, with the statistics of the training
    :param run: the grids, and how many episodes each command gets
    :return: an entry per grid and mode: ``name``, ``mode``, and by part ``asked``, ``(n_commands,)``, and ``achieved``,
        ``(n_commands, n_episodes)``, as lists
    """
    entries = []
    for name, grid in run.commands.items():
        for mode, deterministic in MODES.items() if takes(model, grid) else ():
            with random_state_kept():
                following = command_following(model, eval_env, grid, None, run.n_command_episodes, deterministic)
            parts = {part: following.of(part) for part in following.parts}
            asked = {part: values.desired.tolist() for part, values in parts.items()}
            achieved = {part: values.achieved.tolist() for part, values in parts.items()}
            entries.append({"name": name, "mode": mode, "asked": asked, "achieved": achieved})
    return entries


def habits_of(model: Any) -> dict[str, Any]:
    """
    What a finished model does when nobody tells it.

    :param model: a model of any algorithm
    :return: the command that it begins with, in words, as ``own_command``; and as ``chosen_mode`` the kind of actions that
        its score card shows to obey better; each where there is one
    """
    habits = {}
    if getattr(model, "command_space", None) is not None:
        habits["own_command"] = describe(model.policy.own_command())
    card = getattr(model, "score_card", None)
    if card is not None and len(card) > 0:
        habits["chosen_mode"] = "greedy" if card.obeys_greedily() else "sampled"
    return habits


def train(run: Run) -> dict[str, Any]:
    """
    Train and evaluate.

    :param run: the run
    :return: ``evaluations``, with the seconds of training so far: of this process, all threads, and of the clock;
        ``commands``, see :func:`follow_commands`; and :func:`habits_of` the model
    """
    th.set_num_threads(1)
    warm_up_torch()
    with scratch_folder() as folder:
        model, eval_env, callbacks = build(run, folder)
        model.set_logger(Logger(folder=None, output_formats=[]))  # SB3's default leaves a folder among the temporary files
        evaluations = Evaluations(run, eval_env)
        model.learn(run.n_timesteps, callback=[*callbacks, evaluations])
        evaluations.evaluate(run.n_final_episodes)
        commands = follow_commands(model, eval_env, run)
        eval_env.close()
        assert model.env is not None
        model.env.close()
    return {"evaluations": evaluations.evaluations, "commands": commands, **habits_of(model)}
