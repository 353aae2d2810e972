"""
Files of strangers: SB3 keeps settings that are not plain JSON as pickles, which can name any function to be called.

Here they are looked through before they are loaded. What is on the list can be built without running anybody's code.
"""

from __future__ import annotations

import base64
import importlib
import io
import json
import pickle
import zipfile
from collections.abc import Collection, Iterator
from contextlib import contextmanager, nullcontext
from contextvars import ContextVar
from typing import Any

from stable_baselines3.common.save_util import open_path

TRUSTED_PACKAGES = ("sklearn", "xgboost", "lightgbm")  # their estimators are built by storing arguments

_PLAIN = {
    "builtins": {"bytearray", "complex", "frozenset", "range", "set", "slice"},
    "collections": {"OrderedDict", "deque"},
    "gymnasium.spaces.box": {"Box"},
    "gymnasium.spaces.dict": {"Dict"},
    "gymnasium.spaces.discrete": {"Discrete"},
    "gymnasium.spaces.multi_binary": {"MultiBinary"},
    "gymnasium.spaces.multi_discrete": {"MultiDiscrete"},
    "numpy": {"dtype", "ndarray"},
    "numpy._core.multiarray": {"_reconstruct", "scalar"},
    "numpy._core.numeric": {"_frombuffer"},
    "numpy.core.multiarray": {"_reconstruct", "scalar"},
    "numpy.core.numeric": {"_frombuffer"},
    "numpy.random._mt19937": {"MT19937"},
    "numpy.random._pcg64": {"PCG64"},
    "numpy.random._pickle": {"__bit_generator_ctor", "__generator_ctor", "__randomstate_ctor"},
    "numpy.random.bit_generator": {"SeedSequence", "__pyx_unpickle_SeedSequence"},
    "rl_zoo3.utils": {"SimpleLinearSchedule"},
    "sb3_udrl.buffers.relative_replay_buffer": {"RelativeReplayBuffer"},
    "sb3_udrl.buffers.replay_buffer": {"EpisodicReplayBuffer"},
    "sb3_udrl.commands.outcomes": {"Outcome", "Outcomes"},
    "sb3_udrl.forest.policy": {"ForestPolicy"},
    "sb3_udrl.policies.command_policy": {"CnnPolicy", "CommandPolicy", "MlpPolicy", "MultiInputPolicy"},
    "stable_baselines3.common.type_aliases": {"TrainFreq", "TrainFrequencyUnit"},
    "stable_baselines3.common.utils": {"ConstantSchedule", "FloatSchedule", "LinearSchedule"},
    "torch.nn.modules.activation": {"ELU", "GELU", "LeakyReLU", "ReLU", "SiLU", "Tanh"},
    "torch.optim.adam": {"Adam"},
    "torch.optim.adamw": {"AdamW"},
    "torch.optim.sgd": {"SGD"},
}

_trusted: ContextVar[tuple[str, ...] | None] = ContextVar("trusted", default=None)


def trusted_names() -> tuple[str, ...] | None:
    """What the file that is being loaded may hold besides what is on the lists; None if nobody asked for a check."""
    return _trusted.get()


@contextmanager
def trusting(trusted: Collection[str] | None) -> Iterator[None]:
    """
    Declare what is trusted in the files that are loaded meanwhile.

    :param trusted: full names of types and functions, besides those that are always trusted; None checks forests, but neither
        pickled settings nor the paths of estimators
    """
    token = _trusted.set(None if trusted is None else tuple(trusted))
    try:
        yield
    finally:
        _trusted.reset(token)


def refuse_untrusted(names: Collection[str], what: str) -> None:
    """
    :param names: full names of types and functions that are on no list
    :param what: what holds them
    :raises TypeError: if one is not trusted
    """
    untrusted = sorted(set(names) - set(trusted_names() or ()))
    if untrusted:
        raise TypeError(
            f"{what} of this file would build {', '.join(untrusted)}, which could run code of whoever made it. Nothing was "
            f"loaded. If you trust them: load(..., trusted={untrusted})"
        )


def check_settings(path: Any, custom_objects: dict[str, Any] | None = None) -> None:
    """
    Look through the pickled settings of a model.

    :param path: zip file, or path with or without ``.zip``
    :param custom_objects: settings that will be replaced, as in SB3's ``load``
    :raises TypeError: if they name types or functions that are not trusted
    """
    opened = nullcontext(path) if hasattr(path, "read") else open_path(path, "r", suffix="zip")
    with opened as file, zipfile.ZipFile(file) as archive:
        settings = json.loads(archive.read("data"))
    found: set[str] = set()
    for name, value in settings.items():
        if isinstance(value, dict) and ":serialized:" in value and name not in (custom_objects or {}):
            found |= untrusted_in_pickle(base64.b64decode(value[":serialized:"]))
    refuse_untrusted(found, "the settings")


def untrusted_in_pickle(pickled: bytes) -> set[str]:
    """
    The types and functions in a pickle that are on no list; nothing of them is called.

    :param pickled: the pickle
    """
    looker = _Looker(io.BytesIO(pickled))
    try:
        looker.load()
    except Exception:
        if not looker.found:  # else a stand-in did not do what it stands for
            raise
    return looker.found


class _Looker(pickle.Unpickler):
    """Loads a pickle with stand-ins for what is on no list."""

    def __init__(self, file: io.BytesIO) -> None:
        super().__init__(file)
        self.found: set[str] = set()

    def find_class(self, module_name: str, global_name: str) -> Any:
        full_name = f"{module_name}.{global_name}"
        if global_name in _PLAIN.get(module_name, ()) or _is_estimator(module_name, global_name):
            return super().find_class(module_name, global_name)
        if full_name not in (trusted_names() or ()):
            self.found.add(full_name)
        return _StandIn

    def persistent_load(self, pid: Any) -> Any:
        raise pickle.UnpicklingError(f"a persistent id, {pid!r}, has no place here")


class _StandIn:
    """Takes whatever a pickle does with it."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        pass

    def __setstate__(self, state: Any) -> None:
        pass


def _is_estimator(module: str, name: str) -> bool:
    if module.split(".")[0] not in TRUSTED_PACKAGES:
        return False
    from sklearn.base import BaseEstimator

    cls = getattr(importlib.import_module(module), name, None)
    return isinstance(cls, type) and issubclass(cls, BaseEstimator)
