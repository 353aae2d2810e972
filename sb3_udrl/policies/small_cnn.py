"""Features of small pictures."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import torch as th
from gymnasium import spaces
from stable_baselines3.common.preprocessing import is_image_space
from stable_baselines3.common.torch_layers import BaseFeaturesExtractor
from torch import nn


class SmallCNN(BaseFeaturesExtractor):
    """
    Convolutions of 3 by 3 pixels with stride 2 and padding 1, each of which halves the picture: for pictures below 64 by 64
    pixels, of which SB3's ``NatureCNN`` leaves too little (a single cell at 40 by 40, nothing below 36 by 36). The default
    is the smallest network of arXiv 1912.02877 for pictures of 32 by 32 (section 3.2).

    :param observation_space: pictures, channels first
    :param channels: channels of the layers
    :param normalized_image: whether pictures come as floats, scaled already
    :raises ValueError: if the observations are no pictures
    """

    def __init__(
        self,
        observation_space: spaces.Space[Any],
        channels: tuple[int, ...] = (32, 48, 96, 128),
        normalized_image: bool = False,
    ) -> None:
        if not is_image_space(observation_space, check_channels=False, normalized_image=normalized_image):
            raise ValueError(f"observation_space={observation_space}: SmallCNN needs pictures, uint8 from 0 to 255")
        assert observation_space.shape is not None
        n_channels, height, width = observation_space.shape
        layers: list[nn.Module] = []
        for n_in, n_out in pairwise((n_channels, *channels)):
            layers += [nn.Conv2d(n_in, n_out, kernel_size=3, stride=2, padding=1), nn.ReLU()]
            height, width = (height + 1) // 2, (width + 1) // 2
        super().__init__(observation_space, features_dim=channels[-1] * height * width)
        self.cnn = nn.Sequential(*layers, nn.Flatten())

    def forward(self, observations: th.Tensor) -> th.Tensor:
        """
        :param observations: ``(batch, channels, height, width)``
        :return: ``(batch, features_dim)``
        """
        return self.cnn(observations)
