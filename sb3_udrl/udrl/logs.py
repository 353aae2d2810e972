"""The figures that are logged while training."""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING

import numpy as np
from stable_baselines3.common.logger import Logger
from stable_baselines3.common.utils import safe_mean

from sb3_udrl.policies import FitReport

if TYPE_CHECKING:
    from sb3_udrl.udrl.udrl import UDRL


def record_training(logger: Logger, report: FitReport, learning_rate: float, n_updates: int, fit_time: float) -> None:
    """
    Record what came of a training.

    :param logger: where to
    :param report: what the behavior function says of it
    :param learning_rate: value of the schedule
    :param n_updates: number of updates so far
    :param fit_time: duration in seconds
    """
    for name, value in report.metrics.items():
        logger.record(f"train/{name}", value)
    logger.record("train/learning_rate", learning_rate)
    logger.record("train/n_updates", n_updates, exclude="tensorboard")
    logger.record("train/fit_time", fit_time)


def dump_logs(model: UDRL, iterations: int) -> None:
    """
    Write SB3's own figures and those about commands and buffer to the logger.

    :param model: the model that is trained
    :param iterations: rounds of collecting and learning so far
    """
    logger = model.logger
    elapsed = max((time.time_ns() - model.start_time) / 1e9, sys.float_info.epsilon)
    logger.record("time/iterations", iterations, exclude="tensorboard")
    logger.record("time/fps", int((model.num_timesteps - model._num_timesteps_at_start) / elapsed))
    logger.record("time/time_elapsed", int(elapsed), exclude="tensorboard")
    logger.record("time/total_timesteps", model.num_timesteps, exclude="tensorboard")
    if model.ep_info_buffer:
        logger.record("rollout/ep_rew_mean", safe_mean([info["r"] for info in model.ep_info_buffer]))
        logger.record("rollout/ep_len_mean", safe_mean([info["l"] for info in model.ep_info_buffer]))
    if model.ep_success_buffer:
        logger.record("rollout/success_rate", safe_mean(model.ep_success_buffer))
    if model.obedience:
        desired_return, desired_horizon, achieved_return, achieved_horizon = np.transpose(model.obedience)
        logger.record("command/desired_return", desired_return.mean())
        logger.record("command/achieved_return", achieved_return.mean())
        logger.record("command/achieved_horizon", achieved_horizon.mean())
        if not model.policy.relative:  # relative commands have no horizon, and speak of deviations instead of returns
            logger.record("command/desired_horizon", desired_horizon.mean())
            logger.record("command/return_error", np.abs(achieved_return - desired_return).mean())
            logger.record("command/horizon_error", np.abs(achieved_horizon - desired_horizon).mean())
    eval_return, eval_horizon = model.policy.eval_command.tolist()
    logger.record("command/eval_return", eval_return)
    if not model.policy.relative:
        logger.record("command/eval_horizon", eval_horizon)
    buffer = model.replay_buffer
    logger.record("buffer/n_episodes", buffer.n_episodes)
    logger.record("buffer/n_transitions", buffer.n_transitions)
    if buffer.n_episodes:
        logger.record("buffer/return_mean", buffer.returns.mean())
        logger.record("buffer/return_max", buffer.returns.max())
        logger.record("buffer/length_mean", buffer.lengths.mean())
    logger.dump(step=model.num_timesteps)
