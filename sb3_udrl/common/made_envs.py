"""Environments that know how more like them are made."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar
from weakref import WeakKeyDictionary

import gymnasium as gym
from gymnasium import spaces
from stable_baselines3.common.vec_env import VecEnv

MakeEnv = Callable[[], gym.Env[Any, Any] | VecEnv]
AnyEnv = TypeVar("AnyEnv", bound="gym.Env[Any, Any] | VecEnv")

# Not an attribute of theirs: VecNormalize.save pickles all that it has, and functions of the Zoo cannot be pickled
_makers: WeakKeyDictionary[Any, MakeEnv] = WeakKeyDictionary()


def made_by(make: MakeEnv, env: AnyEnv) -> AnyEnv:
    """
    Let an environment know how more like it are made.

    :param make: a function without arguments
    :param env: what it made, or the same in wrappers that SB3 puts around it by itself
    :return: the environment
    """
    _makers[env] = make
    return env


def maker_of(env: gym.Env[Any, Any] | VecEnv) -> MakeEnv | None:
    """
    The function that makes environments like this one, wrappers included, if it is known.

    :param env: any environment
    """
    return _makers.get(env)


class SpacesAlone(gym.Env[Any, Any]):
    """
    An environment that nobody can play: what SB3 puts around it says what a model sees, such as pictures with their channels
    first.

    :param observation_space: of observations
    :param action_space: of actions
    """

    def __init__(self, observation_space: spaces.Space[Any], action_space: spaces.Space[Any]) -> None:
        self.observation_space, self.action_space = observation_space, action_space
