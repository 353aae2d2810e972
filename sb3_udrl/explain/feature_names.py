"""What the numbers of an observation are called."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium import spaces
from stable_baselines3.common.vec_env import VecEnv

from sb3_udrl.commands.command_space import UNASKED, CommandSpace

# By the tables in the documentation of Gymnasium's environments
_KNOWN: dict[str, tuple[str, ...]] = {
    "Acrobot": ("cos theta 1", "sin theta 1", "cos theta 2", "sin theta 2", "velocity of theta 1", "velocity of theta 2"),
    "CartPole": ("cart position", "cart velocity", "pole angle", "pole angular velocity"),
    "LunarLander": (
        "x",
        "y",
        "x velocity",
        "y velocity",
        "angle",
        "angular velocity",
        "left leg contact",
        "right leg contact",
    ),
    "MountainCar": ("position", "velocity"),
    "MountainCarContinuous": ("position", "velocity"),
    "Pendulum": ("cos theta", "sin theta", "angular velocity"),
}
_KNOWN["LunarLanderContinuous"] = _KNOWN["LunarLanderSparse"] = _KNOWN["LunarLander"]


def feature_names(env: VecEnv | gym.Env[Any, Any]) -> list[str]:
    """
    A name for every number of an observation, the parts of a dictionary one after the other.

    Gymnasium has no convention for it. An environment with an attribute ``feature_names``, a list of texts, is taken at its
    word, with indices where two are the same; some environments of Gymnasium are known; else it is the key of the dictionary,
    or ``observation``, with the index.

    :param env: the environment
    :return: as many names as an observation has numbers
    :raises ValueError: if the environment has ``feature_names``, but not that many
    """
    own, env_id = _attribute(env, "feature_names"), getattr(_attribute(env, "spec"), "id", "")
    by_space = names_by_space(env.observation_space)
    if own is not None:
        if len(own) != len(by_space):
            raise ValueError(f"the environment has {len(own)} feature_names, and observations of {len(by_space)} numbers")
        names = [str(name) for name in own]
        return [name if names.count(name) == 1 else f"{name} [{i}]" for i, name in enumerate(names)]
    known = _KNOWN.get(env_id.rpartition("/")[2].partition("-v")[0], ())
    return list(known) if len(known) == len(by_space) else by_space


def input_names(env: VecEnv | gym.Env[Any, Any], command_space: CommandSpace) -> list[str]:
    """
    The names of all that a behavior function reads: :func:`feature_names`, and those of the command.

    :param env: the environment
    :param command_space: the commands that it takes
    """
    return [*feature_names(env), *command_names(command_space)]


def command_names(command_space: CommandSpace) -> list[str]:
    """
    What the inputs of a command are called: ``desired return``, ...

    :param command_space: the commands
    """
    return [name if name.startswith(UNASKED) else f"desired {name}" for name in command_space.input_names]


def _attribute(env: VecEnv | gym.Env[Any, Any], name: str) -> Any:
    if isinstance(env, VecEnv):  # in other processes, an attribute that there is not ends them
        return env.get_attr(name, 0)[0] if env.has_attr(name) else None
    try:
        return env.get_wrapper_attr(name)
    except AttributeError:
        return None


def names_by_space(space: spaces.Space[Any], key: str = "observation") -> list[str]:
    if isinstance(space, spaces.Dict):
        return [name for part, subspace in space.spaces.items() for name in names_by_space(subspace, part)]
    shape = space.shape or ()
    return [f"{key}[{', '.join(map(str, index))}]" if index else key for index in np.ndindex(*shape)]
