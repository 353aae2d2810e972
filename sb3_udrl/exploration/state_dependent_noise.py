"""Exploration that is of one piece through an episode: noise that depends on the situation."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sb3_udrl.buffers.arrays import Observation
from sb3_udrl.exploration.warm_up import RunningInputs
from sb3_udrl.policies import BehaviorPolicy
from sb3_udrl.saving.checks import checked_array


class StateDependentNoise:
    """
    Standard normal noise for actions, a share of which is one and the same function of the situation all through an episode.

    Independent noise cancels out over an episode. An episode that acts a little differently in the same way throughout shows
    what that is worth, where one action hardly shows in what follows. It is generalized state-dependent exploration (arXiv
    2005.05719, section 3) with these deviations: functions are linear in the standardized observation and a constant, scaled
    to unit variance in every situation, so that the standard deviation stays the behavior function's; a new one is drawn for
    every episode; and the rest of the variance is independent noise, since what is learned is a fit to the actions, which
    would take a function as it is where few episodes are stored.

    :param share: share of the variance that depends on the situation
    :param n_envs: number of environments
    :param n_dims: number of components of an action
    :param rng: source of randomness
    """

    def __init__(self, share: float, n_envs: int, n_dims: int, rng: np.random.Generator) -> None:
        self.share, self.n_envs, self.n_dims, self.rng = share, n_envs, n_dims, rng
        self.outdated = np.ones(n_envs, dtype=np.bool_)  # a new function is drawn before the next step
        self.inputs = RunningInputs()
        self.functions: NDArray[np.float64] | None = None

    def renew(self, starts: NDArray[np.bool_]) -> None:
        """
        Use new functions where episodes start.

        :param starts: environments in which an episode starts, ``(n_envs,)``
        """
        self.outdated |= starts

    def __call__(self, observations: Observation) -> NDArray[np.float32]:
        """
        :param observations: ``(n_envs, *observation_shape)``, or a dictionary of such
        :return: one draw for each component of each action, ``(n_envs, n_dims)``
        """
        inputs = self.inputs(observations, self.n_envs)
        if self.functions is None:
            self.functions = np.zeros((self.n_envs, inputs.shape[1], self.n_dims))
        for env in np.flatnonzero(self.outdated):
            self.functions[env] = self.rng.standard_normal(self.functions.shape[1:])
        self.outdated[:] = False
        situations = inputs / np.linalg.norm(inputs, axis=1, keepdims=True)
        consistent = np.einsum("ef,efd->ed", situations, self.functions)
        independent = self.rng.standard_normal((self.n_envs, self.n_dims))
        return (np.sqrt(self.share) * consistent + np.sqrt(1 - self.share) * independent).astype(np.float32)

    def state(self) -> dict[str, Any]:
        """What changes while it acts, as arrays, but for the generator."""
        return {"outdated": self.outdated, "inputs": self.inputs.state(), "functions": self.functions}

    def restore(self, state: Mapping[str, Any]) -> None:
        """
        Go on where another one with the same arguments was.

        :param state: as from :meth:`state`
        :raises ValueError: if it is damaged
        """
        self.outdated = checked_array(state, "outdated", (self.n_envs,), "b").copy()
        n_inputs = self.inputs.restore(state["inputs"])
        if n_inputs:
            self.functions = checked_array(state, "functions", (self.n_envs, n_inputs, self.n_dims)).copy()


def make_noise(share: float, policy: BehaviorPolicy, n_envs: int, rng: np.random.Generator) -> StateDependentNoise | None:
    """
    The noise that actions are drawn with, None where the behavior function draws its own.

    :param share: ``sde_share`` of the constructor
    :param policy: the behavior function
    :param n_envs: number of environments
    :param rng: source of randomness
    :raises ValueError: if the share is out of its range, actions are not normally distributed, or the behavior function has
        its own way to draw them
    """
    if not 0 <= share <= 1:
        raise ValueError(f"sde_share={share}: must be between 0 and 1")
    if share == 0:
        return None
    if policy.noise_dims() == 0:
        raise ValueError(
            f"sde_share={share} is for normally distributed actions of a CommandPolicy that does not override act, leave it "
            f"at 0 for {type(policy).__name__} and {policy.action_space}, or set policy_kwargs=dict(box_head='gaussian') "
            "for a Box"
        )
    return StateDependentNoise(share, n_envs, policy.noise_dims(), rng)
