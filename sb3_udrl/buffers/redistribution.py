"""Rewards that are paid late, shared out among the steps that earned them."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from sb3_udrl.buffers.relative import Features, Floats

_N_RANDOM_FEATURES = 256
_RIDGE = 0.01  # of the mean square of the inputs
_CLIP = 10.0  # standard deviations
_EFFORT = 5.0  # an action that is taken all through a usual episode weighs as much as a change by so many deviations
_BLOCK = 4096  # steps whose random features are held at a time


def redistributed_rewards(situations: Features, actions: Features, rewards: Floats, steps_to_go: NDArray[np.int64]) -> Floats:
    """
    Rewards of the same sum over each episode, that say early on what it is going to return.

    The returns of all the episodes are fitted by how the situation changes from their first step to their last, and by the
    actions on the way. Then each step is paid by this fit: for the change to the next situation, and for its action; the last
    one gets what the fit leaves open.

    It is reward redistribution (RUDDER, arXiv 1806.07857, section 3) by least squares over whole episodes (arXiv 2111.13485,
    section 3), with a ridge regression on fixed random features in the place of a trained network: a hundred episodes are
    enough for it, and it is made anew from those that are stored.

    :param situations: standardized observations, of whole episodes that lie end to end, ``(n, n_features)``
    :param actions: as vectors, ``(n, n_action_features)``
    :param rewards: as they were paid, ``(n,)``
    :param steps_to_go: steps to the end of the episode, ``(n,)``
    :return: ``(n,)``
    """
    lasts = np.flatnonzero(steps_to_go == 1)
    firsts = np.append(0, lasts[:-1] + 1)
    returns = np.add.reduceat(rewards, firsts)
    situations = situations.clip(-_CLIP, _CLIP)
    taken = actions.astype(np.float64) * (_EFFORT * len(lasts) / len(rewards))
    changes = _random_features(situations[lasts]) - _random_features(situations[firsts])
    efforts = np.add.reduceat(taken, firsts)
    weights = _ridge_regression(np.hstack((changes, efforts)), returns)
    of_changes, of_actions = np.split(weights, [changes.shape[1]])
    blocks = (situations[start : start + _BLOCK] for start in range(0, len(situations), _BLOCK))
    potential = np.concatenate([_random_features(block) @ of_changes for block in blocks])
    shares: Floats = taken @ of_actions
    shares[:-1] += np.diff(potential)
    shares[lasts] = 0
    shares[lasts] = returns - np.add.reduceat(shares, firsts)
    return shares


def _random_features(situations: Features) -> Features:
    """The situations, and random rectified mixtures of them: a sum of these is any function that is smooth enough."""
    n_features = situations.shape[1]
    rng = np.random.default_rng(0)
    directions = rng.standard_normal((n_features, _N_RANDOM_FEATURES), dtype=np.float32) / np.float32(n_features**0.5)
    offsets = rng.uniform(-1.5, 1.5, _N_RANDOM_FEATURES).astype(np.float32)
    return np.hstack((situations, np.maximum(situations @ directions + offsets, 0)))


def _ridge_regression(inputs: Floats, targets: Floats) -> Floats:
    """Weights of the inputs, without a constant: an episode without steps returns nothing."""
    moments = inputs.T @ inputs
    moments[np.diag_indices_from(moments)] += _RIDGE * np.trace(moments) / len(moments)
    return np.linalg.solve(moments, inputs.T @ targets).astype(np.float64)
