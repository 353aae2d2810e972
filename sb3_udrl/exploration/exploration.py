"""How a model acts while it collects: as it has learned, more freely or by chance, and otherwise in the warm-up."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sb3_udrl.buffers.arrays import Array, Observation
from sb3_udrl.commands.command import Command
from sb3_udrl.exploration.state_dependent_noise import make_noise
from sb3_udrl.exploration.warm_up import WarmUpFunction, make_warm_up, uniform_actions
from sb3_udrl.policies import BehaviorPolicy
from sb3_udrl.policies.base import Actor
from sb3_udrl.spaces.actions import into_space


class Exploration:
    """
    Warm-up, noise, temperatures and random actions of the environments that step together.

    :param warm_up: see :class:`~sb3_udrl.UDRL`, as for the next three
    :param sde_share: share of the variance of actions that is one function of the situation through an episode
    :param temperature: how freely actions are drawn; a list is dealt out over the environments
    :param epsilon: share of uniformly random actions; a list is dealt out over the environments
    :param policy: the behavior function that explores
    :param n_envs: number of environments
    :param rng: source of randomness
    :raises ValueError: if there is no such warm-up, or the noise does not suit the behavior function
    """

    def __init__(
        self,
        warm_up: str | WarmUpFunction,
        sde_share: float,
        temperature: float | list[float],
        epsilon: float | list[float],
        policy: BehaviorPolicy,
        n_envs: int,
        rng: np.random.Generator,
    ) -> None:
        self.action_space, self.n_envs, self.rng = policy.action_space, n_envs, rng
        self.name = warm_up if isinstance(warm_up, str) else None
        self.warm_up = make_warm_up(warm_up, policy.action_space, n_envs, rng)
        self.noise = make_noise(sde_share, policy, n_envs, rng)
        self.temperature = np.resize(np.asarray(temperature, dtype=np.float32), (n_envs, 1))
        self.epsilon = np.resize(np.asarray(epsilon, dtype=np.float64), n_envs) if np.any(epsilon) else None

    def actions(
        self,
        act: Actor,
        observations: Observation,
        command: Command,
        temperature: NDArray[np.float32],
        starts: NDArray[np.bool_],
        warm_up: NDArray[np.bool_],
    ) -> Array:
        """
        Actions of the behavior function, of the warm-up in its episodes, and random ones with probability epsilon.

        :param act: draws actions of the behavior function, with :attr:`noise` if there is any
        :param observations: ``(n_envs, *observation_shape)``, or a dictionary of such
        :param command: what is still to be fulfilled, a row per environment
        :param temperature: of episodes that have their own, else NaN, ``(n_envs, 1)``
        :param starts: episodes at their first step, ``(n_envs,)``
        :param warm_up: episodes of the warm-up, ``(n_envs,)``
        :return: ``(n_envs, *action_shape)``, in the space
        """
        if self.noise is not None:
            self.noise.renew(starts)
        if warm_up.all():
            return into_space(self.warm_up(observations, starts), self.action_space)
        freely = np.where(np.isnan(temperature), self.temperature, temperature)
        actions = into_space(act(observations, command, freely), self.action_space)
        if warm_up.any():
            tried = into_space(self.warm_up(observations, starts), self.action_space)
            actions[warm_up] = tried[warm_up]
        if self.epsilon is not None:
            learning = np.isnan(temperature[:, 0])  # practice shows what was learned
            random = (self.rng.random(self.n_envs) < self.epsilon) & learning
            actions[random] = uniform_actions(self.action_space, self.n_envs, self.rng)[random]
        return actions

    def state(self) -> dict[str, Any]:
        """What changes while it acts, as plain values and arrays, but for the generator."""
        return {
            "warm_up": self.warm_up.state(),
            "warm_up_name": self.name,
            "noise": None if self.noise is None else {"share": self.noise.share, **self.noise.state()},
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """
        Go on where another one of as many environments was, as far as the arguments are the same.

        :param state: as from :meth:`state`
        :raises ValueError: if it is damaged
        """
        if self.name is not None and state["warm_up_name"] == self.name:
            self.warm_up.restore(state["warm_up"])
        if self.noise is not None and state["noise"] is not None and state["noise"]["share"] == self.noise.share:
            self.noise.restore(state["noise"])
