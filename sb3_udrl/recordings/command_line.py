"""The commands ``record``, ``inspect``, ``train`` and ``evaluate``."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

import yaml
from stable_baselines3.common.base_class import BaseAlgorithm

from sb3_udrl.algorithms import LEARN_FROM_RECORDINGS
from sb3_udrl.buffers import EpisodicReplayBuffer
from sb3_udrl.commands.command_space import describe
from sb3_udrl.evaluation.command_line import MISTAKES, add_model_arguments, fail, load_any_model
from sb3_udrl.evaluation.environments import Settings, make_evaluation_env, one_line
from sb3_udrl.recordings.inspect import describe_recording
from sb3_udrl.recordings.play import RandomActions, record_model
from sb3_udrl.recordings.read import Recorded, read_episodes
from sb3_udrl.recordings.sources import Spaces, as_models_have, open_recording, recorded_spaces
from sb3_udrl.remote.command_line import add_save_to, send_file
from sb3_udrl.saving.files import check_can_be_written

DESCRIPTION = "Recorded episodes: made of a saved model or of random actions, looked at, and learned from."
DATA = "an .npz file, also at an address such as s3://..., the id of a Minari data set, or a folder of a Hugging Face data set"


def main(arguments: list[str] | None = None) -> None:
    """
    Run a command; exit with status 2 and one line if an argument is wrong.

    :param arguments: command line, by default that of the process
    """
    arguments = sys.argv[1:] if arguments is None else arguments
    if arguments[:1] == ["evaluate"]:
        from sb3_udrl.evaluation.report import main as evaluate

        evaluate(arguments[1:])
        return
    parser = argparse.ArgumentParser(prog="python -m sb3_udrl.recordings", description=DESCRIPTION)
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for add, run in ((_add_record, _record), (_add_inspect, _inspect), (_add_train, _train)):
        own = add(commands)
        own.set_defaults(run=run, parser=own)
    commands.add_parser("evaluate", help="the report on a trained model: python -m sb3_udrl.evaluation", add_help=False)
    args = parser.parse_args(arguments)
    args.run(args.parser, args)


# record


def _add_record(commands: Any) -> argparse.ArgumentParser:
    parser: argparse.ArgumentParser = commands.add_parser(
        "record", help="play a saved model of any algorithm of the Zoo, or random actions without one"
    )
    add_model_arguments(parser, _algorithms(), nargs="?")
    parser.add_argument("--output", type=Path, required=True, help="the .npz file to write")
    parser.add_argument("--steps", type=int, default=100_000, help="steps, and then to the ends (default: %(default)s)")
    parser.add_argument("--greedy", action="store_true", help="the likeliest actions instead of draws")
    parser.add_argument("--append", action="store_true", help="add to the file, if it is there")
    add_save_to(parser)
    return parser


def _record(parser: argparse.ArgumentParser, args: argparse.Namespace) -> None:
    output = _output(parser, args, ".npz")
    if output.exists() and not args.append:
        fail(parser, f"--output {output}: is there already; give --append to add to it, or another name")
    if args.model is not None:
        model, env = load_any_model(parser, args, _algorithms())
        env.seed(args.seed)
    elif args.env is None:
        fail(parser, "--env is missing, for random actions")
    else:
        try:
            env = BaseAlgorithm._wrap_env(make_evaluation_env(args.env, args.seed, Settings(vec_normalize=args.vec_normalize)))
        except MISTAKES as error:
            fail(parser, f"--env {args.env}: {one_line(error)}")
        model = RandomActions(env.action_space, args.seed)  # type: ignore[assignment]
    _check_can_be_written(parser, output)
    try:
        buffer = record_model(model, env, args.steps, output, args.greedy, args.append)
    except (OSError, ValueError) as error:
        fail(parser, f"--steps {args.steps} --output {output}: {one_line(error)}")
    print(f"{output}\n{describe_recording(Recorded(buffer, 0))}")
    send_file(parser, output, args.save_to)


def _output(parser: argparse.ArgumentParser, args: argparse.Namespace, suffix: str) -> Path:
    """The file to write."""
    output: Path = args.output
    if output.name in ("", ".."):
        fail(parser, f"--output {output}: is a folder: name a file in it")
    return output if output.suffix else output.with_suffix(suffix)


def _check_can_be_written(parser: argparse.ArgumentParser, output: Path) -> None:
    try:
        check_can_be_written(output)
    except OSError as error:
        fail(parser, f"--output {output}: {one_line(error)}")


def _algorithms() -> dict[str, Any]:
    from sb3_udrl.zoo import register

    register()
    from rl_zoo3 import ALGOS

    return ALGOS


# inspect


def _add_inspect(commands: Any) -> argparse.ArgumentParser:
    parser: argparse.ArgumentParser = commands.add_parser("inspect", help="what a recording holds")
    _add_data_arguments(parser)
    return parser


def _add_data_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("data", help=DATA)
    parser.add_argument("--env", help="id of the environment, for recordings that do not tell their spaces")


def _inspect(parser: argparse.ArgumentParser, args: argparse.Namespace) -> None:
    data, found = _opened(parser, args)
    try:
        recorded = read_episodes(data, EpisodicReplayBuffer(1, *found))
    except ValueError as error:
        fail(parser, f"{args.data}: {one_line(error)}")
    print(describe_recording(recorded))


def _opened(parser: argparse.ArgumentParser, args: argparse.Namespace) -> tuple[Any, Spaces]:
    """The recording, and the spaces that a model has in its environment."""
    try:
        data = open_recording(args.data)
        found = recorded_spaces(data)
    except (OSError, ValueError, ImportError) as error:
        fail(parser, one_line(error))
    if args.env is not None:
        try:
            env = make_evaluation_env(args.env, 0)
        except MISTAKES as error:
            fail(parser, f"--env {args.env}: {one_line(error)}")
        found = env.observation_space, env.action_space
        env.close()
    if found is None:
        fail(parser, f"--env is missing: {args.data} does not tell the spaces of its environment")
    observation_space, action_space = found
    return data, (as_models_have(observation_space), action_space)


# train


def _add_train(commands: Any) -> argparse.ArgumentParser:
    parser: argparse.ArgumentParser = commands.add_parser("train", help="learn from a recording, and save the model")
    _add_data_arguments(parser)
    parser.add_argument("--output", type=Path, required=True, help="the .zip file of the model")
    parser.add_argument(
        "--algo", default="udrl", choices=sorted(LEARN_FROM_RECORDINGS), help="algorithm (default: %(default)s)"
    )
    parser.add_argument("--policy", default="CommandPolicy", help="the behavior function (default: %(default)s)")
    parser.add_argument("--commands", default="any", help="what can be asked for (default: %(default)s)")
    parser.add_argument("--gradient-steps", type=int, default=10_000, help="at most so many (default: %(default)s)")
    parser.add_argument("--best", type=float, help="share of the best episodes (default: as learn_from)")
    parser.add_argument("--seed", type=int, default=0, help="seed of the training (default: %(default)s)")
    parser.add_argument(
        "--params",
        nargs="+",
        default=[],
        type=_named_value,
        metavar="NAME:VALUE",
        help="further arguments of the algorithm, in YAML: batch_size:512 'policy_kwargs:{conditioning: masked}'",
    )
    parser.add_argument("--progress", action="store_true", help="show a progress bar")
    add_save_to(parser)
    return parser


def _named_value(text: str) -> tuple[str, Any]:
    name, colon, value = text.partition(":")
    if not colon:
        raise argparse.ArgumentTypeError(f"{text!r} is not of the form NAME:VALUE")
    if name in ("env", "observation_space", "action_space"):
        raise argparse.ArgumentTypeError(f"{name} is that of the recording, or of --env")
    try:
        return name, yaml.safe_load(value)
    except yaml.YAMLError as error:
        raise argparse.ArgumentTypeError(f"{text!r}: {one_line(error)}") from error


def _train(parser: argparse.ArgumentParser, args: argparse.Namespace) -> None:
    output = _output(parser, args, ".zip")
    data, (observation_space, action_space) = _opened(parser, args)
    try:
        model = LEARN_FROM_RECORDINGS[args.algo](
            **{
                "policy": args.policy,
                "env": None,
                "observation_space": observation_space,
                "action_space": action_space,
                "commands": args.commands,
                "seed": args.seed,
                "device": "cpu",
                **dict(args.params),
            }
        )
    except Exception as error:  # arguments of another type go wrong in many ways
        given = f"--params {' '.join(name for name, _ in args.params)}: " if args.params else ""
        fail(parser, f"{given}{one_line(error)}")
    _check_can_be_written(parser, output)
    try:
        model.learn_from(data, args.gradient_steps, best=args.best, progress_bar=args.progress)
    except ValueError as error:
        fail(parser, f"{args.data}: {one_line(error)}")
    model.save(output)
    print(f"{output}: asks for {describe(model.policy.own_command())}, unless it is told what to do")
    send_file(parser, output, args.save_to)
