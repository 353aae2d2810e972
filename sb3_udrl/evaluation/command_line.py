"""A saved model and its environment, as command lines name them."""

from __future__ import annotations

import argparse
from pathlib import Path

import gymnasium as gym
from stable_baselines3.common.vec_env import VecEnv

from sb3_udrl.algorithms import ALGORITHMS
from sb3_udrl.common.commanded_algorithm import CommandedAlgorithm
from sb3_udrl.evaluation.environments import make_evaluation_env


def add_model_arguments(parser: argparse.ArgumentParser) -> None:
    """
    ``MODEL --env ENV``, ``--algo``, ``--seed`` and ``--vec-normalize``.

    :param parser: gets these arguments
    """
    parser.add_argument("model", type=Path, help="saved model (.zip)")
    parser.add_argument("--env", required=True, help="environment id")
    parser.add_argument("--algo", default="udrl", choices=sorted(ALGORITHMS), help="algorithm (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="seed of the environment (default: %(default)s)")
    parser.add_argument("--vec-normalize", type=Path, help="statistics of VecNormalize that the model was trained with (.pkl)")


def load_model(parser: argparse.ArgumentParser, args: argparse.Namespace) -> tuple[CommandedAlgorithm, VecEnv]:
    """
    The model and its environment, wrapped as the model needs it (images, channels first).

    :param parser: where :func:`add_model_arguments` was called
    :param args: what it parsed
    :return: the model, on the CPU, and eight environments
    :raises SystemExit: if something cannot be loaded, after a line that says what and why
    """
    try:
        env = make_evaluation_env(args.env, args.seed, args.vec_normalize)
    except FileNotFoundError as error:
        parser.error(f"--vec-normalize: {error}")
    except gym.error.Error as error:
        parser.error(f"--env {args.env}: {error}")
    try:
        model = ALGORITHMS[args.algo].load(args.model, env=env, device="cpu")
    except (FileNotFoundError, ValueError) as error:
        parser.error(f"{args.model} with --env {args.env}: {error}")
    assert model.env is not None
    return model, model.env
