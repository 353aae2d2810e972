"""Saved models come back as they were."""

import copy
import gc
import io
import json
import pathlib
import warnings
import zipfile

import gymnasium as gym
import numpy as np
import pytest
import torch as th
from gymnasium import spaces
from helpers import DEVICE, assert_same_parameters, make_vec, parameters_of, tiny_model
from probe_envs import AnySpaces, Scripted, TwoArms
from stable_baselines3.common.envs import FakeImageEnv

from sb3_udrl import UDRL, CommandPolicy
from sb3_udrl.commands import FixedCommands

OBSERVATIONS = [
    spaces.Box(-1, 1, (3,)),
    spaces.Box(-1, 1, (2, 3), np.float64),
    spaces.Discrete(5),
    spaces.MultiDiscrete([3, 4]),
    spaces.MultiBinary(3),
    spaces.Box(0, 255, (36, 36, 1), np.uint8),
    spaces.Dict({"a": spaces.Box(-1, 1, (2,)), "b": spaces.Discrete(3)}),
]
ACTIONS = [
    spaces.Discrete(3),
    spaces.MultiDiscrete([3, 2]),
    spaces.MultiBinary(2),
    spaces.Box(-2, 3, (2,)),
]


def batch_of(space, n=10):
    space.seed(0)
    samples = [space.sample() for _ in range(n)]
    if isinstance(space, spaces.Dict):
        return {key: np.stack([sample[key] for sample in samples]) for key in space.spaces}
    return np.stack(samples)


def predictions(model, observations):
    return model.predict(observations, deterministic=True, command=(5, 3))[0]


@pytest.mark.parametrize("observation_space", OBSERVATIONS, ids=str)
@pytest.mark.parametrize("action_space", ACTIONS, ids=str)
def test_round_trip_on_every_space(tmp_path, observation_space, action_space):
    env = make_vec(AnySpaces, observation_space=observation_space, action_space=action_space)
    model = tiny_model(env, learning_starts=10, train_freq=20, gradient_steps=1).learn(40)
    observations = batch_of(model.observation_space)
    expected = predictions(model, observations)
    model.save(tmp_path / "model.zip")
    loaded = UDRL.load(tmp_path / "model.zip", env, device=DEVICE)
    assert_same_parameters(parameters_of(model), parameters_of(loaded))
    np.testing.assert_array_equal(predictions(loaded, observations), expected)
    assert loaded.num_timesteps == model.num_timesteps
    loaded.learn(30)
    without_env = UDRL.load(tmp_path / "model.zip", device=DEVICE)
    np.testing.assert_array_equal(predictions(without_env, observations), expected)


@pytest.fixture
def model():
    return tiny_model(make_vec(Scripted)).learn(64)


def test_arguments_come_back(tmp_path):
    arguments = {
        "learning_rate": 1e-4,
        "buffer_size": 77,
        "batch_size": 16,
        "train_freq": [3, "episode"],
        "gradient_steps": 5,
        "warm_up": "mixed",
        "temperature": [1.0, 0.5],
        "epsilon": 0.25,
        "command_sampler": "quantile",
        "command_sampler_kwargs": {"low": 0.25},
        "patience": 4,
        "validation_fraction": 0.3,
        "max_episode_steps": 99,
        "replay_buffer_kwargs": {"retention": "best"},
        "seed": 5,
    }
    policy_kwargs = {"conditioning": "bilinear", "activation_fn": th.nn.Tanh}
    model = tiny_model(make_vec(Scripted), **arguments, policy_kwargs=policy_kwargs)
    model.save(tmp_path / "model")
    loaded = UDRL.load(tmp_path / "model", device=DEVICE)
    for name, value in arguments.items():
        assert getattr(loaded, name) == value, name
    assert loaded.policy_kwargs == {"net_arch": [16], **policy_kwargs}
    assert loaded.replay_buffer.retention == "best" and loaded.replay_buffer.buffer_size == 77


def test_functions_are_given_again(tmp_path):
    functions = {
        "learning_rate": lambda progress: progress * 1e-3,
        "warm_up": lambda observations, starts: np.ones(len(starts), int),
    }
    model = tiny_model(
        make_vec(Scripted),
        **functions,
        command_sampler=FixedCommands,
        command_sampler_kwargs={"desired_return": 3, "desired_horizon": 2},
    )
    model.save(tmp_path / "model")
    loaded = UDRL.load(tmp_path / "model", make_vec(Scripted), device=DEVICE, custom_objects=functions).learn(64)
    assert loaded.lr_schedule(0.5) == 5e-4
    assert set(loaded.hindsight.transitions(np.arange(6)).actions) == {1}
    assert loaded.policy.eval_command.tolist() == [3, 2]


def test_the_zip_holds_no_episodes_and_no_environment(model, tmp_path):
    model.save(tmp_path / "model")
    with zipfile.ZipFile(tmp_path / "model.zip") as archive:
        data = json.loads(archive.read("data"))
    assert not {"replay_buffer", "hindsight", "env", "_running", "_exploration", "rng", "policy", "_command_sampler"} & set(
        data
    )
    assert data["learning_starts"] == 32 and data["train_freq"] == 32  # plain values are readable


def test_the_optimizer_comes_back(model, tmp_path):
    model.save(tmp_path / "model")
    loaded = UDRL.load(tmp_path / "model", device=DEVICE)
    before, after = (m.policy.optimizer.state_dict()["state"] for m in (model, loaded))
    assert before and before.keys() == after.keys()
    for key in before:
        assert (before[key]["exp_avg"] == after[key]["exp_avg"]).all()


@pytest.mark.parametrize("kind", [str, pathlib.Path])
@pytest.mark.parametrize("suffix", ["", ".zip"])
def test_paths(model, tmp_path, kind, suffix):
    path = kind(tmp_path / "deep" / f"model{suffix}")
    model.save(path)
    assert [file.name for file in (tmp_path / "deep").iterdir()] == ["model.zip"]
    assert_same_parameters(parameters_of(UDRL.load(path, device=DEVICE)), parameters_of(model))


def test_open_files(model, tmp_path):
    stream = io.BytesIO()
    model.save(stream)
    stream.seek(0)
    assert_same_parameters(parameters_of(UDRL.load(stream, device=DEVICE)), parameters_of(model))
    with open(tmp_path / "model.zip", "wb") as file:
        model.save(file)
    with open(tmp_path / "model.zip", "rb") as file:
        assert_same_parameters(parameters_of(UDRL.load(file, device=DEVICE)), parameters_of(model))


def test_no_files_stay_open(model, tmp_path):
    gc.collect()
    with warnings.catch_warnings(record=True) as caught:  # an error in a finalizer would stop nothing
        warnings.simplefilter("always", ResourceWarning)
        model.save(tmp_path / "model")
        UDRL.load(tmp_path / "model", device=DEVICE)
        model.save_replay_buffer(tmp_path / "buffer")
        model.load_replay_buffer(tmp_path / "buffer")
        gc.collect()
    assert [each.message for each in caught if issubclass(each.category, ResourceWarning)] == []


def test_exclude_and_include(model, tmp_path):
    model.save(tmp_path / "model", exclude=["batch_size"], include=["replay_buffer"])
    with zipfile.ZipFile(tmp_path / "model.zip") as archive:
        data = json.loads(archive.read("data"))
    assert "batch_size" not in data and "hindsight" in data  # which holds the buffer
    loaded = UDRL.load(tmp_path / "model", device=DEVICE, batch_size=9)
    assert loaded.batch_size == 9
    assert loaded.replay_buffer.n_episodes == model.replay_buffer.n_episodes
    assert loaded.replay_buffer.buffer_size == model.buffer_size


def test_a_buffer_that_comes_along_gets_the_size_that_is_asked_for(model, tmp_path):
    model.save(tmp_path / "model", include=["replay_buffer"])
    loaded = UDRL.load(tmp_path / "model", make_vec(Scripted, 2), device=DEVICE, buffer_size=40)
    assert loaded.replay_buffer.buffer_size == 40
    assert loaded.learn(64).replay_buffer.n_transitions <= 40


def test_custom_objects(model, tmp_path):
    model.save(tmp_path / "model")
    loaded = UDRL.load(tmp_path / "model", device=DEVICE, custom_objects={"learning_rate": 1e-5, "unknown": 1})
    assert loaded.learning_rate == 1e-5


def test_arguments_of_load_replace_saved_ones(model, tmp_path):
    model.save(tmp_path / "model")
    loaded = UDRL.load(tmp_path / "model", make_vec(Scripted, 2), device=DEVICE, epsilon=[0.0, 1.0], train_freq=4)
    assert loaded._exploration.epsilon.tolist() == [0, 1]
    loaded.learn(40)
    with pytest.raises(ValueError, match="policy kwargs"):
        UDRL.load(tmp_path / "model", device=DEVICE, policy_kwargs={"net_arch": [99]})


def test_parameters(model):
    before = copy.deepcopy(model.get_parameters())
    random = {
        "policy": {name: th.rand_like(value) for name, value in before["policy"].items()},
        "policy.optimizer": before["policy.optimizer"],
    }
    observations = np.random.default_rng(0).uniform(-3, 3, (50, 2)).astype(np.float32)
    actions = predictions(model, observations)
    model.set_parameters(random)
    for name, value in model.get_parameters()["policy"].items():
        assert (value == random["policy"][name]).all()
        assert (value != before["policy"][name]).any(), name
    model.set_parameters(before)
    np.testing.assert_array_equal(predictions(model, observations), actions)


@pytest.mark.parametrize(
    ("change", "error"),
    [
        (lambda p: p.update(no_object={"x": th.zeros(1)}), ValueError),
        (lambda p: p.pop("policy.optimizer"), ValueError),
        (lambda p: p["policy"].pop(next(iter(p["policy"]))), RuntimeError),
        (lambda p: p["policy"].update(no_weight=th.zeros(1)), RuntimeError),
    ],
)
def test_parameters_must_match(model, change, error):
    parameters = {name: dict(values) for name, values in model.get_parameters().items()}
    change(parameters)
    with pytest.raises(error):
        model.set_parameters(parameters, exact_match=True)


def test_set_env_and_when_the_environment_is_reset(model, tmp_path):
    env = make_vec(Scripted)
    model.set_env(env)
    assert model._last_obs is None
    model.learn(32, reset_num_timesteps=False)
    assert model.num_timesteps == 96
    model.set_env(env, force_reset=False)
    assert model._last_obs is not None
    model.learn(32, reset_num_timesteps=False)
    with pytest.raises(AssertionError):
        model.set_env(make_vec(Scripted, 2))
    with pytest.raises(ValueError):
        model.set_env(gym.make("CartPole-v1"))
    model.save(tmp_path / "model")
    loaded = UDRL.load(tmp_path / "model", env, device=DEVICE, force_reset=False)
    assert loaded._last_obs is not None and loaded.num_timesteps == 128
    assert UDRL.load(tmp_path / "model", env, device=DEVICE)._last_obs is None
    with pytest.raises(ValueError, match="Observation spaces do not match"):
        UDRL.load(tmp_path / "model", gym.make("CartPole-v1"), device=DEVICE)


def test_other_numbers_of_environments(model, tmp_path):
    model.save(tmp_path / "model")
    loaded = UDRL.load(tmp_path / "model", make_vec(Scripted, 3), device=DEVICE)
    assert loaded.n_envs == 3
    loaded.learn(90, reset_num_timesteps=False)
    assert loaded.num_timesteps == 64 + 90


def test_an_environment_can_be_given_later(model, tmp_path):
    model.save(tmp_path / "model")
    loaded = UDRL.load(tmp_path / "model", device=DEVICE)
    assert loaded.get_env() is None
    loaded.set_env(make_vec(Scripted))
    loaded.learn(64)
    assert loaded.replay_buffer.n_episodes > 0


def test_policies_alone(model, tmp_path):
    model.policy.save(tmp_path / "policy.pkl")
    policy = CommandPolicy.load(tmp_path / "policy.pkl", device=DEVICE)
    observations = np.random.default_rng(0).uniform(-3, 3, (50, 2)).astype(np.float32)
    np.testing.assert_array_equal(predictions(policy, observations), predictions(model, observations))


def test_the_least_deviation_is_that_of_the_training_so_far(tmp_path):
    """Not that of the start: a model that is loaded draws actions as it did when it was saved."""
    env = make_vec(AnySpaces, observation_space=spaces.Box(-1, 1, (3,)), action_space=spaces.Box(-1, 1, (2,)))
    kwargs = {"box_head": "gaussian", "box_head_kwargs": {"min_std": 0.4, "final_min_std": 0.1}}
    model = tiny_model(env, learning_starts=10, train_freq=20, gradient_steps=1, policy_kwargs=kwargs).learn(40)
    model.save(tmp_path / "model")
    model.policy.save(tmp_path / "policy")
    loaded = UDRL.load(tmp_path / "model", device=DEVICE).policy
    for policy in (model.policy, loaded, CommandPolicy.load(tmp_path / "policy", device=DEVICE)):
        th.testing.assert_close(policy.action_head.min_log_std.exp(), th.tensor(0.1, device=policy.device))


def test_policies_of_every_shape_alone(tmp_path):
    kwargs = {
        "conditioning": "prelu",
        "return_scale": 0.1,
        "horizon_scale": 0.2,
        "box_head": "squashed",
        "box_head_kwargs": {"min_std": 0.3, "final_min_std": 0.1},
        "activation_fn": th.nn.Tanh,
        "ortho_init": False,
        "standardize_observations": False,
        "normalize_images": False,
        "features_extractor_kwargs": {"channels": (4, 12)},
        "optimizer_class": th.optim.SGD,
        "optimizer_kwargs": {"momentum": 0.5},
    }
    env = FakeImageEnv(screen_height=36, screen_width=36, discrete=False)
    policy = tiny_model(env, policy_kwargs=kwargs).policy
    policy.save(tmp_path / "policy")
    loaded = CommandPolicy.load(tmp_path / "policy", device=DEVICE)
    for name, value in kwargs.items():
        assert getattr(loaded, name) == value, name
    observation = env.reset()[0]
    np.testing.assert_array_equal(predictions(loaded, observation), predictions(policy, observation))


def test_a_compiled_policy_is_saved_as_a_plain_one(model, tmp_path):
    expected = parameters_of(model)
    model.policy = th.compile(model.policy)
    model.save(tmp_path / "model")
    assert_same_parameters(parameters_of(UDRL.load(tmp_path / "model", device=DEVICE)), expected)


def test_numpy_numbers_as_arguments(tmp_path):
    model = tiny_model(make_vec(Scripted), learning_rate=np.float64(1e-3), learning_starts=np.int64(32))
    model.learn(64).save(tmp_path / "model")
    UDRL.load(tmp_path / "model", make_vec(Scripted), device=DEVICE).learn(64)


def test_replay_buffers(model, tmp_path):
    returns = model.replay_buffer.returns.copy()
    model.save_replay_buffer(tmp_path / "deep" / "buffer")
    assert [file.name for file in (tmp_path / "deep").iterdir()] == ["buffer.pkl"]
    other = tiny_model(make_vec(Scripted))
    other.load_replay_buffer(tmp_path / "deep" / "buffer.pkl", truncate_last_traj=False)
    np.testing.assert_array_equal(other.replay_buffer.returns, returns)
    assert other.replay_buffer.rng is other.rng
    stream = io.BytesIO()
    model.save_replay_buffer(stream)
    stream.seek(0)
    third = tiny_model(make_vec(Scripted))
    third.load_replay_buffer(stream)
    np.testing.assert_array_equal(third.replay_buffer.returns, returns)


def test_images(tmp_path):
    env = FakeImageEnv(screen_height=40, screen_width=40, n_channels=1)
    model = tiny_model(env, "CnnPolicy", gradient_steps=1, policy_kwargs={"features_extractor_kwargs": {"features_dim": 8}})
    model.learn(64).save(tmp_path / "model")
    loaded = UDRL.load(tmp_path / "model", env, device=DEVICE)
    observation = env.observation_space.sample()
    np.testing.assert_array_equal(predictions(loaded, observation), predictions(model, observation))


def test_a_trained_model_can_be_copied_and_both_go_on_alike():
    model = tiny_model(make_vec(Scripted, 2, lengths=(3, 5)), commands="any").learn(200)
    twin = copy.deepcopy(model)
    for each in (model, twin):
        each.learn(200, reset_num_timesteps=False)
    assert_same_parameters(parameters_of(model), parameters_of(twin))


def test_arguments_that_are_given_on_loading_win(tmp_path):
    env = make_vec(TwoArms)
    model = tiny_model(env, commands="any").learn(64)
    model.save(tmp_path / "model", include=["replay_buffer"])
    given = {
        "guidance": 3.0,
        "buffer_size": 77_777,
        "obedience_kwargs": {"temperature": 0.0},
        "replay_buffer_kwargs": {"sampling": "return", "sampling_temperature": 0.5},
    }
    for how in ({"custom_objects": given}, given):
        loaded = UDRL.load(tmp_path / "model", env, device=DEVICE, **how)
        buffer = loaded.replay_buffer
        assert loaded.policy.guidance == loaded.guidance == 3
        assert loaded.policy.obedient_temperature == 0
        assert (buffer.buffer_size, buffer.sampling, buffer.sampling_temperature) == (77_777, "return", 0.5)
        assert buffer.n_episodes == model.replay_buffer.n_episodes > 0
