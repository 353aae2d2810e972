"""Shapes and sums of the small convolutional network."""

import numpy as np
import pytest
import torch as th
from gymnasium import spaces
from stable_baselines3 import PPO
from stable_baselines3.common.envs import FakeImageEnv

from sb3_udrl.policies import SmallCNN


def pictures(*shape):
    return spaces.Box(0, 255, shape, np.uint8)


@pytest.mark.parametrize(
    ("shape", "channels", "features_dim"),
    [
        ((8, 32, 32), (32, 48, 96, 128), 128 * 2 * 2),  # of the paper
        ((8, 32, 32), (48, 96, 192, 384), 384 * 2 * 2),
        ((1, 20, 35), (4, 5), 5 * 5 * 9),  # 20 -> 10 -> 5 and 35 -> 18 -> 9
        ((3, 1, 1), (7,), 7),
    ],
)
def test_every_layer_halves_the_picture(shape, channels, features_dim):
    extractor = SmallCNN(pictures(*shape), channels)
    assert extractor.features_dim == features_dim
    assert extractor(th.zeros(5, *shape)).shape == (5, features_dim)


def test_number_of_parameters():
    n_weights = 9 * (8 * 32 + 32 * 48 + 48 * 96 + 96 * 128) + 32 + 48 + 96 + 128
    assert sum(parameter.numel() for parameter in SmallCNN(pictures(8, 32, 32)).parameters()) == n_weights


def test_a_layer_by_hand():
    """With weights of one, a feature is the sum of the 3 by 3 pixels around every second pixel, zeros outside."""
    extractor = SmallCNN(pictures(1, 4, 4), (1,))
    for parameter in extractor.parameters():
        th.nn.init.constant_(parameter, float(parameter.ndim > 1))
    picture = th.arange(16.0).reshape(1, 1, 4, 4)
    expected = [[0 + 1 + 4 + 5, 1 + 2 + 3 + 5 + 6 + 7], [4 + 5 + 8 + 9 + 12 + 13, 5 + 6 + 7 + 9 + 10 + 11 + 13 + 14 + 15]]
    assert extractor(picture).reshape(2, 2).tolist() == expected
    assert (extractor(-picture) == 0).all()  # ReLU


def test_what_is_no_picture_is_refused():
    with pytest.raises(ValueError, match="SmallCNN needs pictures"):
        SmallCNN(spaces.Box(0, 1, (1, 8, 8)))
    assert SmallCNN(spaces.Box(0, 1, (1, 8, 8)), normalized_image=True).features_dim == 128


def test_algorithms_of_sb3_can_use_it():
    env = FakeImageEnv(screen_height=32, screen_width=32, n_channels=1)
    policy_kwargs = {"features_extractor_class": SmallCNN, "features_extractor_kwargs": {"channels": (4, 8)}}
    model = PPO("CnnPolicy", env, n_steps=16, batch_size=16, n_epochs=1, policy_kwargs=policy_kwargs, device="cpu").learn(16)
    assert isinstance(model.policy.features_extractor, SmallCNN)
