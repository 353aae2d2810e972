"""Estimators of scikit-learn's kind in files: a class of a list, and plain arguments."""

from __future__ import annotations

import importlib
import inspect
import sys
from collections.abc import Collection, Mapping
from typing import Any

from sb3_udrl.saving.trust import Untrusted

_OF_SCIKIT_LEARN = (
    *("calibration", "discriminant_analysis", "dummy", "ensemble", "gaussian_process", "isotonic", "kernel_ridge"),
    *("linear_model", "multioutput", "naive_bayes", "neighbors", "neural_network", "pipeline", "preprocessing", "svm", "tree"),
)
# Public modules whose estimators are built by storing their arguments
_MODULES = {"lightgbm", "xgboost", *(f"sklearn.{name}" for name in _OF_SCIKIT_LEARN)}
_OF_PACKAGES = {  # where the package has others, which connect to hosts
    "lightgbm": {"LGBMClassifier", "LGBMRegressor"},
    "xgboost": {"XGBClassifier", "XGBRegressor", "XGBRFClassifier", "XGBRFRegressor"},
}
_NEVER = {"memory", "callbacks", "func", "inverse_func"}  # a folder that pickles are read from, and functions


def is_estimator(value: Any) -> bool:
    """
    Whether an object is an estimator that files can hold.

    :param value: any object
    """
    return "sklearn.base" in sys.modules and not isinstance(value, type) and _public_path(type(value)) is not None


def _public_path(cls: type[Any]) -> str | None:
    """The import path of a known estimator class."""
    package, *rest = cls.__module__.split(".")
    module = package if package in _OF_PACKAGES else ".".join((package, *rest[:1]))
    path = f"{module}.{cls.__name__}"
    return path if module in _MODULES and estimator_class(path) is cls else None


def estimator_class(path: str) -> type[Any] | None:
    """
    The class of an import path if it is a known estimator, else None; nothing else is imported.

    :param path: import path, also of the private module that defines the class
    """
    package, *rest = path.split(".")
    module = package if package in _OF_PACKAGES else ".".join((package, *rest[:1]))
    name = path.rpartition(".")[2]
    if module not in _MODULES or name not in _OF_PACKAGES.get(package, {name}):
        return None
    from sklearn.base import BaseEstimator

    try:
        cls = getattr(importlib.import_module(module), name, None)
    except ImportError:
        return None
    return cls if isinstance(cls, type) and issubclass(cls, BaseEstimator) else None


def estimator_fields(estimator: Any) -> dict[str, Any]:
    """
    Class and arguments of an estimator.

    :param estimator: of a known class
    """
    defaults = _defaults(type(estimator))
    arguments = {
        name: value
        for name, value in estimator.get_params(deep=False).items()
        if name in defaults and defaults[name] is not value
    }
    return {"class": _public_path(type(estimator)), "arguments": arguments}


def build_estimator(path: str, arguments: Mapping[str, Any]) -> Any:
    """
    An unfitted estimator.

    :param path: import path of its class
    :param arguments: of the constructor
    :raises ValueError: if the class is not known, or an argument could run code
    """
    cls = estimator_class(path)
    if cls is None:
        raise ValueError(f"estimator={path!r} is not on the list of known estimators")
    check_arguments(path, arguments)
    return cls(**arguments)


def check_arguments(path: str, arguments: Mapping[str, Any]) -> None:
    """
    Look whether arguments of a known estimator are plain, and of its constructor.

    :param path: import path of its class
    :param arguments: of the constructor; ``part__name`` for those of a part
    :raises ValueError: if one could run code, or read files
    """
    cls = estimator_class(path)
    known = set() if cls is None else set(_defaults(cls))
    for name, value in arguments.items():
        last = name.rpartition("__")[2]
        if last in _NEVER or not _is_plain(value) or (last == name and name not in known):
            raise ValueError(f"estimator_kwargs: {name}={value!r} of {path} is not a plain argument of that class")


def _defaults(cls: type[Any]) -> dict[str, Any]:
    """Defaults of the named arguments of a constructor and of its bases', to which XGBoost's classes pass the rest on."""
    constructors = [
        vars(base)["__init__"] for base in reversed(cls.__mro__) if base is not object and "__init__" in vars(base)
    ]
    parameters = [parameter for made in constructors for parameter in list(inspect.signature(made).parameters.values())[1:]]
    variable = (inspect.Parameter.VAR_KEYWORD, inspect.Parameter.VAR_POSITIONAL)
    return {parameter.name: parameter.default for parameter in parameters if parameter.kind not in variable}


def _is_plain(value: Any) -> bool:
    if isinstance(value, list | tuple):
        return all(map(_is_plain, value))
    if isinstance(value, Mapping):
        return all(_is_plain(item) for pair in value.items() for item in pair)
    return value is None or isinstance(value, bool | int | float | str) or is_estimator(value)


def check_estimators(setting: str, policy_kwargs: Any, trusted: Collection[str]) -> None:
    """
    Look at the estimators that a forest policy with these arguments would import.

    :param setting: name of the setting
    :param policy_kwargs: arguments of a policy, if any
    :param trusted: import paths that may be imported besides the known ones
    :raises Untrusted: if one is neither known nor trusted
    :raises ValueError: if an argument of a known one could run code
    """
    kwargs = policy_kwargs if isinstance(policy_kwargs, Mapping) else {}
    arguments = kwargs.get("estimator_kwargs") or {}
    for path, its_arguments in ((kwargs.get("estimator"), arguments), (arguments.get("estimator"), {})):
        if not isinstance(path, str) or path in trusted:
            continue
        if estimator_class(path) is None:
            raise Untrusted({path: f"{setting}/estimator"})
        check_arguments(path, its_arguments)
