"""What every behavior function can do: act on a command, remember it over an episode, and be fitted to a buffer."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from typing import Any, NamedTuple, cast

import numpy as np
import torch as th
from gymnasium import spaces
from numpy.typing import ArrayLike, NDArray
from stable_baselines3.common.policies import BasePolicy
from stable_baselines3.common.type_aliases import PyTorchObs
from stable_baselines3.common.utils import obs_as_tensor
from stable_baselines3.common.vec_env import VecNormalize

from sb3_udrl.buffers import EpisodicReplayBuffer
from sb3_udrl.commands.command import Command, advance, make_command
from sb3_udrl.evaluation.tracking import tracked_rewards

PolicyState = tuple[NDArray[Any], ...]
Actor = Callable[[Any, Command, NDArray[np.float32]], NDArray[Any]]  # observations, commands, temperatures -> actions
Noise = Callable[[Any], NDArray[np.float32]]  # observations -> draws of a standard normal distribution, (n, n_dims)


class FitOptions(NamedTuple):
    """
    How to learn from the buffer; each behavior function uses what applies to it.

    :param gradient_steps: number of steps to take; with ``patience``, at most so many
    :param batch_size: transitions per step
    :param learning_rate: current value of the schedule
    :param patience: epochs without improvement on held-out episodes after which to stop; None takes all the steps
    :param validation_fraction: share of the episodes that is held out, with ``patience``
    :param env: normalizes the stored raw observations, if given
    :param progress_remaining: share of the environment steps of ``learn`` that is still to come
    """

    gradient_steps: int
    batch_size: int
    learning_rate: float
    patience: int | None = None
    validation_fraction: float = 0.1
    env: VecNormalize | None = None
    progress_remaining: float = 1.0


class FitReport(NamedTuple):
    """
    What came of a fit.

    :param n_updates: number of updates that were made
    :param metrics: figures to log, by name
    """

    n_updates: int
    metrics: dict[str, float]


class BehaviorPolicy(BasePolicy):
    """
    Base of all behavior functions. A subclass implements :meth:`act` and :meth:`fit`; the rest is here.

    The parameters are those of SB3's ``BasePolicy``.
    """

    eval_command: th.Tensor

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.optimizer = None  # type: ignore[assignment]  # stays so where nothing is learned by gradient
        self.register_buffer("eval_command", th.tensor([0.0, 1.0]))  # saved with the weights

    @property
    def relative(self) -> bool:
        """Whether it takes relative commands: its evaluation command is a standing one, from the start."""
        return bool(self.eval_command[1].isinf())

    @abstractmethod
    def act(
        self,
        observation: PyTorchObs,
        command: Command,
        deterministic: bool = False,
        temperature: th.Tensor | None = None,
    ) -> NDArray[Any]:
        """
        Choose actions.

        :param observation: a batch, ``(n, *observation_shape)``, or a dictionary of such
        :param command: one row per observation, in raw units
        :param deterministic: the most likely action instead of a draw
        :param temperature: how freely to draw, 1 if None, ``(n, 1)``
        :return: ``(n, *action_shape)``
        """

    def actor(self, rng: np.random.Generator) -> Actor:
        """
        A function that draws actions while experience is collected; what was learned does not change meanwhile.

        By default it calls :meth:`act`.

        :param rng: source of randomness, for those who draw from it
        :return: a function of observations ``(n, *observation_shape)``, commands and temperatures ``(n, 1)``
        """

        def draw(observations: Any, command: Command, temperature: NDArray[np.float32]) -> NDArray[Any]:
            tensors = obs_as_tensor(observations, self.device)
            return self.act(tensors, command, temperature=th.as_tensor(temperature, device=self.device))

        return draw

    @abstractmethod
    def fit(self, replay_buffer: EpisodicReplayBuffer, options: FitOptions) -> FitReport:
        """
        Learn from the buffer in this behavior function's own way.

        :param replay_buffer: episodes to learn from, at least one
        :param options: how
        """

    def set_command(self, desired_return: float, desired_horizon: float) -> None:
        """
        Set the command that :meth:`predict` starts episodes with.

        :param desired_return: in raw reward units; in standard deviations above the usual for relative commands
        :param desired_horizon: in steps, at least one; infinite for relative commands
        :raises ValueError: if a value is not finite, the horizon is below one, or the command is of the kind that this
            behavior function does not learn
        """
        command = self.initial_command(1, (desired_return, desired_horizon))
        self.eval_command = th.as_tensor(np.concatenate(command), dtype=th.float32, device=self.device)

    def _predict(self, observation: PyTorchObs, deterministic: bool = False) -> th.Tensor:
        n_envs = len(next(iter(observation.values())) if isinstance(observation, dict) else observation)
        return th.as_tensor(self.act(observation, self.initial_command(n_envs), deterministic))

    def initial_command(self, n_envs: int, command: tuple[ArrayLike, ArrayLike] | None = None) -> Command:
        """
        What an episode starts with.

        :param n_envs: number of rows
        :param command: desired return and horizon, numbers or ``(n_envs,)``; by default what :meth:`set_command` set
        :raises ValueError: if the command is not finite, of another shape, or of the kind that this behavior function does
            not learn
        """
        try:
            desired_return, desired_horizon = self.eval_command.tolist() if command is None else command
        except (TypeError, ValueError) as error:
            raise ValueError(f"command={command!r}: give a pair of desired return and desired horizon") from error
        initial = make_command(desired_return, desired_horizon, n_envs)
        if (np.isinf(initial.desired_horizon) != self.relative).any():
            raise ValueError(
                f"desired_horizon is {desired_horizon}, and this model takes {'relative' if self.relative else 'absolute'} "
                "commands: relative ones have the horizon numpy.inf, absolute ones a finite one; the command samplers "
                '"adaptive" and "joint" suit both'
            )
        return initial

    def predict(
        self,
        observation: NDArray[Any] | dict[str, NDArray[Any]],
        state: PolicyState | None = None,
        episode_start: NDArray[np.bool_] | None = None,
        deterministic: bool = False,
        *,
        command: tuple[ArrayLike, ArrayLike] | None = None,
        reward: ArrayLike | None = None,
    ) -> tuple[NDArray[Any], PolicyState]:
        """
        Choose actions, and carry the remaining command along in the state.

        The command falls by the reward of the step before. That is ``reward`` if given; else it is read from the
        ``Monitor`` of the environment under :func:`~sb3_udrl.evaluation.track`; else it is estimated as the desired
        return per step of the desired horizon.

        :param observation: one observation or a batch, ``(n_envs, *observation_shape)``, or a dictionary of such
        :param state: what the last call returned; None starts new episodes
        :param episode_start: environments whose episode starts here, ``(n_envs,)``
        :param deterministic: the most likely action instead of a draw
        :param command: desired return and horizon of the episodes that start here, numbers or ``(n_envs,)``;
            by default what :meth:`set_command` set
        :param reward: raw reward of the step before, a number or ``(n_envs,)``
        :return: actions, ``(n_envs, *action_shape)`` or ``action_shape``, and the next state
        :raises ValueError: if an argument has the wrong shape or is not finite
        """
        self.set_training_mode(False)
        if isinstance(cast(object, observation), tuple):
            raise ValueError(
                "predict() got a tuple: in the Gym API `observation, info = env.reset()` returns two things, "
                "only the observation belongs here"
            )
        observations, vectorized = self.obs_to_tensor(observation)
        n_envs = len(next(iter(observations.values())) if isinstance(observations, dict) else observations)
        current, new_state = self._next_command(state, episode_start, n_envs, command, reward)
        actions = self.act(observations, current, deterministic).reshape((-1, *(self.action_space.shape or ())))
        if isinstance(self.action_space, spaces.Box):
            actions = np.clip(actions, self.action_space.low, self.action_space.high)
        return (actions if vectorized else actions.squeeze(axis=0)), new_state

    def _next_command(
        self,
        state: PolicyState | None,
        episode_start: NDArray[np.bool_] | None,
        n_envs: int,
        command: tuple[ArrayLike, ArrayLike] | None,
        reward: ArrayLike | None,
    ) -> tuple[Command, PolicyState]:
        """The command of this step, and the state (return, horizon, steps so far, Monitor's steps before the episode)."""
        starts = np.zeros(n_envs, dtype=bool) if episode_start is None else np.asarray(episode_start, dtype=bool).reshape(-1)
        n_rows = n_envs if state is None else len(state[0])
        if n_rows != n_envs or len(starts) != n_envs:
            raise ValueError(
                f"state has {n_rows} rows and episode_start {len(starts)} for {n_envs} observations: "
                "pass what the last call returned, for the same environments"
            )
        if state is None:
            starts = np.ones(n_envs, dtype=bool)
            state = (
                np.zeros(n_envs),
                np.ones(n_envs),
                np.zeros(n_envs, dtype=np.int64),
                np.zeros(n_envs, dtype=np.int64),
            )
        previous, steps, offsets = Command(state[0], state[1]), state[2] + 1, state[3]
        tracked = tracked_rewards(n_envs)
        if reward is None:
            rewards = previous.desired_return / previous.desired_horizon
            if tracked is not None:
                fresh = tracked.n_steps - offsets == steps  # else the environment is not the one that was stepped
                rewards = np.where(fresh, tracked.last_rewards, rewards)
        else:
            rewards = np.asarray(reward, dtype=np.float64)
            if rewards.shape not in ((), (1,), (n_envs,)) or not np.isfinite(rewards).all():
                raise ValueError(f"reward={reward}: give a finite number, or one per environment, shape ({n_envs},)")
        current = advance(previous, rewards)
        if starts.any():
            current = current.where(starts, self.initial_command(n_envs, command))
            steps = np.where(starts, 0, steps)
            if tracked is not None:
                offsets = np.where(starts, tracked.n_steps, offsets)
        return current, (current.desired_return, current.desired_horizon, steps, offsets)
