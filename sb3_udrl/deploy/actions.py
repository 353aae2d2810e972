"""The actions of an exported agent in numpy: drawn from what its file puts out, and brought into the action space."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

Outputs = dict[str, NDArray[Any]]


class Actions:
    """
    As the action heads of the model, by what its file says.

    :param about: what the file says
    :param seed: of the generator that actions are drawn from
    """

    def __init__(self, about: dict[str, Any], seed: int | None = None) -> None:
        self._rng = np.random.default_rng(seed)
        noise = _gumbel(self._rng)
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
                _KINDS[decider["kind"]][0],
                {name: np.array(value) if isinstance(value, list) else value for name, value in decider.items()}
                | {"noise": noise, "shifted": any(decider.get("start", []))},
                [names.index(name) for name in decider["parts"]],
                [decider["prefix"] + name for name in _KINDS[decider["kind"]][1]],
            )
            for decider in about["deciders"]
        ]

    def draw(self, outputs: Outputs, rows: NDArray[np.float64]) -> NDArray[Any]:
        """
        Draw actions.

        :param outputs: what the file put out, by name
        :param rows: commands, ``(n, n_parts)``, NaN where a part is not asked for; they say who decides
        :return: ``(n, *action_shape)``, still to be brought into the space
        """
        drawn: Any = None
        for kind, decider, columns, names in self._deciders:
            actions = kind(decider, self._rng, *[outputs[name] for name in names]).reshape(-1, *self.shape)
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


def _gumbel(rng: np.random.Generator) -> Iterator[float]:
    """Noise number by number, drawn many at a time."""
    while True:
        yield from rng.gumbel(size=256).tolist()


def _highest(decider: dict[str, Any], rng: np.random.Generator, logits: NDArray[Any]) -> NDArray[np.int64]:
    """Drawn places in ``logits``, by the Gumbel trick, ``(n, n_components)``."""
    temperature, noise = decider["temperature"], decider["noise"]
    if logits.size > 32:
        return (logits + rng.gumbel(0.0, temperature, logits.shape)).argmax(2)
    # calls of numpy take longer than so few numbers
    return np.array([[_place([x + temperature * next(noise) for x in part]) for part in row] for row in logits.tolist()])


def _place(values: list[float]) -> int:
    return values.index(max(values))


def _categorical(decider: dict[str, Any], rng: np.random.Generator, logits: NDArray[Any]) -> NDArray[Any]:
    places = _highest(decider, rng, logits)
    return places + decider["start"] if decider["shifted"] else places


def _bins(decider: dict[str, Any], rng: np.random.Generator, logits: NDArray[Any]) -> NDArray[Any]:
    places = _highest(decider, rng, logits) + rng.random(logits.shape[:2])
    return _unscaled(decider, places / logits.shape[2] * 2 - 1)


def _normal(decider: dict[str, Any], rng: np.random.Generator, mean: NDArray[Any], std: NDArray[Any]) -> NDArray[Any]:
    return _unscaled(decider, mean + decider["temperature"] * std * rng.standard_normal(mean.shape))


def _squashed_normal(decider: dict[str, Any], rng: np.random.Generator, mean: NDArray[Any], std: NDArray[Any]) -> NDArray[Any]:
    return _unscaled(decider, np.tanh(mean + decider["temperature"] * std * rng.standard_normal(mean.shape)))


def _beta(decider: dict[str, Any], rng: np.random.Generator, *params: NDArray[Any]) -> NDArray[Any]:
    alpha, beta = (1 + (param - 1) / max(decider["temperature"], 1e-3) for param in params)
    shares = rng.beta(alpha, beta) if decider["temperature"] > 0 else params[0] / (params[0] + params[1])
    return _unscaled(decider, 2 * shares - 1)


def _unscaled(decider: dict[str, Any], actions: NDArray[Any]) -> NDArray[np.float64]:
    return actions * decider["half_range"] + decider["center"]


# kind -> (how it is drawn, from which outputs)
_KINDS: dict[str, tuple[Callable[..., NDArray[Any]], list[str]]] = {
    "categorical": (_categorical, ["logits"]),
    "bins": (_bins, ["logits"]),
    "normal": (_normal, ["mean", "std"]),
    "squashed normal": (_squashed_normal, ["mean", "std"]),
    "beta": (_beta, ["alpha", "beta"]),
}
