"""Collectors: who plays elsewhere plays as the model would, and each episode counts once, whoever is lost."""

import os
import signal
import time
from concurrent.futures import Future
from functools import partial
from types import SimpleNamespace

import numpy as np
import pytest
from helpers import Recorder, assert_same_parameters, make_vec, parameters_of, tiny_model
from probe_envs import FixedStart, Scripted, TellingArms
from stable_baselines3.common.callbacks import CheckpointCallback, EvalCallback, StopTrainingOnMaxEpisodes
from stable_baselines3.common.monitor import load_results
from stable_baselines3.common.vec_env import SubprocVecEnv, VecNormalize

from sb3_udrl import UDRL
from sb3_udrl.collectors import Collector, Upcoming, collectors, made_by
from sb3_udrl.commands import QuantileCommands, make_command
from sb3_udrl.common.made_envs import maker_of
from sb3_udrl.common.running import Order
from sb3_udrl.recordings import RecordEpisodes

SYNCHRONOUS = {"synchronous": True}


class Lost(Exception):
    """A collector is gone."""


class AtHand:
    """Collectors in this process, which can be lost at any call; copies of theirs are new ones."""

    def __init__(self, n, recipe):
        self.recipe, self.players = recipe, [Collector(recipe) for _ in range(n)]
        self.calls, self.lose = [], lambda index, call: False

    def share(self, weights):
        return weights

    def submit(self, index, method, *args):
        self.calls.append((index, method))
        future = Future()
        try:
            if self.lose(index, len(self.calls)):
                raise Lost
            future.set_result(getattr(self.players[index], method)(*args))
        except Exception as error:
            future.set_exception(error)
        return future

    def is_loss(self, error):
        return isinstance(error, Lost)

    def replace(self, index):
        self.players[index] = Collector(self.recipe)

    def close(self):
        self.players = []


@pytest.fixture
def at_hand(monkeypatch):
    """Collectors without processes of their own: fast, and nothing of them is left to chance."""
    monkeypatch.setattr(collectors, "Processes", AtHand)
    monkeypatch.setattr(collectors, "MOST_STEPS", 10)


def make(env_class=FixedStart, n_envs=2, **kwargs):
    return partial(make_vec, env_class, n_envs, **kwargs)


def model_with(n, collector_kwargs=None, env=None, **kwargs):
    return tiny_model(env or make(), collectors=n, collector_kwargs=collector_kwargs, **kwargs)


def assert_same_training(first, second):
    assert_same_parameters(parameters_of(first), parameters_of(second))
    assert first.num_timesteps == second.num_timesteps
    np.testing.assert_array_equal(first.replay_buffer.returns, second.replay_buffer.returns)
    assert list(first.ep_info_buffer)[-1]["r"] == list(second.ep_info_buffer)[-1]["r"]


# One who plays elsewhere plays as the model itself does

KINDS = {
    "absolute": {},
    "any": {"commands": "any", "obedience_kwargs": {"practice_start": 0.2}},
    "mixed": {"warm_up": "mixed", "epsilon": [0.0, 0.3], "temperature": [0.5, 1.0]},
    "episodes": {"train_freq": (3, "episode")},
    "widened": {"env": make(TellingArms), "learning_starts": 4, "train_freq": 4},
    "own sampler": {"command_sampler": "quantile"},
}


@pytest.mark.parametrize("kind", KINDS)
def test_one_synchronous_collector_changes_nothing(at_hand, kind):
    kwargs = {"env": make(), **KINDS[kind]}
    alone, other = model_with(0, **kwargs).learn(400), model_with(1, SYNCHRONOUS, **kwargs).learn(400)
    assert_same_training(alone, other)
    assert_same_training(alone.learn(200, reset_num_timesteps=False), other.learn(200, reset_num_timesteps=False))
    assert_same_training(alone.learn(200), other.learn(200))


@pytest.mark.slow
def test_one_synchronous_process_changes_nothing():
    kwargs = {"env": make(), "commands": "any"}
    assert_same_training(model_with(0, **kwargs).learn(400), model_with(1, SYNCHRONOUS, **kwargs).learn(400))


@pytest.mark.slow
def test_processes_play_and_those_that_are_killed_start_again():
    model = model_with(2, env=make(Scripted, lengths=(5, 8)), gradient_steps=0)
    killed = []

    def kill(callback):
        seat = model._collectors._seats[0]
        if not killed:
            killed.append(model._collectors.pids()[0])
            os.kill(killed[0], signal.SIGKILL)
        return not (seat.life == 1 and model._running is seat.running)  # until the next one plays

    with pytest.warns(UserWarning, match="collector 0 was lost"):
        model.learn(10**7, callback=Recorder(kill))
    assert_episodes_are_whole(model)
    assert killed[0] not in model._collectors.pids()
    pids = model._collectors.pids()
    model._collectors.close()
    assert all(gone(pid) for pid in pids)


def gone(pid, seconds=60):
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return True
        time.sleep(0.1)
    return False


# Each episode and each step counts once


def assert_episodes_are_whole(model):
    """Those of ``Scripted`` say which episode and step they are of."""
    buffer = model.replay_buffer
    assert buffer.n_episodes > 0
    for index in range(buffer.n_episodes):
        episode = buffer.episode(index)
        number, steps = episode.observations[:, 0], episode.observations[:, 1]
        assert len(set(number.tolist())) == 1 and steps.tolist() == list(range(len(steps)))
        assert episode.rewards.tolist() == (10 * number + steps + 1).tolist()
        assert len(episode) in (5, 8)


@pytest.mark.parametrize("kwargs", [None, SYNCHRONOUS])
def test_every_step_is_counted_and_every_episode_is_stored_once(at_hand, kwargs):
    model = model_with(3, kwargs, make(Scripted, lengths=(5, 8)))
    steps, ends = [], []

    def look(callback):
        steps.append(callback.num_timesteps)
        ends.extend(info["episode"]["r"] for info in callback.locals["infos"] if "episode" in info)

    model.learn(500, callback=Recorder(look))
    assert steps == list(range(2, 502, 2))
    assert_episodes_are_whole(model)
    assert model.replay_buffer.returns.tolist() == pytest.approx(ends)
    assert model.replay_buffer.n_episodes_added == len(ends)
    running = sum(int(seat.running.recorder.n_steps.sum()) for seat in model._collectors._seats)
    assert model.replay_buffer.n_transitions_added + running == 500


@pytest.mark.parametrize("kwargs", [None, SYNCHRONOUS])
@pytest.mark.parametrize("sampler", ["adaptive", "looking"])
def test_whoever_is_lost_nothing_else_is(at_hand, kwargs, sampler, monkeypatch):
    monkeypatch.setattr(collectors, "_MOST_LOSSES", 20)
    rng = np.random.default_rng(0)
    model = model_with(2, kwargs, make(Scripted, lengths=(5, 8)), command_sampler={"looking": Looking}.get(sampler, sampler))
    model._setup_learn(10)
    model._collectors._backend.lose = lambda index, call: rng.random() < 0.2
    ends, lost = [], []

    def look(callback):
        ends.extend(info["episode"]["r"] for info in callback.locals["infos"] if "episode" in info)
        lost.append(sum(seat.life for seat in model._collectors._seats))

    with pytest.warns(UserWarning, match="was lost"):
        model.learn(1_000, callback=Recorder(look), reset_num_timesteps=False)
    assert lost[-1] > 5 and len(lost) == 500 and model.num_timesteps == 1_000
    assert_episodes_are_whole(model)
    assert 0 < model.replay_buffer.n_episodes <= len(ends)
    assert set(model.replay_buffer.returns.tolist()) <= set(ends)
    players = model._collectors._backend.players
    assert {player._model.rng is model.rng for player in players} == {False}


def test_a_collector_that_is_always_lost_is_an_error(at_hand):
    model = model_with(1)
    model._setup_learn(10)
    model._collectors._backend.lose = lambda index, call: True
    with pytest.warns(UserWarning), pytest.raises(RuntimeError, match="lost 4 times before it played a step"):
        model.learn(100)


def test_errors_of_environments_are_errors_of_learn(at_hand):
    class Breaks(FixedStart):
        def step(self, action):
            raise ZeroDivisionError("broken on purpose")

    with pytest.raises(ZeroDivisionError, match="broken on purpose"):
        model_with(1, env=make(Breaks)).learn(100)


def test_after_an_interruption_episodes_start_over(at_hand, n=2):
    model = model_with(n, env=make(Scripted, lengths=(5, 8)))

    def interrupt(callback):
        if callback.num_timesteps == 120:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        model.learn(500, callback=Recorder(interrupt))
    model.learn(500, reset_num_timesteps=False)
    assert_episodes_are_whole(model)


def test_after_an_interruption_in_the_environment_here_episodes_start_over_too():
    test_after_an_interruption_episodes_start_over(None, n=0)


# Orders


class Looking(QuantileCommands):
    """Asks for what it sees: the number of the episode."""

    def sample(self, observations):
        assert (observations[:, 1] == 0).all(), "not a first observation"
        return make_command(observations[:, 0].astype(float), 5.0, len(observations))


def test_samplers_that_look_see_the_first_observations(at_hand):
    model = model_with(3, env=make(Scripted, lengths=(5, 8)), command_sampler=Looking)
    model.learn(800)
    asked, achieved = model.outcomes.asked("return"), model.outcomes.achieved("horizon")
    assert len(asked) > 20 and set(achieved) == {5.0, 8.0}
    returns = model.outcomes.achieved("return")  # of episode e: 10 e T + T (T + 1) / 2
    np.testing.assert_allclose(returns, 10 * asked * achieved + achieved * (achieved + 1) / 2)


def test_who_draws_anew_does_not_draw_in_advance():
    assert QuantileCommands.in_advance and not Looking.in_advance

    class Narrow(QuantileCommands):
        pass

    assert Narrow.in_advance


def test_orders_go_out_in_sequence_and_environments_wait_without():
    running = SimpleNamespace(starts=np.zeros(3, bool), obey=lambda env, order: obeyed.append((env, order.command)))
    obeyed, upcoming = [], Upcoming(running)
    upcoming.add([Order(name, False, np.nan) for name in "ab"])
    upcoming.end(np.array([False, True, True]))
    assert obeyed == [(1, "a"), (2, "b")] and not upcoming.waiting.any()
    upcoming.end(np.array([True, False, True]))
    assert upcoming.waiting.tolist() == [True, False, True]
    upcoming.add([Order(name, False, np.nan) for name in "cde"])
    assert obeyed[2:] == [(0, "c"), (2, "d")] and [order.command for order in upcoming.orders] == ["e"]


def test_commands_are_asked_of_collectors_and_outcomes_come_back(at_hand):
    model = model_with(2, command_sampler="fixed", command_sampler_kwargs={"desired_return": 3.0, "desired_horizon": 8})
    model.learn(600)
    assert len(model.outcomes) > 10 and set(model.outcomes.asked("return")) == {3.0}
    assert all((player._model._running.asked["return"] == 3).all() for player in model._collectors._backend.players)


def test_collectors_and_starts_play_differently(at_hand):
    model = model_with(2, SYNCHRONOUS, make(TellingArms))
    model.learn(64)
    first, second = (seat.running.recorder for seat in model._collectors._seats)
    assert model._collectors._backend.players[0]._model.seed != model._collectors._backend.players[1]._model.seed
    assert first is not second
    assert_same_training(model, model_with(2, SYNCHRONOUS, make(TellingArms)).learn(64))


# Callbacks and files


def test_callbacks_come_as_often_as_without(at_hand, tmp_path):
    evaluation = EvalCallback(make_vec(FixedStart), eval_freq=50, n_eval_episodes=2, log_path=str(tmp_path), verbose=0)
    checkpoints = CheckpointCallback(80, str(tmp_path), save_replay_buffer=True)
    model_with(2).learn(400, callback=[evaluation, checkpoints])
    assert evaluation.evaluations_timesteps == [100, 200, 300, 400]
    assert sorted(path.name for path in tmp_path.glob("*.zip")) == ["rl_model_160_steps.zip", "rl_model_320_steps.zip"]

    model = UDRL.load(tmp_path / "rl_model_320_steps", env=make(), device="cpu")
    model.load_replay_buffer(tmp_path / "rl_model_replay_buffer_320_steps")
    assert model.collectors == 2 and model.num_timesteps == 320 and model.replay_buffer.n_episodes > 20
    model.learn(80, reset_num_timesteps=False)
    assert model.num_timesteps == 400 and not any(seat.running.warm_up.any() for seat in model._collectors._seats)


def test_who_would_hear_nothing_says_so(at_hand, tmp_path):
    with pytest.raises(ValueError, match="RecordEpisodes hears the environment of the model"):
        model_with(1).learn(100, callback=RecordEpisodes(tmp_path / "episodes"))


def test_a_callback_stops_training(at_hand):
    model = model_with(2, env=make(Scripted, lengths=(5, 8)))
    model.learn(1_000, callback=StopTrainingOnMaxEpisodes(5))
    stopped = model.num_timesteps
    assert 0 < stopped < 200
    model.learn(200, reset_num_timesteps=False)
    assert model.num_timesteps == stopped + 200
    assert_episodes_are_whole(model)


def test_going_on_from_files_repeats_what_one_collector_does(at_hand, tmp_path):
    whole = model_with(0).learn(160).learn(160, reset_num_timesteps=False)
    part = model_with(1, SYNCHRONOUS).learn(160)
    part.save(tmp_path / "model")
    part.save_replay_buffer(tmp_path / "buffer")
    model = UDRL.load(tmp_path / "model", env=make(), device="cpu")
    model.load_replay_buffer(tmp_path / "buffer")
    assert_same_training(model.learn(160, reset_num_timesteps=False), whole)


def test_monitor_files_hold_each_episode_once(at_hand, tmp_path):
    from stable_baselines3.common.env_util import make_vec_env

    def make_logged():
        return make_vec_env(lambda: Scripted(lengths=(5, 8)), 2, monitor_dir=str(tmp_path))

    model = model_with(2, env=make_logged).learn(500)
    rows = load_results(str(tmp_path))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["0.monitor.csv", "1.monitor.csv"]
    assert sorted(rows["r"]) == pytest.approx(sorted(model.replay_buffer.returns))
    assert (rows["t"] >= 0).all()


# Environments


def test_environments_know_how_they_are_made():
    assert maker_of(model_with(0, env="CartPole-v1").get_env()) is not None
    assert maker_of(tiny_model(make_vec(FixedStart)).get_env()) is None
    model = tiny_model(FixedStart)
    assert maker_of(model.get_env()) is FixedStart and model.get_env().num_envs == 1
    env = made_by(make(), make_vec(FixedStart, 2))
    assert maker_of(tiny_model(env).get_env()) is maker_of(env)


@pytest.mark.parametrize(
    ("env", "message"),
    [
        (make_vec(FixedStart, 2), "pass env as an id"),
        (lambda: VecNormalize(make_vec(FixedStart, 2)), "VecNormalize"),
        (partial(make_vec, FixedStart, 2, vec_env_class=SubprocVecEnv), "processes already"),
    ],
)
def test_environments_that_collectors_cannot_have(at_hand, env, message):
    with pytest.raises(ValueError, match=message):
        model_with(1, env=env).learn(10)


def test_functions_that_make_another_environment_are_refused(at_hand):
    sizes = iter([2, 3])
    with pytest.raises(ValueError, match="n_envs=3, the learner's 2"):
        model_with(1, env=lambda: make_vec(FixedStart, next(sizes))).learn(10)


@pytest.mark.parametrize(
    ("n", "kwargs", "message"),
    [
        (-1, None, "collectors=-1"),
        (1.5, None, "whole number"),
        (0, SYNCHRONOUS, "collectors of at least 1"),
        (1, {"n": 3}, "there is no n"),
        (1, {"backend": "mpi"}, "backend='mpi'"),
        (1, {"address": "auto"}, "an address is for"),
    ],
)
def test_arguments_out_of_range(n, kwargs, message):
    with pytest.raises(ValueError, match=message):
        model_with(n, kwargs)
