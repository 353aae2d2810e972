"""``python -m sb3_udrl.evaluation MODEL --env ENV``: evaluate a saved model and draw what it does."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from stable_baselines3.common.vec_env import VecEnv

from sb3_udrl.commands.command import Command
from sb3_udrl.commands.command_space import describe
from sb3_udrl.common.command_lines import what_it_does
from sb3_udrl.common.commanded_algorithm import CommandedAlgorithm
from sb3_udrl.evaluation.command_line import add_model_arguments, check_at_least, fail, load_model
from sb3_udrl.evaluation.environments import one_line
from sb3_udrl.evaluation.evaluate import evaluate_policy
from sb3_udrl.evaluation.film import film, side_by_side, steps_per_second, write_gif
from sb3_udrl.evaluation.following import PartFollowing, command_following, commands_to_show, run_commands
from sb3_udrl.evaluation.plots import plot_command_following, plot_learning_curve, plot_relative_commands
from sb3_udrl.recordings.arrays import load_arrays
from sb3_udrl.remote.command_line import add_save_to, saving_to

_N_COMMANDS = 9


def main(arguments: list[str] | None = None) -> None:
    """
    Print returns of greedy and sampled actions, and write ``command_following.png`` (``relative_commands.png`` for a model
    that takes such) and, if the Zoo's evaluations lie beside the model, ``learning_curve.png``.

    :param arguments: command line, by default that of the process
    """
    parser = argparse.ArgumentParser(prog="python -m sb3_udrl.evaluation", description=what_it_does(main))
    add_model_arguments(parser)
    parser.add_argument("--output", type=Path, help="folder for the pictures; that of the model by default")
    parser.add_argument("--episodes", type=int, default=20, help="episodes per evaluation")
    parser.add_argument("--returns", type=float, nargs=2, metavar=("LOW", "HIGH"), help="desired returns, or advantages")
    parser.add_argument("--horizons", type=float, nargs=2, metavar=("LOW", "HIGH"), help="desired horizons")
    add_save_to(parser)
    parser.add_argument("--film", action="store_true", help="film three commands side by side, as three_commands.gif")
    args = parser.parse_args(arguments)
    check_at_least(parser, args, {"episodes": 1})
    for option, limits in (("--returns", args.returns), ("--horizons", args.horizons)):
        if limits is not None and not np.isfinite(limits).all():
            parser.error(f"{option} {limits[0]} {limits[1]}: must be finite")
    model, env = load_model(parser, args, render_mode="rgb_array" if args.film else None)
    try:
        command = _commands(args, model)
    except ValueError as error:
        fail(parser, one_line(error))
    output = args.output or args.model.parent
    output.mkdir(parents=True, exist_ok=True)
    with saving_to(parser, output, args.save_to):
        _report(args, model, env, command, output)


def _commands(args: argparse.Namespace, model: CommandedAlgorithm) -> Command:
    """Commands to look at, a row each: those of the command line, where it names some."""
    space, experience = model.command_space, model.policy.experience
    if args.horizons is not None and (experience is None or "horizon" not in space):
        raise ValueError(f"--horizons: this model, which takes {', '.join(space.names)}, is looked at without: leave it away")
    if experience is None:
        return space.make({"advantage": _between(args.returns or (-3, 3))}, _N_COMMANDS)
    part = experience.names[0]
    grid = {part: model.policy.experienced(part, _N_COMMANDS) if args.returns is None else _between(args.returns)}
    if args.horizons is not None:
        grid["horizon"] = _between(args.horizons)
    elif not len(experience.known()) and "horizon" in space:  # an older file
        grid["horizon"] = model.policy.experienced("horizon", _N_COMMANDS)
    return space.make(Command({**space.nothing(_N_COMMANDS).parts, **grid}), _N_COMMANDS, gaps=True)


def _between(limits: Sequence[float]) -> NDArray[np.float64]:
    low, high = limits
    return np.linspace(low, high, _N_COMMANDS)


def _report(args: argparse.Namespace, model: CommandedAlgorithm, env: VecEnv, command: Command, output: Path) -> None:
    title = f"{type(model).__name__} on {args.env}"
    print(f"{args.model} on {args.env}, asked for {describe(model.policy.own_command())}:")
    modes = {"greedy": True, "sampled": False} if model.policy.draws else {"greedy": True}
    for name, deterministic in modes.items():
        returns, lengths = evaluate_policy(model, env, args.episodes, deterministic=deterministic, return_episode_rewards=True)
        print(f"  {name:8} return {np.mean(returns):8.1f} +- {np.std(returns):.1f}, length {np.mean(lengths):.1f}")

    card = model.score_card
    reach = card.reachable()
    if reach is not None:
        errors = ", ".join(f"{card.error('return', deterministic):.1f} {name}" for name, deterministic in modes.items())
        print(
            f"  score card of {len(card)} episodes of practice: returns from {reach[0]:.1f} to {reach[1]:.1f}, "
            f"mean error {errors}"
        )
    experience = model.policy.experience
    if experience is not None:
        part = experience.names[0]
        if not len(experience.known()) and "horizon" in model.command_space and args.returns is None and args.horizons is None:
            print("  this file does not say what episodes achieved: give --returns and --horizons to ask for more")
        followings = {}
        for name, deterministic in modes.items():
            followings[name] = following = command_following(model, env, command, None, args.episodes, deterministic).of(part)
            print(
                f"  {name:8} asked for {part}s from {command[part][0]:.0f} to {command[part][-1]:.0f}: mean error "
                f"{following.mean_abs_error:.1f}, R^2 {following.r_squared:.2f}, rank correlation "
                f"{following.rank_correlation:.2f}, reach {following.reach:.2f}"
            )
            picture = output / ("command_following.png" if deterministic else "command_following_sampled.png")
            plot_command_following(following, picture, f"{title}: command following, {name}", part)
        print(asked_against_got(followings, part))
    else:
        deviations = command["advantage"]
        repeated = command.rows(np.repeat(np.arange(_N_COMMANDS), args.episodes))
        achieved = run_commands(model, env, repeated)["return"].reshape(-1, args.episodes)
        means = ", ".join(f"{mean:.1f}" for mean in achieved.mean(1))
        print(f"  commands from {deviations[0]:.1f} to {deviations[-1]:.1f} deviations: mean returns {means}")
        plot_relative_commands(deviations, achieved, output / "relative_commands.png", f"{title}: relative commands")
    if args.film:
        try:
            film_commands(model, env, output / "three_commands.gif", commands_to_show(model, 3))
        except Exception as error:  # drivers of graphics fail in many ways
            print(f"  no film, since {args.env} cannot be shown on this machine: {one_line(error)}")
    evaluations = args.model.parent / "evaluations.npz"
    if evaluations.exists():
        try:
            logged = load_arrays(evaluations)
            steps, results = logged["timesteps"], logged["results"]
        except (ValueError, KeyError) as error:  # SB3 does not write it at once: a training may have been killed, or be at it
            print(f"  no learning curve: {one_line(error)}")
        else:
            plot_learning_curve(steps, results, output / "learning_curve.png", f"{title}: learning")
    print(f"  pictures are in {output}")


def asked_against_got(followings: dict[str, PartFollowing], part: str) -> str:
    """
    A table of text: a line per command, with mean and standard deviation of what was achieved.

    :param followings: by how actions were chosen, of the same commands
    :param part: what was asked for
    """
    first, *_ = followings.values()
    lines = [f"  {'asked ' + part:>14}" + "".join(f"{'got, ' + name:>18}" for name in followings)]
    for i, desired in enumerate(first.desired):
        got = [f"{f.achieved[i].mean():9.1f} +- {f.achieved[i].std():5.1f}" for f in followings.values()]
        lines.append(f"  {desired:14.1f}" + "".join(f"{text:>18}" for text in got))
    return "\n".join(lines)


def film_commands(model: CommandedAlgorithm, env: VecEnv, path: Path, commands: Command) -> None:
    """
    Film commands side by side, with what was asked for and achieved above each. Actions are drawn where that obeys better by
    the model's score card.

    :param model: the model
    :param env: renders arrays
    :param path: ``.gif`` file to write
    :param commands: a row for each
    """
    part = next(name for name in commands.parts if commands.asks_for(name)[0])
    greedy = model.score_card.obeys_greedily(part)
    films = [film(model, env, commands.rows([i]), deterministic=greedy) for i in range(len(commands))]
    got = "got" if part == "return" else "return"
    titles = [f"asked for {part} {asked:.0f}, {got} {one.got:.0f}" for asked, one in zip(commands[part], films, strict=True)]
    fps = steps_per_second(env)
    every = max(1, round(fps / 15))  # a GIF shows no more per second
    write_gif(side_by_side([one.pictures[::every] for one in films], titles), path, fps / every)


if __name__ == "__main__":
    main()
