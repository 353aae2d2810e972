"""Command following: does the agent do what it is asked, over a grid of commands?"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from stable_baselines3.common.callbacks import EventCallback
from stable_baselines3.common.vec_env import VecEnv, sync_envs_normalization, unwrap_vec_normalize

from sb3_udrl.buffers import EpisodeRecorder
from sb3_udrl.commands.command import Command, CommandLike
from sb3_udrl.commands.command_space import CommandSpace
from sb3_udrl.commands.experience import Experience
from sb3_udrl.commands.parts import Step
from sb3_udrl.commands.tracking import track

if TYPE_CHECKING:
    from sb3_udrl.common.commanded_algorithm import CommandedAlgorithm
    from sb3_udrl.policies import BehaviorPolicy

FloatArray = NDArray[np.float64]


class PartFollowing(NamedTuple):
    """
    One part of commands: what was asked for and what was achieved.

    :param desired: ``(n_commands,)``
    :param achieved: ``(n_commands, n_episodes)``
    """

    desired: FloatArray
    achieved: FloatArray

    @property
    def mean_abs_error(self) -> float:
        """Mean distance between what was asked for and the mean of what was achieved under it."""
        return float(np.abs(self.achieved.mean(1) - self.desired).mean())

    @property
    def r_squared(self) -> float:
        """
        Share of the variance of achieved values that the line achieved = desired explains; negative if it misleads, NaN if
        desired or achieved values never change.
        """
        residual = ((self.achieved - self.desired[:, None]) ** 2).sum()
        total = ((self.achieved - self.achieved.mean()) ** 2).sum()
        return float(1 - residual / total) if total > 0 and np.ptp(self.desired) > 0 else float("nan")

    @property
    def rank_correlation(self) -> float:
        """Spearman's correlation of desired and mean achieved values; NaN if either never changes."""
        ranks = [average_ranks(self.desired), average_ranks(self.achieved.mean(1))]
        if min(rank.std() for rank in ranks) == 0:
            return float("nan")
        return float(np.corrcoef(ranks[0], ranks[1])[0, 1])

    @property
    def reach(self) -> float:
        """Share of the range that was asked for that the means of what was achieved cover; NaN if there is no range."""
        means, low, high = self.achieved.mean(1), self.desired.min(), self.desired.max()
        covered = min(means.max(), high) - max(means.min(), low)
        return float(max(covered, 0.0) / (high - low)) if high > low else float("nan")


class CommandFollowing(NamedTuple):
    """
    What was asked for and what was achieved, one row per command, one column per episode.

    :param command: ``n_commands`` rows
    :param achieved: by part, each ``(n_commands, n_episodes)``; return and horizon are always among them
    """

    command: Command
    achieved: dict[str, FloatArray]

    def of(self, part: str) -> PartFollowing:
        """
        One part of the commands that ask for it.

        :param part: its name
        :raises ValueError: if no command asks for it, or episodes alone do not say what they achieved of it
        """
        asked = self.command.asks_for(part)
        if not asked.any() or part not in self.achieved:
            raise ValueError(f"part={part!r}: asked for and measured were {', '.join(self.parts) or 'none'}")
        return PartFollowing(np.asarray(self.command[part][asked], dtype=np.float64), self.achieved[part][asked])

    @property
    def parts(self) -> list[str]:
        """The parts that were asked for and can be compared with what was achieved."""
        return [name for name in self.command.parts if name in self.achieved and self.command.asks_for(name).any()]


def average_ranks(values: FloatArray) -> FloatArray:
    """
    Ranks from 0 up, equal values sharing their average rank.

    :param values: ``(n,)``
    """
    _, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)
    return (np.cumsum(counts) - (counts + 1) / 2)[inverse]


def run_commands(
    model: CommandedAlgorithm | BehaviorPolicy,
    env: VecEnv,
    command: Command,
    deterministic: bool = True,
    guidance: float | None = None,
) -> dict[str, FloatArray]:
    """
    Play one episode under each of some commands, in all environments at once, with exact rewards.

    :param model: a model or its policy
    :param env: the environment
    :param command: ``n`` rows
    :param deterministic: the most likely actions instead of draws
    :param guidance: how strongly commands are insisted on, as for ``predict``
    :return: achieved values by part, each ``(n,)``: return, horizon, and what else episodes show of themselves
    """
    space: CommandSpace = model.command_space
    n_commands = len(command)
    watch = _Watch(env, space)
    names = ("return", "horizon", *space.recorded, *(part.name for part in watch.parts))
    achieved: dict[str, FloatArray] = {name: np.zeros(n_commands) for name in names}
    # Each environment plays one command after the other; those without one play the last again, uncounted
    playing = np.arange(env.num_envs)
    upcoming = env.num_envs
    observations: Any = env.reset()
    state, starts = None, np.ones(env.num_envs, dtype=bool)
    with track(env) as steps:
        while (playing < n_commands).any():
            current = command.rows(np.minimum(playing, n_commands - 1))
            actions, state = model.predict(observations, state, starts, deterministic, command=current, guidance=guidance)
            watch.see(observations)
            observations, _, starts, infos = env.step(actions)
            counted = np.flatnonzero(playing < n_commands)
            further = space.amounts(Step(steps.rewards, steps.infos))
            amounts = {"return": steps.rewards, "horizon": np.ones(env.num_envs), **further}
            for name, amount in amounts.items():
                achieved[name][playing[counted]] += amount[counted]
            watch.record(actions, steps.rewards, further)
            for i in np.flatnonzero(starts).tolist():
                of_episode = watch.finish(i, infos[i].get("TimeLimit.truncated", False))
                if playing[i] < n_commands:
                    for name, value in of_episode.items():
                        achieved[name][playing[i]] = value
                playing[i], upcoming = upcoming, upcoming + 1
    return achieved


class _Watch:
    """
    Takes down episodes, raw, for parts that are no sums: only whole episodes say what they achieved of these.

    :param env: the environment that is stepped
    :param space: the commands; where it has no such parts, nothing is taken down
    """

    def __init__(self, env: VecEnv, space: CommandSpace) -> None:
        counted = ("return", "horizon", *space.recorded)
        self.parts = [part for part in space.parts if part.measured and part.name not in counted]
        self._normalize = unwrap_vec_normalize(env)
        seen = env if self._normalize is None else self._normalize.venv
        self._recorder = EpisodeRecorder(seen.observation_space, env.action_space, env.num_envs, sys.maxsize, space.recorded)
        self._observations: Any = None  # before the running step

    def see(self, observations: Any) -> None:
        """
        :param observations: before a step
        """
        if self.parts:
            self._observations = observations if self._normalize is None else self._normalize.get_original_obs()

    def record(self, actions: NDArray[Any], rewards: NDArray[Any], amounts: Mapping[str, NDArray[Any]]) -> None:
        """
        One step of every environment.

        :param actions: what was done
        :param rewards: raw, ``(n_envs,)``
        :param amounts: of the recorded parts, each ``(n_envs,)``
        """
        if self.parts:
            self._recorder.record(self._observations, actions, rewards, amounts)

    def finish(self, env: int, truncated: bool) -> dict[str, float]:
        """
        What the running episode of an environment came to, by part.

        :param env: its index
        :param truncated: whether a time limit cut it off
        """
        if not self.parts:
            return {}
        episode = self._recorder.finish(env, truncated)
        return {part.name: part.achieved(episode) for part in self.parts}


def command_following(
    model: CommandedAlgorithm | BehaviorPolicy,
    env: VecEnv,
    command: CommandLike | Sequence[float] | FloatArray,
    desired_horizons: Sequence[float] | FloatArray | None = None,
    n_episodes: int = 10,
    deterministic: bool = True,
    guidance: float | None = None,
) -> CommandFollowing:
    """
    Compare what is asked for with what is achieved (arXiv 1912.02877, figure 6).

    :param model: a model or its policy
    :param env: the environment
    :param command: desired returns ``(n_commands,)``; or values by part, such as ``{"horizon": [50, 100]}``, or a ``Command``
    :param desired_horizons: together with desired returns, ``(n_commands,)``
    :param n_episodes: episodes per command
    :param deterministic: the most likely actions instead of draws
    :param guidance: how strongly commands are insisted on, as for ``predict``
    :raises ValueError: if values are not equally long, or there are none, or the model does not take such commands; if
        ``n_episodes`` is not positive
    """
    _check_episodes(n_episodes)
    checked = _checked(model.command_space, command, desired_horizons)
    repeated = checked.rows(np.repeat(np.arange(len(checked)), n_episodes))
    achieved = run_commands(model, env, repeated, deterministic, guidance)
    return CommandFollowing(checked, {name: sums.reshape(-1, n_episodes) for name, sums in achieved.items()})


def _check_episodes(n_episodes: int) -> None:
    if n_episodes < 1:
        raise ValueError(f"n_episodes={n_episodes}: must be at least 1")


def _checked(space: CommandSpace, command: Any, desired_horizons: Any = None) -> Command:
    """The commands that :func:`command_following` was given, a row each."""
    parts: Mapping[str, Any]
    if isinstance(command, Command):
        parts = command.parts
    elif isinstance(command, Mapping):
        parts = command
    else:
        parts = {"return": command, **({} if desired_horizons is None else {"horizon": desired_horizons})}
    values = {name: np.asarray(column, dtype=np.float64) for name, column in parts.items()}
    shapes = {name: column.shape for name, column in values.items()}
    if len(set(shapes.values())) != 1 or len(next(iter(shapes.values()))) != 1 or 0 in next(iter(shapes.values())):
        raise ValueError(f"command has values of the shapes {shapes}: give lists of the same length, an entry per command")
    given: CommandLike = Command(values) if isinstance(command, Command) else values
    return space.make(given, len(next(iter(values.values()))), gaps=True)


def experienced_commands(model: CommandedAlgorithm | BehaviorPolicy, n_commands: int = 9) -> Command:
    """
    A grid of commands that the agent has experience with: evenly spaced returns, or what else its first part is, and nothing
    besides, so that the policy completes and corrects them as it does for everyone.

    :param model: a trained model or its policy
    :param n_commands: number of commands
    :return: as many rows
    :raises ValueError: if the model has no experience yet, or only takes advantages
    """
    experience, part = _experience(model), _experience(model).names[0]
    nothing = model.command_space.nothing(n_commands)
    return Command({**nothing.parts, part: experience.grid(part, n_commands)})


def commands_to_show(model: CommandedAlgorithm, n: int) -> Command:
    """
    Commands from low to high, of what the model has experience with; for one that takes nothing but advantages, these.

    :param model: the model
    :param n: how many
    """
    if model.policy.experience is not None:
        return experienced_commands(model, n)
    nothing = model.command_space.nothing(n)
    return Command({**nothing.parts, "advantage": np.linspace(-3.0, 3.0, n)})


def _experience(model: CommandedAlgorithm | BehaviorPolicy) -> Experience:
    policy: Any = getattr(model, "policy", model)
    experience: Experience | None = policy.experience
    if experience is None:
        raise ValueError(
            f"this model takes {', '.join(model.command_space.names)}, which no episode can be compared with: say "
            "which commands to look at, or train with others"
        )
    return experience


class CommandFollowingCallback(EventCallback):
    """
    Logs during training how well commands are followed, as ``command_following/*``.

    :param eval_env: environment to play in
    :param eval_freq: calls of the callback between two evaluations; 0 for none
    :param commands: what is asked for, as for :func:`command_following`; by default a grid over the stored episodes
    :param n_episodes: episodes per command
    :param deterministic: the most likely actions instead of draws
    :param verbose: verbosity level
    :raises ValueError: if ``n_episodes`` is not positive
    """

    model: Any

    def __init__(
        self,
        eval_env: VecEnv,
        eval_freq: int = 10_000,
        commands: CommandLike | None = None,
        n_episodes: int = 5,
        deterministic: bool = True,
        verbose: int = 0,
    ) -> None:
        super().__init__(None, verbose)
        _check_episodes(n_episodes)
        self.eval_env, self.eval_freq, self.commands = eval_env, eval_freq, commands
        self.n_episodes, self.deterministic = n_episodes, deterministic
        self.last_result: CommandFollowing | None = None

    def _init_callback(self) -> None:
        super()._init_callback()
        if self.commands is None:  # so that a mistake shows before the training
            _experience(self.model)
        else:
            _checked(self.model.command_space, self.commands)

    def _on_step(self) -> bool:
        if self.eval_freq <= 0 or self.n_calls % self.eval_freq != 0:
            return True
        if self.commands is None and not len(self.model.policy.experience.known()):
            return True
        if self.model.get_vec_normalize_env() is not None:
            sync_envs_normalization(self.training_env, self.eval_env)
        commands = experienced_commands(self.model) if self.commands is None else self.commands
        result = command_following(self.model, self.eval_env, commands, None, self.n_episodes, self.deterministic)
        self.last_result = result
        for part in result.parts:
            following, prefix = result.of(part), "" if part == "return" else f"{part}_"
            self.logger.record(f"command_following/{prefix}mean_abs_error", following.mean_abs_error)
            self.logger.record(f"command_following/{prefix}r_squared", following.r_squared)
            self.logger.record(f"command_following/{prefix}rank_correlation", following.rank_correlation)
            self.logger.record(f"command_following/{prefix}reach", following.reach)
        return True
