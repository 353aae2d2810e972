"""What algorithms share that learn from steps of stored episodes, which fulfilled commands in hindsight."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch as th
from stable_baselines3.common.policies import BasePolicy
from stable_baselines3.common.type_aliases import GymEnv, Schedule

from sb3_udrl.buffers import EpisodicReplayBuffer
from sb3_udrl.commands import CommandPart, make_command_space
from sb3_udrl.commands.command_space import CommandSpace
from sb3_udrl.common.arguments import make_replay_buffer
from sb3_udrl.common.made_envs import MakeEnv
from sb3_udrl.common.offline import OfflineLearning
from sb3_udrl.common.older_files import stored_episodes, upgrade_network, upgrade_settings
from sb3_udrl.labels import Hindsight
from sb3_udrl.policies import BehaviorPolicy


class HindsightAlgorithm(OfflineLearning):
    """
    Base of the algorithms whose behavior functions learn from stored steps, online and from recordings.

    Parameters are those of :class:`~sb3_udrl.UDRL` and of SB3's ``BaseAlgorithm``.
    """

    policy: BehaviorPolicy

    def __init__(
        self,
        policy: str | type[BehaviorPolicy],
        env: GymEnv | MakeEnv | str | None,
        learning_rate: float | Schedule = 1e-3,
        *,
        commands: str | Sequence[str | CommandPart] = "any",
        label_kwargs: dict[str, dict[str, Any]] | None = None,
        replay_buffer_class: type[EpisodicReplayBuffer] | None = None,
        replay_buffer_kwargs: dict[str, Any] | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(policy, env, learning_rate, **kwargs)
        self.commands, self.label_kwargs = commands, label_kwargs
        self.replay_buffer_class, self.replay_buffer_kwargs = replay_buffer_class, replay_buffer_kwargs

    def _setup_model(self) -> None:
        if not hasattr(self, "policy"):  # else it is made anew
            upgrade_settings(self)
        super()._setup_model()

    def set_parameters(
        self, load_path_or_dict: str | dict[str, Any], exact_match: bool = True, device: th.device | str = "auto"
    ) -> None:
        """Load weights, as in SB3; those of earlier revisions get the network that they are of."""
        weights = load_path_or_dict.get("policy", ()) if isinstance(load_path_or_dict, dict) else ()
        if upgrade_network(self, weights):
            self._setup_model()
        super().set_parameters(load_path_or_dict, exact_match, device)

    def make_command_space(self) -> CommandSpace:
        return make_command_space(self.commands)

    def check_arguments(self) -> None:
        unknown = sorted(set(self.label_kwargs or {}) - set(self.make_command_space().names))
        if unknown:
            raise ValueError(
                f"label_kwargs={self.label_kwargs}: commands have no part {', '.join(unknown)}. Arguments go by part, such as "
                '{"advantage": {"gamma": 0.98}}'
            )
        super().check_arguments()

    def make_hindsight(self) -> Hindsight:
        stored = stored_episodes(self)
        hindsight = Hindsight(make_replay_buffer(self), self.policy.explorer.command_space, self.label_kwargs)
        return hindsight if stored is None else hindsight.restored(stored)

    @property
    def replay_buffer(self) -> EpisodicReplayBuffer:
        """The stored episodes."""
        return self.hindsight.buffer

    def _get_policy_from_name(self, policy_name: str) -> type[BasePolicy]:
        if policy_name == "ForestPolicy":
            from sb3_udrl.forest import ForestPolicy  # needs an extra, and is slow to import

            return ForestPolicy
        return super()._get_policy_from_name(policy_name)
