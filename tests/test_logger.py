"""What is logged, and that it is right."""

import csv
import json
import time

import gymnasium as gym
import numpy as np
import pytest
from helpers import make_vec, obeying_model, tiny_model
from probe_envs import Scripted
from stable_baselines3.common.logger import configure
from stable_baselines3.common.monitor import Monitor

from sb3_udrl.commands import FixedCommands

ALWAYS = {"time/iterations", "time/fps", "time/time_elapsed", "time/total_timesteps"}
AFTER_EPISODES = {
    "rollout/ep_rew_mean",
    "rollout/ep_len_mean",
    "buffer/n_episodes",
    "buffer/n_transitions",
    "buffer/return_mean",
    "buffer/return_max",
    "buffer/length_mean",
    "command/eval_return",
    "command/eval_horizon",
}
AFTER_TRAINING = {"train/loss", "train/accuracy", "train/learning_rate", "train/n_updates", "train/fit_time"}
AFTER_COMMANDS = {
    "command/desired_return",
    "command/desired_horizon",
    "command/achieved_return",
    "command/achieved_horizon",
    "command/return_error",
    "command/horizon_error",
}


def logged(model, tmp_path, n_timesteps, **kwargs):
    model.set_logger(configure(str(tmp_path), ["csv", "json"]))
    model.learn(n_timesteps, **kwargs)
    model.logger.close()
    with open(tmp_path / "progress.csv") as file:
        rows = [{key: float(value) for key, value in row.items() if value} for row in csv.DictReader(file)]
    with open(tmp_path / "progress.json") as file:
        assert len(file.readlines()) == len(rows)
    return rows


def test_figures_by_hand(tmp_path):
    """Episodes of 4 steps and a return of 10; asked for are 12 in 3 steps."""
    model = obeying_model(make_vec(Scripted, lengths=(4,), rewards=(1, 2, 3, 4)), train_freq=8, gradient_steps=2)
    rows = logged(model, tmp_path, 64, callback=FixedCommands(12, 3))
    assert len(rows) == 8
    first, last = rows[0], rows[-1]
    assert ALWAYS | AFTER_EPISODES <= set(first)
    assert not (AFTER_TRAINING | AFTER_COMMANDS) & set(first)
    assert ALWAYS | AFTER_EPISODES | AFTER_TRAINING | AFTER_COMMANDS <= set(last)
    assert [row["time/total_timesteps"] for row in rows] == list(range(8, 72, 8))
    assert [row["time/iterations"] for row in rows] == list(range(1, 9))
    assert [row.get("train/n_updates") for row in rows] == [None] * 3 + [2, 4, 6, 8, 10]
    assert [row["buffer/n_episodes"] for row in rows] == list(range(2, 18, 2))
    expected = {
        "rollout/ep_rew_mean": 10,
        "rollout/ep_len_mean": 4,
        "buffer/n_transitions": 64,
        "buffer/return_mean": 10,
        "buffer/return_max": 10,
        "buffer/length_mean": 4,
        "command/eval_return": 12,
        "command/eval_horizon": 3,
        "command/desired_return": 12,
        "command/desired_horizon": 3,
        "command/achieved_return": 10,
        "command/achieved_horizon": 4,
        "command/return_error": 2,
        "command/horizon_error": 1,
        "train/learning_rate": model.learning_rate,
    }
    for key, value in expected.items():
        assert last[key] == pytest.approx(value), key


def test_errors_are_averaged_over_episodes(tmp_path):
    """Returns 1 and 5 in turn, asked for is 3: errors of 2, though the mean is right."""
    env = make_vec(Scripted, lengths=(1, 2), rewards=(1, 4))
    last = logged(tiny_model(env, train_freq=12), tmp_path, 120, callback=FixedCommands(3, 1))[-1]
    assert last["command/achieved_return"] == pytest.approx(3, abs=0.1)
    assert last["command/return_error"] == pytest.approx(2)
    assert last["command/horizon_error"] == pytest.approx(0.5, abs=0.05)


def test_before_any_episode(tmp_path):
    rows = logged(tiny_model(make_vec(Scripted, lengths=(100,)), train_freq=10), tmp_path, 20)
    assert set(rows[0]) == ALWAYS | {
        "buffer/n_episodes",
        "buffer/n_transitions",
        "command/eval_return",
        "command/eval_horizon",
    }


def test_continuous_actions_have_an_error_instead_of_an_accuracy(tmp_path):
    env = make_vec(Scripted, action_space=gym.spaces.Box(-1, 1, (2,)))
    last = logged(tiny_model(env), tmp_path, 64)[-1]
    assert 0 < last["train/mean_abs_error"] < 2 and "train/accuracy" not in last


def test_training_to_convergence_logs_the_held_out_loss(tmp_path):
    last = logged(tiny_model(make_vec(Scripted), patience=1), tmp_path, 64)[-1]
    assert last["train/validation_loss"] > 0


@pytest.mark.parametrize(("log_interval", "n_rows"), [(1, 8), (3, 2), (None, 0)])
def test_log_interval(tmp_path, log_interval, n_rows):
    model = tiny_model(make_vec(Scripted), train_freq=8)
    if n_rows:
        assert len(logged(model, tmp_path, 64, log_interval=log_interval)) == n_rows
    else:
        model.set_logger(configure(str(tmp_path), ["json"]))
        model.learn(64, log_interval=None)
        assert (tmp_path / "progress.json").read_text() == ""


def test_success_rate(tmp_path):
    class Succeeding(Scripted):
        """Every second episode is a success."""

        def step(self, action):
            *others, _ = super().step(action)
            return *others, {"is_success": self.n_episodes % 2 == 0}

    last = logged(tiny_model(make_vec(Succeeding, lengths=(2,)), train_freq=8), tmp_path, 64)[-1]
    assert last["rollout/success_rate"] == 0.5


def test_statistics_window():
    model = tiny_model(make_vec(Scripted, lengths=(2,)), stats_window_size=5).learn(64)
    assert model.ep_info_buffer.maxlen == model.outcomes.rows.maxlen == 5
    assert len(model.ep_info_buffer) == 5
    assert tiny_model(make_vec(Scripted)).learn(10).ep_info_buffer.maxlen == 100


class Slow(gym.Wrapper):
    """No step takes less than a millisecond, so that no more than 1,000 of them fit into a second."""

    def step(self, action):
        time.sleep(0.001)
        return self.env.step(action)


@pytest.mark.parametrize("reset_num_timesteps", [True, False])
def test_steps_per_second_count_only_this_run(tmp_path, reset_num_timesteps):
    model = tiny_model(Slow(Monitor(Scripted())), train_freq=32)
    model.learn(64)
    rows = logged(model, tmp_path, 64, reset_num_timesteps=reset_num_timesteps)
    assert all(0 < row["time/fps"] <= 1000 for row in rows)


def test_a_clock_that_stands_still_is_no_error(monkeypatch):
    monkeypatch.setattr(time, "time_ns", lambda: 1)
    tiny_model(make_vec(Scripted)).learn(40)


def test_dump_logs_is_there_for_callbacks(tmp_path):
    model = tiny_model(make_vec(Scripted)).learn(64)
    model.set_logger(configure(str(tmp_path), ["json"]))
    model.dump_logs()
    assert json.loads((tmp_path / "progress.json").read_text())["time/total_timesteps"] == 64


def test_tensorboard_runs_are_numbered(tmp_path):
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    model = tiny_model(make_vec(Scripted), tensorboard_log=str(tmp_path)).learn(64)
    model.learn(64)
    model.learn(64, tb_log_name="other")
    model.learn(64, tb_log_name="other", reset_num_timesteps=False)
    assert sorted(folder.name for folder in tmp_path.iterdir()) == ["UDRL_1", "UDRL_2", "other_1"]
    events = EventAccumulator(str(tmp_path / "UDRL_1"))
    events.Reload()
    keys = set(events.Tags()["scalars"])
    assert {"train/loss", "rollout/ep_rew_mean", "command/return_error", "buffer/n_episodes"} <= keys
    assert [event.step for event in events.Scalars("buffer/n_episodes")] == [32, 64]


def test_verbose_prints_a_table(capsys):
    tiny_model(make_vec(Scripted), verbose=1).learn(64)
    printed = capsys.readouterr().out
    assert "ep_rew_mean" in printed and "desired_return" in printed
    tiny_model(make_vec(Scripted), verbose=0).learn(64)
    assert capsys.readouterr().out == ""


def test_buffer_figures_are_those_of_the_buffer(tmp_path):
    model = tiny_model(make_vec(Scripted, 2, lengths=(3, 5)))
    last = logged(model, tmp_path, 128)[-1]
    assert last["buffer/return_max"] == model.replay_buffer.returns.max()
    assert last["buffer/return_mean"] == pytest.approx(model.replay_buffer.returns.mean(), rel=1e-5)
    assert last["buffer/length_mean"] == pytest.approx(np.mean(model.replay_buffer.lengths), rel=1e-5)
