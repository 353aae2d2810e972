"""Discrete actions from classifiers, continuous ones from regressors: how to fit them, and how to choose by them."""

from __future__ import annotations

from typing import Any, NamedTuple, Protocol

import numpy as np
import torch as th
from gymnasium import spaces
from numpy.typing import NDArray
from sklearn.base import is_classifier

from sb3_udrl.buffers.arrays import Array
from sb3_udrl.forest.estimators import fit, fit_classes
from sb3_udrl.forest.examples import Examples
from sb3_udrl.forest.inference import Predictor, make_predictor
from sb3_udrl.forest.scaling import Scaling
from sb3_udrl.spaces.actions import BoxRange, into_space

Floats = NDArray[np.floating[Any]]
Indices = NDArray[np.int64]


class Draws(Protocol):
    """The part of numpy's generator that is needed here."""

    def gumbel(self, *, size: tuple[int, ...]) -> Floats:
        """Standard Gumbel noise."""

    def standard_normal(self, size: tuple[int, ...]) -> Floats:
        """Standard normal noise."""


class TorchDraws:
    """Draws from PyTorch's generator, which SB3 seeds, for ``predict``."""

    def gumbel(self, *, size: tuple[int, ...]) -> Floats:
        return th.empty(size).exponential_().log_().neg_().numpy()

    def standard_normal(self, size: tuple[int, ...]) -> Floats:
        return th.randn(size).numpy()


class Learned(NamedTuple):
    """
    What was learned.

    :param estimator: fitted to inputs ``(n, n_inputs)``; its classes count through the values in ``present``
    :param present: the values of each component of discrete actions that the data held; else empty
    :param deviation: of continuous actions from what the estimator says, ``(n_components,)``; else empty
    :param scaling: how inputs are scaled before the estimator reads them; None if it reads them as they are
    """

    estimator: Any
    present: list[Indices]
    deviation: NDArray[np.float64]
    scaling: Scaling | None = None

    def read(self, inputs: Floats) -> NDArray[np.float32]:
        """
        :param inputs: in the units of the user, ``(n, n_inputs)``
        :return: as the estimator reads them, ``(n, n_inputs)``
        """
        return inputs.astype(np.float32, copy=False) if self.scaling is None else self.scaling.read(inputs)

    def predictor(self, n_jobs: int = 1) -> Predictor:
        """
        What the estimator says about inputs in the units of the user.

        :param n_jobs: as for :func:`~sb3_udrl.forest.inference.make_predictor`
        """
        predict = make_predictor(self.estimator, n_jobs)
        return lambda inputs: predict(self.read(inputs))


class DiscreteHead:
    """
    Discrete, MultiDiscrete or MultiBinary actions as components, each of which takes one of some values.

    :param space: the action space
    :param smoothing: share of uniformly random values in the probabilities
    """

    discrete = True

    def __init__(self, space: spaces.Discrete | spaces.MultiDiscrete | spaces.MultiBinary, smoothing: float) -> None:
        if isinstance(space, spaces.Discrete):
            sizes: Any = [space.n]
        else:
            sizes = space.nvec if isinstance(space, spaces.MultiDiscrete) else np.full(space.shape, 2)
        start: Any = 0 if isinstance(space, spaces.MultiBinary) else space.start
        self.shape, self.dtype = space.shape or (), space.dtype
        self.n_values: Indices = np.asarray(sizes, dtype=np.int64).ravel()
        self.start: Indices = np.broadcast_to(start, self.shape or (1,)).ravel().astype(np.int64)
        exists = np.arange(self.n_values.max()) < self.n_values[:, None]  # (n_components, most values)
        self.uniform: Floats = exists / self.n_values[:, None]
        self.smoothing, self.no_value = smoothing, np.where(exists, 0.0, -np.inf)

    def to_indices(self, actions: Array) -> Indices:
        """
        :param actions: ``(n, *action_shape)``
        :return: which value each component takes, ``(n, n_components)``
        """
        return actions.reshape(len(actions), -1).astype(np.int64) - self.start

    def present(self, actions: Array) -> list[Indices]:
        """
        :param actions: ``(n, *action_shape)``
        :return: which values each component takes among them, ascending
        """
        return [np.unique(column) for column in self.to_indices(actions).T]

    def fit(self, estimator: Any, examples: Examples, scaling: Scaling | None = None) -> Learned:
        """
        Fit a classifier.

        :param estimator: an unfitted one
        :param examples: what was done
        :param scaling: how it reads inputs
        """
        unfitted, indices = Learned(estimator, [], np.zeros(0), scaling), self.to_indices(examples.actions)
        present = self.present(examples.actions)
        # Classes without gaps: some estimators take no others
        classes = np.stack([np.searchsorted(*pair) for pair in zip(present, indices.T, strict=True)], axis=1)
        fitted = fit_classes(estimator, unfitted.read(examples.inputs), classes, examples.weights)
        return unfitted._replace(estimator=fitted, present=present)

    def outputs(self, learned: Learned | None, n_jobs: int = 1) -> Predictor:
        """
        A function from inputs ``(n, n_inputs)`` to the probabilities of all values, ``(n, n_components, most values)``. They
        are the classifier's own; values that the data lacked get zero.

        :param learned: None for equal probabilities
        :param n_jobs: as for :func:`~sb3_udrl.forest.inference.make_predictor`
        """
        if learned is None:
            return lambda inputs: np.repeat(self.uniform[None], len(inputs), axis=0)
        present = learned.present
        n_components, most = self.uniform.shape
        if all(len(values) == 1 for values in present):
            certain = np.arange(most) == np.stack(present)
            return lambda inputs: np.repeat(certain[None].astype(np.float64), len(inputs), axis=0)
        predict = learned.predictor(n_jobs)
        if all(len(values) == most for values in present):
            return predict

        def probabilities(inputs: Floats) -> Floats:
            predicted = predict(inputs)
            complete = np.zeros((len(inputs), n_components, most))
            for component, values in enumerate(present):
                complete[:, component, values] = predicted[:, component, : len(values)]
            return complete

        return probabilities

    def check(self, learned: Learned) -> None:
        """
        Look whether what was learned elsewhere fits these actions.

        :param learned: what was learned
        :raises ValueError: if its classes or values are not those of the components
        """
        present = learned.present
        if not isinstance(present, list) or len(present) != len(self.n_values):
            raise ValueError(f"it does not list the values of {len(self.n_values)} components of actions")
        for values, n_values in zip(present, self.n_values, strict=True):
            listed = isinstance(values, np.ndarray) and values.dtype == np.int64 and values.ndim == 1 and len(values) > 0
            if not listed or values[0] < 0 or values[-1] >= n_values or (np.diff(values) <= 0).any():
                raise ValueError(f"it lists {str(values)[:80]} as values of a component of actions that has {n_values}")
        classes = learned.estimator.classes_
        classes = classes if isinstance(classes, list) else [classes]
        counted = [np.arange(len(values)) for values in present]
        if (
            not is_classifier(learned.estimator)
            or len(classes) != len(counted)
            or not all(map(np.array_equal, classes, counted))
        ):
            raise ValueError("it has other classes than the values that it lists")

    def check_outputs(self, outputs: Floats) -> None:
        """
        Look whether outputs are what a policy can act by.

        :param outputs: of two situations, by something learned elsewhere
        :raises ValueError: if they are no probabilities of the values of each component
        """
        if outputs.shape != (2, *self.uniform.shape):
            raise ValueError(f"its outputs have the shape {outputs.shape} instead of {(2, *self.uniform.shape)}")
        if not np.isfinite(outputs).all() or (outputs < -1e-6).any() or (np.abs(outputs.sum(2) - 1) > 1e-3).any():
            raise ValueError("its outputs are no probabilities")

    def mode(self, outputs: Floats) -> Array:
        """
        The most likely actions, the first among equals.

        :param outputs: probabilities, ``(n, n_components, most values)``
        :return: ``(n, *action_shape)``
        """
        return self._actions(outputs.argmax(2))

    def draw(self, outputs: Floats, learned: Learned | None, temperature: Any, draws: Draws) -> Array:
        """
        Draw actions.

        :param outputs: probabilities, ``(n, n_components, most values)``
        :param learned: unused, the probabilities say it all
        :param temperature: divides the logarithms of the smoothed probabilities, a number or ``(n, 1)``
        :param draws: source of randomness
        :return: ``(n, *action_shape)``
        """
        smoothed = (1 - self.smoothing) * outputs + self.smoothing * self.uniform
        logits = np.log(np.maximum(smoothed, 1e-30)) + self.no_value
        noise = draws.gumbel(size=logits.shape)
        return self._actions((logits + np.reshape(temperature, (-1, 1, 1)) * noise).argmax(2))

    def _actions(self, indices: Indices) -> Array:
        return (indices + self.start).astype(self.dtype, copy=False).reshape(-1, *self.shape)

    def loss(self, outputs: Floats, learned: Learned | None, actions: Array) -> float:
        """
        Mean over actions of their negative log-likelihood, by the smoothed probabilities.

        :param outputs: probabilities, ``(n, n_components, most values)``
        :param learned: unused, the probabilities say it all
        :param actions: ``(n, *action_shape)``
        """
        smoothed = (1 - self.smoothing) * outputs + self.smoothing * self.uniform
        taken = np.take_along_axis(smoothed, self.to_indices(actions)[:, :, None], axis=2)[:, :, 0]
        return float(-np.log(np.maximum(taken, 1e-30)).sum(1).mean())

    def metrics(self, outputs: Floats, learned: Learned, actions: Array) -> dict[str, float]:
        """
        How often the most likely action is the one that was taken.

        :param outputs: probabilities, ``(n, n_components, most values)``
        :param learned: what was learned
        :param actions: ``(n, *action_shape)``
        """
        return {"accuracy": float((self.mode(outputs) == actions).mean())}


class ContinuousHead:
    """
    Box actions, each component drawn from a normal distribution around what a regressor says. How wide it is was measured:
    the deviation of the actions on episodes that the regressor has not seen.

    :param space: the action space
    """

    discrete = False

    def __init__(self, space: spaces.Box) -> None:
        self.space, tried = space, BoxRange.of(space)
        self.center = tried.center.ravel()
        self.spread = np.where(tried.bounded, tried.half / np.sqrt(3), 1.0).ravel()  # of uniform draws, or normal ones

    def fit(self, estimator: Any, examples: Examples, scaling: Scaling | None = None) -> Learned:
        """
        Fit a regressor and measure the deviation from it.

        :param estimator: is fitted in place
        :param examples: what was done; some episodes of it held out
        :param scaling: how it reads inputs
        """
        learned = Learned(estimator, [], np.zeros(0), scaling)
        seen = examples.part(held_out=False)
        actions = seen.actions.reshape(len(seen.actions), -1).astype(np.float64)
        fit(estimator, learned.read(seen.inputs), actions, seen.weights)
        unseen = examples.part(held_out=True) if examples.held_out.any() else seen
        errors = unseen.actions.reshape(len(unseen.actions), -1) - learned.predictor()(unseen.inputs)[:, :, 0]
        return learned._replace(deviation=np.sqrt(np.average(errors**2, axis=0, weights=unseen.weights)))

    def outputs(self, learned: Learned | None, n_jobs: int = 1) -> Predictor:
        """
        A function from inputs ``(n, n_inputs)`` to the mean of each component, ``(n, n_components, 1)``.

        :param learned: None for the middle of the space
        :param n_jobs: as for :func:`~sb3_udrl.forest.inference.make_predictor`
        """
        if learned is None:
            return lambda inputs: np.repeat(self.center[None, :, None], len(inputs), axis=0)
        return learned.predictor(n_jobs)

    def check(self, learned: Learned) -> None:
        """
        Look whether what was learned elsewhere fits these actions.

        :param learned: what was learned
        :raises ValueError: if it tells classes apart, or has no deviation for each component
        """
        deviation, n = learned.deviation, len(self.center)
        if is_classifier(learned.estimator) or learned.present != []:
            raise ValueError("it tells classes apart, and these actions are numbers")
        if not isinstance(deviation, np.ndarray) or deviation.dtype != np.float64 or deviation.shape != (n,):
            raise ValueError(f"it has no deviation for each of {n} components of actions")
        if not (np.isfinite(deviation) & (deviation >= 0)).all():
            raise ValueError("its deviation is below zero, or not finite")

    def check_outputs(self, outputs: Floats) -> None:
        """
        Look whether outputs are what a policy can act by.

        :param outputs: of two situations, by something learned elsewhere
        :raises ValueError: if they are no finite numbers, one for each component
        """
        if outputs.shape != (2, len(self.center), 1):
            raise ValueError(f"its outputs have the shape {outputs.shape} instead of {(2, len(self.center), 1)}")
        if outputs.dtype.kind not in "f" or not np.isfinite(outputs).all():
            raise ValueError("its outputs are not finite")

    def mode(self, outputs: Floats) -> Array:
        """
        The means.

        :param outputs: ``(n, n_components, 1)``
        :return: ``(n, *action_shape)``
        """
        return into_space(outputs.reshape(-1, *self.space.shape), self.space)

    def draw(self, outputs: Floats, learned: Learned | None, temperature: Any, draws: Draws) -> Array:
        """
        Draw actions.

        :param outputs: means, ``(n, n_components, 1)``
        :param learned: with the deviation
        :param temperature: factor on the deviation, a number or ``(n, 1)``
        :param draws: source of randomness
        :return: ``(n, *action_shape)``
        """
        deviation = self.spread if learned is None else learned.deviation
        noise = draws.standard_normal(outputs.shape[:2])
        return self.mode(outputs[:, :, 0] + np.reshape(temperature, (-1, 1)) * deviation * noise)

    def loss(self, outputs: Floats, learned: Learned | None, actions: Array) -> float:
        """
        Mean over actions of their negative log-likelihood.

        :param outputs: means, ``(n, n_components, 1)``
        :param learned: with the deviation; as at the start if None
        :param actions: ``(n, *action_shape)``
        """
        deviation = self.spread if learned is None else learned.deviation
        scale = np.maximum(deviation, 1e-3 * self.spread)  # what never varies is not infinitely likely
        errors = (actions.reshape(len(actions), -1) - outputs[:, :, 0]) / scale
        return float((errors**2 / 2 + np.log(scale) + np.log(2 * np.pi) / 2).sum(1).mean())

    def metrics(self, outputs: Floats, learned: Learned, actions: Array) -> dict[str, float]:
        """
        How far the means are from the actions that were taken, and the deviation.

        :param outputs: means, ``(n, n_components, 1)``
        :param learned: with the deviation
        :param actions: ``(n, *action_shape)``
        """
        error = np.abs(self.mode(outputs).astype(np.float64) - actions).mean()
        return {"mean_abs_error": float(error), "deviation": float(learned.deviation.mean())}
