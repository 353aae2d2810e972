"""The replay buffer as a table: one row of numbers per transition."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import torch as th
from gymnasium import spaces
from numpy.typing import NDArray

from sb3_udrl.buffers.arrays import Array
from sb3_udrl.buffers.sampling import SAMPLINGS
from sb3_udrl.labels import Hindsight
from sb3_udrl.policies.base import FitOptions


class Examples(NamedTuple):
    """
    What an estimator is fitted to.

    :param inputs: observation and command of each transition, ``(n, n_inputs)``
    :param actions: ``(n, *action_shape)``
    :param weights: how much each transition counts, ``(n,)``; None if all count the same
    :param held_out: transitions that are looked at only afterwards, ``(n,)``
    """

    inputs: NDArray[np.floating[Any]]
    actions: Array
    weights: NDArray[np.float64] | None
    held_out: NDArray[np.bool_]

    def part(self, held_out: bool) -> Examples:
        """
        The transitions that are held out, or the others.

        :param held_out: which
        """
        rows = self.held_out == held_out
        weights = None if self.weights is None else self.weights[rows]
        return Examples(self.inputs[rows], self.actions[rows], weights, self.held_out[rows])


def count_inputs(observation_space: spaces.Space[Any], n_command_inputs: int) -> int:
    """
    How many columns :func:`to_inputs` makes.

    :param observation_space: of the observations
    :param n_command_inputs: columns that the command takes
    """
    parts = observation_space.spaces.values() if isinstance(observation_space, spaces.Dict) else [observation_space]
    return sum(int(np.prod(part.shape or ())) for part in parts) + n_command_inputs


def to_inputs(
    observations: Any, command: NDArray[np.float32], observation_space: spaces.Space[Any]
) -> NDArray[np.floating[Any]]:
    """
    One row of numbers per situation: the observation, the parts of a dictionary in the order of the space, then the command.

    :param observations: arrays or tensors ``(n, *observation_shape)``, or a dictionary of such
    :param command: as the command space makes it, NaN where a part is not asked for, ``(n, n_command_inputs)``
    :param observation_space: of one environment
    :return: ``(n, n_inputs)``, in double precision where single precision would lose something
    :raises ValueError: if a number of the observation is not finite
    """
    n = len(command)
    keys = observation_space.spaces if isinstance(observation_space, spaces.Dict) else None
    parts = [observations] if keys is None else [observations[key] for key in keys]
    columns = [(part.cpu().numpy() if isinstance(part, th.Tensor) else part).reshape(n, -1) for part in parts]
    double = any(column.dtype.itemsize >= 4 and column.dtype != np.float32 for column in columns)
    inputs: NDArray[Any] = np.concatenate([*columns, command], axis=1, dtype=np.float64 if double else np.float32)
    if not np.isfinite(inputs[:, : -command.shape[1]]).all() or np.isinf(command).any():
        raise ValueError("the observation or the command holds NaN or infinity: forests decide by finite numbers only")
    return inputs


def draw_examples(
    hindsight: Hindsight, max_transitions: int | None, options: FitOptions, takes_weights: bool, holds_out: bool
) -> Examples:
    """
    All transitions of the buffer, or as many as allowed, by the weights of the buffer's ``sampling``.

    :param hindsight: at least one episode
    :param max_transitions: at most so many, drawn without repetition; no bound if None
    :param options: ``validation_fraction`` and ``normalizer``
    :param takes_weights: whether the estimator can weigh transitions; else they are drawn by their weights, with repetition
    :param holds_out: whether to hold a share of the episodes out; a single one is both learned from and looked at
    """
    replay_buffer, rng = hindsight.buffer, hindsight.rng
    episodes = hindsight.learned_from()
    n_episodes, lengths = len(episodes), replay_buffer.lengths[episodes]
    batch = hindsight.transitions(episodes, options.normalizer)
    inputs = to_inputs(batch.observations, hindsight.command_space.inputs(batch.command), replay_buffer.observation_space)
    held_out = np.zeros(n_episodes, dtype=bool)
    if holds_out and n_episodes > 1:
        held_out[rng.permutation(n_episodes)[: int(np.ceil(options.validation_fraction * n_episodes))]] = True
    examples = Examples(inputs, batch.actions, None, np.repeat(held_out, lengths))
    n, most = len(inputs), max_transitions or len(inputs)
    returns = replay_buffer.returns[episodes]
    per_episode = SAMPLINGS[replay_buffer.sampling](returns, lengths, replay_buffer.sampling_temperature)
    weights = np.repeat(per_episode / lengths, lengths)
    uniform = replay_buffer.sampling == "transitions"
    if n > most:
        return _rows(examples, rng.choice(n, most, replace=False, p=weights / weights.sum()))
    if uniform:
        return examples
    if takes_weights:
        return examples._replace(weights=weights / weights.mean())
    return _rows(examples, rng.choice(n, n, p=weights / weights.sum()))


def _rows(examples: Examples, rows: NDArray[np.int64]) -> Examples:
    return Examples(examples.inputs[rows], examples.actions[rows], None, examples.held_out[rows])
