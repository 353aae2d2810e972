"""An algorithm whose episodes others can play: collectors, each with a copy of the model."""

from __future__ import annotations

import io
from collections.abc import Mapping
from functools import partial
from typing import Any

import numpy as np
import torch as th
from numpy.typing import NDArray
from stable_baselines3.common.base_class import BaseAlgorithm, maybe_make_env
from stable_baselines3.common.type_aliases import GymEnv
from stable_baselines3.common.vec_env import VecEnv

from sb3_udrl.commands.command_space import CommandSpace
from sb3_udrl.common.made_envs import MakeEnv, made_by, maker_of
from sb3_udrl.common.running import RunningEpisodes
from sb3_udrl.common.saved_algorithm import SavedAlgorithm
from sb3_udrl.policies import BehaviorPolicy
from sb3_udrl.saving.random_state import checked_torch_states, generator_state, set_torch_states, torch_states
from sb3_udrl.spaces.supported import check_action_space, check_bounds, check_observation_space

_NOT_OF_COPIES = {"collectors", "collector_kwargs", "tensorboard_log", "verbose", "_last_obs", "_last_original_obs"}


class CollectingAlgorithm(SavedAlgorithm):
    """What collectors see of a model."""

    policy: BehaviorPolicy
    rng: np.random.Generator
    command_space: CommandSpace
    collectors: int
    collector_kwargs: dict[str, Any] | None
    max_episode_steps: int
    _running: RunningEpisodes
    _command_sampler: Any

    @staticmethod
    def _wrap_env(env: GymEnv | MakeEnv | str, verbose: int = 0, monitor_wrapper: bool = True) -> VecEnv:
        """As SB3 does, once the spaces are known to be supported; and what is an id or a function can be made again."""
        if isinstance(env, str):
            env = partial(maybe_make_env, env, verbose)
        make = env if callable(env) else maker_of(env)
        made = env() if callable(env) else env
        check_observation_space(made.observation_space)
        check_action_space(made.action_space)
        check_bounds(made.action_space)
        wrapped = BaseAlgorithm._wrap_env(made, verbose, monitor_wrapper)
        return wrapped if make is None else made_by(make, wrapped)

    @property
    def training_env(self) -> VecEnv:
        """The environment of the model; where there are collectors, it is the pattern of theirs."""
        assert self.env is not None
        return self.env

    def new_running(self) -> RunningEpisodes:
        """Running episodes, one per environment of a collector, of which nothing is decided yet."""
        return RunningEpisodes(
            self.observation_space, self.action_space, self.command_space, self.n_envs, self.max_episode_steps
        )

    def attend_to(self, running: RunningEpisodes, observations: Any) -> None:
        """
        Turn to the episodes of one of the collectors.

        :param running: its running episodes
        :param observations: before their next steps, ``(n_envs, *observation_shape)``
        """
        self._running, self._last_obs = running, observations

    @property
    def decides_in_advance(self) -> bool:
        """Whether it can be decided how an episode is played before its first observation is known."""
        return bool(self._command_sampler.in_advance)

    # What copies need to act as the model would

    def settings_of_copies(self) -> dict[str, Any]:
        """Attributes that make a copy, besides environment and policy."""
        left_out = {*self._excluded_save_params(), "policy", *_NOT_OF_COPIES}
        return {name: value for name, value in vars(self).items() if name not in left_out}

    def policy_weights(self) -> bytes:
        """What the behavior function has learned."""
        file = io.BytesIO()
        th.save(self.policy.state_dict(), file)
        return file.getvalue()

    def set_policy_weights(self, weights: bytes) -> None:
        """
        Act as the behavior function does that has learned this.

        :param weights: as from :meth:`policy_weights` of another process of this model
        """
        self.policy.load_state_dict(th.load(io.BytesIO(weights), map_location=self.device, weights_only=False))
        self.policy.set_training_mode(False)
        self.begin_acting()

    def randomness(self) -> dict[str, Any]:
        """States of all generators that actions are drawn from."""
        return {"rng": generator_state(self.rng), "torch": torch_states()}

    def set_randomness(self, states: Mapping[str, Any]) -> None:
        """
        Draw as another one would.

        :param states: as from :meth:`randomness`
        """
        self.rng.bit_generator.state = states["rng"]
        set_torch_states(*checked_torch_states(states["torch"]))

    def exploration(self) -> dict[str, Any]:
        """What was decided about exploring, other than by the settings; empty if nothing was."""
        return {}

    def explore_as(self, exploration: Mapping[str, Any]) -> None:
        """
        Explore as another one does.

        :param exploration: as from :meth:`exploration`
        """

    # What the algorithm says

    def begin_acting(self) -> None:
        """Prepare to collect; what was learned does not change until the next call."""

    def choose_actions(self) -> NDArray[Any]:
        """The next action of every environment, ``(n_envs, *action_shape)``, within the bounds of the space."""
        raise NotImplementedError

    def begin_episodes(self, starts: NDArray[np.bool_]) -> None:
        """
        Decide how the episodes that start now are played.

        :param starts: in which environments, at least one, ``(n_envs,)``
        """
        raise NotImplementedError
