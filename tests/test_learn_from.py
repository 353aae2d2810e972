"""Models learn from recordings: without an environment, with held-out episodes, and go on online."""

from __future__ import annotations

import warnings

import gymnasium as gym
import numpy as np
import pytest
from gymnasium import spaces
from helpers import DEVICE, TINY, assert_same_parameters, make_vec, parameters_of, tiny_model
from probe_envs import Scripted
from stable_baselines3.common.logger import configure
from stable_baselines3.common.vec_env import VecNormalize

from sb3_udrl import UDRL
from sb3_udrl.buffers import Episode, EpisodicReplayBuffer
from sb3_udrl.common.held_out import groups_of, held_out_figures, split_episodes
from sb3_udrl.labels import Hindsight

OBSERVATIONS, ACTIONS = spaces.Box(-1, 1, (2,)), spaces.Discrete(2)


def pays_its_action(n=60, steps=4, seed=0):
    """Episodes of one action each, repeated, which pays one or nothing at every step: so the return tells the action."""
    rng = np.random.default_rng(seed)
    episodes = []
    for i in range(n):
        action = i % 2
        observations = rng.uniform(-1, 1, (steps, 2)).astype(np.float32)
        episodes.append(Episode(observations, np.full(steps, action), np.full(steps, float(action))))
    return episodes


class PaysItsAction(gym.Env):
    """What :func:`pays_its_action` is a recording of."""

    observation_space, action_space = OBSERVATIONS, ACTIONS

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.now = 0
        return self.np_random.uniform(-1, 1, 2).astype(np.float32), {}

    def step(self, action):
        self.now += 1
        return self.np_random.uniform(-1, 1, 2).astype(np.float32), float(action), self.now == 4, False, {}


def offline_model(policy="CommandPolicy", observation_space=OBSERVATIONS, action_space=ACTIONS, **kwargs):
    arguments = {"commands": "absolute", **TINY, "learning_rate": 0.01, "seed": 1, **kwargs}
    return UDRL(policy, None, observation_space=observation_space, action_space=action_space, **arguments)


@pytest.mark.parametrize("commands", ["absolute", "relative", "any"])
@pytest.mark.parametrize("policy", ["CommandPolicy", "ForestPolicy"])
def test_what_recordings_show_is_obeyed(commands, policy):
    model = offline_model(policy, commands=commands).learn_from(pays_its_action(), 500)
    observations = np.random.default_rng(1).uniform(-1, 1, (20, 2)).astype(np.float32)
    if commands == "relative":
        many, few = {"advantage": 1.0}, {"advantage": -1.0}
    else:
        many, few = (4, 4), (0, 4)
    assert model.predict(observations, command=many, deterministic=True)[0].mean() > 0.9
    assert model.predict(observations, command=few, deterministic=True)[0].mean() < 0.1
    assert model.replay_buffer.n_episodes > 0


def twenty_episodes():
    buffer = EpisodicReplayBuffer(1000, OBSERVATIONS, ACTIONS)
    for i in range(20):
        buffer.add(Episode(np.zeros((2, 2)), np.zeros(2, int), np.full(2, i)))
    return buffer


def test_held_out_episodes_are_as_many_of_the_best_as_of_the_others_and_not_learned_from():
    buffer = twenty_episodes()
    best, held_out = split_episodes(buffer, 0.5, 0.2, np.random.default_rng(0))
    assert np.flatnonzero(best).tolist() == list(range(10, 20))
    assert held_out.sum() == 4 and (held_out & best).sum() == 2
    learned = best & ~held_out
    model = offline_model()
    model.hindsight.buffer = buffer
    model.hindsight.hold_out(~learned)
    rows = model.hindsight.draw_rows(500)
    assert set((rows // 2).tolist()) == set(np.flatnonzero(learned).tolist())
    assert model.hindsight.learned_from().tolist() == np.flatnonzero(learned).tolist()
    with pytest.raises(ValueError, match="nothing to learn from"):
        model.hindsight.hold_out(np.ones(20, bool))


def test_at_least_one_of_the_best_is_learned_from():
    best, held_out = split_episodes(twenty_episodes(), 0.1, 0.9, np.random.default_rng(0))
    assert best.sum() == 2 and (best & ~held_out).sum() == 1 and held_out.sum() == 18


@pytest.mark.parametrize(
    ("commands", "best", "learned"),
    [("any", None, 6), ("any", 0.5, 10), ("relative", None, 20), ("absolute", None, 20), ("absolute", 0.1, 2)],
)
def test_striving_learns_from_the_best_episodes_and_obedience_from_all(monkeypatch, commands, best, learned):
    buffer, drawn = twenty_episodes(), {}
    monkeypatch.setattr(Hindsight, "draw_rows", drawing(drawn, Hindsight.draw_rows))
    model = offline_model(commands=commands, batch_size=500)
    episodes = [buffer.episode(i) for i in range(20)]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model.learn_from(episodes, 3, best=best, validation_fraction=0)
    of_striving = drawn[tuple(model.hindsight.command_space.names)]
    assert sorted(of_striving) == [2.0 * i for i in range(20 - learned, 20)]
    if commands == "any":
        assert sorted(drawn[("return", "horizon")]) == [2.0 * i for i in range(20)]


def test_a_second_recording_reaches_both_functions(monkeypatch):
    buffer, drawn = twenty_episodes(), {}
    model = offline_model(commands="any", batch_size=500)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model.learn_from([buffer.episode(i) for i in range(10)], 3, validation_fraction=0)
        monkeypatch.setattr(Hindsight, "draw_rows", drawing(drawn, Hindsight.draw_rows))
        model.learn_from([buffer.episode(i) for i in range(10, 20)], 3, validation_fraction=0)
    assert max(drawn[("advantage",)]) == 38
    assert sorted(drawn[("return", "horizon")]) == [2.0 * i for i in range(20)]


@pytest.mark.parametrize("commands", ["relative", "any"])
def test_forests_learn_from_a_second_recording_of_the_same_size(commands):
    model = offline_model("ForestPolicy", commands=commands)
    for action in (1, 0):
        episodes = [Episode(episode.observations, np.full(4, action), episode.rewards) for episode in pays_its_action()]
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            model.learn_from(episodes, validation_fraction=0)
        decided, _ = model.predict(np.zeros((20, 2), np.float32), command={"advantage": 0.0}, deterministic=True)
        assert (decided == action).all()


def test_numbers_of_steps_may_be_those_of_numpy_or_whole_floats():
    for n in (np.int64(5), np.float32(5), 5.0):
        assert offline_model().learn_from(pays_its_action(), n)._n_updates == 5


def test_a_logger_of_the_user_stays(tmp_path):
    model, logger = offline_model(), configure(str(tmp_path), ["csv"])
    model.set_logger(logger)
    model.learn_from(pays_its_action(), 5, log_interval=1)
    assert model.logger is logger and "offline/validation_loss" in (tmp_path / "progress.csv").read_text()


def test_learning_to_convergence_keeps_to_the_best_episodes_too(monkeypatch):
    seen, original = [], Hindsight.transitions
    monkeypatch.setattr(
        Hindsight, "transitions", lambda self, episodes, env: seen.extend(episodes) or original(self, episodes, env)
    )
    episodes = [twenty_episodes().episode(i) for i in range(20)]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        offline_model(commands="relative", patience=1).learn_from(episodes, 3, best=0.5, validation_fraction=0)
    assert set(seen) == set(range(10, 20))


def drawing(drawn, draw_rows):
    """Note the returns of the episodes that are drawn, by the parts of commands that they are drawn for."""

    def draw(self, n):
        rows = draw_rows(self, n)
        starts = rows - rows % 2
        drawn.setdefault(tuple(self.command_space.names), set()).update(2.0 * self.buffer.rewards[starts])
        return rows

    return draw


def test_one_episode_is_learned_from():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert offline_model().learn_from(pays_its_action(1), 10)._n_updates == 10


def test_it_stops_where_held_out_episodes_get_no_better_and_keeps_the_best_weights(monkeypatch):
    losses = iter([3.0, 1.0, 2.0, 2.0, 2.0, 0.5])
    seen = []

    def validate(self, best, all_):
        seen.append(parameters_of(self))
        return {"validation_loss": next(losses), "command_gain": 1.0}

    monkeypatch.setattr("sb3_udrl.common.offline.ROUND", 5)
    monkeypatch.setattr(UDRL, "validate", validate)
    model = offline_model().learn_from(pays_its_action(), 1000, patience=3)
    assert len(seen) == 5
    assert_same_parameters(parameters_of(model), seen[1])


def test_commands_that_tell_nothing_are_warned_of():
    episodes = pays_its_action()
    same = [Episode(e.observations, np.zeros(4, int), e.rewards) for e in episodes]
    with pytest.warns(UserWarning, match="commands change the decisions on held-out episodes by .* nats only"):
        offline_model().learn_from(same, 50)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        offline_model().learn_from(episodes, 200)


def test_figures_are_logged(tmp_path):
    offline_model(commands="any", tensorboard_log=str(tmp_path)).learn_from(pays_its_action(), 1000)
    assert [path.name for path in tmp_path.iterdir()] == ["recordings_1"]


def test_the_figures_of_held_out_episodes(capsys):
    offline_model(commands="any", verbose=1).learn_from(pays_its_action(), 500)
    printed = capsys.readouterr().out
    for name in ("validation_loss", "command_gain", "obedient_validation_loss", "obedient_command_gain", "gradient_steps"):
        assert name in printed


def test_it_goes_on_online_at_once_after_what_another_model_played():
    teacher = tiny_model(make_vec(Scripted)).learn(200)
    model = tiny_model(make_vec(Scripted), learning_starts=10_000).learn_from(teacher.replay_buffer, 20)
    assert model.replay_buffer.returns.tolist() == teacher.replay_buffer.returns.tolist()
    n_updates = model._n_updates
    model.learn(64)
    assert model.num_timesteps == 64 and model._n_updates > n_updates  # no warm-up of 10,000 steps
    assert not model._running.warm_up.any()


def test_a_recording_that_is_refused_changes_nothing():
    model = offline_model()
    before, hindsight = parameters_of(model), model.hindsight
    for data in ([*pays_its_action(), Episode(np.zeros((1, 3)), np.zeros(1, int), np.zeros(1))], {"observations": 3}, 5):
        with pytest.raises(ValueError, match=r"episode 60|has no|none of the forms"):
            model.learn_from(data)
    assert model.hindsight is hindsight and model.replay_buffer.n_episodes == 0
    assert_same_parameters(parameters_of(model), before)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"gradient_steps": 0}, "gradient_steps=0"),
        ({"best": 0}, "best=0"),
        ({"best": 1.5}, r"best=1\.5"),
        ({"validation_fraction": 1}, "validation_fraction=1"),
        ({"patience": 0}, "patience=0"),
        *[({"gradient_steps": n}, f"gradient_steps={n!r}: must be a whole number") for n in (1.5, np.inf, np.nan, "3")],
    ],
)
def test_arguments_out_of_range_are_named(arguments, message):
    with pytest.raises(ValueError, match=message):
        offline_model().learn_from(pays_its_action(), **arguments)


def test_steps_without_an_end_are_counted():
    data = {
        "observations": np.zeros((5, 2), np.float32),
        "actions": np.array([0, 1, 0, 1, 0]),
        "rewards": np.array([0, 1, 0, 1, 0], np.float32),
        "terminals": np.array([0, 1, 0, 0, 0], bool),
        "timeouts": np.zeros(5, bool),
    }
    with pytest.warns(UserWarning, match="left out 3 steps of episodes without an end"):
        offline_model().learn_from(data, 5)


def test_saved_models_predict_as_before(tmp_path):
    model = offline_model().learn_from(pays_its_action(), 50)
    model.save(tmp_path / "model")
    observations = np.random.default_rng(1).uniform(-1, 1, (20, 2)).astype(np.float32)
    loaded = UDRL.load(tmp_path / "model", device=DEVICE)
    for command in (None, (4, 4), (0, 4)):
        np.testing.assert_array_equal(
            loaded.predict(observations, command=command, deterministic=True)[0],
            model.predict(observations, command=command, deterministic=True)[0],
        )


def test_training_on_nothing_says_where_episodes_come_from():
    model = offline_model()
    with pytest.raises(ValueError, match=r"holds no episodes to learn from: learn\(\) collects some"):
        model.train(10, 8)
    model.replay_buffer.add(pays_its_action(1)[0])
    model.train(10, 8)
    assert model._n_updates == 10


@pytest.mark.parametrize("commands", ["absolute", "any"])
def test_a_model_without_an_environment_takes_as_many_as_it_is_given(commands):
    further = {"temperature": [0.5, 1.0], "epsilon": [0.0, 0.1], "warm_up": "mixed"}
    model = offline_model(commands=commands, **further).learn_from(pays_its_action(), 20)
    before, n_updates = parameters_of(model), model._n_updates
    with pytest.raises(ValueError, match="Observation spaces do not match"):
        model.set_env(make_vec(Scripted, 3))
    assert model.n_envs == 1 and model.env is None
    model.set_env(make_vec(PaysItsAction, 3))
    assert model.n_envs == 3
    assert_same_parameters(parameters_of(model), before)
    model.learn(96)
    assert model.num_timesteps == 96 and model._n_updates > n_updates
    with pytest.raises(AssertionError, match="different from the number of environments"):
        model.set_env(make_vec(PaysItsAction, 2))


def test_of_a_long_recording_the_newest_episodes_that_fit_are_kept():
    model = offline_model(buffer_size=40).learn_from(pays_its_action(), 20)
    assert model.replay_buffer.n_transitions == 40 and model.replay_buffer.n_transitions_added == 240


@pytest.mark.parametrize(("sampling", "mean"), [("return", 1.0), ("transitions", 50 / 99)])
def test_a_held_out_episode_that_outweighs_all_others_does_not_stop_learning(sampling, mean):
    """By return, one episode of a hundred has all the weight: the better half of the others has it where that is held out."""
    buffer = EpisodicReplayBuffer(1000, OBSERVATIONS, ACTIONS, sampling=sampling, sampling_temperature=0.1, seed=0)
    for i in range(100):
        buffer.add(Episode(np.zeros((2, 2)), np.zeros(2, int), np.array([0.0, 1e6 if i == 40 else i % 2])))
    model = offline_model()
    hindsight = Hindsight(buffer, model.command_space)
    hindsight.hold_out(np.arange(100) == 40)
    rows = hindsight.draw_rows(4_000)
    paid = buffer.returns[rows // 2]
    assert 40 not in rows // 2 and paid.max() == 1
    assert paid.mean() == pytest.approx(mean, abs=0.03)


def test_a_long_episode_of_random_actions_does_not_decide_how_good_the_predictions_are():
    """Nine episodes of ten steps are predicted with a loss of one each, and one of 1,000 steps with a loss of a hundred."""
    buffer = EpisodicReplayBuffer(10_000, OBSERVATIONS, ACTIONS, seed=0)
    for i in range(10):
        n = 1_000 if i == 4 else 10
        buffer.add(Episode(np.full((n, 2), float(i == 4)), np.zeros(n, int), np.ones(n)))

    class Learner:
        def loss_of(self, batch):
            return float(np.where(batch.observations[:, 0] > 0, 100, 1).mean())

        def command_gain(self, batch, rng):
            return float(len(batch.actions))

    all_ = np.ones(10, dtype=bool)
    groups = groups_of(buffer, all_, all_, np.random.default_rng(0))
    assert sorted(map(len, groups)) == [10] * 9 + [1_000]
    hindsight = Hindsight(buffer, offline_model().command_space)
    assert held_out_figures(Learner(), hindsight, groups, None, np.random.default_rng(0)) == (1, 1_090)


def test_many_episodes_are_dealt_to_twenty_groups():
    buffer = twenty_episodes()
    buffer.add_all(twenty_episodes())
    rows = groups_of(buffer, np.arange(40) < 30, np.ones(40, dtype=bool), np.random.default_rng(0))
    assert sorted(map(len, rows)) == [2] * 10 + [4] * 10
    assert sorted(np.concatenate(rows)) == list(range(60))
    assert len(np.concatenate(groups_of(buffer, np.zeros(40, dtype=bool), np.arange(40) < 3, np.random.default_rng(0)))) == 6


class TwoPictures(gym.Env):
    """A picture with its channels last, beside numbers or alone."""

    action_space = spaces.Discrete(2)

    def __init__(self, alone):
        picture = spaces.Box(0, 255, (36, 40, 3), np.uint8)
        self.observation_space = picture if alone else spaces.Dict({"numbers": OBSERVATIONS, "picture": picture})

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.now = 0
        return self.observation_space.sample(), {}

    def step(self, action):
        self.now += 1
        return self.observation_space.sample(), float(action), self.now == 4, False, {}


@pytest.mark.parametrize("alone", [True, False])
def test_models_of_pictures_with_channels_last_go_on_online(alone, tmp_path):
    env = TwoPictures(alone)
    steps = 24
    episodes = [env.observation_space.sample() for _ in range(steps)]
    observations = (
        np.stack(episodes) if alone else {name: np.stack([one[name] for one in episodes]) for name in env.observation_space}
    )
    ends = np.arange(steps) % 4 == 3
    recording = {"actions": np.arange(steps) % 2, "rewards": np.ones(steps), "terminals": ends, "timeouts": ends & False}
    model = offline_model("CnnPolicy" if alone else "MultiInputPolicy", env.observation_space, commands="any")
    model.learn_from({"observations": observations, **recording}, 2)
    model.set_env(TwoPictures(alone))
    model.learn(16)
    model.save(tmp_path / "model")
    assert UDRL.load(tmp_path / "model", TwoPictures(alone), device=DEVICE).learn(16).num_timesteps == 16


class Far(PaysItsAction):
    """Its observations are around a thousand, and say which action pays."""

    observation_space = spaces.Box(0, 2_000, (2,))

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        return np.full(2, 1_000, np.float32), {}

    def step(self, action):
        _, reward, *rest = super().step(action)
        return np.full(2, 1_000 + self.now, np.float32), reward, *rest


@pytest.mark.parametrize("how", ["learn_from", "add", "kept"])
def test_fresh_statistics_of_a_normalizer_learn_of_recorded_observations(how):
    """Episodes show 1,000 to 1,003, over and over: mean 1001.5, variance 1.25."""
    env = VecNormalize(make_vec(Far), training=how != "kept")
    episodes = [
        Episode(np.repeat(1_000.0 + np.arange(4), 2).reshape(4, 2).astype(np.float32), e.actions, e.rewards)
        for e in pays_its_action()
    ]
    model = tiny_model(env)
    if how == "add":
        for episode in episodes:
            model.replay_buffer.add(episode)
        model.train(2, 16)
    else:
        model.learn_from(episodes, 2)
    if how == "kept":
        assert env.obs_rms.count < 1
        return
    assert env.obs_rms.count == pytest.approx(240, abs=1e-3)
    np.testing.assert_allclose(env.obs_rms.mean, 1001.5, rtol=1e-5)
    np.testing.assert_allclose(env.obs_rms.var, 1.25, rtol=0.5)
    model.train(2, 16)
    assert env.obs_rms.count == pytest.approx(240, abs=1e-3)


def test_an_interrupted_learning_keeps_the_weights_that_did_best(monkeypatch):
    model = offline_model()
    losses, weights = iter([1.0, 3.0, 2.0]), []

    def validate(best, all_):
        weights.append(parameters_of(model))
        return {"validation_loss": next(losses), "command_gain": 1.0}

    monkeypatch.setattr(model, "validate", validate)
    with pytest.raises(StopIteration):
        model.learn_from(pays_its_action(), 3_000)
    assert len(weights) == 4
    assert_same_parameters(parameters_of(model), weights[0])
