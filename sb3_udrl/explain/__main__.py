"""``python -m sb3_udrl.explain MODEL --env ENV``: explain a saved model."""

from __future__ import annotations

import argparse
from pathlib import Path

from sb3_udrl.common.command_lines import what_it_does
from sb3_udrl.evaluation.command_line import add_model_arguments, check_at_least, load_model
from sb3_udrl.explain.contributions import explainable
from sb3_udrl.explain.report import Report


def main(arguments: list[str] | None = None) -> None:
    """
    Write ``report.md`` and its pictures: what contributed to decisions, what matters, what commands change, and the behavior
    function as one tree.

    :param arguments: command line, by default that of the process
    """
    parser = argparse.ArgumentParser(prog="python -m sb3_udrl.explain", description=what_it_does(main))
    add_model_arguments(parser)
    parser.add_argument("--output", type=Path, help="folder for the report; explanation/ beside the model by default")
    parser.add_argument("--episodes", type=int, default=16, help="episodes to look at (default: %(default)s)")
    parser.add_argument(
        "--distill",
        action=argparse.BooleanOptionalAction,
        help="imitate the behavior function by one tree; by default if it is none of trees",
    )
    parser.add_argument("--max-leaf-nodes", type=int, default=64, help="size of that tree (default: %(default)s)")
    args = parser.parse_args(arguments)
    check_at_least(parser, args, {"episodes": 1, "max_leaf_nodes": 2})
    model, env = load_model(parser, args)
    output = args.output or args.model.parent / "explanation"
    output.mkdir(parents=True, exist_ok=True)
    distills = not explainable(model) if args.distill is None else args.distill
    report = Report(model, env, output, args.episodes)
    report.write(f"{args.model.stem} on {args.env}", distills, args.max_leaf_nodes, args.seed)
    print(f"The report is {output / 'report.md'}")


if __name__ == "__main__":
    main()
