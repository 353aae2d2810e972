"""Pixels."""

import numpy as np
import pytest
import torch as th
from gymnasium import spaces
from helpers import DEVICE, make_vec, tiny_model
from probe_envs import AnySpaces
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.envs import FakeImageEnv
from stable_baselines3.common.torch_layers import FlattenExtractor, NatureCNN
from stable_baselines3.common.vec_env import VecFrameStack, VecNormalize, VecTransposeImage, is_vecenv_wrapped

from sb3_udrl import UDRL
from sb3_udrl.evaluation import CommandFollowingCallback, evaluate_policy
from sb3_udrl.policies import SmallCNN

SMALL = {"features_extractor_kwargs": {"features_dim": 16}}


def image_model(env, policy="CnnPolicy", **kwargs):
    policy_kwargs = {**SMALL, **kwargs.pop("policy_kwargs", {})}
    return tiny_model(env, policy, gradient_steps=2, policy_kwargs=policy_kwargs, **kwargs)


@pytest.mark.parametrize("discrete", [True, False])
@pytest.mark.parametrize("channel_first", [True, False])
def test_learn_save_and_load(tmp_path, discrete, channel_first):
    env = FakeImageEnv(
        screen_height=40, screen_width=44, n_channels=3, discrete=discrete, channel_first=channel_first, action_dim=3
    )
    model = image_model(env).learn(64)
    assert isinstance(model.policy.features_extractor, NatureCNN)
    assert is_vecenv_wrapped(model.get_env(), VecTransposeImage) == (not channel_first)
    assert model.observation_space.shape == (3, 40, 44)
    observation = env.observation_space.sample()
    action, _ = model.predict(observation, deterministic=True)
    model.save(tmp_path / "model")
    loaded = UDRL.load(tmp_path / "model", device=DEVICE)
    np.testing.assert_array_equal(loaded.predict(observation, deterministic=True)[0], action)


def test_both_channel_orders_are_the_same_picture():
    model = image_model(FakeImageEnv(screen_height=40, screen_width=40, n_channels=3, discrete=False))
    picture = model.observation_space.sample()
    first, _ = model.predict(picture, deterministic=True)
    last, _ = model.predict(np.moveaxis(picture, 0, -1), deterministic=True)
    np.testing.assert_array_equal(first, last)


def test_an_environment_that_is_transposed_already_is_not_transposed_again():
    env = VecTransposeImage(make_vec(FakeImageEnv, screen_height=40, screen_width=40))
    model = image_model(env)
    assert model.get_env() is env


@pytest.mark.parametrize("policy", ["CommandPolicy", "CnnPolicy"])
def test_the_extractor_follows_from_the_space(policy):
    env = FakeImageEnv(screen_height=64, screen_width=64)
    assert isinstance(image_model(env, policy).policy.features_extractor, NatureCNN)


def test_frames_can_be_stacked():
    env = VecFrameStack(make_vec(FakeImageEnv, 2, screen_height=40, screen_width=40), 4)
    model = image_model(env).learn(64)
    assert model.observation_space.shape == (4, 40, 40)
    assert model.hindsight.transitions(np.array([0])).observations.shape[1:] == (4, 40, 40)


@pytest.mark.parametrize("stacked", [False, True])
def test_rewards_of_pictures_can_be_normalized(stacked):
    """Wrappers above ``VecNormalize`` change the layout of what it calls the original observations."""
    env = make_vec(FakeImageEnv, 2, screen_height=40, screen_width=40)
    env = VecNormalize(env, norm_obs=False, norm_reward=True)
    model = image_model(VecFrameStack(env, 2) if stacked else env).learn(64)
    stored = model.hindsight.transitions(np.array([0])).observations
    assert stored.shape[1:] == (1 + stacked, 40, 40) and stored.dtype == np.uint8
    assert set(model.replay_buffer.returns) <= set(range(11))  # raw: FakeImageEnv pays 0 to 1 per step


def test_pictures_are_scaled_to_one():
    model = image_model(FakeImageEnv(screen_height=40, screen_width=40))
    seen = []
    model.policy.features_extractor.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    model.predict(np.full((1, 40, 40), 255, np.uint8))
    assert seen[0].dtype == th.float32 and (seen[0] == 1).all()


def test_normalize_images_can_be_turned_off():
    space = spaces.Box(0, 1, (1, 40, 40), np.float32)
    env = make_vec(AnySpaces, observation_space=space, action_space=spaces.Discrete(2))
    kwargs = {"normalize_images": False, "features_extractor_class": NatureCNN}
    kwargs["features_extractor_kwargs"] = {"features_dim": 16, "normalized_image": True}
    model = tiny_model(env, policy_kwargs=kwargs, gradient_steps=1).learn(64)
    seen = []
    model.policy.features_extractor.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    model.predict(np.ones((1, 40, 40), np.float32))
    assert (seen[0] == 1).all()


def test_what_is_no_picture_is_no_input_for_a_cnn():
    env = make_vec(AnySpaces, observation_space=spaces.Box(0, 1, (1, 40, 40)), action_space=spaces.Discrete(2))
    assert isinstance(tiny_model(env).policy.features_extractor, FlattenExtractor)
    with pytest.raises(AssertionError, match="NatureCNN"):
        tiny_model(env, policy_kwargs={"features_extractor_class": NatureCNN})


@pytest.mark.parametrize(("height", "width", "expected"), [(64, 64, NatureCNN), (63, 64, SmallCNN), (64, 63, SmallCNN)])
def test_pictures_too_small_for_one_extractor_get_another(height, width, expected):
    env = FakeImageEnv(screen_height=height, screen_width=width, n_channels=3)
    model = tiny_model(env).learn(64)
    assert isinstance(model.policy.features_extractor, expected) and model._n_updates > 0


def test_cnn_policy_is_the_one_of_sb3_and_refuses_small_pictures():
    env = FakeImageEnv(screen_height=35, screen_width=35)
    with pytest.raises(RuntimeError, match="Kernel size"):
        tiny_model(env, "CnnPolicy")
    policy_kwargs = {"features_extractor_class": FlattenExtractor}
    assert tiny_model(env, "CnnPolicy", policy_kwargs=policy_kwargs).learn(64)._n_updates > 0


def test_catch_is_learned():
    """Chance catches one ball in eight, which is a mean of -0.75."""
    env = make_vec_env("sb3_udrl.envs:Catch-v0", 8, seed=0)
    model = tiny_model(
        env,
        "CnnPolicy",
        net_arch=[64],
        policy_kwargs={"features_extractor_kwargs": {"features_dim": 64}},
        learning_starts=10_000,
        warm_up="sticky",
        train_freq=50,
        gradient_steps=50,
        batch_size=128,
        learning_rate=1e-3,
        command_sampler="joint",
        command_sampler_kwargs={"optimism": 0.0},
        replay_buffer_kwargs={"sampling": "return"},
    )
    model.learn(18_000)
    assert model.replay_buffer.returns[:1000].mean() < -0.5
    mean, _ = evaluate_policy(model, make_vec_env("sb3_udrl.envs:Catch-v0", 8, seed=1), 100)
    assert mean > 0


def test_the_following_callback_evaluates_where_that_of_sb3_does():
    """SB3 transposes pictures of the training environment alone."""
    picture = {"screen_height": 40, "screen_width": 40}
    callback = CommandFollowingCallback(
        make_vec(FakeImageEnv, **picture), commands={"return": [5], "horizon": [5]}, eval_freq=30, n_episodes=1
    )
    image_model(make_vec(FakeImageEnv, 2, **picture)).learn(80, callback=callback)
    assert callback.last_result is not None
