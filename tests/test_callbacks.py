"""SB3's callbacks work with UDRL as with every other algorithm."""

import numpy as np
import pytest
import torch as th
from helpers import DEVICE, Recorder, make_vec, tiny_model
from probe_envs import Scripted
from stable_baselines3.common.callbacks import (
    BaseCallback,
    CallbackList,
    CheckpointCallback,
    EvalCallback,
    EveryNTimesteps,
    LogEveryNTimesteps,
    StopTrainingOnMaxEpisodes,
    StopTrainingOnNoModelImprovement,
    StopTrainingOnRewardThreshold,
)

from sb3_udrl import UDRL


def test_all_at_once(tmp_path):
    eval_env = make_vec(Scripted)
    improvement = StopTrainingOnNoModelImprovement(max_no_improvement_evals=100)
    evaluation = EvalCallback(
        eval_env,
        callback_on_new_best=StopTrainingOnRewardThreshold(10**9),
        callback_after_eval=improvement,
        best_model_save_path=tmp_path / "best",
        log_path=tmp_path / "logs",
        eval_freq=50,
        n_eval_episodes=2,
        verbose=0,
    )
    checkpoint = CheckpointCallback(100, tmp_path / "checkpoints", save_replay_buffer=True)
    every = EveryNTimesteps(75, Recorder(lambda callback: None))
    log = LogEveryNTimesteps(64)
    model = tiny_model(make_vec(Scripted)).learn(200, callback=[checkpoint, evaluation, every, log])
    assert {file.name for file in (tmp_path / "checkpoints").iterdir()} == {
        f"rl_model_{kind}{n}_steps.{suffix}" for n in (100, 200) for kind, suffix in (("", "zip"), ("replay_buffer_", "pkl"))
    }
    assert np.load(tmp_path / "logs" / "evaluations.npz")["results"].shape == (4, 2)
    assert evaluation.n_calls == checkpoint.n_calls == model.num_timesteps == 200
    assert improvement.parent is evaluation
    best = UDRL.load(tmp_path / "best" / "best_model", device=DEVICE)
    assert best.predict(np.zeros(2, np.float32))[0] in (0, 1)


def test_locals_are_those_that_callbacks_of_sb3_read():
    seen = []

    def look(callback):
        local = callback.locals
        assert local["self"] is callback.model
        assert local["new_obs"].shape == (2, 2)
        for name in ("rewards", "dones", "infos", "actions"):
            assert len(local[name]) == 2, name
        seen.append(id(local["new_obs"]))
        assert callback.n_calls == len(seen)
        assert callback.num_timesteps == 2 * len(seen)

    tiny_model(make_vec(Scripted, 2)).learn(64, callback=Recorder(look))
    assert len(seen) == 32


def test_total_timesteps_is_where_progress_bars_look_for_it():
    totals = []

    class Starts(BaseCallback):
        def _on_training_start(self):
            totals.append(self.locals["total_timesteps"])

        def _on_step(self):
            return True

    model = tiny_model(make_vec(Scripted)).learn(64, callback=Starts())
    model.learn(36.0, callback=Starts(), reset_num_timesteps=False)
    assert totals == [64, 100]


def test_events_come_in_their_order():
    class Events(BaseCallback):
        def __init__(self):
            super().__init__()
            self.seen = []

        def _on_training_start(self):
            self.seen.append("training start")

        def _on_rollout_start(self):
            self.seen.append("rollout start")

        def _on_step(self):
            self.seen.append("step")
            return True

        def _on_rollout_end(self):
            self.seen.append("rollout end")

        def _on_training_end(self):
            self.seen.append("training end")

    events = Events()
    tiny_model(make_vec(Scripted), train_freq=2).learn(4, callback=events)
    rollout = ["rollout start", "step", "step", "rollout end"]
    assert events.seen == ["training start", *rollout, *rollout, "training end"]


def test_functions_as_callbacks():
    calls = []
    tiny_model(make_vec(Scripted)).learn(64, callback=lambda local, _: calls.append(local["new_obs"]) or True)
    assert len(calls) == 64
    tiny_model(make_vec(Scripted)).learn(20, callback=None)


@pytest.mark.parametrize("answer", [False, np.bool_(False), th.tensor(False)], ids=type)
def test_a_callback_may_stop_at_the_first_step(answer):
    class Stop(BaseCallback):
        def _on_step(self):
            return answer

    model = tiny_model(make_vec(Scripted, 2)).learn(1000, callback=Stop())
    assert model.num_timesteps == 2


def test_progress_bar():
    pytest.importorskip("tqdm")
    pytest.importorskip("rich")
    assert tiny_model(make_vec(Scripted)).learn(50, progress_bar=True).num_timesteps == 50


def test_a_number_of_episodes_stops_within_a_rollout():
    """Two environments, episodes of 10 steps: after ten episodes each, 100 steps have been taken in each."""
    model = tiny_model(make_vec(Scripted, 2, lengths=(10,)), train_freq=1000)
    model.learn(10**6, callback=StopTrainingOnMaxEpisodes(max_episodes=10))
    assert model.num_timesteps == 200


def test_callbacks_may_use_the_model_while_it_collects():
    """Predicting, evaluating and saving in between does not disturb the run."""

    def disturb(callback):
        callback.model.predict(callback.locals["new_obs"], deterministic=True)

    first = tiny_model(make_vec(Scripted)).learn(100)
    second = tiny_model(make_vec(Scripted)).learn(100, callback=CallbackList([Recorder(disturb)]))
    for mine, its in zip(first.policy.parameters(), second.policy.parameters(), strict=True):
        assert (mine == its).all()
