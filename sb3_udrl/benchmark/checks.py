"""Mistakes in suites, found before anything is trained."""

from __future__ import annotations

import ast
import inspect
import types
from collections.abc import Mapping
from dataclasses import is_dataclass
from typing import Any, Union, get_args, get_origin

# What the Zoo runs as code where a string is given
CODE = ("policy_kwargs", "replay_buffer_class", "replay_buffer_kwargs", "normalize", "monitor_kwargs")
# What the Zoo takes besides arguments of the algorithm
OF_THE_ZOO = {
    *("n_envs", "n_timesteps", "normalize", "frame_stack", "env_wrapper", "vec_env_wrapper", "env_kwargs", "callback"),
    *("monitor_kwargs", "noise_type", "noise_std"),
}
_HARMLESS = (
    ast.Expression,
    ast.Constant,
    ast.Name,
    ast.Load,
    ast.Dict,
    ast.List,
    ast.Tuple,
    ast.keyword,
    ast.UnaryOp,
    ast.USub,
)


def fits(value: object, hint: Any) -> bool:
    """
    Whether a value read from YAML is of a type.

    :param value: the value
    :param hint: the type, as annotations write it; of nested dataclasses, sections are not looked into
    """
    origin, arguments = get_origin(hint), get_args(hint)
    if hint is Any or is_dataclass(hint):
        return True
    if origin in (Union, types.UnionType):
        return any(fits(value, argument) for argument in arguments)
    if origin is list:
        return isinstance(value, list) and all(fits(item, arguments[0]) for item in value)
    if origin is dict:
        return isinstance(value, dict) and all(fits(k, arguments[0]) and fits(v, arguments[1]) for k, v in value.items())
    if hint in (int, float):
        numbers = isinstance(value, int | float) and not isinstance(value, bool)
        return numbers and (hint is float or value == int(value))  # type: ignore[call-overload]
    return isinstance(value, hint)


def check_hyperparams(where: str, hyperparams: Mapping[str, Any], algorithm: type[Any]) -> None:
    """
    :param where: names of what is configured, for errors
    :param hyperparams: a suite's changes to the Zoo's hyperparameters
    :param algorithm: class of the algorithm
    :raises ValueError: if one is unknown, or a string would be run as code
    """
    constructors = [vars(kind)["__init__"] for kind in algorithm.__mro__ if "__init__" in vars(kind) and kind is not object]
    known = OF_THE_ZOO.union(*(inspect.signature(constructor).parameters for constructor in constructors))
    if unknown := sorted(set(hyperparams) - known):
        raise ValueError(f"{where}: {algorithm.__name__} has no hyperparameters {unknown}")
    for name in CODE:
        if isinstance(hyperparams.get(name), str) and not is_plain(hyperparams[name]):
            raise ValueError(
                f"{where}: {name}={hyperparams[name]!r} would be run as code: write a section of YAML, or dict(...) of "
                "numbers, texts, names such as nn.ReLU and get_class_by_name('...')"
            )


def check_texts(where: str, hyperparams: Mapping[str, Any], section: Mapping[str, Any]) -> None:
    """
    :param where: names of what is configured, for errors
    :param hyperparams: changes to a section
    :param section: the Zoo's hyperparameters
    :raises ValueError: if a dictionary would take the place of a text, instead of being merged into what the text says
    """
    for name, changes in hyperparams.items():
        if isinstance(changes, dict) and isinstance(section.get(name), str):
            raise ValueError(f"{where}: {name}={changes}: the section says {section[name]!r}: write all of it, as a text, too")


def is_plain(code: str) -> bool:
    """
    Whether evaluating a string does no more than building values of literals, of names, and of classes by their import path.

    :param code: an expression of Python
    """
    try:
        nodes = list(ast.walk(ast.parse(code.strip(), mode="eval")))
    except (SyntaxError, ValueError):
        return False
    return all(isinstance(node, _HARMLESS) or _is_name_or_call(node) for node in nodes)


def _is_name_or_call(node: ast.AST) -> bool:
    if isinstance(node, ast.Attribute):
        return not node.attr.startswith("_")
    if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Name):
        return False
    return node.func.id == "dict" or (
        node.func.id == "get_class_by_name" and all(isinstance(argument, ast.Constant) for argument in node.args)
    )
