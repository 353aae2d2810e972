"""One who plays: environments and a copy of the model, in a process of its own."""

from __future__ import annotations

import os
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch as th
from numpy.typing import NDArray

from sb3_udrl.buffers.arrays import Array, Observation, map_observation
from sb3_udrl.collectors.environments import without_monitor_files
from sb3_udrl.collectors.upcoming import Upcoming
from sb3_udrl.commands.parts import Step
from sb3_udrl.common.collecting import CollectingAlgorithm
from sb3_udrl.common.made_envs import MakeEnv
from sb3_udrl.common.running import Order

MOST_STEPS = 1_000  # of the vectorized environment at a time


@dataclass(frozen=True)
class Recipe:
    """
    How to make a copy of a model that only acts.

    :param algorithm: class of the model
    :param settings: its attributes, without environment, policy and what is made of the settings
    :param make: makes the environment
    """

    algorithm: type[CollectingAlgorithm]
    settings: Mapping[str, Any]
    make: MakeEnv

    def model(self, seed: int | None) -> CollectingAlgorithm:
        """
        The copy, with an environment of its own.

        :param seed: of environment and draws
        :raises ValueError: if the function made another environment this time
        """
        policy = self.settings["policy_class"]
        with without_monitor_files():
            model = self.algorithm(policy, env=self.make, device="cpu", _init_setup_model=False)  # type: ignore[call-arg, arg-type]
        for name in ("observation_space", "action_space", "n_envs"):
            if getattr(model, name) != self.settings[name]:
                raise ValueError(
                    f"a collector's environment has {name}={getattr(model, name)}, the learner's {self.settings[name]}: let "
                    "the function that makes it make the same each time"
                )
        vars(model).update({**self.settings, "seed": seed})
        model._setup_model()
        return model


class Started(NamedTuple):
    """
    Episodes begin in all environments.

    :param life: which start of the collector this is
    :param observations: the first ones, ``(n_envs, *observation_shape)``
    """

    life: int
    observations: Observation


class Playing(NamedTuple):
    """
    Steps that were played, ``T`` of the vectorized environment.

    :param life: which start of the collector they belong to; negative if it was not started
    :param actions: ``(T, n_envs, *action_shape)``
    :param observations: after each step, ``(T, n_envs, *observation_shape)``, or a dictionary of such
    :param rewards: ``(T, n_envs)``
    :param dones: ``(T, n_envs)``
    :param infos: ``T`` lists of ``n_envs``
    :param randomness: states of the random generators at the end, if they were given
    """

    life: int
    actions: Array
    observations: Observation
    rewards: NDArray[Any]
    dones: NDArray[np.bool_]
    infos: list[list[dict[str, Any]]]
    randomness: dict[str, Any] | None


class Collector:
    """
    Plays episodes. It decides nothing: how each episode is played comes as an order, and it stops where it has none.

    :param recipe: how to make its copy of the model
    """

    def __init__(self, recipe: Recipe) -> None:
        self._recipe, self._life = recipe, -1
        th.set_num_threads(1)

    def start(self, life: int, seed: int | None) -> Started:
        """
        Reset the environments, which are made if this is the first time; nothing is asked of their episodes yet.

        :param life: a number that tells this start from others
        :param seed: of environments that are made, and of all draws
        """
        if self._life < 0:
            self._model = self._recipe.model(seed)
            self._upcoming = Upcoming(self._model._running)
        self._life = life
        self._model._running.start_over(keep_resumed=False)
        self._upcoming.clear()
        observations: Any = self._model.training_env.reset()
        self._model._last_obs = observations
        return Started(life, observations)

    def play(
        self,
        life: int,
        orders: Iterable[Order],
        n_steps: int,
        seconds: float,
        weights: bytes | None = None,
        exploration: Mapping[str, Any] | None = None,
        randomness: Mapping[str, Any] | None = None,
    ) -> Playing:
        """
        Play on, until enough is played or an episode begins without an order.

        :param life: as given to :meth:`start`; after another start nothing is played
        :param orders: for episodes to come
        :param n_steps: at most so many
        :param seconds: stop after this time
        :param weights: of the behavior function, if there are new ones
        :param exploration: what changed in how actions are explored
        :param randomness: states of the random generators to go on from
        """
        if life != self._life:
            return _nothing(-1)
        model, upcoming, env = self._model, self._upcoming, self._model.training_env
        upcoming.add(orders)
        if exploration:
            model.explore_as(exploration)
        if randomness:
            model.set_randomness(randomness)
        if weights:
            model.set_policy_weights(weights)
        until = time.perf_counter() + seconds
        steps: list[tuple[Any, ...]] = []
        while len(steps) < min(n_steps, MOST_STEPS) and not upcoming.waiting.any() and time.perf_counter() < until:
            actions = model.choose_actions()
            observations, rewards, dones, infos = env.step(actions)
            model._running.advance(Step(rewards, infos), dones)
            model._last_obs = observations  # type: ignore[assignment]
            steps.append((actions, observations, rewards, dones, infos))
            if dones.any():
                upcoming.end(dones)
        return _stacked(life, steps, model.randomness() if randomness else None)

    def pid(self) -> int:
        """Number of the process."""
        return os.getpid()


def _stacked(life: int, steps: list[tuple[Any, ...]], randomness: dict[str, Any] | None) -> Playing:
    if not steps:
        return _nothing(life)._replace(randomness=randomness)
    actions, observations, rewards, dones, infos = zip(*steps, strict=True)
    stacked = map_observation(lambda *rows: np.stack(rows), *observations)
    return Playing(life, np.stack(actions), stacked, np.stack(rewards), np.stack(dones), list(infos), randomness)


def _nothing(life: int) -> Playing:
    empty = np.zeros((0, 0))
    return Playing(life, empty, empty, empty, empty.astype(np.bool_), [], None)


def step_of(playing: Playing, t: int) -> tuple[Array, Observation, NDArray[Any], NDArray[np.bool_], list[dict[str, Any]]]:
    """
    One of the steps: actions, observations after it, rewards, dones and infos.

    :param playing: the steps
    :param t: which one
    """
    observations = map_observation(lambda rows: rows[t], playing.observations)
    return playing.actions[t], observations, playing.rewards[t], playing.dones[t], playing.infos[t]
