"""Command following: does the agent do what it is asked, over a grid of commands?"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from stable_baselines3.common.callbacks import EventCallback
from stable_baselines3.common.vec_env import VecEnv, sync_envs_normalization

from sb3_udrl.evaluation.evaluate import RawRewards

if TYPE_CHECKING:
    from sb3_udrl.policies import BehaviorPolicy
    from sb3_udrl.udrl import UDRL

FloatArray = NDArray[np.float64]


class CommandFollowing(NamedTuple):
    """
    What was asked for and what was achieved, one row per command, one column per episode.

    :param desired_return: ``(n_commands,)``
    :param desired_horizon: ``(n_commands,)``
    :param achieved_return: ``(n_commands, n_episodes)``
    :param achieved_horizon: ``(n_commands, n_episodes)``
    """

    desired_return: FloatArray
    desired_horizon: FloatArray
    achieved_return: FloatArray
    achieved_horizon: FloatArray

    @property
    def mean_abs_error(self) -> float:
        """Mean distance between desired return and the mean return achieved under it."""
        return float(np.abs(self.achieved_return.mean(1) - self.desired_return).mean())

    @property
    def horizon_mean_abs_error(self) -> float:
        """Mean distance between desired horizon and the mean length achieved under it."""
        return float(np.abs(self.achieved_horizon.mean(1) - self.desired_horizon).mean())

    @property
    def r_squared(self) -> float:
        """Share of the variance of achieved returns that the line achieved = desired explains; negative if it misleads."""
        residual = ((self.achieved_return - self.desired_return[:, None]) ** 2).sum()
        total = ((self.achieved_return - self.achieved_return.mean()) ** 2).sum()
        return float(1 - residual / total) if total > 0 else float("nan")

    @property
    def rank_correlation(self) -> float:
        """Spearman's correlation of desired and mean achieved returns; NaN if either never changes."""
        ranks = [average_ranks(self.desired_return), average_ranks(self.achieved_return.mean(1))]
        if min(rank.std() for rank in ranks) == 0:
            return float("nan")
        return float(np.corrcoef(ranks[0], ranks[1])[0, 1])


def require_absolute_commands(model: UDRL | BehaviorPolicy) -> None:
    """
    Refuse models whose commands ask for no return that could be compared with the achieved one.

    :param model: a model or its policy
    :raises ValueError: if it takes relative commands
    """
    policy: Any = getattr(model, "policy", model)
    if policy.relative:
        raise ValueError(
            "this model takes relative commands, standard deviations above the usual, which no return can be compared with: "
            'train with UDRL(commands="absolute"), or see what asking for more achieves with run_commands'
        )


def average_ranks(values: FloatArray) -> FloatArray:
    """
    Ranks from 0 up, equal values sharing their average rank.

    :param values: ``(n,)``
    """
    _, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)
    return (np.cumsum(counts) - (counts + 1) / 2)[inverse]


def run_commands(
    model: UDRL | BehaviorPolicy,
    env: VecEnv,
    desired_return: ArrayLike,
    desired_horizon: ArrayLike,
    deterministic: bool = True,
) -> tuple[FloatArray, FloatArray]:
    """
    Play one episode under each of a list of commands, in all environments at once, with exact rewards.

    :param model: a model or its policy
    :param env: the environment
    :param desired_return: ``(n,)``
    :param desired_horizon: ``(n,)`` or a number; infinite for relative commands
    :param deterministic: the most likely actions instead of draws
    :return: achieved returns and lengths, each ``(n,)``
    """
    commands = np.stack(np.broadcast_arrays(np.atleast_1d(desired_return), desired_horizon)).astype(np.float64)  # (2, n)
    n_commands = commands.shape[1]
    achieved: FloatArray = np.zeros((2, n_commands))
    # Each environment plays one command after the other; those without one play the last again, uncounted
    playing = np.arange(env.num_envs)
    upcoming = env.num_envs
    tracked = RawRewards(env)
    observations, state, starts = tracked.reset(), None, np.ones(env.num_envs, dtype=bool)
    while (playing < n_commands).any():
        command = commands[:, np.minimum(playing, n_commands - 1)]
        actions, state = model.predict(
            observations, state, starts, deterministic, command=(command[0], command[1]), reward=tracked.raw_rewards
        )
        observations, _, starts, _ = tracked.step(actions)
        counted = np.flatnonzero(playing < n_commands)
        achieved[:, playing[counted]] += np.stack((tracked.raw_rewards, np.ones(env.num_envs)))[:, counted]
        for i in np.flatnonzero(starts):
            playing[i], upcoming = upcoming, upcoming + 1
    return achieved[0], achieved[1]


def command_following(
    model: UDRL | BehaviorPolicy,
    env: VecEnv,
    desired_returns: Sequence[float] | FloatArray,
    desired_horizons: Sequence[float] | FloatArray,
    n_episodes: int = 10,
    deterministic: bool = True,
) -> CommandFollowing:
    """
    Compare what is asked for with what is achieved (arXiv 1912.02877, figure 6).

    :param model: a model or its policy
    :param env: the environment
    :param desired_returns: the commands' returns, ``(n_commands,)``
    :param desired_horizons: the commands' horizons, ``(n_commands,)``
    :param n_episodes: episodes per command
    :param deterministic: the most likely actions instead of draws
    :raises ValueError: if the two lists are not equally long, or empty, or the model takes relative commands
    """
    require_absolute_commands(model)
    returns, horizons = np.asarray(desired_returns, dtype=np.float64), np.asarray(desired_horizons, dtype=np.float64)
    if returns.shape != horizons.shape or returns.ndim != 1 or returns.size == 0:
        raise ValueError(
            f"desired_returns has shape {returns.shape} and desired_horizons {horizons.shape}: "
            "give two lists of the same length, a command per entry"
        )
    achieved = run_commands(model, env, np.repeat(returns, n_episodes), np.repeat(horizons, n_episodes), deterministic)
    return CommandFollowing(returns, horizons, *(values.reshape(-1, n_episodes) for values in achieved))


def stored_commands(model: UDRL, n_commands: int = 9) -> tuple[FloatArray, FloatArray]:
    """
    A grid of commands that the agent has experience with: evenly spaced returns, each with the length of the stored
    episode that came nearest to it.

    :param model: a model with episodes in its replay buffer
    :param n_commands: number of commands
    :return: desired returns and horizons, each ``(n_commands,)``
    :raises ValueError: if the buffer is empty, or the model takes relative commands
    """
    require_absolute_commands(model)
    buffer = model.replay_buffer
    buffer.best(1)  # complains about an empty buffer
    grid = np.linspace(np.quantile(buffer.returns, 0.05), buffer.returns.max(), n_commands)
    nearest = np.abs(buffer.returns[None, :] - grid[:, None]).argmin(1)
    return grid, buffer.lengths[nearest].astype(np.float64)


class CommandFollowingCallback(EventCallback):
    """
    Logs during training how well absolute commands are followed, as ``command_following/*``.

    :param eval_env: environment to play in
    :param eval_freq: calls of the callback between two evaluations
    :param commands: desired returns and desired horizons; by default a grid over the stored episodes
    :param n_episodes: episodes per command
    :param deterministic: the most likely actions instead of draws
    :param verbose: verbosity level
    """

    model: Any

    def __init__(
        self,
        eval_env: VecEnv,
        eval_freq: int = 10_000,
        commands: tuple[Sequence[float], Sequence[float]] | None = None,
        n_episodes: int = 5,
        deterministic: bool = True,
        verbose: int = 0,
    ) -> None:
        super().__init__(None, verbose)
        self.eval_env, self.eval_freq, self.commands = eval_env, eval_freq, commands
        self.n_episodes, self.deterministic = n_episodes, deterministic
        self.last_result: CommandFollowing | None = None

    def _init_callback(self) -> None:
        super()._init_callback()
        require_absolute_commands(self.model)

    def _on_step(self) -> bool:
        if self.n_calls % self.eval_freq != 0 or (self.commands is None and self.model.replay_buffer.n_episodes == 0):
            return True
        sync_envs_normalization(self.training_env, self.eval_env)
        returns, horizons = self.commands or stored_commands(self.model)
        result = command_following(self.model, self.eval_env, returns, horizons, self.n_episodes, self.deterministic)
        self.last_result = result
        self.logger.record("command_following/mean_abs_error", result.mean_abs_error)
        self.logger.record("command_following/horizon_mean_abs_error", result.horizon_mean_abs_error)
        self.logger.record("command_following/r_squared", result.r_squared)
        self.logger.record("command_following/rank_correlation", result.rank_correlation)
        return True
