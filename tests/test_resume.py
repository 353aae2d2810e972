"""A run that was saved and goes on later ends with the same weights, bit by bit, as one that never stopped."""

import functools

import numpy as np
import pytest
import torch as th
from gymnasium import spaces
from gymnasium.wrappers import TransformAction, TransformReward
from helpers import DEVICE, CommandSpy, assert_same_parameters, parameters_of, tiny_model
from probe_envs import FixedStart
from stable_baselines3.common.callbacks import CheckpointCallback
from stable_baselines3.common.monitor import Monitor
from stable_baselines3.common.vec_env import DummyVecEnv, SubprocVecEnv, VecNormalize

from sb3_udrl import UDRL

fork = functools.partial(SubprocVecEnv, start_method="fork")


def environment(n_envs=1, vec_env_class=DummyVecEnv):
    return vec_env_class([lambda: Monitor(FixedStart())] * n_envs)


def new_model(env, **kwargs):
    return tiny_model(env, train_freq=16, **kwargs)


def resumed(path, env, n_timesteps, **kwargs):
    model = UDRL.load(path / "model", env, device=DEVICE, **kwargs)
    model.load_replay_buffer(path / "buffer")
    return model.learn(n_timesteps, reset_num_timesteps=False)


def check(tmp_path, make_env, first=96, second=128, given=None, **kwargs):
    """Episodes take 8 steps, so that all of them end when the first part does."""
    env = make_env()
    whole = new_model(env, **kwargs).learn(first + second)
    env.close()
    env = make_env()
    part = new_model(env, **kwargs).learn(first)
    part.save(tmp_path / "model")
    part.save_replay_buffer(tmp_path / "buffer")
    env.close()
    env = make_env()
    model = resumed(tmp_path, env, second, **(given or {}))
    env.close()
    assert_same_parameters(parameters_of(model), parameters_of(whole))
    assert model.num_timesteps == whole.num_timesteps == first + second
    assert model._n_updates == whole._n_updates > part._n_updates
    np.testing.assert_array_equal(model.replay_buffer.returns, whole.replay_buffer.returns)
    for i in range(whole.replay_buffer.n_episodes):
        mine, its = model.replay_buffer.episode(i), whole.replay_buffer.episode(i)
        np.testing.assert_array_equal(mine.observations, its.observations)
        np.testing.assert_array_equal(mine.actions, its.actions)


def test_one_environment(tmp_path):
    check(tmp_path, environment)


def test_several_environments(tmp_path):
    check(tmp_path, lambda: environment(3), first=144, second=96)


def test_environments_in_processes_of_their_own(tmp_path):
    check(tmp_path, lambda: environment(2, fork))


@pytest.mark.parametrize("warm_up", ["uniform", "normal", "sticky", "network", "mixed"])
def test_a_run_that_is_saved_during_its_warm_up(tmp_path, warm_up):
    check(tmp_path, lambda: environment(2), first=32, learning_starts=96, warm_up=warm_up)


def test_with_every_source_of_randomness(tmp_path):
    check(
        tmp_path,
        lambda: environment(2),
        epsilon=0.2,
        temperature=[1.0, 0.5],
        command_sampler="quantile",
        command_sampler_kwargs={"low": 0.2},
        replay_buffer_kwargs={"sampling": "return", "trailing_probability": 0.5, "retention": "mixed"},
        buffer_size=100,
    )


def test_training_to_convergence(tmp_path):
    check(tmp_path, environment, patience=2, gradient_steps=50, validation_fraction=0.3)


@pytest.mark.parametrize("kwargs", [{}, {"patience": 2, "gradient_steps": 50, "validation_fraction": 0.3}], ids=str)
def test_relative_commands(tmp_path, kwargs):
    """Labels depend on the neighbors that were stored and drawn when they were made."""
    check(
        tmp_path,
        lambda: environment(2),
        commands="relative",
        label_kwargs={"advantage": {"n_neighbors": 4, "n_references": 30}},
        buffer_size=100,
        **kwargs,
    )


def continuous(n_envs=2):
    """As :func:`environment`, for actions from -1 to 1."""

    def make():
        return Monitor(TransformAction(FixedStart(), lambda action: round(float(action[0])) + 1, spaces.Box(-1, 1, (1,))))

    return DummyVecEnv([make] * n_envs)


def test_noise_that_depends_on_the_situation(tmp_path):
    check(tmp_path, continuous, sde_share=0.5, policy_kwargs={"box_head": "gaussian"})


@pytest.mark.parametrize("before, n_envs", [(0.0, 2), (0.2, 2), (0.5, 3)])
def test_noise_is_that_of_the_model_not_of_the_file(tmp_path, before, n_envs):
    kwargs = {"policy_kwargs": {"box_head": "gaussian"}}
    new_model(continuous(), sde_share=before, **kwargs).learn(48).save_replay_buffer(tmp_path / "buffer")
    model = new_model(continuous(n_envs), sde_share=0.5, **kwargs)
    model.load_replay_buffer(tmp_path / "buffer")
    assert (model._exploration.noise.share, model._exploration.noise.n_envs) == (0.5, n_envs)
    assert model._exploration.noise.rng is model.rng
    model.learn(96, reset_num_timesteps=False)


def test_an_optimizer_with_a_memory(tmp_path):
    check(tmp_path, environment, policy_kwargs={"optimizer_class": th.optim.SGD, "optimizer_kwargs": {"momentum": 0.9}})


def test_with_normalized_rewards(tmp_path):
    check(tmp_path, lambda: VecNormalize(environment(2), norm_obs=False, norm_reward=True))


@pytest.mark.parametrize("first", [32, 96])
def test_with_normalized_observations(tmp_path, first):
    """The first observations of the episodes that begin with loading have been counted before."""
    env = VecNormalize(environment(2))
    whole = new_model(env, learning_starts=64).learn(224)
    counted = env.obs_rms.count
    env = VecNormalize(environment(2))
    part = new_model(env, learning_starts=64).learn(first)
    part.save(tmp_path / "model")
    part.save_replay_buffer(tmp_path / "buffer")
    env.save(tmp_path / "normalize")
    env = VecNormalize.load(tmp_path / "normalize", environment(2))
    model = resumed(tmp_path, env, 224 - first)
    assert env.obs_rms.count == counted and env.training
    assert_same_parameters(parameters_of(model), parameters_of(whole))
    np.testing.assert_array_equal(env.obs_rms.mean, whole.get_vec_normalize_env().obs_rms.mean)


def test_a_warm_up_that_goes_on_because_all_episodes_are_alike(tmp_path):
    check(tmp_path, lambda: DummyVecEnv([lambda: Monitor(TransformReward(FixedStart(), lambda _: 0.0))] * 2))


def test_a_user_s_warm_up_function(tmp_path):
    def second_action(observations, starts):
        return np.array([2])

    given = {"warm_up": second_action}  # files name functions, and do not hold them
    check(tmp_path, environment, first=32, given=given, learning_starts=96, warm_up=second_action)


def test_other_numbers_of_environments_and_other_warm_ups_go_on_too(tmp_path):
    part = new_model(environment(2), learning_starts=96, warm_up="mixed").learn(32)
    part.save(tmp_path / "model")
    part.save_replay_buffer(tmp_path / "buffer")
    for env, kwargs in ((environment(3), {}), (environment(2), {"warm_up": "sticky"})):
        model = resumed(tmp_path, env, 240, **kwargs)
        assert model.num_timesteps >= 272 and model.replay_buffer.n_episodes == 34
        assert model._n_updates > 0


def test_a_model_that_is_loaded_in_the_middle_of_an_episode(tmp_path):
    """The rest of the episode is played under a command, and stored as the episode that it is from there on."""
    env = environment()
    part = new_model(env).learn(100)
    part.save(tmp_path / "model")
    model = UDRL.load(tmp_path / "model", env, device=DEVICE, force_reset=False)
    with CommandSpy(model) as spy:
        model.learn(28, reset_num_timesteps=False)
    assert model.replay_buffer.lengths.tolist() == [4, 8, 8, 8]
    assert len(spy.commands) == 28  # no random warm-up


def test_from_a_checkpoint(tmp_path):
    whole = new_model(environment()).learn(224)
    callback = CheckpointCallback(96, tmp_path, save_replay_buffer=True, verbose=0)
    new_model(environment()).learn(112, callback=callback)
    assert sorted(file.name for file in tmp_path.iterdir()) == [
        "rl_model_96_steps.zip",
        "rl_model_replay_buffer_96_steps.pkl",
    ]
    model = UDRL.load(tmp_path / "rl_model_96_steps", environment(), device=DEVICE)
    model.load_replay_buffer(tmp_path / "rl_model_replay_buffer_96_steps")
    model.learn(128, reset_num_timesteps=False)
    # a checkpoint is written within a step, before its training: it resumes soundly, not bit by bit
    assert model.num_timesteps == whole.num_timesteps
    assert model.replay_buffer.n_episodes >= whole.replay_buffer.n_episodes - 1


def test_without_its_buffer_a_model_goes_on_under_its_command(tmp_path):
    part = new_model(environment()).learn(96)
    part.save(tmp_path / "model")
    model = UDRL.load(tmp_path / "model", environment(), device=DEVICE)
    model.learn(32, reset_num_timesteps=False)
    asked = [model.outcomes.asked(name)[len(part.outcomes)] for name in ("return", "horizon")]
    np.testing.assert_allclose(asked, part.policy.eval_command.cpu(), rtol=1e-6)
    assert model.replay_buffer.n_episodes == 4
    assert model._n_updates > part._n_updates


def test_without_interruption_learning_in_two_parts_is_the_same_as_in_one():
    whole = new_model(environment(2)).learn(224)
    parts = new_model(environment(2)).learn(96)
    parts.learn(128, reset_num_timesteps=False)
    assert_same_parameters(parameters_of(whole), parameters_of(parts))
