"""Inputs in units that forests tell apart: they read single precision, and scikit-learn's take 1e-7 for nothing."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
import torch as th
from numpy.typing import NDArray

from sb3_udrl.commands.command_space import CommandSpace
from sb3_udrl.policies.standardize_commands import common_amount, summed_columns
from sb3_udrl.saving.checks import checked_array, checked_count
from sb3_udrl.statistics.moments import CLIP, moments_of

Floats = NDArray[np.floating[Any]]

_COARSE = 1e-3  # deviations below, in units or shares of the mean, leave less than 10,000 numbers to tell apart
_FAR = 100.0  # deviations: thresholds are drawn between the least and the greatest, few would tell others apart
_MOST = float(np.finfo(np.float32).max)
_STEEPEST = 1e200  # factor, squares of smaller deviations are zero
_COLUMNS = 64  # looked at together, which bounds the memory


class Scaling(NamedTuple):
    """
    What an estimator reads in the place of its inputs. It keeps their order.

    First, sums of commands only say what they come to beyond so much per step. Then some inputs are standardized, and what
    lies beyond ten deviations is drawn in to between ten and twenty. The others are left as they are.

    :param mean: is subtracted, ``(n_inputs,)``
    :param factor: is multiplied with after that, above zero, ``(n_inputs,)``
    :param per_step: what every step contributes to a sum, ``(n_inputs,)``
    :param horizon: index of the input with the number of steps; 0 where nothing is taken off
    """

    mean: NDArray[np.float64]
    factor: NDArray[np.float64]
    per_step: NDArray[np.float64]
    horizon: int

    def read(self, inputs: Floats) -> NDArray[np.float32]:
        """
        :param inputs: in the units of the user, ``(n, n_inputs)``
        :return: as the estimator reads them, ``(n, n_inputs)``
        """
        scaled = (inputs - inputs[:, self.horizon, None] * self.per_step - self.mean) * self.factor
        size = np.abs(scaled)
        near = np.minimum(size, self.bounds)
        drawn_in = np.sign(scaled) * (near + CLIP * (size - near) / np.maximum(size, CLIP))
        return drawn_in.clip(-_MOST, _MOST).astype(np.float32)

    @property
    def bounds(self) -> NDArray[np.float64]:
        """Beyond which scaled inputs are drawn in, infinity for those that are left as they are, ``(n_inputs,)``."""
        return np.where((self.mean != 0) | (self.factor != 1), CLIP, np.inf)

    def thresholds(self, columns: NDArray[np.int64], thresholds: Floats) -> NDArray[np.float64]:
        """
        Numbers that an estimator compares with, in the units of the user.

        :param columns: indices of the inputs that are compared, ``(n,)``
        :param thresholds: as the estimator has them, ``(n,)``
        :return: ``(n,)``; of sums, what they come to beyond so much per step
        """
        size = np.abs(thresholds)
        left = np.maximum(2 * CLIP - size, np.finfo(np.float32).tiny)
        scaled = np.sign(thresholds) * np.where(size > self.bounds[columns], CLIP**2 / left, size)
        return np.asarray(scaled / self.factor[columns] + self.mean[columns], dtype=np.float64)

    def of_more(self, columns: NDArray[np.int64], n_inputs: int) -> Scaling:
        """
        For an estimator that gets further inputs, which are left as they are.

        :param columns: indices of those that it has, ``(n,)``
        :param n_inputs: number of all
        """
        wide = _unchanged(n_inputs)
        for all_of_them, some in zip(wide[:3], self[:3], strict=True):
            all_of_them[columns] = some
        return wide._replace(horizon=int(columns[self.horizon]))

    @property
    def decimals(self) -> int:
        """How many decimal places tell numbers apart that the estimator does, at least two."""
        return max(2, math.ceil(math.log10(self.factor.max())) + 2)

    @classmethod
    def restored(cls, state: Mapping[str, Any], n_inputs: int) -> Scaling:
        """
        The inverse of ``_asdict()``.

        :param state: what a file holds
        :param n_inputs: number of inputs
        :raises ValueError: if it is damaged, or of other inputs
        """
        mean, factor, per_step = (checked_array(state, name, (n_inputs,)) for name in ("mean", "factor", "per_step"))
        scaling = cls(mean, factor, per_step, checked_count(state, "horizon"))
        if not ((factor > 0) & (factor < _STEEPEST)).all() or scaling.horizon >= n_inputs:
            raise ValueError("it scales inputs by factors that are not above zero, or by steps that are no input")
        return scaling


def make_scaling(inputs: Floats, command_space: CommandSpace | None = None) -> Scaling | None:
    """
    A scaling for inputs that vary little, in units or beside their mean, or of which few lie far from all others.

    :param inputs: what is learned from, ``(n, n_inputs)``
    :param command_space: whose inputs are the last ones, to take off what each step contributes; if None, nothing is
    :return: None where inputs can be read as they are
    """
    n_inputs = inputs.shape[1]
    scaling = _unchanged(n_inputs)
    if command_space is not None and (sums := summed_columns(command_space)):
        first = n_inputs - len(command_space.input_names)
        scaling = scaling._replace(horizon=first + command_space.input_names.index("horizon"))
        steps = th.as_tensor(inputs[:, scaling.horizon])
        for column in sums:
            scaling.per_step[first + column] = common_amount(th.as_tensor(inputs[:, first + column]), steps)
    for start in range(0, n_inputs, _COLUMNS):
        some = slice(start, start + _COLUMNS)
        values = inputs[:, some]
        if scaling.per_step[some].any():
            values = values - inputs[:, scaling.horizon, None] * scaling.per_step[some]
        mean, factor = moments_of(values)
        with np.errstate(divide="ignore", invalid="ignore"):
            small = factor * np.maximum(1.0, np.abs(mean)) > 1 / _COARSE
            farthest = np.nanmax(np.abs(values - mean), axis=0, initial=0.0)
        chosen = (factor > 0) & (small | (farthest * factor > _FAR))
        scaling.mean[some][chosen], scaling.factor[some][chosen] = mean[chosen], factor[chosen]
    return scaling if np.isfinite(scaling.bounds).any() or scaling.per_step.any() else None


def _unchanged(n_inputs: int) -> Scaling:
    zeros, ones = np.zeros(n_inputs), np.ones(n_inputs)
    return Scaling(zeros, ones, zeros.copy(), 0)
