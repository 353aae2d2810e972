"""Arguments that behavior functions of earlier revisions had."""

from __future__ import annotations

import inspect
from collections.abc import Iterable
from typing import Any

from gymnasium import spaces
from stable_baselines3.common.torch_layers import CombinedExtractor


def upgrade_policy_kwargs(kwargs: dict[str, Any], policy_class: type[Any]) -> dict[str, Any]:
    """
    :param kwargs: what a file holds, or a constructor was given
    :param policy_class: takes them; an argument that it names itself is its own
    :return: without the arguments that are gone
    :raises ValueError: if one of these is not at the default that it had
    """
    if "embedding_dim" not in kwargs or "embedding_dim" in inspect.signature(policy_class).parameters:
        return kwargs
    if kwargs["embedding_dim"] != 0:
        raise ValueError(
            f"embedding_dim={kwargs['embedding_dim']}: commands are no longer embedded before they enter the network, leave "
            "it away. A model that was trained with it must be trained anew"
        )
    return {name: value for name, value in kwargs.items() if name != "embedding_dim"}


def upgrade_extractor(kwargs: dict[str, Any], observation_space: spaces.Space[Any], weights: Iterable[str]) -> dict[str, Any]:
    """
    Name the network that read the parts of a Dict before small pictures had one of their own, if weights are of that.

    :param kwargs: arguments of a behavior function
    :param observation_space: its space
    :param weights: their names, as a file holds them
    :return: the arguments of a behavior function that they fit
    """
    older = isinstance(observation_space, spaces.Dict) and any("features_extractor.extractors." in name for name in weights)
    return {"features_extractor_class": CombinedExtractor, **kwargs} if older else kwargs
