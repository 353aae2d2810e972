"""The command of an exported agent in numpy: how it begins, and how a step changes it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]
FORMAT = 1  # of what a file says of its agent
_LARGEST = np.finfo(np.float32).max


class CommandBooks:
    """
    As ``BehaviorPolicy.initial_command`` and ``CommandSpace.advance`` of the model, by what its file says.

    :param about: what the file says
    """

    def __init__(self, about: dict[str, Any]) -> None:
        parts = about["parts"]
        self.names = [part["name"] for part in parts]
        self.partial: bool = about["partial"]
        self.own = np.array(about["command"], dtype=np.float64)  # None becomes NaN
        self.lowest = np.nan_to_num(np.array([part["lowest"] for part in parts], dtype=np.float64), nan=-np.inf)
        self._pays, self._counts = (
            np.array([float(part["rule"] == rule) for part in parts]) for rule in ("less reward", "less one")
        )
        self._summed = [part["name"] for part in parts if part["rule"] == "less amount"]
        self._floor = np.where(self._counts > 0, 1.0, -np.inf)
        self._paying, self._counting = self._pays.nonzero()[0].tolist(), self._counts.nonzero()[0].tolist()
        both = {"return", "horizon"} <= set(self.names)
        self._of_estimate = [self.names.index(name) for name in ("return", "horizon")] if both else []
        self._corrections, self._corrected_part = about["corrections"], about["corrected_part"]
        experience = about["experience"] or {"parts": [], "factor": [], "episodes": []}
        self._measured = [self.names.index(name) for name in experience["parts"]]
        self._factor, self._episodes = np.array(experience["factor"]), np.array(experience["episodes"])

    def begin(self, n: int, command: Any, deterministic: bool) -> Floats:
        """
        What episodes start with.

        :param n: number of rows
        :param command: a return, a pair of return and horizon, or a dictionary by part; None for the model's own
        :param deterministic: which correction applies, see :mod:`sb3_udrl.commands.calibration`
        :return: ``(n, n_parts)``, NaN where a part is not asked for
        :raises ValueError: if that cannot be asked for
        """
        rows = np.tile(self.own, (n, 1)) if command is None else self._asked(n, command)
        rows = self._completed(self._corrected(rows, deterministic))
        if "advantage" in self.names:  # who is asked for nothing does as usual
            rows[np.isnan(rows).all(1), self.names.index("advantage")] = 0.0
        missing = np.isnan(rows).any(0)
        if missing.any() and not self.partial:
            raise ValueError(f"command={command!r}: the desired {self.names[int(missing.argmax())]} is missing")
        return rows

    def advance(self, rows: Floats, n: int, reward: ArrayLike | None, amounts: Mapping[str, ArrayLike] | None) -> Floats:
        """
        What is still asked for after one step.

        :param rows: before the step, ``(n, n_parts)``
        :param n: number of observations, as a check
        :param reward: raw reward of the step, a number or ``(n,)``; None for the desired return per step
        :param amounts: what the step added to further sums, by part
        :return: ``(n, n_parts)``
        :raises ValueError: if there are other numbers of rows or parts, or a reward or an amount is not finite
        """
        if rows.shape != (n, len(self.names)):
            raise ValueError(
                f"state has the shape {rows.shape} for {n} observations and commands of {len(self.names)} parts: "
                "pass what the last call returned"
            )
        if n == 1 and isinstance(reward, float) and math.isfinite(reward):  # calls of numpy take longer than so few numbers
            rows = rows.copy()
            for column in self._paying:
                rows[0, column] = rows.item(0, column) - reward
            for column in self._counting:
                rows[0, column] = max(rows.item(0, column) - 1, 1.0)
        else:
            rows = np.maximum(rows - (self._rewards(rows, reward) * self._pays + self._counts), self._floor)
        for name, amount in (amounts or {}).items():
            if name not in self._summed:
                raise ValueError(f"amounts={amounts}: this model takes those of {', '.join(self._summed) or 'no part'}")
            numbers = np.asarray(amount, dtype=np.float64)
            if not np.isfinite(numbers).all() or numbers.shape not in ((), (1,), (n,)):
                raise ValueError(f"amounts={amounts}: {name}: give a finite number, or one per environment, shape ({n},)")
            rows[:, self.names.index(name)] -= numbers
        return rows

    def _rewards(self, rows: Floats, reward: ArrayLike | None) -> Floats:
        """What each row's step paid, ``(n, 1)`` or ``(1, 1)``."""
        if reward is not None:
            rewards = np.asarray(reward, dtype=np.float64).reshape(-1, 1)
            if not np.isfinite(rewards).all() or len(rewards) not in (1, len(rows)):
                raise ValueError(f"reward={reward}: give a finite number, or one per environment, shape ({len(rows)},)")
            return rewards
        if self._of_estimate:
            return np.nan_to_num(rows[:, self._of_estimate[:1]] / rows[:, self._of_estimate[1:]])
        return np.zeros((1, 1))

    def _asked(self, n: int, command: Any) -> Floats:
        if isinstance(command, int | float | np.number | np.ndarray):
            command = {"return": command}
        elif isinstance(command, tuple) and len(command) == 2:
            command = {"return": command[0], "horizon": command[1]}
        if not isinstance(command, Mapping) or not set(command) <= set(self.names):
            raise ValueError(
                f"command={command!r}: this model takes {', '.join(self.names)}, such as {{{self.names[0]!r}: 1}}"
            )
        rows = np.full((n, len(self.names)), np.nan)
        for name, value in command.items():
            if value is None:
                continue
            column, values = self.names.index(name), np.asarray(value, dtype=np.float64)
            if values.shape not in ((), (1,), (n,)):
                raise ValueError(f"desired {name} has shape {values.shape}: give one number, or one per environment, ({n},)")
            if not ((np.abs(values) <= _LARGEST) & (values >= self.lowest[column])).all():
                raise ValueError(f"command={command!r}: the desired {name} must be finite, at least {self.lowest[column]:g}")
            rows[:, column] = values
        return rows

    def _corrected(self, rows: Floats, deterministic: bool) -> Floats:
        """Where a return alone is wanted, what has to be asked for to get it."""
        points = self._corrections[int(deterministic)]
        if points is None:
            return rows
        wanted = self.names.index(self._corrected_part)
        asked = ~np.isnan(rows)
        alone = asked[:, wanted] & (asked.sum(1) == 1)
        rows[alone, wanted] = np.interp(rows[alone, wanted], points[0], points[1])
        return rows

    def _completed(self, rows: Floats) -> Floats:
        """What rows leave open, as in the nearest of the episodes that the model remembers."""
        if not self._measured:
            return rows
        advantage = self.names.index("advantage") if "advantage" in self.names else None
        for row in rows:
            totals = row[self._measured]
            asked, raised = ~np.isnan(totals), advantage is not None and not np.isnan(row[advantage])
            if not asked.any() or (asked.all() and not raised):
                continue
            distances = (np.abs(self._episodes - totals) * self._factor)[:, asked].sum(1)
            nearest = self._episodes[np.argsort(distances, kind="stable")[:9]]
            row[self._measured] = np.where(asked, totals, np.median(nearest, axis=0))
            if raised:
                if self.names[self._measured[0]] == "return":
                    row[self._measured[0]] += row[advantage] * nearest[:, 0].std()
                row[advantage] = np.nan
        return rows
