"""``python -m sb3_udrl.zoo.runs``: the same training from many seeds, each with its report; goes on where it was stopped."""

from __future__ import annotations

import argparse
import shlex
import subprocess
import sys
from pathlib import Path

from sb3_udrl.algorithms import ALGORITHMS
from sb3_udrl.common.command_lines import what_it_does
from sb3_udrl.evaluation.environments import settings_beside, untrusted_code
from sb3_udrl.remote.command_line import add_save_to, saving_to

REPORT = "score_card.txt"


def main(arguments: list[str] | None = None) -> None:
    """
    Train with seeds 1 to N by the RL Zoo, one after the other. Runs that have ended are kept; the status is 1 if one failed.

    :param arguments: command line, by default that of the process
    """
    parser = argparse.ArgumentParser(prog="python -m sb3_udrl.zoo.runs", description=what_it_does(main), allow_abbrev=False)
    parser.add_argument("--algo", default="udrl", help="algorithm of the Zoo (default: %(default)s)")
    parser.add_argument("--env", default="CartPole-v1", help="environment (default: %(default)s)")
    parser.add_argument("--runs", type=int, default=25, help="number of seeds (default: %(default)s)")
    parser.add_argument("-f", "--log-folder", type=Path, default=Path("logs"), help="for all files (default: %(default)s)")
    add_save_to(parser)
    args, further = parser.parse_known_args(arguments)
    if args.runs < 1:
        parser.exit(2, f"{parser.prog}: error: --runs {args.runs}: must be at least 1\n")
    with saving_to(parser, args.log_folder, args.save_to):
        failed = [seed for seed in range(1, args.runs + 1) if not _run(args, seed, further)]
    if failed:
        sys.exit(f"seeds that failed: {', '.join(map(str, failed))}; the same command tries them again")


def _run(args: argparse.Namespace, seed: int, further: list[str]) -> bool:
    """Train and report, unless that has been done; whether it is done now."""
    folder = args.log_folder / args.algo / args.env / f"seed_{seed}"
    done = folder / REPORT
    if done.exists():
        print(f"seed {seed}: done already, {done}", flush=True)
        return True
    zoo = ["--algo", args.algo, "--env", args.env, "--seed", str(seed), "-f", str(folder)]
    board = ["--tensorboard-log", str(args.log_folder / "tensorboard")]
    if not _ended_well([sys.executable, "-m", "sb3_udrl.zoo", "train", *zoo, *board, *further], folder / "train.log"):
        return False
    models = sorted(folder.glob(f"{args.algo}/*/{args.env.replace('/', '-')}.zip"), key=lambda path: path.stat().st_mtime)
    if args.algo in ALGORITHMS:
        report = [sys.executable, "-m", "sb3_udrl.evaluation", str(models[-1]), "--algo", args.algo, "--env", args.env]
        named = untrusted_code(settings_beside(models[-1])[0])  # this training imported it already
        trust = ["--trust", *named] if named else []
        if not _ended_well([*report, "--output", str(folder), *trust], folder / "report.log"):
            return False
        (folder / "report.log").rename(done)
    else:
        done.write_text(
            f"{models[-1]}\n{args.algo} takes no commands; its evaluations lie beside the model\n", encoding="utf-8"
        )
    return True


def _ended_well(command: list[str], log: Path) -> bool:
    """Run a program with its output in a file; tell what failed."""
    log.parent.mkdir(parents=True, exist_ok=True)
    print(shlex.join(command), flush=True)
    with open(log, "w", encoding="utf-8") as output:
        status = subprocess.call(command, stdout=output, stderr=subprocess.STDOUT)
    if status:
        print(f"ended with status {status}, see {log}", flush=True)
    return status == 0


if __name__ == "__main__":
    main()
