"""Behavior before anything was learned: the warm-up."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray
from stable_baselines3.common.running_mean_std import RunningMeanStd

from sb3_udrl.buffers.arrays import Array, Observation
from sb3_udrl.saving.checks import checked_array, checked_count
from sb3_udrl.spaces.actions import Actions, BoxRange, into_space
from sb3_udrl.statistics.moments import CLIP, SUM_RESOLUTION

WarmUpFunction: TypeAlias = Callable[[Observation, NDArray[np.bool_]], Array]


class WarmUp(ABC):
    """
    A way to act without commands in ``n_envs`` environments.

    :param action_space: space of one environment
    :param n_envs: number of environments
    :param rng: source of randomness
    """

    def __init__(self, action_space: spaces.Space[Any], n_envs: int, rng: np.random.Generator) -> None:
        self.action_space, self.n_envs, self.rng = action_space, n_envs, rng

    @abstractmethod
    def __call__(self, observations: Observation, starts: NDArray[np.bool_]) -> Array:
        """
        :param observations: ``(n_envs, *observation_shape)``, or a dictionary of such
        :param starts: environments in which an episode starts, ``(n_envs,)``
        :return: actions, ``(n_envs, *action_shape)``
        """

    def state(self) -> dict[str, Any]:
        """What changes while it acts, as numbers and arrays, but for the generator; here, nothing."""
        return {}

    def restore(self, state: Mapping[str, Any]) -> None:  # noqa: B027  # most have nothing to restore
        """
        Go on where another one with the same arguments was.

        :param state: as from :meth:`state`
        :raises ValueError: if it is damaged
        """

    def widen(self) -> None:  # noqa: B027
        """Look for something else where this showed nothing new; here, what was chosen on purpose stays as it is."""

    def decided(self) -> dict[str, Any]:
        """The state where something was decided on the way, as by :meth:`widen`; here, nothing is."""
        return {}


class OwnWarmUp(WarmUp):
    """
    A function of the user.

    :param function: of observations and starts, as the call of every warm-up
    """

    def __init__(
        self, action_space: spaces.Space[Any], n_envs: int, rng: np.random.Generator, function: WarmUpFunction
    ) -> None:
        super().__init__(action_space, n_envs, rng)
        self.function = function

    def __call__(self, observations: Observation, starts: NDArray[np.bool_]) -> Array:
        actions = np.asarray(self.function(observations, starts))
        space = self.action_space
        shape = (self.n_envs, *(space.shape or ()))
        if actions.shape != shape:
            raise ValueError(f"warm_up returned actions of shape {actions.shape}: {space} needs {shape}")
        if not isinstance(space, spaces.Box):  # into a Box they are clipped
            outside = [row for row in actions if not space.contains(row)]
            if outside:
                raise ValueError(f"warm_up returned the action {outside[0]}, which is not in {space}")
        return actions


def uniform_actions(space: spaces.Space[Any], n: int, rng: np.random.Generator) -> Array:
    """
    Uniform draws from an action space; along components without bounds, or with very wide ones, draws of
    :meth:`~sb3_udrl.spaces.actions.BoxRange.uniform`.

    :param space: space of one environment
    :param n: number of actions
    :param rng: source of randomness
    :return: ``(n, *action_shape)``
    """
    return into_space(_uniform(space, n, rng), space)


def _uniform(space: spaces.Space[Any], n: int, rng: np.random.Generator) -> Array:
    if isinstance(space, spaces.Discrete):
        return space.start + rng.integers(space.n, size=n)
    if isinstance(space, spaces.MultiDiscrete):
        return space.start + rng.integers(space.nvec, size=(n, *space.shape))
    if isinstance(space, spaces.MultiBinary):
        return rng.integers(2, size=(n, *space.shape), dtype=np.int8)
    assert isinstance(space, spaces.Box)
    return BoxRange.of(space).uniform(n, rng)


class UniformWarmUp(WarmUp):
    """Independent uniform actions; after :meth:`widen`, those of :class:`MixedWarmUp`."""

    def __init__(self, action_space: spaces.Space[Any], n_envs: int, rng: np.random.Generator) -> None:
        super().__init__(action_space, n_envs, rng)
        self.mixed: MixedWarmUp | None = None

    def __call__(self, observations: Observation, starts: NDArray[np.bool_]) -> Array:
        if self.mixed is not None:
            return self.mixed(observations, starts)
        return uniform_actions(self.action_space, self.n_envs, self.rng)

    def state(self) -> dict[str, Any]:
        return {"mixed": None if self.mixed is None else self.mixed.state()}

    def decided(self) -> dict[str, Any]:
        return {} if self.mixed is None else self.state()

    def widen(self) -> None:
        if self.mixed is None:
            self.mixed = MixedWarmUp(self.action_space, self.n_envs, self.rng)

    def restore(self, state: Mapping[str, Any]) -> None:
        if state["mixed"] is not None:
            self.widen()
            assert self.mixed is not None
            self.mixed.restore(state["mixed"])


class NormalWarmUp(WarmUp):
    """
    Small independent actions: normally distributed about the middle of the range, with a standard deviation of a tenth of it
    (0.2 about zero where bounds are missing or very wide); uniform ones where actions are not continuous.

    Large ones make a body fall over, and what is learned first is to move lying down.
    """

    def __call__(self, observations: Observation, starts: NDArray[np.bool_]) -> Array:
        space = self.action_space
        if not isinstance(space, spaces.Box):
            return uniform_actions(space, self.n_envs, self.rng)
        tried = BoxRange.of(space)
        return into_space(self.rng.normal(tried.center, tried.half / 5, (self.n_envs, *space.shape)), space)


class StickyWarmUp(WarmUp):
    """Uniform actions, each repeated with a probability that is drawn anew for every episode, between 0.85 and 0.98."""

    def __init__(self, action_space: spaces.Space[Any], n_envs: int, rng: np.random.Generator) -> None:
        super().__init__(action_space, n_envs, rng)
        self.actions = uniform_actions(action_space, n_envs, rng)
        self.stickiness = np.zeros(n_envs)

    def __call__(self, observations: Observation, starts: NDArray[np.bool_]) -> Array:
        if starts.any():
            self.stickiness = np.where(starts, self.rng.uniform(0.85, 0.98, self.n_envs), self.stickiness)
        change = starts | (self.rng.random(self.n_envs) >= self.stickiness)
        fresh = uniform_actions(self.action_space, self.n_envs, self.rng)
        self.actions[change] = fresh[change]
        return self.actions.copy()

    def state(self) -> dict[str, Any]:
        return {"actions": self.actions, "stickiness": self.stickiness}

    def restore(self, state: Mapping[str, Any]) -> None:
        actions = checked_array(state, "actions", self.actions.shape, self.actions.dtype.kind)
        if not all(action in self.action_space for action in actions):
            raise ValueError("actions: one lies outside of the action space")
        self.stickiness = checked_array(state, "stickiness", (self.n_envs,)).copy()
        self.actions = actions.copy()


class RunningInputs:
    """
    Observations as inputs of random functions: flattened, standardized by running statistics of all that were seen, since a
    large component would decide alone without that, and with a constant.
    """

    def __init__(self) -> None:
        self.statistics: RunningMeanStd | None = None

    def __call__(self, observations: Observation, n_envs: int) -> NDArray[np.float64]:
        """
        :param observations: ``(n_envs, *observation_shape)``, or a dictionary of such
        :param n_envs: number of environments
        :return: ``(n_envs, n_inputs)``
        """
        parts = observations.values() if isinstance(observations, dict) else [observations]
        inputs = np.concatenate([np.asarray(part, dtype=np.float64).reshape(n_envs, -1) for part in parts], axis=1)
        if self.statistics is None:
            self.statistics = RunningMeanStd(epsilon=0, shape=inputs.shape[1:])
        self.statistics.update(self._without_outliers(inputs))
        mean, deviation = self.statistics.mean, np.sqrt(self.statistics.var)
        varies = deviation > SUM_RESOLUTION * np.abs(mean)
        inputs = np.divide(inputs - mean, deviation, out=np.zeros_like(inputs), where=varies).clip(-5, 5)
        return np.concatenate([inputs, np.ones((n_envs, 1))], axis=1)

    def _without_outliers(self, inputs: NDArray[np.float64]) -> NDArray[np.float64]:
        """What the statistics take in: once they are settled, nothing far beyond, where a single number would decide alone."""
        assert self.statistics is not None
        if self.statistics.count < CLIP**2:
            return inputs
        most = np.where(self.statistics.var > 0, CLIP * np.sqrt(self.statistics.var), np.inf)
        return np.clip(inputs, self.statistics.mean - most, self.statistics.mean + most)

    def state(self) -> dict[str, Any]:
        """The statistics as arrays, if there are any."""
        if self.statistics is None:
            return {"n_inputs": 0}
        return {
            "n_inputs": len(self.statistics.mean) + 1,
            "mean": self.statistics.mean,
            "var": self.statistics.var,
            "count": float(self.statistics.count),
        }

    def restore(self, state: Mapping[str, Any]) -> int:
        """
        Go on with other statistics.

        :param state: as from :meth:`state`
        :return: number of inputs, the constant included; 0 if there are no statistics
        :raises ValueError: if they are damaged
        """
        n_inputs = checked_count(state, "n_inputs")
        if n_inputs:
            self.statistics = RunningMeanStd(shape=(n_inputs - 1,))
            self.statistics.mean = checked_array(state, "mean", (n_inputs - 1,)).copy()
            self.statistics.var = checked_array(state, "var", (n_inputs - 1,)).copy()
            self.statistics.count = float(state["count"])
        return n_inputs


class NetworkWarmUp(WarmUp):
    """A freshly drawn random network for every episode: one hidden layer of 16 rectified units."""

    _HIDDEN = 16

    def __init__(self, action_space: spaces.Space[Any], n_envs: int, rng: np.random.Generator) -> None:
        super().__init__(action_space, n_envs, rng)
        self.inputs, self.actions = RunningInputs(), Actions(action_space)
        self.hidden: NDArray[np.float64] | None = None
        self.output = np.zeros((n_envs, self._HIDDEN, self.actions.n_outputs))

    def __call__(self, observations: Observation, starts: NDArray[np.bool_]) -> Array:
        inputs = self.inputs(observations, self.n_envs)
        if self.hidden is None:
            self.hidden = np.zeros((self.n_envs, inputs.shape[1], self._HIDDEN))
        for env in np.flatnonzero(starts):
            self.hidden[env] = self.rng.standard_normal(self.hidden.shape[1:]) * np.sqrt(2 / inputs.shape[1])
            self.output[env] = self.rng.standard_normal(self.output.shape[1:]) * np.sqrt(2 / self._HIDDEN)
        hidden = np.maximum(np.einsum("ei,eih->eh", inputs, self.hidden), 0)
        outputs = np.einsum("eh,eho->eo", hidden, self.output)
        if isinstance(self.action_space, spaces.Box):
            outputs = np.where(self.actions.range.bounded.reshape(-1), np.tanh(outputs), outputs)
        return self.actions.of(outputs)

    def state(self) -> dict[str, Any]:
        return {"inputs": self.inputs.state(), "hidden": self.hidden, "output": self.output}

    def restore(self, state: Mapping[str, Any]) -> None:
        n_inputs = self.inputs.restore(state["inputs"])
        self.output = checked_array(state, "output", self.output.shape).copy()
        if n_inputs:
            self.hidden = checked_array(state, "hidden", (self.n_envs, n_inputs, self._HIDDEN)).copy()


class MixedWarmUp(WarmUp):
    """Uniform, sticky and random-network behavior in turn over the environments, a new one in each episode."""

    def __init__(self, action_space: spaces.Space[Any], n_envs: int, rng: np.random.Generator) -> None:
        super().__init__(action_space, n_envs, rng)
        self.behaviors = [kind(action_space, n_envs, rng) for kind in (UniformWarmUp, StickyWarmUp, NetworkWarmUp)]
        self.turns = np.arange(n_envs)

    def __call__(self, observations: Observation, starts: NDArray[np.bool_]) -> Array:
        self.turns = np.where(starts, self.turns + 1, self.turns)
        actions = [behavior(observations, starts) for behavior in self.behaviors]
        return np.stack(actions)[self.turns % len(actions), np.arange(self.n_envs)]

    def state(self) -> dict[str, Any]:
        return {"behaviors": [behavior.state() for behavior in self.behaviors], "turns": self.turns}

    def restore(self, state: Mapping[str, Any]) -> None:
        for behavior, its_state in zip(self.behaviors, state["behaviors"], strict=True):
            behavior.restore(its_state)
        self.turns = checked_array(state, "turns", (self.n_envs,), "i").copy()


WARM_UPS: dict[str, type[WarmUp]] = {
    "uniform": UniformWarmUp,
    "normal": NormalWarmUp,
    "sticky": StickyWarmUp,
    "network": NetworkWarmUp,
    "mixed": MixedWarmUp,
}


def make_warm_up(
    warm_up: str | WarmUpFunction, action_space: spaces.Space[Any], n_envs: int, rng: np.random.Generator
) -> WarmUp:
    """
    The warm-up behavior by its name, or one that calls the given function.

    :param warm_up: a key of ``WARM_UPS``, or a function
    :param action_space: space of one environment
    :param n_envs: number of environments
    :param rng: source of randomness
    :raises ValueError: if the name is unknown
    """
    if callable(warm_up):
        return OwnWarmUp(action_space, n_envs, rng, warm_up)
    if not isinstance(warm_up, str) or warm_up not in WARM_UPS:
        raise ValueError(f"warm_up={warm_up!r}: choose one of {sorted(WARM_UPS)}, or pass a function")
    return WARM_UPS[warm_up](action_space, n_envs, rng)
