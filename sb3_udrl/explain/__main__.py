"""``python -m sb3_udrl.explain MODEL --env ENV``: explain a saved model."""

from __future__ import annotations

import argparse
from pathlib import Path

import gymnasium as gym

from sb3_udrl.evaluation.environments import make_evaluation_env
from sb3_udrl.explain.contributions import explainable
from sb3_udrl.explain.report import Report
from sb3_udrl.udrl import UDRL


def main(arguments: list[str] | None = None) -> None:
    """
    Write ``report.md`` and its pictures: what contributed to decisions, what matters, what commands change, and the behavior
    function as one tree.

    :param arguments: command line, by default that of the process
    """
    parser = argparse.ArgumentParser(prog="python -m sb3_udrl.explain", description=main.__doc__)
    parser.add_argument("model", type=Path, help="saved model (.zip)")
    parser.add_argument("--env", required=True, help="environment id")
    parser.add_argument("--output", type=Path, help="folder for the report; explanation/ beside the model by default")
    parser.add_argument("--episodes", type=int, default=16, help="episodes to look at (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="seed of the environment (default: %(default)s)")
    parser.add_argument("--vec-normalize", type=Path, help="statistics of VecNormalize that the model was trained with (.pkl)")
    parser.add_argument(
        "--distill",
        action=argparse.BooleanOptionalAction,
        help="imitate the behavior function by one tree; by default if it is none of trees",
    )
    parser.add_argument("--max-leaf-nodes", type=int, default=64, help="size of that tree (default: %(default)s)")
    args = parser.parse_args(arguments)
    for option, value, least in (("--episodes", args.episodes, 1), ("--max-leaf-nodes", args.max_leaf_nodes, 2)):
        if value < least:
            parser.error(f"{option} {value}: must be at least {least}")
    try:
        env = make_evaluation_env(args.env, args.seed, args.vec_normalize)
    except FileNotFoundError as error:
        parser.error(f"--vec-normalize: {error}")
    except gym.error.Error as error:
        parser.error(f"--env {args.env}: {error}")
    try:
        model = UDRL.load(args.model, env=env, device="cpu")
    except (FileNotFoundError, ValueError) as error:
        parser.error(f"{args.model} with --env {args.env}: {error}")
    environment = model.get_env()
    assert environment is not None
    output = args.output or args.model.parent / "explanation"
    output.mkdir(parents=True, exist_ok=True)
    distills = not explainable(model) if args.distill is None else args.distill
    report = Report(model, environment, output, args.episodes)
    report.write(f"{args.model.stem} on {args.env}", distills, args.max_leaf_nodes, args.seed)
    print(f"The report is {output / 'report.md'}")


if __name__ == "__main__":
    main()
