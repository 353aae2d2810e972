"""
The statistics of SB3's ``VecNormalize``, which it keeps in a pickle. Nothing that the pickle names is imported or called: its
numbers are looked for among stand-ins.
"""

from __future__ import annotations

import io
import pathlib
import pickle
import re
from typing import Any

import numpy as np
from numpy.typing import NDArray
from stable_baselines3.common.running_mean_std import RunningMeanStd
from stable_baselines3.common.vec_env import VecEnv, VecNormalize

_PICKLED = "stable_baselines3.common.vec_env.vec_normalize.VecNormalize"


class _StandIn:
    """
    In the place of an object of the class or function ``name``: what it would have been made of.

    :param made_of: arguments
    :param named: arguments by name
    """

    name = ""
    state: Any = None

    def __init__(self, *made_of: Any, **named: Any) -> None:
        self.made_of = made_of

    def __setstate__(self, state: Any) -> None:
        self.state = state

    def __setitem__(self, key: Any, value: Any) -> None:
        """Of ordered dictionaries, whose contents matter to nobody here."""

    def append(self, item: Any) -> None:
        """
        As above.

        :param item: of a list of another class
        """


# The one in Python: that in C takes all memory where a damaged file numbers an object by a few billions
class _Reader(pickle._Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        """
        A class of its own for each that the file names.

        :param module: is not imported
        :param name: in the module
        """
        return type("_StandIn", (_StandIn,), {"name": f"{module}.{name}"})


def load_normalization(path: str | pathlib.Path, env: VecEnv) -> VecNormalize:
    """
    Standardize observations by saved statistics, which stay as they are; rewards are left alone.

    :param path: file that ``VecNormalize.save`` wrote
    :param env: the environment to wrap
    :raises FileNotFoundError: if there is no such file
    :raises ValueError: if it is damaged, or belongs to other observations
    """
    content = pathlib.Path(path).read_bytes()
    try:
        loaded = _Reader(io.BytesIO(content)).load()
        if not isinstance(loaded, _StandIn) or loaded.name != _PICKLED:
            raise ValueError("it holds something else")
        state = loaded.state
        keys = state.get("norm_obs_keys")
        settings: dict[str, Any] = {name: float(_numbers(state[name])) for name in ("clip_obs", "epsilon")}
        settings |= {"norm_obs": bool(state["norm_obs"]), "norm_obs_keys": keys if keys is None else [*map(str, keys)]}
        statistics = _statistics(state["obs_rms"]) if settings["norm_obs"] else {}
    except Exception as error:  # damaged pickles go wrong in many ways
        what = str(error) or type(error).__name__
        raise ValueError(f"{path}: is no file of VecNormalize.save, or damaged: {what}") from error
    try:
        wrapped = VecNormalize(env, training=False, norm_reward=False, **settings)
    except (KeyError, ValueError) as error:
        raise ValueError(f"{path}: does not fit the observations {env.observation_space}: {error}") from error
    if settings["norm_obs"]:
        _take_over(statistics, wrapped, path)
    return wrapped


Statistics = dict[str | None, RunningMeanStd]  # by the key of a dictionary; by None of plain observations


def _statistics(pickled: Any) -> Statistics:
    found: Statistics = {}
    for key, of_key in pickled.items() if isinstance(pickled, dict) else [(None, pickled)]:
        found[key] = statistics = RunningMeanStd()
        statistics.mean, statistics.var = _numbers(of_key.state["mean"]), _numbers(of_key.state["var"])
        statistics.count = float(_numbers(of_key.state["count"]))
        if not (np.isfinite(statistics.mean).all() and np.isfinite(statistics.var).all() and (statistics.var >= 0).all()):
            raise ValueError("its means must be finite, and its variances not negative")
    return found


def _take_over(statistics: Statistics, env: VecNormalize, path: str | pathlib.Path) -> None:
    needed: Any = env.obs_rms if isinstance(env.obs_rms, dict) else {None: env.obs_rms}
    shapes, expected = ({key: of_key.mean.shape for key, of_key in own.items()} for own in (statistics, needed))
    if shapes != expected or any(of_key.var.shape != of_key.mean.shape for of_key in statistics.values()):
        raise ValueError(f"{path}: has statistics of the shapes {shapes}, but observations have {expected}")
    for key, of_key in statistics.items():
        vars(needed[key]).update(vars(of_key))


def _numbers(value: Any) -> NDArray[np.float64]:
    """A number, or an array as NumPy pickles it, of plain numbers alone."""
    if not isinstance(value, _StandIn):
        return np.array(value, dtype=np.float64)
    shape: Any = ()
    order: Any = "C"
    made_by = value.name.rpartition(".")[2]
    if made_by == "scalar":
        dtype, content = value.made_of
    elif made_by == "_frombuffer":  # protocol 5
        content, dtype, shape, order = value.made_of
    else:
        _, shape, dtype, by_columns, content = value.state
        order = "F" if by_columns else "C"
    kind, byte_order = dtype.made_of[0], dtype.state[1]
    if not re.fullmatch(r"[biuf][1248]", kind):
        raise ValueError(f"it has numbers of the type {kind!r}")
    numbers: NDArray[np.float64] = np.frombuffer(content, np.dtype(byte_order + kind)).reshape(shape, order=order)
    return numbers.astype(np.float64)
