"""
Command following over seeds: what finished models were asked for, and what they did.

Errors, rank correlations, R² and reaches are those of :class:`~sb3_udrl.evaluation.following.PartFollowing`.
"""

from __future__ import annotations

import numpy as np
import pandas as pd

from sb3_udrl.evaluation.following import PartFollowing

KEY = ["algorithm", "mode", "seed", "part"]


def following_of(rows: pd.DataFrame, n_episodes: int) -> PartFollowing:
    """
    :param rows: one row per episode, of one run, grid, mode and part, ``(n_commands * n_episodes,)``
    :param n_episodes: episodes per command
    :return: what was asked and what was done
    """
    rows = rows.sort_values("episode")
    asked, achieved = (rows[name].to_numpy(dtype=np.float64).reshape(-1, n_episodes) for name in ("asked", "achieved"))
    return PartFollowing(asked[:, 0], achieved)


def mean_achieved(rows: pd.DataFrame, n_episodes: int) -> pd.DataFrame:
    """
    :param rows: one row per episode and part, of one environment and grid
    :param n_episodes: episodes per command
    :return: one row per run, mode, part and command: what was asked and the mean of what was achieved
    """
    command = rows["episode"] // n_episodes
    return rows.assign(command=command).groupby([*KEY, "command"], sort=False, as_index=False)[["asked", "achieved"]].mean()


def obedience_figures(rows: pd.DataFrame, n_episodes: int) -> pd.DataFrame:
    """
    :param rows: one row per episode and part, of one environment and grid
    :param n_episodes: episodes per command
    :return: one row per run, mode and part: ``error``, ``rank_correlation``, ``r_squared`` and ``reach``
    """
    figures = []
    for key, own in rows.groupby(KEY, sort=False):
        following = following_of(own, n_episodes)
        agreement = [_zero_if_deaf(value, following) for value in (following.rank_correlation, following.r_squared)]
        values = (following.mean_abs_error, *agreement, following.reach)
        figures.append((*key, *values))
    return pd.DataFrame(figures, columns=[*KEY, "error", "rank_correlation", "r_squared", "reach"])


def _zero_if_deaf(value: float, following: PartFollowing) -> float:
    """A seed that does the same whatever is asked must not drop out of a median: it counts as zero."""
    same = np.ptp(following.achieved.mean(1)) == 0
    return 0.0 if np.isnan(value) and same and np.ptp(following.desired) > 0 else value
