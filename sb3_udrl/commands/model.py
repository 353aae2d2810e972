"""What command samplers, and those who check, log and save, see of a model."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Protocol

import numpy as np
from gymnasium import spaces
from stable_baselines3.common.logger import Logger

from sb3_udrl.buffers import EpisodicReplayBuffer
from sb3_udrl.commands.command_space import CommandSpace
from sb3_udrl.commands.outcomes import Outcomes


class CommandedModel(Protocol):
    """A model that learns from episodes under commands; its attributes are those of the constructor and of SB3's models."""

    policy: Any
    policy_class: type[Any]
    policy_kwargs: dict[str, Any]
    observation_space: spaces.Space[Any]
    action_space: spaces.Space[Any]
    n_envs: int
    num_timesteps: int
    verbose: int
    start_time: float
    ep_info_buffer: Any
    ep_success_buffer: Any
    command_space: CommandSpace
    outcomes: Outcomes
    rng: np.random.Generator
    hindsight: Any
    buffer_size: int
    learning_starts: int
    batch_size: int
    gradient_steps: int | float
    max_episode_steps: int
    collectors: int
    collector_kwargs: dict[str, Any] | None
    _running: Any
    _current_progress_remaining: float
    _num_timesteps_at_start: int

    @property
    def replay_buffer(self) -> Any:
        """What is stored."""

    @property
    def logger(self) -> Logger:
        """Where figures are logged."""

    def further_state(self) -> dict[str, Any]:
        """What else training needs to go on as if never stopped."""

    def restore_further(self, state: Mapping[str, Any], same_envs: bool) -> Callable[[], None]:
        """
        Read what :meth:`further_state` returned, and change nothing yet.

        :param state: that of another model
        :param same_envs: whether that had as many environments
        :return: takes it over
        """


class HindsightModel(CommandedModel, Protocol):
    """One that learns from steps of stored episodes."""

    commands: Any
    label_kwargs: dict[str, dict[str, Any]] | None
    replay_buffer_class: type[EpisodicReplayBuffer] | None
    replay_buffer_kwargs: dict[str, Any] | None
