"""Evaluation with exact commands: SB3's ``evaluate_policy``, with the rewards passed on to ``predict``."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import gymnasium as gym
import numpy as np
import torch as th
from numpy.typing import NDArray
from stable_baselines3.common import evaluation
from stable_baselines3.common.vec_env import DummyVecEnv, VecEnv, VecEnvWrapper, unwrap_vec_normalize
from stable_baselines3.common.vec_env.base_vec_env import VecEnvStepReturn

from sb3_udrl.commands.command import CommandLike

if TYPE_CHECKING:
    from sb3_udrl.common.commanded_algorithm import CommandedAlgorithm
    from sb3_udrl.policies import BehaviorPolicy


class RawRewards(VecEnvWrapper):
    """
    Remembers the raw rewards and infos of the last step, also below ``VecNormalize``.

    :param venv: the environment
    """

    def __init__(self, venv: VecEnv) -> None:
        super().__init__(venv)
        self.raw_rewards: NDArray[Any] = np.zeros(venv.num_envs)
        self.infos: list[dict[str, Any]] | None = None
        self._vec_normalize = unwrap_vec_normalize(venv)

    def reset(self) -> Any:
        """Reset all environments."""
        return self.venv.reset()

    def step_wait(self) -> VecEnvStepReturn:
        """Wait for the step, and keep its raw rewards."""
        observations, rewards, dones, infos = self.venv.step_wait()
        self.infos = infos
        self.raw_rewards = rewards if self._vec_normalize is None else self._vec_normalize.get_original_reward()
        return observations, rewards, dones, infos


class _Commanded:
    """What SB3's loop sees of a model: a ``predict`` that knows the command and the rewards."""

    def __init__(
        self, model: CommandedAlgorithm | BehaviorPolicy, env: RawRewards, command: CommandLike | None, guidance: float | None
    ) -> None:
        self.model, self.env, self.command, self.guidance = model, env, command, guidance

    def predict(
        self, observation: Any, state: Any = None, episode_start: Any = None, deterministic: bool = False
    ) -> tuple[NDArray[Any], Any]:
        return self.model.predict(
            observation,
            state,
            episode_start,
            deterministic,
            command=self.command,
            reward=self.env.raw_rewards,
            info=self.env.infos,
            guidance=self.guidance,
        )


def evaluate_policy(
    model: CommandedAlgorithm | BehaviorPolicy,
    env: gym.Env[Any, Any] | VecEnv,
    n_eval_episodes: int = 10,
    deterministic: bool = True,
    render: bool = False,
    callback: Callable[[dict[str, Any], dict[str, Any]], None] | None = None,
    reward_threshold: float | None = None,
    return_episode_rewards: bool = False,
    warn: bool = True,
    *,
    command: CommandLike | None = None,
    guidance: float | None = None,
) -> tuple[float, float] | tuple[list[float], list[int]]:
    """
    As SB3's ``evaluate_policy``, with the exact remaining command at every step, whatever the wrappers.

    :param model: a model or its policy
    :param env: the environment
    :param n_eval_episodes: number of episodes
    :param deterministic: the most likely actions instead of draws
    :param render: render the environment
    :param callback: called after each step with ``locals()`` and ``globals()``
    :param reward_threshold: minimum of the mean return
    :param return_episode_rewards: return the episodes' returns and lengths instead of mean and deviation
    :param warn: warn if the environment has no ``Monitor``
    :param command: what is asked for, as for ``predict``; by default the model's own
    :param guidance: how strongly commands are insisted on, as for ``predict``
    :return: mean and standard deviation of the returns, or lists of returns and lengths
    :raises AssertionError: if the mean return is below ``reward_threshold``
    """
    tracked = RawRewards(env if isinstance(env, VecEnv) else DummyVecEnv([lambda: env]))
    return evaluation.evaluate_policy(
        _Commanded(model, tracked, command, guidance),
        tracked,
        n_eval_episodes,
        deterministic,
        render,
        callback,
        reward_threshold,
        return_episode_rewards,
        warn,
    )


@contextmanager
def mask_command(model: CommandedAlgorithm | BehaviorPolicy) -> Iterator[None]:
    """
    Blind a trained network to its commands for as long as the context lasts: it sees the average one throughout.

    What is lost is what the commands are worth. To learn without commands from the start, use
    ``policy_kwargs=dict(conditioning="masked")``.

    :param model: a model with a ``CommandPolicy``, or that policy
    :raises ValueError: if the policy has no network
    """
    policy: Any = getattr(model, "policy", model)
    if not policy.networks():
        raise ValueError(f"model has a {type(policy).__name__}, which has no network: only a network can be masked")
    hooks = [
        network.register_forward_pre_hook(lambda _, inputs: (inputs[0], th.zeros_like(inputs[1])))
        for network in policy.networks()
    ]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()
