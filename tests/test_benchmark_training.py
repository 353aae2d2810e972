"""One run of a benchmark."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch as th
from stable_baselines3.common.vec_env import unwrap_vec_normalize

from sb3_udrl import UDRL
from sb3_udrl.benchmark import training
from sb3_udrl.benchmark.execution import execute
from sb3_udrl.benchmark.machine import describe_machine, describe_versions, git_revision
from sb3_udrl.benchmark.suite import Run
from sb3_udrl.benchmark.training import Evaluations, build, follow_commands, habits_of, takes, train
from sb3_udrl.commands import Command, make_command_space
from sb3_udrl.evaluation.following import CommandFollowing
from sb3_udrl.obedience import ScoreCard

TINY_UDRL = {"policy": "CommandPolicy", "n_envs": 2, "learning_starts": 100, "train_freq": 20, "gradient_steps": 2}
TINY_PPO = {"policy": "MlpPolicy", "n_envs": 2, "n_steps": 50, "n_epochs": 2, "learning_rate": "lin_0.01"}
RUN = Run("CartPole-v1", "udrl", 1, 300, 100, 2, 3, 2, "CartPole-v1", TINY_UDRL)
PPO_RUN = replace(RUN, algo="ppo", hyperparams=TINY_PPO)


def scores(result):
    return [(e["step"], e["greedy"], e["sampled"]) for e in result["evaluations"]]


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
        model, eval_env, _ = build(run, tmp_path)
        model.learn(run.n_timesteps, callback=Evaluations(run, eval_env))
        return th.nn.utils.parameters_to_vector(model.policy.parameters())

    assert th.equal(weights_after(run), weights_after(replace(run, eval_freq=60, n_eval_episodes=4)))


def test_time_of_evaluations_does_not_count(monkeypatch, tmp_path):
    model, eval_env, _ = build(RUN, tmp_path)
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
    model, eval_env, _ = build(replace(RUN, hyperparams={**TINY_UDRL, "env_kwargs": {"sutton_barto_reward": True}}), tmp_path)
    assert model.env.get_attr("render_mode") == eval_env.get_attr("render_mode") == [None, None]
    assert eval_env.env_method("get_wrapper_attr", "_sutton_barto_reward") == [True, True]
    assert not np.array_equal(model.env.reset(), eval_env.reset())


def test_statistics_of_observations_are_those_of_the_training(tmp_path):
    run = replace(PPO_RUN, hyperparams={**TINY_PPO, "normalize": True})
    model, eval_env, _ = build(run, tmp_path)
    evaluations = Evaluations(run, eval_env)
    model.learn(run.n_timesteps, callback=evaluations)
    evaluations.evaluate(2)
    mine, theirs = unwrap_vec_normalize(eval_env), model.get_vec_normalize_env()
    assert theirs.obs_rms.count > run.n_timesteps
    np.testing.assert_array_equal(mine.obs_rms.mean, theirs.obs_rms.mean)
    assert (mine.training, mine.norm_reward) == (False, False)
    assert evaluations.evaluations[-1]["greedy"]["returns"][0] >= 1  # raw


def test_commands_are_exact_in_evaluations(monkeypatch, tmp_path):
    model, eval_env, _ = build(RUN, tmp_path)
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


GRIDS = {
    "return and horizon": {"return": [20, 40, 60], "horizon": [20, 40, 60]},
    "return": {"return": [20, 40]},
    "horizon": {"horizon": [20]},
}


@pytest.mark.parametrize(
    "commands, taken",
    [
        ("any", ["return and horizon", "return", "horizon"]),
        ("absolute", ["return and horizon", "return", "horizon"]),  # one of them is filled in from experience
        ("relative", []),
        (["return"], ["return"]),
        (["horizon", "return"], ["return and horizon", "return", "horizon"]),
    ],
)
def test_models_are_asked_for_what_they_take(commands, taken):
    model = SimpleNamespace(command_space=make_command_space(commands))
    assert [name for name, grid in GRIDS.items() if takes(model, grid)] == taken


def test_cloning_is_asked_for_nothing():
    model = UDRL("CommandPolicy", "CartPole-v1", commands="absolute", policy_kwargs={"conditioning": "masked"})
    assert not takes(model, {"return": (100.0,)})


def test_models_without_commands_are_asked_for_nothing():
    asked = replace(PPO_RUN, commands=GRIDS)
    record = execute(asked)
    assert (record["status"], record["commands"]) == ("complete", [])
    assert "own_command" not in record and "chosen_mode" not in record


def test_finished_model_is_asked_for_each_grid_greedily_and_by_draws():
    run = replace(RUN, hyperparams={**TINY_UDRL, "commands": "any"}, n_command_episodes=4)
    record = execute(replace(run, commands=GRIDS))
    assert record["error"] is None
    entries = record["commands"]
    assert [(e["name"], e["mode"]) for e in entries] == [(name, mode) for name in GRIDS for mode in ("greedy", "sampled")]
    for entry in entries:
        assert entry["asked"] == GRIDS[entry["name"]]
        for part, asked in entry["asked"].items():
            assert np.shape(entry["achieved"][part]) == (len(asked), 4)
            assert np.min(entry["achieved"][part]) >= 1
    both = entries[0]["achieved"]
    assert both["return"] == both["horizon"]  # in CartPole, each step pays 1
    assert "standard deviations above the usual" in record["own_command"]
    # Nothing else changes, neither scores nor clocks know of it
    assert scores(record) == scores(execute(run))
    assert [set(evaluation) for evaluation in record["evaluations"]] == [
        {"step", "cpu_seconds", "wall_seconds", "greedy", "sampled"}
    ] * 3


def test_what_was_done_is_kept_as_lists_and_the_random_state_as_it_was(monkeypatch):
    calls = []

    def following(model, env, grid, horizons, n_episodes, deterministic):
        calls.append((grid, horizons, n_episodes, deterministic))
        np.random.rand(), th.rand(1)
        achieved = {"return": np.array([[1.0, 2.0], [3.0, 4.0]]), "horizon": np.full((2, 2), 7.0)}
        return CommandFollowing(Command({"return": np.array([5.0, 6.0]), "horizon": np.full(2, np.nan)}), achieved)

    monkeypatch.setattr(training, "command_following", following)
    model = SimpleNamespace(command_space=make_command_space("any"))
    grid = {"return": [5, 6]}
    states = [np.random.get_state()[1].copy(), th.get_rng_state()]
    entries = follow_commands(model, None, replace(RUN, commands={"mine": grid}, n_command_episodes=2))
    np.testing.assert_array_equal(np.random.get_state()[1], states[0])
    assert th.equal(th.get_rng_state(), states[1])
    assert calls == [(grid, None, 2, True), (grid, None, 2, False)]
    done = {"name": "mine", "asked": {"return": [5.0, 6.0]}, "achieved": {"return": [[1.0, 2.0], [3.0, 4.0]]}}
    assert entries == [{**done, "mode": "greedy"}, {**done, "mode": "sampled"}]


@pytest.mark.parametrize(
    "greedy, drawn, mode",
    [(9.0, 5.0, "greedy"), (5.0, 9.0, "sampled")],
)
def test_mode_that_the_score_card_chose(greedy, drawn, mode):
    card = ScoreCard({"return": [10.0, 10.0]}, {"return": [greedy, drawn]}, [True, False])
    assert habits_of(SimpleNamespace(score_card=card)) == {"chosen_mode": mode}
    assert habits_of(SimpleNamespace(score_card=ScoreCard())) == habits_of(SimpleNamespace()) == {}


def test_command_of_its_own_in_words():
    command = make_command_space("absolute").make((150, 50))
    model = SimpleNamespace(command_space=make_command_space("absolute"), policy=SimpleNamespace(own_command=lambda: command))
    assert habits_of(model) == {"own_command": "a return of 150.0 in 50 steps"}
