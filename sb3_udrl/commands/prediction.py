"""The command of every step at prediction time, carried along in the state that ``predict`` takes and returns."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from sb3_udrl.commands.command import Command
from sb3_udrl.commands.command_space import CommandSpace
from sb3_udrl.commands.parts import Step, as_rows
from sb3_udrl.commands.tracking import tracked_steps

PredictState = tuple[NDArray[Any], ...]  # commands (n_envs, n_parts), numbers of tracked steps so far (n_envs,)
_UNTRACKED = -2  # a number of steps that no number of tracked steps follows


def next_command(
    space: CommandSpace,
    begin: Callable[[], Command],
    state: PredictState | None,
    episode_start: NDArray[np.bool_] | None,
    n_envs: int,
    reward: ArrayLike | None,
    info: Any,
) -> tuple[Command, PredictState]:
    """
    What is asked for at this step: what was asked for before, after what the step before brought.

    :param space: the commands
    :param begin: what episodes start with, a row per environment
    :param state: what the last call returned; None starts new episodes
    :param episode_start: environments whose episode starts here, ``(n_envs,)``
    :param n_envs: number of environments
    :param reward: raw reward of the step before, a number or ``(n_envs,)``; if None, it is heard or estimated
    :param info: what the environments said besides, one dictionary or ``n_envs`` of them; if None, it is heard
    :return: a row per environment, and the next state
    :raises ValueError: if an argument has the wrong shape, or a reward or what infos count is not finite
    """
    starts = np.zeros(n_envs, dtype=bool) if episode_start is None else np.asarray(episode_start, dtype=bool).reshape(-1)
    n_rows = n_envs if state is None else len(state[0])
    if n_rows != n_envs or len(starts) != n_envs:
        raise ValueError(
            f"state has {n_rows} rows and episode_start {len(starts)} for {n_envs} observations: "
            "pass what the last call returned, for the same environments"
        )
    if state is None:
        starts = np.ones(n_envs, dtype=bool)
        state = (np.full((n_envs, len(space.names)), np.nan), np.full(n_envs, _UNTRACKED))
    previous, tracked = space.from_rows(state[0]), tracked_steps(n_envs)
    n_tracked = _UNTRACKED if tracked is None else tracked.n_steps
    # else another environment is tracked than the one that was stepped since the last call
    heard = tracked if (n_tracked - state[1] == 1).all() else None
    if reward is None:
        rewards = estimated_rewards(previous) if heard is None else np.asarray(heard.rewards, dtype=np.float64)
    else:
        rewards = as_rows("reward", reward, n_envs)
        if not np.isfinite(rewards).all():
            raise ValueError(f"reward={reward}: give a finite number, or one per environment, shape ({n_envs},)")
    if info is None and heard is not None:
        info = heard.infos
    infos = [info] * n_envs if isinstance(info, dict) else info
    if infos is not None and len(infos) != n_envs:
        raise ValueError(f"info has {len(infos)} entries for {n_envs} environments: give a dictionary for each")
    current = space.advance(previous, Step(rewards, infos))
    for name, values in current.parts.items():
        lost = np.isfinite(previous[name]) & ~np.isfinite(values)
        if lost.any():
            raise ValueError(f"info={infos}: what it says of the {name} of environment {lost.argmax()} is not finite")
    if starts.any():
        current = current.where(starts, begin())
    return current, (space.to_rows(current), np.full(n_envs, n_tracked))


def estimated_rewards(command: Command) -> NDArray[np.float64]:
    """
    What the next step is likely to pay if the command is fulfilled: the desired return per step of the desired horizon; zero
    where it does not say.

    :param command: ``n`` rows
    :return: ``(n,)``
    """
    if not {"return", "horizon"} <= set(command.parts):
        return np.zeros(len(command))
    return np.nan_to_num(command.desired_return / command.desired_horizon)
