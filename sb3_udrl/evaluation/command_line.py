"""A saved model and its environment, as command lines name them."""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, NoReturn, cast

import gymnasium as gym
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.vec_env import VecEnv

from sb3_udrl.algorithms import ALGORITHMS
from sb3_udrl.common.commanded_algorithm import CommandedAlgorithm
from sb3_udrl.evaluation.environments import make_evaluation_env, one_line, settings_beside
from sb3_udrl.saving.trust import Untrusted

DEFAULT_ALGO = "udrl"
# What a wrong id, module, argument or wrapper of an environment raises
MISTAKES = (gym.error.Error, ImportError, TypeError, ValueError, AttributeError, AssertionError, OSError)


def add_model_arguments(parser: argparse.ArgumentParser, algorithms: Iterable[str] = ALGORITHMS, nargs: Any = None) -> None:
    """
    ``MODEL --env ENV``, ``--algo``, ``--seed``, ``--vec-normalize`` and ``--trust``.

    :param parser: gets these arguments
    :param algorithms: names to choose from
    :param nargs: ``"?"`` if the model may be left away
    """
    parser.add_argument(
        "model",
        type=Path,
        nargs=nargs,
        help="saved model (.zip); the Zoo's folder beside it says how its environment is made",
    )
    parser.add_argument("--env", help="environment id, also module:id; by default what the Zoo noted beside the model")
    default = f"algorithm (default: what the Zoo noted beside the model, or {DEFAULT_ALGO})"
    parser.add_argument("--algo", choices=sorted(algorithms), help=default)
    parser.add_argument("--seed", type=int, default=0, help="seed of the environment (default: %(default)s)")
    parser.add_argument("--vec-normalize", type=Path, help="statistics of VecNormalize that the model was trained with (.pkl)")
    parser.add_argument(
        "--trust",
        nargs="+",
        action="extend",
        default=[],
        metavar="NAME",
        help="wrappers and modules of others that the model and the files beside it may name, such as my_module.MyWrapper",
    )


def load_model(
    parser: argparse.ArgumentParser, args: argparse.Namespace, render_mode: str | None = None
) -> tuple[CommandedAlgorithm, VecEnv]:
    """
    The model and its environment, wrapped as in training, and as the model needs it (images, channels first).

    :param parser: where :func:`add_model_arguments` was called
    :param args: what it parsed; ``args.env`` and ``args.algo`` are filled in
    :param render_mode: of the environments; by default what the Zoo noted, or none
    :return: the model, on the CPU, and eight environments
    :raises SystemExit: if something cannot be loaded, after a line that says what and why
    """
    model, env = load_any_model(parser, args, ALGORITHMS, render_mode)
    return cast(CommandedAlgorithm, model), env


def load_any_model(
    parser: argparse.ArgumentParser,
    args: argparse.Namespace,
    algorithms: Mapping[str, type[BaseAlgorithm]],
    render_mode: str | None = None,
) -> tuple[BaseAlgorithm, VecEnv]:
    """
    As :func:`load_model`, of any algorithm.

    :param parser: where :func:`add_model_arguments` was called
    :param args: what it parsed; ``args.env`` and ``args.algo`` are filled in
    :param algorithms: algorithms by name
    :param render_mode: of the environments; by default what the Zoo noted, or none
    """
    model = args.model if args.model.is_file() else Path(f"{args.model}.zip")
    if not model.is_file():
        fail(parser, f"{args.model}: there is no such file")
    try:
        settings, folder = settings_beside(model)
    except ValueError as error:
        fail(parser, one_line(error))
    if folder is not None:
        print(f"Environment as {folder / 'config.yml'} says: {settings}")
    settings = settings._replace(trusted=tuple(args.trust))
    if args.env is None:
        args.env = settings.env_id
    else:  # what the user names is imported, also in module:id
        settings = settings._replace(env_id=None)
    if args.env is None:
        fail(parser, f"--env is missing, and no args.yml beside {model} says what it was")
    guessed = ""
    if args.algo is None and settings.algo is None:
        args.algo, guessed = DEFAULT_ALGO, f" (taken for a model of {DEFAULT_ALGO}: if it is none, name another by --algo)"
    elif args.algo is None:
        args.algo = settings.algo
        if args.algo not in algorithms:
            fail(parser, f"args.yml beside {model} says algo={args.algo}, this program takes {', '.join(sorted(algorithms))}")
    if args.vec_normalize is not None:
        settings = settings._replace(vec_normalize=args.vec_normalize)
    if render_mode is not None:
        settings = settings._replace(env_kwargs={**settings.env_kwargs, "render_mode": render_mode})
    try:
        env = make_evaluation_env(args.env, args.seed, settings)
    except MISTAKES as error:
        fail(parser, f"--env {args.env}: {one_line(error)}")
    algorithm = algorithms[args.algo]
    trusted = {"trusted": args.trust} if issubclass(algorithm, CommandedAlgorithm) else {}  # without pickles, then
    try:
        loaded = algorithm.load(model, env=env, device="cpu", **trusted)
    except Untrusted as error:
        names = " ".join(error.names)
        fail(parser, f"{model} names {', '.join(error.names)}: if you trust where the file comes from, add --trust {names}")
    except Exception as error:  # damaged files, and those of other algorithms, go wrong in many ways
        fail(parser, f"{model} with --env {args.env}: {one_line(error)}{guessed}")
    assert loaded.env is not None
    return loaded, loaded.env


def check_at_least(parser: argparse.ArgumentParser, args: argparse.Namespace, least: Mapping[str, int]) -> None:
    """
    Refuse arguments that are too small.

    :param parser: whose program ends then
    :param args: what it parsed
    :param least: what is enough, by the name of the argument
    :raises SystemExit: after a line that names the option, its value and what would do
    """
    for name, minimum in least.items():
        value = getattr(args, name)
        if value < minimum:
            parser.error(f"--{name.replace('_', '-')} {value}: must be at least {minimum}")


def fail(parser: argparse.ArgumentParser, message: str) -> NoReturn:
    """
    End the program with status 2 and one line.

    :param parser: whose program ends
    :param message: what is wrong
    """
    parser.exit(2, f"{parser.prog}: error: {message}\n")
