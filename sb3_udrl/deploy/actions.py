"""The actions of an exported agent in numpy: drawn from what its file puts out, and brought into the action space."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Outputs = dict[str, NDArray[Any]]


class Actions:
    """
    As the action heads of the model, by what its file says.

    :param about: what the file says
    """

    def __init__(self, about: dict[str, Any]) -> None:
        names, space = [part["name"] for part in about["parts"]], about["action"]
        self.shape, self.dtype = tuple(space["shape"]), np.dtype(space["dtype"])
        self.bounds: tuple[NDArray[Any], NDArray[Any]] | None = None
        if space["low"] is not None:
            low, high = (np.array(space[bound], dtype=self.dtype) for bound in ("low", "high"))
            if self.dtype.kind == "f":  # what is endless was written as None
                low, high = np.where(np.isnan(low), -np.inf, low), np.where(np.isnan(high), np.inf, high)
            self.bounds = low, high
        self._deciders = [
            (
                _KINDS[decider["kind"]],
                {name: np.array(value) if isinstance(value, list) else value for name, value in decider.items()},
                [names.index(name) for name in decider["parts"]],
                {name: decider["prefix"] + name for name in ("logits", "mean", "std", "alpha", "beta")},
            )
            for decider in about["deciders"]
        ]

    def draw(self, outputs: Outputs, rows: NDArray[np.float64], rng: np.random.Generator) -> NDArray[Any]:
        """
        Draw actions.

        :param outputs: what the file put out, by name
        :param rows: commands, ``(n, n_parts)``, NaN where a part is not asked for; they say who decides
        :param rng: source of randomness
        :return: ``(n, *action_shape)``, still to be brought into the space
        """
        drawn: Any = None
        for kind, decider, columns, names in self._deciders:
            own = {name: outputs[full] for name, full in names.items() if full in outputs}
            actions = kind(decider, own, rng).reshape(-1, *self.shape)
            if drawn is not None:  # the last one decides wherever a part of its own commands is asked for
                asked = ~np.isnan(rows[:, columns]).all(1)
                actions = np.where(asked.reshape(-1, *(1 for _ in self.shape)), actions, drawn)
            drawn = actions
        return drawn

    def into_space(self, actions: NDArray[Any]) -> NDArray[Any]:
        """
        The nearest actions of the space, in its type, as an array of their own.

        :param actions: ``(n, *action_shape)``
        """
        if self.bounds is None:
            return actions.astype(self.dtype)
        if self.dtype.kind == "f":
            return np.clip(actions, *self.bounds).astype(self.dtype, copy=False)
        whole = np.clip(np.rint(actions.astype(np.float64)), *self.bounds)
        # as doubles, the largest numbers of 64 bits are rounded to what the type cannot hold
        beyond = 2.0 ** (8 * self.dtype.itemsize - (self.dtype.kind == "i"))
        return np.clip(whole.clip(max=np.nextafter(beyond, 0)).astype(self.dtype), *self.bounds)


def _highest(decider: dict[str, Any], outputs: Outputs, rng: np.random.Generator) -> NDArray[np.int64]:
    """Drawn places in ``logits``, by the Gumbel trick, ``(n, n_components)``."""
    logits = outputs["logits"]
    return (logits + rng.gumbel(0.0, decider["temperature"], logits.shape)).argmax(2)


def _categorical(decider: dict[str, Any], outputs: Outputs, rng: np.random.Generator) -> NDArray[Any]:
    return _highest(decider, outputs, rng) + decider["start"]


def _bins(decider: dict[str, Any], outputs: Outputs, rng: np.random.Generator) -> NDArray[Any]:
    places = _highest(decider, outputs, rng) + rng.random(outputs["logits"].shape[:2])
    return _unscaled(decider, places / outputs["logits"].shape[2] * 2 - 1)


def _normal(decider: dict[str, Any], outputs: Outputs, rng: np.random.Generator) -> NDArray[Any]:
    mean, std = outputs["mean"], outputs["std"]
    return _unscaled(decider, mean + decider["temperature"] * std * rng.standard_normal(mean.shape))


def _squashed_normal(decider: dict[str, Any], outputs: Outputs, rng: np.random.Generator) -> NDArray[Any]:
    mean, std = outputs["mean"], outputs["std"]
    return _unscaled(decider, np.tanh(mean + decider["temperature"] * std * rng.standard_normal(mean.shape)))


def _beta(decider: dict[str, Any], outputs: Outputs, rng: np.random.Generator) -> NDArray[Any]:
    alpha, beta = (1 + (outputs[name] - 1) / max(decider["temperature"], 1e-3) for name in ("alpha", "beta"))
    return _unscaled(decider, 2 * rng.beta(alpha, beta) - 1)


def _unscaled(decider: dict[str, Any], actions: NDArray[Any]) -> NDArray[np.float64]:
    return actions * decider["half_range"] + decider["center"]


_KINDS = {
    "categorical": _categorical,
    "bins": _bins,
    "normal": _normal,
    "squashed normal": _squashed_normal,
    "beta": _beta,
}
