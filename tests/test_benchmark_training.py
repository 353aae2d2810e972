"""One run of a benchmark."""

from dataclasses import replace

import numpy as np
import pytest
import torch as th
from stable_baselines3.common.vec_env import unwrap_vec_normalize

from sb3_udrl.benchmark import training
from sb3_udrl.benchmark.machine import describe_machine, describe_versions, git_revision
from sb3_udrl.benchmark.suite import Run
from sb3_udrl.benchmark.training import Evaluations, build, execute, train

TINY_UDRL = {"policy": "CommandPolicy", "n_envs": 2, "learning_starts": 100, "train_freq": 20, "gradient_steps": 2}
TINY_PPO = {"policy": "MlpPolicy", "n_envs": 2, "n_steps": 50, "n_epochs": 2, "learning_rate": "lin_0.01"}
RUN = Run("CartPole-v1", "udrl", 1, 300, 100, 2, 3, 2, "CartPole-v1", TINY_UDRL)
PPO_RUN = replace(RUN, algo="ppo", hyperparams=TINY_PPO)


def scores(evaluations):
    return [(e["step"], e["greedy"], e["sampled"]) for e in evaluations]


@pytest.mark.parametrize("run", [RUN, PPO_RUN], ids=["udrl", "ppo"])
def test_run_is_evaluated_as_often_as_it_says(run):
    record = execute(run)
    assert (record["status"], record["error"]) == ("complete", None)
    evaluations = record["evaluations"]
    assert [evaluation["step"] for evaluation in evaluations] == [100, 200, 300]
    for evaluation, n_episodes in zip(evaluations, (2, 2, 3), strict=True):
        for mode in ("greedy", "sampled"):
            assert evaluation[mode]["returns"] == evaluation[mode]["lengths"]  # in CartPole, each step pays 1
            assert len(evaluation[mode]["returns"]) == n_episodes
    seconds = [evaluation["cpu_seconds"] for evaluation in evaluations]
    assert 0 < seconds[0] < seconds[1] < seconds[2]
    assert record["run"] == run.run_id and record["hyperparams"] == run.hyperparams


def test_same_seed_same_result():
    assert scores(train(RUN)) == scores(train(RUN))
    assert scores(train(RUN)) != scores(train(replace(RUN, seed=2)))


@pytest.mark.parametrize("run", [RUN, PPO_RUN], ids=["udrl", "ppo"])
def test_evaluations_do_not_change_the_training(run, monkeypatch, tmp_path):
    def weights_after(run):
        model, eval_env, _ = build(run, str(tmp_path))
        model.learn(run.n_timesteps, callback=Evaluations(run, eval_env))
        return th.nn.utils.parameters_to_vector(model.policy.parameters())

    assert th.equal(weights_after(run), weights_after(replace(run, eval_freq=60, n_eval_episodes=4)))


def test_time_of_evaluations_does_not_count(monkeypatch, tmp_path):
    model, eval_env, _ = build(RUN, str(tmp_path))
    now = {"cpu": 10.0, "wall": 20.0}
    monkeypatch.setattr(training.time, "process_time", lambda: now["cpu"])
    monkeypatch.setattr(training.time, "perf_counter", lambda: now["wall"])

    def evaluate_slowly(*args, **kwargs):
        now["cpu"] += 100.0
        now["wall"] += 200.0
        return [1.0], [1]

    monkeypatch.setattr(training, "evaluate_policy", evaluate_slowly)
    evaluations = Evaluations(RUN, eval_env)
    evaluations.init_callback(model)
    for _ in range(3):
        now["cpu"] += 1.0
        now["wall"] += 2.0
        evaluations.evaluate(1)
    assert [e["cpu_seconds"] for e in evaluations.evaluations] == [1.0, 2.0, 3.0]
    assert [e["wall_seconds"] for e in evaluations.evaluations] == [2.0, 4.0, 6.0]


def test_environments_do_not_render_and_those_of_the_evaluation_have_seeds_of_their_own(tmp_path):
    model, eval_env, _ = build(
        replace(RUN, hyperparams={**TINY_UDRL, "env_kwargs": {"sutton_barto_reward": True}}), str(tmp_path)
    )
    assert model.env.get_attr("render_mode") == eval_env.get_attr("render_mode") == [None, None]
    assert eval_env.env_method("get_wrapper_attr", "_sutton_barto_reward") == [True, True]
    assert not np.array_equal(model.env.reset(), eval_env.reset())


def test_statistics_of_observations_are_those_of_the_training(tmp_path):
    run = replace(PPO_RUN, hyperparams={**TINY_PPO, "normalize": True})
    model, eval_env, _ = build(run, str(tmp_path))
    evaluations = Evaluations(run, eval_env)
    model.learn(run.n_timesteps, callback=evaluations)
    evaluations.evaluate(2)
    mine, theirs = unwrap_vec_normalize(eval_env), model.get_vec_normalize_env()
    assert theirs.obs_rms.count > run.n_timesteps
    np.testing.assert_array_equal(mine.obs_rms.mean, theirs.obs_rms.mean)
    assert (mine.training, mine.norm_reward) == (False, False)
    assert evaluations.evaluations[-1]["greedy"]["returns"][0] >= 1  # raw


def test_commands_are_exact_in_evaluations(monkeypatch, tmp_path):
    model, eval_env, _ = build(RUN, str(tmp_path))
    model.set_command(50, 60)
    asked = []
    act = model.policy.act

    def spy(observation, command, *args):
        asked.append(command)
        return act(observation, command, *args)

    monkeypatch.setattr(model.policy, "act", spy)
    evaluations = Evaluations(RUN, eval_env)
    evaluations.init_callback(model)
    evaluations.evaluate(2)
    # Untracked, the return would fall by 50 / 60 for each step
    assert [command.desired_return[0] for command in asked[:3]] == [50, 49, 48]


def test_failure_is_recorded():
    record = execute(replace(RUN, hyperparams={**TINY_UDRL, "batch_size": 0}))
    assert record["status"] == "failed"
    assert "Traceback" in record["error"] and "batch_size=0" in record["error"].splitlines()[-1]
    assert record["evaluations"] == []


def test_where_and_with_what():
    assert {"python", "sb3-udrl", "stable_baselines3", "rl_zoo3", "torch", "gymnasium"} <= describe_versions().keys()
    assert "cores" in describe_machine()
    revision = git_revision()
    assert revision is None or len(revision.split("-")[0]) >= 10


def test_no_revision_outside_of_the_repository(monkeypatch):
    def no_git(*args, **kwargs):
        raise FileNotFoundError("git")

    monkeypatch.setattr("subprocess.run", no_git)
    assert git_revision.__wrapped__() is None
