"""What a network reads of an observation, part by part: numbers, choices as ones and zeros, pictures through convolutions."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch as th
from gymnasium import spaces
from stable_baselines3.common.preprocessing import get_flattened_obs_dim, is_image_space, preprocess_obs
from stable_baselines3.common.torch_layers import BaseFeaturesExtractor, CombinedExtractor, FlattenExtractor, NatureCNN
from stable_baselines3.common.type_aliases import PyTorchObs
from torch import nn

from sb3_udrl.policies.small_cnn import SmallCNN

_NATURE_CNN = 64  # pixels: of smaller pictures it leaves too little


class PartsExtractor(CombinedExtractor):
    """
    SB3's ``CombinedExtractor``, which reads pictures below 64 by 64 pixels by :class:`SmallCNN`.

    :param observation_space: Dict, pictures with their channels first
    :param cnn_output_dim: features of each picture that ``NatureCNN`` reads
    :param normalized_image: whether pictures come as floats, scaled already
    """

    def __init__(self, observation_space: spaces.Dict, cnn_output_dim: int = 256, normalized_image: bool = False) -> None:
        BaseFeaturesExtractor.__init__(self, observation_space, features_dim=1)  # it is known only after the parts
        extractors: list[nn.Module] = []
        self._features_dim = 0
        for part in observation_space.spaces.values():
            if not is_image_space(part, normalized_image=normalized_image):
                extractors.append(nn.Flatten())
                self._features_dim += get_flattened_obs_dim(part)
                continue
            cnn: BaseFeaturesExtractor
            if picture_extractor(part) is NatureCNN:
                cnn = NatureCNN(part, cnn_output_dim, normalized_image)
            else:
                cnn = SmallCNN(part, normalized_image=normalized_image)
            extractors.append(cnn)
            self._features_dim += cnn.features_dim
        self.parts = nn.ModuleList(extractors)  # by number, since PyTorch does not take every key for a name
        self._keys = list(observation_space.spaces)

    def forward(self, observations: Any) -> th.Tensor:
        """
        :param observations: the parts, preprocessed, each ``(n, *part_shape)``
        :return: ``(n, features_dim)``
        """
        return th.cat([extract(observations[key]) for key, extract in zip(self._keys, self.parts, strict=True)], dim=1)


def picture_extractor(space: spaces.Space[Any]) -> type[BaseFeaturesExtractor]:
    """
    The network that reads pictures of a size.

    :param space: pictures, channels first
    """
    assert space.shape is not None
    return NatureCNN if min(space.shape[1:]) >= _NATURE_CNN else SmallCNN


def suitable_features_extractor(observation_space: spaces.Space[Any]) -> type[BaseFeaturesExtractor]:
    """
    The features extractor that fits a space.

    :param observation_space: space of one environment
    """
    if isinstance(observation_space, spaces.Dict):
        return PartsExtractor
    return picture_extractor(observation_space) if is_image_space(observation_space) else FlattenExtractor


def preprocess(observation: PyTorchObs, space: spaces.Space[Any], normalize_images: bool = True) -> Any:
    """
    SB3's ``preprocess_obs``, for choices that are not counted from zero and single numbers as well.

    :param observation: a batch, ``(n, *observation_shape)``, or a dictionary of such
    :param space: space of one environment
    :param normalize_images: divide pictures by 255
    :return: floats; choices as ones and zeros
    """
    if isinstance(space, spaces.Dict):
        assert isinstance(observation, dict)
        return {key: preprocess(observation[key], part, normalize_images) for key, part in space.spaces.items()}
    assert isinstance(observation, th.Tensor)
    if isinstance(space, spaces.Discrete | spaces.MultiDiscrete) and np.any(space.start):
        observation = observation.long() - th.as_tensor(np.asarray(space.start, dtype=np.int64), device=observation.device)
    if isinstance(space, spaces.Box) and not space.shape:
        observation = observation[:, None]
    return preprocess_obs(observation, space, normalize_images)


def vector_parts(space: spaces.Space[Any], normalized_image: bool = False) -> dict[str, spaces.Box]:
    """
    The parts of an observation that are numbers, neither choices nor pictures, by key; an observation without parts has the
    empty one.

    :param space: space of one environment
    :param normalized_image: whether pictures come as floats, scaled already
    """
    parts = space.spaces if isinstance(space, spaces.Dict) else {"": space}
    return {
        key: part
        for key, part in parts.items()
        if isinstance(part, spaces.Box) and not is_image_space(part, normalized_image=normalized_image)
    }


def joined(observation: PyTorchObs, keys: list[str]) -> th.Tensor:
    """
    Some parts as one vector.

    :param observation: a batch, or a dictionary of batches
    :param keys: which parts; the empty one is the observation itself
    :return: floats, doubles where single precision would lose something, ``(n, n_numbers)``
    """
    parts = [observation[key] if isinstance(observation, dict) else observation for key in keys]
    return th.cat([_floats(part.reshape(part.shape[0], -1)) for part in parts], dim=1)


def _floats(numbers: th.Tensor) -> th.Tensor:
    if numbers.is_floating_point():
        return numbers
    return numbers.double() if numbers.element_size() >= 4 else numbers.float()


def replaced(observation: Any, keys: list[str], vectors: th.Tensor) -> Any:
    """
    The inverse of :func:`joined`: these parts taken from a vector.

    :param observation: a batch, or a dictionary of batches
    :param keys: which parts
    :param vectors: ``(n, n_numbers)``
    """
    if not isinstance(observation, dict):
        return vectors.reshape(observation.shape)
    sizes = [observation[key][0].numel() for key in keys]
    columns = vectors.split(sizes, dim=1)
    return {**observation, **{key: part.reshape(observation[key].shape) for key, part in zip(keys, columns, strict=True)}}
