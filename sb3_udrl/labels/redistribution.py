"""Rewards that are paid late, shared out among the steps that earned them."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from sb3_udrl.labels.neighbors import Features, Floats
from sb3_udrl.statistics.moments import CLIP, moments_of

_N_KNOTS = 16  # per variable
_RIDGE = 3e-4  # where changes have a mean square of one
_EFFORT = 0.1  # root mean square of efforts then: how an episode ended counts before what it took
_BLOCK = 4096  # steps whose hinges are held at a time


class EpisodeSummaries(NamedTuple):
    """
    What returns of ``n`` episodes are explained by.

    :param first: situation at the first step, ``(n, n_features)``
    :param last: situation at the last step, ``(n, n_features)``
    :param efforts: sum of the actions, as vectors, ``(n, n_action_features)``
    :param returns: sum of the rewards, ``(n,)``
    :param truncated: whether a time limit cut it off, ``(n,)``
    """

    first: Features
    last: Features
    efforts: Floats
    returns: Floats
    truncated: NDArray[np.bool_]


def redistributed_rewards(
    summaries: EpisodeSummaries, situations: Features, actions: Floats, rewards: Floats, steps_to_go: NDArray[np.integer[Any]]
) -> Floats:
    """
    Rewards of the same sum over each episode, that say early on what it is going to return.

    Returns are fitted by how the situation changes from the first step to the last, by the actions on the way, and by the
    situation in which an episode ends unless a time limit cuts it off (without that, a crash would make all places look bad
    that are near to one). Then each step is paid by this fit: for the change to the next situation, and for its action; the
    last one gets what is left of the return.

    It is reward redistribution (RUDDER, arXiv 1806.07857, section 3) by least squares over whole episodes (arXiv 2111.13485,
    section 3), with an additive ridge regression in the place of a trained network: a hundred episodes are enough for it,
    and it is made anew from the latest ones.

    :param summaries: of the episodes to fit
    :param situations: of whole episodes that lie end to end, in the same units, ``(n, n_features)``
    :param actions: as vectors, ``(n, n_action_features)``
    :param rewards: as they were paid, ``(n,)``
    :param steps_to_go: steps to the end of the episode, ``(n,)``
    :return: in the unit of the rewards, ``(n,)``
    """
    ends = np.concatenate((summaries.first, summaries.last))
    mean, factor = (moment.astype(np.float32) for moment in moments_of(ends))

    def standardized(those: Features) -> Features:
        return ((those - mean) * factor).clip(-CLIP, CLIP)

    standard = standardized(situations)
    knots = np.quantile(standard, (np.arange(_N_KNOTS) + 0.5) / _N_KNOTS, axis=0).astype(np.float32)
    last = _hinges(standardized(summaries.last), knots)
    changes = last - _hinges(standardized(summaries.first), knots)
    endings = np.hstack((last / _norm(last), np.ones((len(last), 1)))) * ~summaries.truncated[:, None]
    scales = np.repeat([_norm(changes), _norm(summaries.efforts) / _EFFORT], [changes.shape[1], actions.shape[1]])
    inputs = np.hstack((np.hstack((changes, summaries.efforts)) / scales, endings))
    weights = _ridge_regression(inputs, summaries.returns)[: len(scales)] / scales
    of_changes, of_actions = np.split(weights, [changes.shape[1]])

    blocks = np.split(standard, range(_BLOCK, len(standard), _BLOCK))
    potential = np.concatenate([_hinges(block, knots) @ of_changes for block in blocks])
    shares = actions @ of_actions
    shares[:-1] += np.diff(potential)
    lasts = np.flatnonzero(steps_to_go == 1)
    firsts = np.append(0, lasts[:-1] + 1)
    shares[lasts] = 0
    shares[lasts] = np.add.reduceat(rewards, firsts) - np.add.reduceat(shares, firsts)
    return shares.astype(np.float64)


def _hinges(situations: Features, knots: Features) -> Features:
    """How far each variable is above each of its knots, and below: a sum of these is a sum of curves, one per variable."""
    above = (situations[:, None] - knots).reshape(len(situations), -1)
    return np.hstack((np.maximum(above, 0), np.maximum(-above, 0)))


def _norm(rows: NDArray[Any]) -> float:
    """Root mean square of their lengths; one where all are zero."""
    return float(np.sqrt(np.square(rows).sum(1).mean())) or 1.0


def _ridge_regression(inputs: Floats, targets: Floats) -> Floats:
    """Weights of the inputs, without a constant: an episode that changes nothing and takes no effort returns nothing."""
    moments = inputs.T @ inputs
    moments[np.diag_indices_from(moments)] += _RIDGE * len(inputs)
    return np.linalg.solve(moments, inputs.T @ targets).astype(np.float64)
