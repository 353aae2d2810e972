"""The figures that are logged while training."""

from __future__ import annotations

import sys
import time

import numpy as np
from stable_baselines3.common.logger import Logger
from stable_baselines3.common.utils import safe_mean

from sb3_udrl.commands.model import CommandedModel
from sb3_udrl.policies import FitReport


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


def record_outcomes(model: CommandedModel) -> None:
    """
    Record what recent episodes were asked for and achieved, and the command that ``predict`` starts with.

    :param model: the model that is trained
    """
    logger, outcomes = model.logger, model.outcomes
    for name in model.command_space.names:
        asked, achieved = outcomes.asked(name), outcomes.achieved(name)
        under = ~np.isnan(asked)
        if under.any():
            logger.record(f"command/desired_{name}", asked[under].mean())
            if not np.isnan(achieved[under]).all():
                logger.record(f"command/{name}_error", np.nanmean(np.abs(achieved - asked)[under]))
        own = float(model.policy.own_command()[name][0])
        if not np.isnan(own):
            logger.record(f"command/eval_{name}", own)
    if len(outcomes):
        logger.record("command/achieved_return", outcomes.achieved("return").mean())
        logger.record("command/achieved_horizon", outcomes.achieved("horizon").mean())


def dump_logs(model: CommandedModel, iterations: int) -> None:
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
    record_outcomes(model)
    buffer = model.replay_buffer
    logger.record("buffer/n_episodes", buffer.n_episodes)
    logger.record("buffer/n_transitions", buffer.n_transitions)
    if buffer.n_episodes:
        logger.record("buffer/return_mean", buffer.returns.mean())
        logger.record("buffer/return_max", buffer.returns.max())
        logger.record("buffer/length_mean", buffer.lengths.mean())
    logger.dump(step=model.num_timesteps)
