"""``python -m sb3_udrl.evaluation.report MODEL --env ENV``: evaluate a saved model and draw what it does."""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np

from sb3_udrl.commands.command_space import describe
from sb3_udrl.evaluation.command_line import add_model_arguments, load_model
from sb3_udrl.evaluation.evaluate import evaluate_policy
from sb3_udrl.evaluation.following import command_following, run_commands
from sb3_udrl.evaluation.plots import plot_command_following, plot_learning_curve, plot_relative_commands


def main(arguments: list[str] | None = None) -> None:
    """
    Print returns of greedy and sampled actions, and write ``command_following.png`` (``relative_commands.png`` for a model
    that takes such) and, if the Zoo's evaluations lie beside the model, ``learning_curve.png``.

    :param arguments: command line, by default that of the process
    """
    parser = argparse.ArgumentParser(prog="python -m sb3_udrl.evaluation.report", description=main.__doc__)
    add_model_arguments(parser)
    parser.add_argument("--output", type=Path, help="folder for the pictures; that of the model by default")
    parser.add_argument("--episodes", type=int, default=20, help="episodes per evaluation")
    parser.add_argument("--returns", type=float, nargs=2, metavar=("LOW", "HIGH"), help="desired returns, or deviations")
    parser.add_argument("--horizons", type=float, nargs=2, metavar=("LOW", "HIGH"), help="range of desired horizons")
    args = parser.parse_args(arguments)
    model, env = load_model(parser, args)
    output = args.output or args.model.parent
    output.mkdir(parents=True, exist_ok=True)
    print(f"{args.model} on {args.env}, asked for {describe(model.policy.own_command())}:")
    for name, deterministic in (("greedy", True), ("sampled", False)):
        returns, lengths = evaluate_policy(model, env, args.episodes, deterministic=deterministic, return_episode_rewards=True)
        print(f"  {name:8} return {np.mean(returns):8.1f} +- {np.std(returns):.1f}, length {np.mean(lengths):.1f}")

    own, space = {name: rows[0] for name, rows in model.policy.own_command().parts.items()}, model.command_space
    if "return" in space:
        low, high = args.returns or (0.1 * own["return"], own["return"])
        grid = {"return": np.linspace(low, high, 9)}
        if "horizon" in space:
            shortest, longest = args.horizons or (0.1 * own["horizon"], own["horizon"])
            grid["horizon"] = np.maximum(1, np.linspace(shortest, longest, 9))
        following = command_following(model, env, grid, None, args.episodes).of("return")
        print(
            f"  commands from {low:.0f} to {high:.0f}: mean error {following.mean_abs_error:.1f}, "
            f"R^2 {following.r_squared:.2f}, rank correlation {following.rank_correlation:.2f}, reach {following.reach:.2f}"
        )
        plot_command_following(following, output / "command_following.png", f"UDRL on {args.env}: command following")
    elif "advantage" in space:
        low, high = args.returns or (-3, 3)
        deviations = np.linspace(low, high, 9)
        command = space.make({"advantage": np.repeat(deviations, args.episodes)}, 9 * args.episodes)
        achieved = run_commands(model, env, command)["return"].reshape(-1, args.episodes)
        means = ", ".join(f"{mean:.1f}" for mean in achieved.mean(1))
        print(f"  commands from {low:.1f} to {high:.1f} deviations: mean returns {means}")
        plot_relative_commands(
            deviations, achieved, output / "relative_commands.png", f"UDRL on {args.env}: relative commands"
        )
    evaluations = args.model.parent / "evaluations.npz"
    if evaluations.exists():
        with np.load(evaluations) as logged:
            plot_learning_curve(
                logged["timesteps"], logged["results"], output / "learning_curve.png", f"UDRL on {args.env}: learning"
            )
    print(f"  pictures are in {output}")


if __name__ == "__main__":
    main()
