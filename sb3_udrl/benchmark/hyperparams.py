"""Hyperparameters of runs: what the Zoo has for an algorithm and an environment, and changes to that."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import gymnasium as gym
import yaml

from sb3_udrl.evaluation.environments import environment_spec, one_line
from sb3_udrl.zoo import hyperparams_path, register

Params = dict[str, Any]


def merge(old: Mapping[str, Any], new: Mapping[str, Any]) -> Params:
    """
    Update a dictionary, and the dictionaries in it.

    :param old: left as it is
    :param new: wins, also with None
    """
    merged = dict(old)
    for key, value in new.items():
        merged[key] = merge(merged[key], value) if isinstance(merged.get(key), dict) and isinstance(value, dict) else value
    return merged


def without_nulls(params: Mapping[str, Any]) -> Params:
    """
    Drop what is None, and so left at its default, also from the dictionaries within.

    :param params: left as it is
    """
    kept = {key: value for key, value in params.items() if value is not None}
    return {key: without_nulls(value) if isinstance(value, dict) else value for key, value in kept.items()}


@cache
def zoo_algorithms() -> dict[str, Any]:
    """The Zoo's algorithms by name, UDRL among them."""
    register()
    from rl_zoo3 import ALGOS

    return ALGOS


@cache
def default_arguments(algo: str, policy: str) -> Params:
    """
    :param algo: name of the algorithm in the Zoo
    :param policy: name of its policy
    :return: arguments of the algorithm as they are when nobody sets them, with those of its policy as ``policy_kwargs``
    """
    algorithm = zoo_algorithms()[algo]
    policy_class = algorithm.policy_aliases.get(policy)
    return {**defaults_of(algorithm), "policy_kwargs": {} if policy_class is None else defaults_of(policy_class)}


def defaults_of(function: Callable[..., Any]) -> Params:
    """
    :param function: a function or class
    :return: its parameters that have a default value, with that value
    """
    parameters = inspect.signature(function).parameters.values()
    return {parameter.name: parameter.default for parameter in parameters if parameter.default is not parameter.empty}


def read_hyperparams(algo: str, sections: list[str | None], environment: str) -> tuple[str, Params]:
    """
    Look hyperparameters up as the Zoo does: the section of the environment, or that of Atari games, or the default.

    :param algo: name of the algorithm in the Zoo
    :param sections: names to look for first
    :param environment: environment id
    :return: name of the section and a copy of what it says
    :raises ValueError: if the algorithm or the environment is unknown or there is no such section
    """
    if algo not in zoo_algorithms():
        raise ValueError(f"algo={algo!r} is no algorithm of the Zoo: choose one of {sorted(zoo_algorithms())}")
    zoo = Path(find_spec("rl_zoo3").origin or "").parent / "hyperparams" / f"{algo}.yml"  # type: ignore[union-attr]
    path = zoo if zoo.is_file() else hyperparams_path(algo)
    available = read_sections(path)
    try:
        spec = environment_spec(environment)
    except (gym.error.Error, ImportError) as error:
        raise ValueError(f"{environment}: {one_line(error)}") from error
    is_atari = "AtariEnv" in str(spec.entry_point)
    fallback = [] if len(sections) == 1 else ["atari" if is_atari else None, "default"]
    plain = [section.rpartition(":")[2] if section else None for section in sections]  # of module:id, the Zoo knows the id
    for section in [*sections, *plain, *fallback]:
        if section in available:
            return str(section), merge(available[section], {})
    raise ValueError(f"section {sections[0]!r} is not in {path.name}, which has {sorted(available)}")


@cache
def read_sections(path: Path) -> dict[str, Params]:
    """
    :param path: a hyperparameter file
    :return: its sections
    """
    return yaml.safe_load(path.read_text(encoding="utf-8"))
