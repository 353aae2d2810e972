"""An exported agent, run by numpy and ONNX Runtime alone."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from sb3_udrl.deploy.actions import Actions
from sb3_udrl.deploy.books import CommandBooks
from sb3_udrl.deploy.session import Session

_LARGEST = float(np.finfo(np.float32).max)


class ExportedAgent:
    """
    Decides as the model does, and keeps the books of its command. ``about`` is what the file says of it. One per thread.

    :param path: ONNX file that :func:`~sb3_udrl.deploy.export_policy` wrote
    :param seed: of the generator that actions are drawn from
    :raises ValueError: if it is another file
    :raises FileNotFoundError: if there is none
    """

    def __init__(self, path: str | Path, seed: int | None = None) -> None:
        self.session = Session(path)
        self.about: dict[str, Any] = self.session.about
        try:
            self.books, self.actions = CommandBooks(self.about), Actions(self.about, seed)
            self._parts = [
                (part["key"], part["input"], tuple(part["shape"]), part["picture"]) for part in self.about["observation"]
            ]
        except (KeyError, TypeError) as error:
            raise ValueError(f"path={str(path)!r}: what it says of its agent is damaged: {error!r}") from error

    def predict(
        self,
        observation: Any,
        state: NDArray[np.float64] | None = None,
        episode_start: ArrayLike | None = None,
        deterministic: bool = False,
        *,
        command: Any = None,
        reward: ArrayLike | None = None,
        amounts: dict[str, ArrayLike] | None = None,
    ) -> tuple[NDArray[Any], NDArray[np.float64]]:
        """
        Choose actions as the model's ``predict`` does, and carry the remaining command along in the state.

        :param observation: one or a batch, ``(n, *observation_shape)``, or a dictionary of such
        :param state: what the last call returned; None starts new episodes
        :param episode_start: where episodes start here, ``(n,)``
        :param deterministic: the most likely action instead of a draw
        :param command: asked of episodes that start: a return, a pair of return and horizon, or a dictionary by part
        :param reward: raw reward of the step before, a number or ``(n,)``; by default, what the command lets expect
        :param amounts: what the step before added to sums of your own, by part; by default nothing
        :return: actions, ``(n, *action_shape)`` or ``action_shape``, and the next state
        :raises ValueError: if something has a wrong shape, is not finite, or cannot be asked for
        """
        parts, single = self._checked(observation)
        n = 1 if single else len(next(iter(parts.values())))
        if state is None:
            rows = self.books.begin(n, command, deterministic)
        else:
            rows = self.books.advance(state, n, reward, amounts)
            if episode_start is not None and np.any(episode_start):
                starts = np.asarray(episode_start, dtype=bool).reshape(n, 1)
                rows = np.where(starts, self.books.begin(n, command, deterministic), rows)
        parts["command"] = rows
        outputs = self.session.run(n, parts)
        chosen = outputs["action"] if deterministic else self.actions.draw(outputs, rows)
        actions = self.actions.into_space(chosen)
        return (actions.squeeze(axis=0) if single else actions), rows

    def _checked(self, observation: Any) -> tuple[dict[str, NDArray[Any]], bool]:
        """The parts of the observation by what the file calls them, and whether it is a single one."""
        parts, single = {}, False
        for key, name, shape, is_picture in self._parts:
            values = np.asarray(observation if key is None else observation[key])
            if is_picture and values.shape[-3:] != shape:  # channels come first in the file
                values = np.moveaxis(values, -1, -3)
            single = values.shape == shape
            if not single and values.shape[1:] != shape:
                raise ValueError(f"{name} has the shape {values.shape}: give {shape}, or (n, {str(shape)[1:]}")
            if values.dtype.kind == "f" and not fits(values):
                raise ValueError(f"{name} holds what is not finite, or does not fit into single precision")
            parts[name] = values
        return parts, single


def fits(values: NDArray[Any]) -> bool:
    """
    Whether numbers are finite in single precision.

    :param values: of any shape
    """
    if values.size <= 32:  # calls of numpy take longer than so few numbers
        return False not in [-_LARGEST <= value <= _LARGEST for value in values.ravel().tolist()]
    return bool((np.abs(values) <= _LARGEST).all())
