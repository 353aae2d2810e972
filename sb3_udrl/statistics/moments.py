"""Mean and deviation of data of any size, at any distance from zero, with an outlier now and then."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import torch as th
from numpy.typing import NDArray

CLIP = 10.0  # in standard deviations; far outside of the data a network only extrapolates
SUM_RESOLUTION = 1e-14  # relative rounding errors of sums in double precision
_ROUNDS = 30


class Moments(NamedTuple):
    """
    Mean and variance of each column, ``(dim,)``.

    :param mean: means
    :param variance: variances
    """

    mean: th.Tensor
    variance: th.Tensor

    def deviation(self, dtype: th.dtype) -> th.Tensor:
        """
        Standard deviations, zero where the data vary by no more than rounding errors, ``(dim,)``.

        :param dtype: of the data
        """
        resolution = max(th.finfo(dtype if dtype.is_floating_point else th.float64).eps, SUM_RESOLUTION)
        deviation = self.variance.sqrt()
        return th.where(deviation > resolution * self.mean.abs(), deviation, 0.0)


def updated(known: Moments, values: th.Tensor, rate: float) -> Moments:
    """
    Moments once further rows count by a rate, and those before by the rest: Welford's method for batches (Chan, Golub and
    LeVeque, 1983). It takes squares of differences from the mean alone, so that means may be large.

    Values beyond ten deviations are left out (sigma clipping), where the others vary: a single one in 10,000 rows would
    decide alone. That is at most one in a hundred, so what becomes usual always counts.

    :param known: moments before
    :param values: further rows, NaN where there is nothing, ``(n, dim)``
    :param rate: how much they count, from 0 to 1
    """
    moments, squares = _combined(known, values, rate)
    far = (squares > CLIP**2 * moments.variance).any(0)
    if far.any():
        clipped = _clipped(Moments(known.mean[far], known.variance[far]), values[:, far], rate)
        for of_all, of_far in zip(moments, clipped, strict=True):
            of_all[far] = of_far
    return moments


def _combined(known: Moments, values: th.Tensor, rate: float) -> tuple[Moments, th.Tensor]:
    """Moments with all of the values, and the squares of their differences from the mean, ``(n, dim)``."""
    average, of_values = th.mean, values.mean(0)
    if of_values.isnan().any():
        average, of_values = th.nanmean, values.nanmean(0)  # takes several times as long
    mean = known.mean + rate * (of_values - known.mean)
    squares = (values - mean).square_()
    variance = (1 - rate) * (known.variance + (known.mean - mean).square()) + rate * average(squares, 0)
    nothing = of_values.isnan()
    return Moments(th.where(nothing, known.mean, mean), th.where(nothing, known.variance, variance)), squares


def _clipped(known: Moments, values: th.Tensor, rate: float) -> Moments:
    """Moments without outliers."""
    for _ in range(_ROUNDS):
        moments, squares = _combined(known, values, rate)
        beyond = squares > CLIP**2 * moments.variance
        beyond &= _varies(values.masked_fill(beyond, th.nan))
        if not beyond.any():
            break
        values = values.masked_fill(beyond, th.nan)
    return moments


def _varies(values: th.Tensor) -> th.Tensor:
    """In which columns not all values are the same, ``(dim,)``."""
    missing = values.isnan()
    return values.masked_fill(missing, -th.inf).amax(0) > values.masked_fill(missing, th.inf).amin(0)


def moments_of(vectors: NDArray[Any]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """
    Mean of each column without outliers, and the factor that brings it to unit variance.

    :param vectors: ``(n, dim)``
    :return: both ``(dim,)``; the factor is zero where the vectors vary by no more than rounding errors
    """
    values = th.from_numpy(vectors.astype(np.float64))
    nothing = th.zeros(values.shape[1], dtype=th.float64)
    moments = updated(Moments(nothing, nothing), values, 1.0)
    dtype = th.from_numpy(vectors[:0]).dtype if vectors.dtype.kind == "f" else th.float64
    deviation = moments.deviation(dtype).numpy()
    return moments.mean.numpy(), np.divide(1.0, deviation, out=np.zeros_like(deviation), where=deviation > 0)


def standardized(vectors: NDArray[Any]) -> NDArray[Any]:
    """
    Zero mean and unit variance in each column, clipped at ten deviations; a constant one is all zeros.

    :param vectors: ``(n, dim)``
    :return: ``(n, dim)``, in single precision at least
    """
    mean, factor = moments_of(vectors)
    dtype = np.result_type(vectors, np.float32)
    differences = vectors.astype(dtype) - mean.astype(dtype)
    differences *= factor.astype(dtype)
    return differences.clip(-CLIP, CLIP, out=differences)
