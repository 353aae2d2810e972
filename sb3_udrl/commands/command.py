"""What is asked of the behavior function, and how one step of experience changes it."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

FloatArray = NDArray[np.floating[Any]]


class Command(NamedTuple):
    """
    "Get this much return in this many steps", one row per environment (arXiv 1912.02877, section 2).

    Without a horizon it is a standing command, "do so much better than usual", as a model with relative commands takes it:
    nothing is paid off, and it holds until the episode ends.

    :param desired_return: return still to be collected, in raw reward units, shape ``(n,)``; under a standing command,
        standard deviations above what usually follows
    :param desired_horizon: steps left to collect it in, at least one, shape ``(n,)``; infinite for standing commands
    """

    desired_return: FloatArray
    desired_horizon: FloatArray

    def as_inputs(self) -> NDArray[np.float32]:
        """One row per environment, ``(n, 2)``, as behavior functions read them: standing commands have a horizon of zero."""
        rows = np.empty((len(self.desired_return), 2), dtype=np.float32)
        rows[:, 0] = self.desired_return
        rows[:, 1] = np.where(np.isinf(self.desired_horizon), 0.0, self.desired_horizon)
        return rows

    def where(self, mask: NDArray[np.bool_], other: Command) -> Command:
        """
        Rows of ``other`` where ``mask`` is true, own rows elsewhere.

        :param mask: rows to replace, shape ``(n,)``
        :param other: replacement, of the same shape
        """
        return Command(
            np.where(mask, other.desired_return, self.desired_return),
            np.where(mask, other.desired_horizon, self.desired_horizon),
        )


def make_command(desired_return: ArrayLike, desired_horizon: ArrayLike, n_envs: int = 1) -> Command:
    """
    Build a checked command with one row per environment.

    :param desired_return: a number, or one per environment, in raw reward units
    :param desired_horizon: a number, or one per environment, in steps; infinity for standing commands
    :param n_envs: number of rows
    :raises ValueError: if a return is not finite, a horizon is below one or NaN, or a shape is neither ``()`` nor
        ``(n_envs,)``
    """
    rows = []
    for name, value in (("desired_return", desired_return), ("desired_horizon", desired_horizon)):
        row = np.asarray(value, dtype=np.float64)
        if row.shape not in ((), (1,), (n_envs,)):
            raise ValueError(f"{name} has shape {row.shape}: give one number, or one per environment, shape ({n_envs},)")
        if not np.isfinite(row).all() and (name == "desired_return" or np.isnan(row).any()):
            raise ValueError(f"{name} is {value!r}: a command must be finite")
        rows.append(np.broadcast_to(row, (n_envs,)).copy())
    if (rows[1] < 1).any():
        raise ValueError(f"desired_horizon is {desired_horizon!r}: at least one step must be left")
    return Command(*rows)


def advance(command: Command, reward: ArrayLike) -> Command:
    """
    The command after one step: the reward is paid off, one step less is left, and never less than one. Standing commands
    stay as they are.

    The only place where commands change, in collection, evaluation and prediction alike
    (arXiv 1912.02877, algorithm 2).

    :param command: command before the step, ``(n,)``
    :param reward: raw reward of the step, ``(n,)`` or a number
    """
    standing = np.isinf(command.desired_horizon)
    paid_off = np.where(standing, 0.0, np.asarray(reward))
    return Command(command.desired_return - paid_off, np.maximum(command.desired_horizon - 1.0, 1.0))
