"""Models that are asked to do so much better than usual, from training to loading."""

import csv

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
from sb3_udrl.commands import CommandSampler, FixedCommands, make_command
from sb3_udrl.evaluation import evaluate_policy, track
from sb3_udrl.policies import BehaviorPolicy, CommandPolicy

ONE = np.zeros(2, np.float32)


def relative_model(env=None, **kwargs):
    return tiny_model(make_vec(FixedStart) if env is None else env, commands="relative", **kwargs)


@pytest.fixture
def model():
    return relative_model()


def rows(state):
    return list(zip(state[0], state[1], strict=True))


def test_a_standing_command_holds_until_the_episode_ends(model):
    model.set_command(2.0, np.inf)
    _, state = model.predict(ONE)
    assert rows(state) == [(2, np.inf)]
    for reward in (5.0, None):  # nothing is paid off, known or estimated
        _, state = model.predict(ONE, state, reward=reward)
        assert rows(state) == [(2, np.inf)]
    _, state = model.predict(ONE, state, np.array([True]), command=(-1, np.inf))
    assert rows(state) == [(-1, np.inf)]
    assert rows(model.predict(np.zeros((2, 2), np.float32), command=([1, 3], np.inf))[1]) == [(1, np.inf), (3, np.inf)]


def test_before_any_training_the_usual_is_asked_for(model):
    assert rows(model.predict(ONE)[1]) == [(0, np.inf)]


def test_the_network_sees_a_horizon_of_zero(model):
    seen = []
    hook = model.policy.command_standardizer.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0].clone()))
    model.predict(ONE, command=(1.5, np.inf))
    hook.remove()
    assert seen[0].tolist() == [[1.5, 0]]


@pytest.mark.parametrize("sampler", ["adaptive", "joint"])
def test_episodes_are_played_under_one_command_each(sampler):
    model = relative_model(make_vec(FixedStart, 2), command_sampler=sampler)
    with CommandSpy(model) as spy:
        model.policy.actor = lambda rng: BehaviorPolicy.actor(model.policy, rng)  # through act, not through numpy
        model.learn(192)
    commands = np.stack(spy.commands)[:, 0]
    assert np.isposinf(commands[:, 1]).all()
    episodes = commands[: len(commands) // 8 * 8, 0].reshape(-1, 8)
    assert (episodes == episodes[:, :1]).all() and len(np.unique(episodes)) > 1
    assert (episodes >= 0).all()


def test_training_sets_the_evaluation_command(model):
    model.learn(96)
    desired_return, desired_horizon = model.policy.eval_command.tolist()
    assert desired_return > 0 and desired_horizon == np.inf
    model.set_command(-1, np.inf)
    model.learn(96)
    assert model.policy.eval_command.tolist() == [-1, np.inf]


def test_saving_and_loading(model, tmp_path):
    model.learn(96)
    model.set_command(2.0, np.inf)
    model.save(tmp_path / "model")
    model.policy.save(tmp_path / "policy")
    loaded = UDRL.load(tmp_path / "model", make_vec(FixedStart), device=DEVICE)
    assert_same_parameters(parameters_of(loaded), parameters_of(model))
    assert loaded.commands == "relative" and isinstance(loaded.replay_buffer, RelativeReplayBuffer)
    assert list(loaded.obedience) == list(model.obedience)
    for restored in (loaded, CommandPolicy.load(tmp_path / "policy", device=DEVICE)):
        assert rows(restored.predict(ONE)[1]) == [(2, np.inf)]
        with pytest.raises(ValueError, match="this model takes relative commands"):
            restored.predict(ONE, command=(2, 10))
    loaded.learn(64)
    assert rows(loaded.predict(ONE)[1]) == [(2, np.inf)]


def test_without_its_buffer_a_model_goes_on_under_its_command(model, tmp_path):
    model.learn(96)
    model.save(tmp_path / "model")
    loaded = UDRL.load(tmp_path / "model", make_vec(FixedStart), device=DEVICE)
    loaded.learn(32, reset_num_timesteps=False)
    assert loaded.obedience[len(model.obedience)][:2] == pytest.approx(tuple(model.policy.eval_command.tolist()))


def test_evaluation(model):
    model.learn(96)
    env = make_vec(FixedStart, 2)
    ours = evaluate_policy(model, env, 4, command=(1.0, np.inf))
    model.set_command(1.0, np.inf)
    assert ours == sb3_evaluate_policy(model, env, 4)  # nothing is paid off, so nothing needs to be known
    with track(env):
        assert ours == sb3_evaluate_policy(model, env, 4)


# What is refused


@pytest.mark.parametrize("sampler", ["mean_plus_std", "quantile", "curriculum"])
def test_samplers_of_absolute_commands(sampler):
    model = relative_model(command_sampler=sampler)
    with pytest.raises(ValueError, match=r"desired_horizon is 8.*this model takes relative commands.*\"adaptive\""):
        model.learn(100)
    assert model.policy.eval_command.tolist() == [0, np.inf]


def test_samplers_of_either_kind():
    class Better(CommandSampler):
        def sample(self, observations):
            return make_command(1, np.inf, len(observations))

        def best(self):
            return make_command(3, np.inf)

    for sampler in (Better(), FixedCommands(3, np.inf)):
        assert relative_model().learn(100, callback=sampler).policy.eval_command.tolist() == [3, np.inf]
        with pytest.raises(ValueError, match=r"desired_horizon is inf.*this model takes absolute commands"):
            tiny_model(make_vec(FixedStart)).learn(100, callback=sampler)

    class Changing(Better):
        def sample(self, observations):
            return make_command(1, 5, len(observations))

    with pytest.raises(ValueError, match="this model takes relative commands"):
        relative_model().learn(100, callback=Changing())


def test_commands_of_the_other_kind_change_nothing(model):
    for command in ((1, 5), (1, [np.inf, 5])):
        with pytest.raises(ValueError, match="this model takes relative commands"):
            model.predict(np.zeros((2, 2), np.float32), command=command)
    with pytest.raises(ValueError, match="desired_horizon is 5, and this model takes relative commands"):
        model.set_command(1, 5)
    assert rows(model.predict(ONE)[1]) == [(0, np.inf)]


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [
        ({"commands": "better"}, r"commands='better': choose one of \['absolute', 'relative'\]"),
        ({"commands": "relative", "replay_buffer_kwargs": {"gamma": 2}}, "gamma=2: must be between 0 and 1"),
        ({"commands": "relative", "replay_buffer_class": EpisodicReplayBuffer}, "derive it from RelativeReplayBuffer"),
        ({"replay_buffer_class": RelativeReplayBuffer}, "replay_buffer_class=RelativeReplayBuffer .*commands='absolute'"),
    ],
)
def test_arguments_that_do_not_fit(kwargs, message):
    with pytest.raises(ValueError, match=message):
        tiny_model(make_vec(TwoArms), **kwargs)


def test_buffers_with_labels_of_the_other_kind(model, tmp_path):
    absolute = tiny_model(make_vec(FixedStart)).learn(64)
    model.learn(64)
    for saved, other in ((absolute, model), (model, absolute)):
        saved.save_replay_buffer(tmp_path / "buffer")
        buffer, rng = other.replay_buffer, other.rng
        with pytest.raises(ValueError, match=f"whose labels are not commands='{other.commands}'"):
            other.load_replay_buffer(tmp_path / "buffer")
        assert other.replay_buffer is buffer and other.rng is rng


# What it learns from


def test_figures_are_finite_and_mean_something(tmp_path):
    model = obeying_model(make_vec(Scripted, lengths=(4,), rewards=(1, 2, 3, 4)), commands="relative", train_freq=8)
    model.set_logger(configure(str(tmp_path), ["csv"]))
    model.learn(64, callback=FixedCommands(1.5, np.inf))
    model.logger.close()
    with open(tmp_path / "progress.csv") as file:
        logged = [{key: float(value) for key, value in row.items() if value} for row in csv.DictReader(file)]
    assert all(np.isfinite(list(row.values())).all() for row in logged)
    figures = {key: value for key, value in logged[-1].items() if key.startswith("command/")}
    assert figures == {
        "command/desired_return": 1.5,
        "command/achieved_return": 10,
        "command/achieved_horizon": 4,
        "command/eval_return": 1.5,
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
    stored = model.replay_buffer.transitions(np.arange(model.replay_buffer.n_episodes))
    assert (np.abs(stored.desired_return) <= 3).all()
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
