"""The own command of a finished generator: of all that it was asked for, what holds the highest return."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from sb3_udrl.udrlpg.uncertainty import standard_errors, worth_another_look

Floats = NDArray[np.float64]


def to_ask_again(asked: Floats, achieved: Floats, max_episodes: int) -> float | None:
    """
    The command that may bring the most, so that it is worth another episode.

    :param asked: returns that episodes asked for, ``(n,)``
    :param achieved: returns that they got, ``(n,)``
    :param max_episodes: after which a command is known well enough
    :return: the return to ask for, None if there are no episodes, or all commands are known well enough
    """
    commands, means, errors, counts = _by_command(asked, achieved)
    index = worth_another_look(means, errors, counts, max_episodes)
    return None if index is None else float(commands[index])


def holding(asked: Floats, achieved: Floats) -> tuple[float, float] | None:
    """
    Of the commands that were tried more than once, the one with the highest mean after its standard error is taken off.

    :param asked: returns that episodes asked for, ``(n,)``
    :param achieved: returns that they got, ``(n,)``
    :return: what to ask for, and the mean return that it brings; None if no command was tried again
    """
    commands, means, errors, counts = _by_command(asked, achieved)
    cautious = np.where(counts > 1, means - errors, -np.inf)
    best = np.lexsort((counts, cautious))[-1] if len(counts) else 0  # of equals, the one that was tried the most
    return (float(commands[best]), float(means[best])) if counts.max(initial=0) > 1 else None


def ending_in(points: Floats | None, command: float, mean: float, lowest: float) -> Floats:
    """
    A correction of commands that asks for one command wherever its return, or more, is wanted.

    :param points: of the correction so far, as from :func:`~sb3_udrl.commands.calibration.calibration`; None for none
    :param command: the command to ask for
    :param mean: the return that it brings
    :param lowest: return from which on commands stay as they are, where nothing is corrected
    :return: ``(2, n_points + 2)``, the first row ascending
    """
    if points is None:
        points = np.tile([min(lowest, mean), mean], (2, 1))
    below = float(np.nextafter(np.float32(mean), np.float32(-np.inf)))  # corrections are stored in single precision
    wanted = np.minimum(points[0], below)
    to_ask = np.where(points[0] < below, points[1], np.interp(below, points[0], points[1]))
    return np.stack((np.append(wanted, [below, mean]), np.append(to_ask, [to_ask[-1], command])))


def _by_command(asked: Floats, achieved: Floats) -> tuple[Floats, Floats, Floats, NDArray[np.int64]]:
    """Each command once: what was asked for, the mean of what it brought, its standard error, and number of episodes."""
    commands, inverse, counts = np.unique(asked, return_inverse=True, return_counts=True)
    means = np.bincount(inverse, achieved) / counts
    squares: Floats = np.bincount(inverse, (achieved - means[inverse]) ** 2).astype(np.float64)
    return commands, means, standard_errors(squares, counts), counts
