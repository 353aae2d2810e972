"""Models that are asked to do so much better than usual, from training to loading."""

import csv
import re

import numpy as np
import pytest
import torch as th
from gymnasium import spaces
from helpers import DEVICE, CommandSpy, assert_same_parameters, make_vec, obeying_model, parameters_of, tiny_model
from probe_envs import AnySpaces, FixedStart, Scripted, TwoArms
from stable_baselines3.common.envs import FakeImageEnv, SimpleMultiObsEnv
from stable_baselines3.common.evaluation import evaluate_policy as sb3_evaluate_policy
from stable_baselines3.common.logger import configure
from stable_baselines3.common.vec_env import VecNormalize

from sb3_udrl import UDRL, EpisodicReplayBuffer
from sb3_udrl.buffers import RelativeReplayBuffer
from sb3_udrl.commands import Command, CommandSampler, FixedCommands, make_command
from sb3_udrl.evaluation import evaluate_policy, track
from sb3_udrl.labels import AdvantageLabeler
from sb3_udrl.policies import CommandPolicy

ONE = np.zeros(2, np.float32)


def relative_model(env=None, **kwargs):
    return tiny_model(make_vec(FixedStart) if env is None else env, commands="relative", **kwargs)


@pytest.fixture
def model():
    return relative_model()


def rows(state):
    return list(map(tuple, state[0]))


def test_a_standing_command_holds_until_the_episode_ends(model):
    model.set_command({"advantage": 2.0})
    _, state = model.predict(ONE)
    assert rows(state) == [(2,)]
    for reward in (5.0, None):  # nothing is paid off, known or estimated
        _, state = model.predict(ONE, state, reward=reward)
        assert rows(state) == [(2,)]
    _, state = model.predict(ONE, state, np.array([True]), command={"advantage": -1})
    assert rows(state) == [(-1,)]
    assert rows(model.predict(np.zeros((2, 2), np.float32), command={"advantage": [1, 3]})[1]) == [(1,), (3,)]


def test_before_any_training_the_usual_is_asked_for(model):
    assert rows(model.predict(ONE)[1]) == [(0,)]


def test_who_is_asked_for_nothing_does_as_usual(model):
    seen = []
    hook = model.policy.command_standardizer.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0].clone()))
    model.predict(ONE, command={"advantage": 1.5})
    model.predict(ONE, command={})
    hook.remove()
    assert seen[0].tolist() == [[1.5, 0]]
    assert seen[1].tolist() == [[0, 0]]


@pytest.mark.parametrize("sampler", ["adaptive", "joint"])
def test_episodes_are_played_under_one_command_each(sampler):
    model = relative_model(make_vec(FixedStart, 2), command_sampler=sampler)
    with CommandSpy(model) as spy:
        model.learn(192)
    commands = np.stack(spy.commands)[:, 0]
    assert commands.shape[1:] == (1,)  # nothing else is asked for
    episodes = commands[: len(commands) // 8 * 8, 0].reshape(-1, 8)
    assert (episodes == episodes[:, :1]).all() and len(np.unique(episodes)) > 1
    assert (episodes >= 0).all()


def test_training_sets_the_evaluation_command(model):
    model.learn(96)
    (advantage,) = model.policy.eval_command.tolist()
    assert advantage > 0
    model.set_command({"advantage": -1})
    model.learn(96)
    assert model.policy.eval_command.tolist() == [-1]


def test_saving_and_loading(model, tmp_path):
    model.learn(96)
    model.set_command({"advantage": 2.0})
    model.save(tmp_path / "model")
    model.policy.save(tmp_path / "policy")
    loaded = UDRL.load(tmp_path / "model", make_vec(FixedStart), device=DEVICE)
    assert_same_parameters(parameters_of(loaded), parameters_of(model))
    assert loaded.commands == "relative" and loaded.command_space.names == ("advantage",)
    assert [type(labeler) for labeler in loaded.hindsight.labelers] == [AdvantageLabeler]
    assert len(loaded.outcomes) == len(model.outcomes) > 0
    for name in ("advantage", "return", "horizon"):
        np.testing.assert_array_equal(loaded.outcomes.asked(name), model.outcomes.asked(name))
        np.testing.assert_array_equal(loaded.outcomes.achieved(name), model.outcomes.achieved(name))
    for restored in (loaded, CommandPolicy.load(tmp_path / "policy", device=DEVICE)):
        assert rows(restored.predict(ONE)[1]) == [(2,)]
        with pytest.raises(ValueError, match="asks for horizon, return: this model takes advantage"):
            restored.predict(ONE, command=(2, 10))
    loaded.learn(64)
    assert rows(loaded.predict(ONE)[1]) == [(2,)]


def test_without_its_buffer_a_model_goes_on_under_its_command(model, tmp_path):
    model.learn(96)
    model.save(tmp_path / "model")
    loaded = UDRL.load(tmp_path / "model", make_vec(FixedStart), device=DEVICE)
    loaded.learn(32, reset_num_timesteps=False)
    assert loaded.outcomes.asked("advantage")[len(model.outcomes)] == pytest.approx(model.policy.eval_command.item())


def test_evaluation(model):
    model.learn(96)
    env = make_vec(FixedStart, 2)
    ours = evaluate_policy(model, env, 4, command={"advantage": 1.0})
    model.set_command({"advantage": 1.0})
    assert ours == sb3_evaluate_policy(model, env, 4)  # nothing is paid off, so nothing needs to be known
    with track(env):
        assert ours == sb3_evaluate_policy(model, env, 4)


# What is refused


@pytest.mark.parametrize("sampler", ["mean_plus_std", "quantile", "curriculum"])
def test_samplers_of_absolute_commands(sampler):
    with pytest.raises(ValueError, match="asks for horizon, return, this model takes advantage: choose"):
        relative_model(command_sampler=sampler)


def test_samplers_of_either_kind():
    class Better(CommandSampler):
        def sample(self, observations):
            return Command({"advantage": np.full(len(observations), 1.0)})

        def best(self):
            return Command({"advantage": np.array([3.0])})

    for sampler in (Better(), FixedCommands(advantage=3)):
        assert relative_model().learn(100, callback=sampler).policy.eval_command.tolist() == [3]
        with pytest.raises(ValueError, match="asks for advantage: this model takes return, horizon"):
            tiny_model(make_vec(FixedStart)).learn(100, callback=sampler)

    class Plain(Better):
        best = CommandSampler.best

    assert relative_model().learn(100, callback=Plain()).policy.eval_command.tolist() == [0]  # as usual

    class Changing(Better):
        def sample(self, observations):
            return make_command(1, 5, len(observations))

    with pytest.raises(ValueError, match=r"Changing\.sample\(\) asks for horizon, return: this model takes adv"):
        relative_model().learn(100, callback=Changing())


@pytest.mark.parametrize(
    ("command", "message"),
    [
        ((1, 5), "asks for horizon, return: this model takes advantage"),
        ((1, [np.inf, 5]), "asks for horizon, return: this model takes advantage"),
        (1.0, "asks for return: this model takes advantage"),
        ({"advantage": np.inf}, "advantage=inf: a command must be finite"),
        ({"advantage": np.nan}, "the desired advantage is NaN"),
        ({"advantage": [1, 2, 3]}, r"desired advantage has shape \(3,\)"),
    ],
)
def test_commands_of_the_other_kind_change_nothing(model, command, message):
    with pytest.raises(ValueError, match=message):
        model.predict(np.zeros((2, 2), np.float32), command=command)
    with pytest.raises(ValueError, match=message):
        model.set_command(command)
    with pytest.raises(ValueError, match="asks for horizon, return: this model takes advantage"):
        model.set_command(1, 5)
    assert rows(model.predict(ONE)[1]) == [(0,)]


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [
        ({"commands": "better"}, r"commands='better': choose one of \['absolute', 'any', 'relative'\]"),
        ({"commands": ["advantage", "better"]}, "'better' is no part of a command"),
        ({"commands": ["advantage", "advantage"]}, "give at least one part, and each once"),
        ({"commands": "relative", "label_kwargs": {"advantage": {"gamma": 2}}}, "gamma=2: must be between 0 and 1"),
        ({"commands": "relative", "label_kwargs": {"advantage": {"size": 2}}}, "do not fit AdvantageLabeler.*'size'"),
        ({"commands": "relative", "label_kwargs": {"return": {}}}, "label_kwargs=.*commands have no part return"),
        ({"label_kwargs": {"advantage": {"gamma": 0.9}}}, "label_kwargs=.*commands have no part advantage"),
        (
            {"commands": "relative", "replay_buffer_kwargs": {"trailing_probability": 0.5}},
            "trailing_probability=0.5: labels of advantages have no segments.*gamma",
        ),
        ({"commands": "relative", "replay_buffer_kwargs": {"retention": "newest"}}, "retention='newest': choose one of"),
    ],
)
def test_arguments_that_do_not_fit(kwargs, message):
    with pytest.raises(ValueError, match=message):
        tiny_model(make_vec(TwoArms), **kwargs)


@pytest.mark.filterwarnings("ignore:replay_buffer_kwargs:DeprecationWarning")
def test_the_arguments_of_labels_may_still_be_given_to_the_buffer():
    old = relative_model(replay_buffer_kwargs={"gamma": 0.5, "n_neighbors": 3, "retention": "best"})
    (labeler,) = old.hindsight.labelers
    assert (labeler.gamma, labeler.n_neighbors, old.replay_buffer.retention) == (0.5, 3, "best")
    assert old.label_kwargs == {"advantage": {"gamma": 0.5, "n_neighbors": 3}}
    assert old.replay_buffer_kwargs == {"retention": "best"}
    with pytest.warns(DeprecationWarning, match=r"replay_buffer_kwargs=\{'gamma': 0.5\}: .* label_kwargs=dict\(advantage="):
        relative_model(replay_buffer_kwargs={"gamma": 0.5})
    with pytest.raises(ValueError, match="gamma=2: must be between 0 and 1"):
        relative_model(replay_buffer_kwargs={"gamma": 2})


def test_a_buffer_class_of_ones_own_serves_either_kind():
    class OwnBuffer(EpisodicReplayBuffer):
        pass

    for commands in ("absolute", "relative"):
        model = tiny_model(make_vec(FixedStart), commands=commands, replay_buffer_class=OwnBuffer).learn(64)
        assert type(model.replay_buffer) is OwnBuffer and model._n_updates > 0


def test_the_buffer_class_of_before_is_gone():
    with pytest.raises(ValueError, match="RelativeReplayBuffer: labels have left the buffer, use EpisodicReplayBuffer"):
        RelativeReplayBuffer(100, spaces.Discrete(2), spaces.Discrete(2))
    model = tiny_model(make_vec(FixedStart), commands="relative", replay_buffer_class=RelativeReplayBuffer)
    assert type(model.replay_buffer) is EpisodicReplayBuffer


def test_buffers_with_labels_of_the_other_kind(model, tmp_path):
    absolute = tiny_model(make_vec(FixedStart)).learn(64)
    model.learn(64)
    for saved, other in ((absolute, model), (model, absolute)):
        saved.save_replay_buffer(tmp_path / "buffer")
        buffer, rng, hindsight = other.replay_buffer, other.rng, other.hindsight
        theirs, ours = (", ".join(model.command_space.names) for model in (saved, other))
        message = f"holds labels for {theirs}, this model learns from those for {ours}"
        with pytest.raises(ValueError, match=re.escape(message)):
            other.load_replay_buffer(tmp_path / "buffer")
        assert other.replay_buffer is buffer and other.rng is rng and other.hindsight is hindsight


# What it learns from


def test_figures_are_finite_and_mean_something(tmp_path):
    model = obeying_model(make_vec(Scripted, lengths=(4,), rewards=(1, 2, 3, 4)), commands="relative", train_freq=8)
    model.set_logger(configure(str(tmp_path), ["csv"]))
    model.learn(64, callback=FixedCommands(advantage=1.5))
    model.logger.close()
    with open(tmp_path / "progress.csv") as file:
        logged = [{key: float(value) for key, value in row.items() if value} for row in csv.DictReader(file)]
    assert all(np.isfinite(list(row.values())).all() for row in logged)
    figures = {key: value for key, value in logged[-1].items() if key.startswith("command/")}
    assert figures == {
        "command/desired_advantage": 1.5,
        "command/achieved_return": 10,
        "command/achieved_horizon": 4,
        "command/eval_advantage": 1.5,
    }


@pytest.mark.parametrize("n_envs", [1, 3])
def test_time_limits_reach_the_labels(n_envs):
    model = relative_model(make_vec(FixedStart, n_envs)).learn(96)
    assert all(model.replay_buffer.episode(i).truncated for i in range(model.replay_buffer.n_episodes))
    ended = relative_model(make_vec(Scripted, n_envs)).learn(96)
    assert not any(ended.replay_buffer.episode(i).truncated for i in range(ended.replay_buffer.n_episodes))


def check_learning(env, **kwargs):
    """Finite labels and weights, and an update that took place."""
    model = relative_model(env, **kwargs).learn(96)
    assert model._n_updates > 0
    model.hindsight.relabel()
    stored = model.hindsight.transitions(np.arange(model.replay_buffer.n_episodes))
    assert (np.abs(stored.command["advantage"]) <= 3).all()
    assert all(th.isfinite(value).all() for name, value in parameters_of(model).items() if name != "eval_command")


def test_training_to_convergence():
    check_learning(make_vec(FixedStart, 2), patience=2, gradient_steps=50, validation_fraction=0.3)


def test_one_step_episodes():
    check_learning(make_vec(TwoArms))


def test_normalized_observations_and_rewards():
    check_learning(VecNormalize(make_vec(FixedStart, 2)))


def test_dictionaries():
    check_learning(SimpleMultiObsEnv(), policy="MultiInputPolicy")


def test_images():
    env = make_vec(FakeImageEnv, screen_height=36, screen_width=36, n_channels=1)
    check_learning(env, policy="CnnPolicy", learning_starts=16, train_freq=16)


@pytest.mark.parametrize(
    "space",
    [spaces.Discrete(16), spaces.MultiDiscrete([3, 40]), spaces.MultiBinary(5)],
    ids=lambda space: type(space).__name__,
)
def test_discrete_observations(space):
    check_learning(make_vec(AnySpaces, observation_space=space, action_space=spaces.Discrete(3)))


def test_continuous_actions():
    space = spaces.Box(-1, 1, (2,))
    check_learning(make_vec(AnySpaces, observation_space=spaces.Box(-1, 1, (20,)), action_space=space))
