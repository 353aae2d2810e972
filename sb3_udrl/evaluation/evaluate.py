"""Evaluation with exact commands: SB3's ``evaluate_policy``, whatever the wrappers."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import gymnasium as gym
import numpy as np
import torch as th
from stable_baselines3.common.type_aliases import PolicyPredictor
from stable_baselines3.common.vec_env import DummyVecEnv, VecEnv

from sb3_udrl.commands.command import CommandLike
from sb3_udrl.commands.tracking import track
from sb3_udrl.evaluation.episode_ends import EpisodeEnds

if TYPE_CHECKING:
    from sb3_udrl.common.commanded_algorithm import CommandedAlgorithm
    from sb3_udrl.policies import BehaviorPolicy


def evaluate_policy(
    model: PolicyPredictor | CommandedAlgorithm | BehaviorPolicy,
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

    Returns and lengths are those of the ``Monitor``. Where episodes end above it, and in environments without one, they are
    raw sums over the steps that the agent took. A life that is lost while the ``Monitor``'s episode goes on is no episode.

    :param model: a model or its policy, of any algorithm
    :param env: the environment
    :param n_eval_episodes: number of episodes, dealt out over the environments in advance
    :param deterministic: the most likely actions instead of draws
    :param render: render the environment
    :param callback: called after each step with ``locals()`` and ``globals()``
    :param reward_threshold: minimum of the mean return
    :param return_episode_rewards: return the episodes' returns and lengths instead of mean and deviation
    :param warn: warn if the environment has no ``Monitor``, or episodes end above it
    :param command: what is asked for, as for ``predict``; by default the model's own
    :param guidance: how strongly commands are insisted on, as for ``predict``
    :return: mean and standard deviation of the returns, or lists of returns and lengths
    :raises ValueError: if the number of episodes is below one
    :raises AssertionError: if the mean return is below ``reward_threshold``
    """
    if n_eval_episodes < 1:
        raise ValueError(f"n_eval_episodes={n_eval_episodes}: must be at least 1")
    env = env if isinstance(env, VecEnv) else DummyVecEnv([lambda: env])  # type: ignore[list-item, return-value]
    predictor: Any = model
    asked = {name: value for name, value in (("command", command), ("guidance", guidance)) if value is not None}
    ends = EpisodeEnds(env, warn)
    # The names of what follows are SB3's: callbacks read them
    n_envs = env.num_envs
    episode_rewards: list[float] = []
    episode_lengths: list[int] = []
    episode_counts = np.zeros(n_envs, dtype=int)
    episode_count_targets = np.array([(n_eval_episodes + i) // n_envs for i in range(n_envs)])
    current_rewards, current_lengths = ends.returns, ends.lengths
    observations, states, episode_starts = env.reset(), None, np.ones(n_envs, dtype=bool)
    with track(env) as steps:
        while (episode_counts < episode_count_targets).any():
            actions, states = predictor.predict(
                observations, state=states, episode_start=episode_starts, deterministic=deterministic, **asked
            )
            new_observations, rewards, dones, infos = env.step(actions)
            ends.add(steps.rewards)
            episode_starts = dones
            for i in np.flatnonzero(episode_counts < episode_count_targets).tolist():
                reward, done, info = rewards[i], dones[i], infos[i]
                if callback is not None:
                    callback(locals(), globals())
                outcome = ends.end(i, info) if done else None
                if outcome is not None:
                    episode_rewards.append(outcome[0])
                    episode_lengths.append(outcome[1])
                    episode_counts[i] += 1
            observations = new_observations
            if render:
                env.render()
    mean_reward, std_reward = float(np.mean(episode_rewards)), float(np.std(episode_rewards))
    if reward_threshold is not None:
        assert mean_reward > reward_threshold, f"Mean reward below threshold: {mean_reward:.2f} < {reward_threshold:.2f}"
    return (episode_rewards, episode_lengths) if return_episode_rewards else (mean_reward, std_reward)


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
