"""What files may hold without being trusted: kinds of objects with their fields, and names of classes."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Collection
from typing import Any, NamedTuple

import numpy as np
from gymnasium import spaces

from sb3_udrl.saving.estimators import build_estimator, estimator_fields, is_estimator


class Kind(NamedTuple):
    """
    A kind of object that is written by its fields.

    :param matches: whether an object is of this kind
    :param to_fields: an object's fields
    :param from_fields: an object of such fields
    """

    matches: Callable[[Any], bool]
    to_fields: Callable[[Any], dict[str, Any]]
    from_fields: Callable[[dict[str, Any]], Any]


def _of(cls: type[Any], *names: str) -> Kind:
    """A class whose constructor takes the attributes of these names; not its subclasses, which may do anything."""
    return Kind(
        lambda value: type(value) is cls,
        lambda value: {name: getattr(value, name) for name in names},
        lambda fields: cls(**{name: fields[name] for name in names}),
    )


def _dict_space(fields: dict[str, Any]) -> spaces.Dict:
    return spaces.Dict([(str(key), space) for key, space in fields["spaces"]])


KINDS: dict[str, Kind] = {
    "dtype": Kind(
        lambda value: isinstance(value, np.dtype) or (isinstance(value, type) and issubclass(value, np.generic)),
        lambda value: {"name": np.dtype(value).name},
        lambda fields: np.dtype(str(fields["name"])),
    ),
    "Box": _of(spaces.Box, "low", "high", "dtype"),
    "Discrete": _of(spaces.Discrete, "n", "start"),
    "MultiDiscrete": _of(spaces.MultiDiscrete, "nvec", "dtype", "start"),
    "MultiBinary": _of(spaces.MultiBinary, "n"),
    "Dict": Kind(lambda value: type(value) is spaces.Dict, lambda value: {"spaces": [*value.spaces.items()]}, _dict_space),
    "estimator": Kind(
        is_estimator, estimator_fields, lambda fields: build_estimator(str(fields["class"]), fields["arguments"])
    ),
}

_OBJECTS = {  # classes whose attributes are all there is to them
    "rl_zoo3.utils": {"SimpleLinearSchedule"},
    "sb3_udrl.commands.command_space": {"CommandSpace"},
    "sb3_udrl.commands.outcomes": {"Outcome", "Outcomes"},
    "sb3_udrl.commands.parts": {"Advantage", "Horizon", "Return", "SummedPart"},
    "sb3_udrl.udrlpg.command": {"EpisodeReturn"},
    "stable_baselines3.common.utils": {"ConstantSchedule", "FloatSchedule", "LinearSchedule"},
}
_CLASSES = {
    "builtins": {"bool", "float", "int"},
    "sb3_udrl.buffers.relative_replay_buffer": {"RelativeReplayBuffer"},
    "sb3_udrl.buffers.replay_buffer": {"EpisodicReplayBuffer"},
    "sb3_udrl.commands.beyond_best": {"BeyondBestCommands"},
    "sb3_udrl.commands.elites": {"AdaptiveCommands", "EliteEpisodes", "JointCommands", "Usual"},
    "sb3_udrl.commands.samplers": {"CurriculumCommands", "FixedCommands", "MeanPlusStdCommands", "QuantileCommands"},
    "sb3_udrl.forest.policy": {"ForestPolicy"},
    "sb3_udrl.policies.command_policy": {"CnnPolicy", "CommandPolicy", "MlpPolicy", "MultiInputPolicy"},
    "sb3_udrl.policies.features": {"PartsExtractor"},
    "sb3_udrl.policies.small_cnn": {"SmallCNN"},
    "sb3_udrl.udrlpg.policy": {"GeneratorPolicy"},
    "stable_baselines3.common.torch_layers": {"CombinedExtractor", "FlattenExtractor", "NatureCNN"},
    "torch.nn.modules.activation": {
        *("CELU", "ELU", "GELU", "GLU", "Hardshrink", "Hardsigmoid", "Hardswish", "Hardtanh", "LeakyReLU", "LogSigmoid"),
        *("Mish", "PReLU", "RReLU", "ReLU", "ReLU6", "SELU", "Sigmoid", "SiLU", "Softplus", "Softshrink", "Softsign"),
        *("Tanh", "Tanhshrink"),
    },
    "torch.nn.modules.linear": {"Identity"},
    "torch.optim": {"Adafactor"},
    "torch.optim.adadelta": {"Adadelta"},
    "torch.optim.adagrad": {"Adagrad"},
    "torch.optim.adam": {"Adam"},
    "torch.optim.adamax": {"Adamax"},
    "torch.optim.adamw": {"AdamW"},
    "torch.optim.nadam": {"NAdam"},
    "torch.optim.radam": {"RAdam"},
    "torch.optim.rmsprop": {"RMSprop"},
    "torch.optim.sgd": {"SGD"},
}


def resolve(name: str, trusted: Collection[str] = ()) -> Any:
    """
    The class or function of an import path, or None if it is neither known nor trusted; only then is anything imported.

    :param name: import path
    :param trusted: import paths that may be imported besides the known ones
    :raises ValueError: if there is no such thing
    """
    module, _, attribute = name.rpartition(".")
    if name in trusted:
        return _imported(name)
    if attribute in _CLASSES.get(module, ()) or attribute in _OBJECTS.get(module, ()):
        return getattr(importlib.import_module(module), attribute)
    return None


def known_object(cls: type[Any]) -> bool:
    """
    Whether objects of a class may be restored by their attributes.

    :param cls: the class
    """
    return cls.__name__ in _OBJECTS.get(cls.__module__, ())


def _imported(name: str) -> Any:
    """The longest part of the path that is a module, and the rest as attributes of that."""
    parts = name.split(".")
    for n_module in range(len(parts) - 1, 0, -1):
        try:
            found: Any = importlib.import_module(".".join(parts[:n_module]))
        except ModuleNotFoundError:
            continue
        try:
            for attribute in parts[n_module:]:
                found = getattr(found, attribute)
        except AttributeError:
            break
        return found
    raise ValueError(f"{name} is trusted, but cannot be imported here: give it by custom_objects instead")
